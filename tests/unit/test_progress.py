"""The live progress of a search, in a terminal of 80 columns and in a file."""

import io
from typing import Any

import pytest
from rich.console import Console

from puffin.studies.summary import RunningTrial, Status
from puffin.tuner import progress as module
from puffin.tuner.progress import Progress

STATUS: dict[str, Any] = {
    "name": "demo",
    "search": None,
    "tickets": 40,
    "finished": 12,
    "complete": 3,
    "pruned": 9,
    "failed": 0,
    "running": 1,
    "running_trials": (RunningTrial(13, 13, 3, 50, 0.81234, "host:1"),),
    "workers": ("host:1",),
    "priority": 1,
    "paused": False,
    "best_loss": 0.70314,
    "best_skill": 0.352,
    "best_trial": 5,
    "seconds_left": 170.0,
}


def shown(terminal: bool, **changes: Any) -> str:  # noqa: FBT001
    """Show one state and return what was written."""
    console = Console(
        file=io.StringIO(), width=80, force_terminal=terminal, color_system=None, markup=False
    )
    status = Status(**(STATUS | changes))
    if terminal:
        console.print(module._block(status, 73.0))
    else:
        progress = Progress()
        progress._console = console
        progress.show(status)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_counts_time_left_best_and_running_trials() -> None:
    lines = [line.rstrip() for line in shown(terminal=True).splitlines()]
    assert lines[0].endswith(" 12 of 40 trials: 3 complete, 9 pruned, 1 running")
    assert lines[1:] == [
        "1 min 13 s so far; about 3 min left; best trial 5: loss 0.7031, skill +35.2 %",
        "  trial 13: epoch 3 of 50, lowest loss 0.8123",
    ]


def test_progress_in_a_file_is_one_line() -> None:
    assert shown(terminal=False) == (
        "12 of 40 trials: 3 complete, 9 pruned, 1 running; 0 s so far; about 3 min left; "
        "best trial 5: loss 0.7031, skill +35.2 %\n"
    )


def test_progress_of_many_workers_fits_80_columns_and_few_lines() -> None:
    many = tuple(RunningTrial(n, n, 0, 50, None, None) for n in range(64))
    out = shown(terminal=True, running_trials=many, running=64, paused=True, name="n" * 64)
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "and 56 more in training" in out
    assert "n" * 64 in out


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"best_loss": None}, "best"),
        ({"seconds_left": None}, "left"),
        ({"paused": True}, "left"),
        ({"running": 0, "running_trials": ()}, "running"),
    ],
)
def test_unknown_values_are_left_out(changes: dict[str, Any], missing: str) -> None:
    assert missing not in shown(terminal=True, **changes)
