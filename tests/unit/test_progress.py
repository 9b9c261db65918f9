"""The live progress of a search, in a terminal of 80 columns and in a file."""

import io
from typing import Any

import pytest
from rich.console import Console

from puffin.studies.spec import load_spec
from puffin.studies.summary import RunningTrial, Status
from puffin.tuner import messages
from puffin.tuner import progress as module
from puffin.tuner.progress import Progress

CONFIG = {
    "cell": "gru",
    "hidden_dims": [32, 16],
    "dropout": 0.1,
    "lookback": 20,
    "lr": 0.00321,
    "weight_decay": 1e-5,
    "batch_size": 32,
    "noise": 0.0,
}
STATUS: dict[str, Any] = {
    "name": "demo",
    "search": None,
    "tickets": 40,
    "finished": 12,
    "complete": 3,
    "pruned": 9,
    "failed": 0,
    "running": 1,
    "running_trials": (RunningTrial(13, 13, 3, 50, 0.81234, "host:1", CONFIG, None),),
    "workers": ("host:1",),
    "priority": 1,
    "paused": False,
    "best_loss": 0.70314,
    "best_skill": 0.352,
    "best_trial": 5,
    "best_config": CONFIG,
    "origins": 0,
    "seconds_left": 170.0,
}
WORKERS = {"host:1": "1", "host:2": "2"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """The clock of the progress, which a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> io.StringIO:
    """Make stderr a terminal of 80 columns, or with the parameter False a file."""
    terminal = getattr(request, "param", True)
    file = Terminal() if terminal else io.StringIO()
    console = Console(file=file, width=80, force_terminal=terminal, color_system=None, markup=False)
    monkeypatch.setattr(messages, "stderr", lambda: console)
    return file


def progress(**options: bool) -> Progress:
    return Progress(load_spec("demo"), **options)


def status(**changes: Any) -> Status:
    return Status(**(STATUS | changes))


def block(workers: dict[str, str] | None = None, **changes: Any) -> list[str]:
    """Return the lines that a terminal shows after 73 seconds."""
    shown = progress()
    state = status(**changes)
    shown._console.print(
        shown._block(state, WORKERS if workers is None else workers, 73.0, state.seconds_left)
    )
    file = shown._console.file
    assert isinstance(file, io.StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.usefixtures("out")
def test_a_terminal_shows_a_bar_times_the_best_trial_and_a_row_per_worker() -> None:
    _, bar, counts, best, *config, _, heading, _, first, second = block()
    assert bar.endswith(" 12 of 40 trials, 1 min 13 s so far, about 3 min left")
    assert counts == "3 complete, 9 pruned"
    assert best == "best trial 5: loss 0.7031, skill +35.2 %"
    # The demo does not search the noise.
    searched = "gru 32/16, dropout 0.1, lookback 20"
    assert config == [f"  {searched}, lr 0.00321, weight_decay 1e-05,", "  batch_size 32"]
    assert heading.split() == ["worker", "trial", "epoch", "loss", "configuration"]
    assert first.split(maxsplit=6) == ["1", "13", "3", "of", "50", "0.8123", f"{searched} …"]
    assert second.split(maxsplit=4) == ["2", "-", "-", "-", "waits for a trial"]


@pytest.mark.usefixtures("out")
def test_progress_of_many_workers_fits_80_columns_and_few_lines() -> None:
    many = tuple(RunningTrial(n, n, 0, 50, None, f"{'h' * 60}:{n}", None, n) for n in range(64))
    lines = block({}, running_trials=many, running=64, paused=True, name="n" * 64, search="n")
    assert max(map(len, lines)) <= 80
    assert len(lines) < 24
    assert "and 56 workers more" in lines
    assert any("n" * 64 in line for line in lines)
    assert any("h" * 60 + ":7" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"best_loss": None}, "best"),
        ({"seconds_left": None}, "left"),
        ({"paused": True}, "left"),
        ({"running": 0, "running_trials": ()}, "13 "),
    ],
)
@pytest.mark.usefixtures("out")
def test_unknown_values_are_left_out(changes: dict[str, Any], missing: str) -> None:
    assert missing not in "\n".join(block(**changes)).replace("1 min 13 s", "")


@pytest.mark.parametrize("out", [False], indirect=True)
def test_a_file_gets_a_line_per_change_and_minute(out: io.StringIO, clock: Clock) -> None:
    shown = progress()
    for seconds, finished in [(0, 12), (1, 12), (2, 13), (3, 13), (61, 13), (62, 13), (123, 13)]:
        clock.now = seconds
        shown.show(status(finished=finished, complete=finished - 9, seconds_left=None), WORKERS)
    starts = [line.partition(";")[0] for line in out.getvalue().splitlines()]
    times = [line.split("; ")[1] for line in out.getvalue().splitlines()]
    assert starts == ["13 of 40 trials: 4 complete, 9 pruned, 1 running"] * 3
    assert times == ["2 s so far", "1 min 2 s so far", "2 min 3 s so far"]


@pytest.mark.parametrize("out", [False], indirect=True)
def test_a_new_best_is_printed_once_and_not_when_a_search_resumes(out: io.StringIO) -> None:
    shown = progress()
    for best in (5, 5, 7, 7):
        shown.show(status(best_trial=best), WORKERS)
    (line,) = out.getvalue().splitlines()
    assert line.startswith("new best trial 7: loss 0.7031, skill +35.2 %, gru 32/16, dropout 0.1")


def test_a_terminal_is_cleared_and_keeps_the_new_bests(out: io.StringIO) -> None:
    with progress() as shown:
        shown.show(status(best_loss=None, best_trial=None), WORKERS)
        shown.show(status(finished=40, running=0, complete=31), WORKERS)
    lines = out.getvalue().splitlines()
    assert any("new best trial 5: loss 0.7031" in line for line in lines)
    assert lines[-1].endswith("40 of 40 trials: 31 complete, 9 pruned; 0 s")


def test_a_quiet_progress_prints_messages_only(out: io.StringIO) -> None:
    with progress(quiet=True) as shown:
        shown.show(status(best_trial=None), WORKERS)
        shown.show(status(finished=40), WORKERS)
        shown.say("worker 1 ended")
    assert out.getvalue() == "worker 1 ended\n"


@pytest.mark.usefixtures("out")
def test_the_time_left_runs_down_until_an_epoch_ends() -> None:
    countdown = module._Countdown()
    assert countdown.left(status(), 100.0) == 170.0
    assert countdown.left(status(seconds_left=190.0), 120.0) == 150.0
    assert countdown.left(status(seconds_left=190.0), 999.0) == 0.0
    assert countdown.left(status(finished=13, seconds_left=60.0), 1000.0) == 60.0
