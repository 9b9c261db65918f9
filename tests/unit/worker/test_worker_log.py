"""What a worker logs, on trials made by hand."""

import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies.records import FAILURE
from puffin.tuner.worker.log_format import (
    JsonFormatter,
    StderrHandler,
    TextFormatter,
    at_trial,
    events_logged,
)
from puffin.tuner.worker.worker_log import WorkerLog
from tests.pages import ROOT
from tests.trials import scores

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
TRAINED = scores(1e-7, best_epoch=5, skill=0.125).to_attrs() | {
    "run": {"epochs": 8, "seconds": 72.6}
}
PROCESS = f"{socket.gethostname()}:{os.getpid()}"
Lines = Callable[[], list[str]]


def ended(state: TrialState, **attrs: Any) -> FrozenTrial:
    value = attrs.get("best_loss") if state == COMPLETE else None
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    trial.number = 7
    return trial


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Log as the command does, and return the lines on stderr."""
    root, handler = logging.getLogger(), StderrHandler()
    root.addHandler(handler)

    def read() -> list[str]:
        return capsys.readouterr().err.splitlines()

    yield read
    root.removeHandler(handler)


def logged(*, structured: bool = False, quiet: bool = False) -> AbstractContextManager[None]:
    return events_logged(quiet=quiet, structured=structured, forwarded=False)


@pytest.mark.parametrize(
    ("trial", "end"),
    [
        (
            ended(COMPLETE, **TRAINED),
            "complete, loss 1.000e-07 at epoch 5, skill +12.5 %, 8 epochs in 1 min 13 s",
        ),
        (
            ended(PRUNED, **TRAINED | {"run": {"epochs": 1, "seconds": 2.0}}),
            "pruned, loss 1.000e-07 at epoch 5, skill +12.5 %, 1 epoch in 2.0 s",
        ),
        (ended(PRUNED, reason="diverged: no"), "pruned, diverged: no"),
        (ended(FAILED), "stopped, waits for a worker again"),
    ],
)
def test_a_trial_ends_with_a_line_of_time_level_worker_study_and_trial(
    trial: FrozenTrial, end: str, lines: Lines
) -> None:
    with logged(), at_trial("de\x1bmo", 7):
        WorkerLog().trial_ended(trial)
    (line,) = lines()
    time, rest = line.split(" ", maxsplit=1)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)
    assert rest == f"INFO {PROCESS} de\\x1bmo trial 7: {end}"


def test_the_page_shows_how_a_trial_ends(lines: Lines) -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    (shown,) = [line for line in page.splitlines() if "complete, new best" in line]
    found = scores(0.6081, best_epoch=7, skill=0.342).to_attrs()
    with logged(), at_trial("demo", 4):
        trial = ended(COMPLETE, **found, run={"epochs": 8, "seconds": 6.0})
        WorkerLog().trial_ended(trial, is_best=True)
    (line,) = lines()
    assert line.partition(PROCESS)[2] == shown.partition("vm:7")[2]


def test_json_lines_have_the_figures_of_an_event(lines: Lines) -> None:
    with logged(structured=True):
        with at_trial("de\x1bmo", 7):
            WorkerLog().trial_ended(ended(COMPLETE, **TRAINED), is_best=True)
        logging.getLogger("puffin.tuner.worker").warning("no %s", "trial")
    end, warning = map(json.loads, lines())
    assert end.pop("message").startswith("complete, new best, loss 1.000e-07 at epoch 5")
    assert end.pop("time") <= warning.pop("time")
    known = {"level": "info", "worker": PROCESS, "study": "de\x1bmo", "trial": 7}
    assert end == known | {
        "state": "complete",
        "loss": 1e-7,
        "skill": 0.125,
        "best_epoch": 5,
        "epochs": 8,
        "seconds": 72.6,
        "reason": None,
    }
    nothing = {"level": "warning", "study": None, "trial": None}
    assert warning == {"worker": PROCESS, "message": "no trial"} | nothing


def test_waiting_is_logged_once_until_the_next_trial_ends(lines: Lines) -> None:
    log = WorkerLog()
    with logged():
        log.ends("it never started")
        for _ in range(3):
            log.starts("sqlite:///tuner.db", "cpu")
        for _ in range(3):
            log.waits("no study has work left")
        log.trial_ended(ended(COMPLETE, **TRAINED))
        log.trial_ended(ended(FAILED, **{FAILURE: "ValueError: no"}))  # logged by the worker
        log.waits("no study has work left")
        log.ends("it was asked to stop")
    first, *others = lines()
    assert f" INFO {PROCESS}: starts on cpu, sqlite:///tuner.db; puffin-tuner " in first
    assert [line.endswith("; waiting") for line in others] == [True, False, True, False]
    assert others[-1].endswith(
        ": ends after 0 s: 1 complete, 0 pruned, 1 failed; it was asked to stop"
    )


def test_a_quiet_worker_logs_warnings_without_naming_the_trial_twice(lines: Lines) -> None:
    log = WorkerLog()
    with logged(quiet=True), at_trial("demo", 7):
        log.starts("sqlite:///tuner.db", "cpu")
        log.trial_ended(ended(COMPLETE, **TRAINED))
        logging.getLogger("puffin.tuner.worker.worker").warning("trial %s failed: %s", 7, "no")
    (line,) = lines()
    assert line.endswith(f"WARNING {PROCESS} demo trial 7: failed: no")


def test_a_worker_continues_when_its_stderr_is_closed(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("puffin.tuner.worker.log_format.click.echo", broken)
    with logged():
        WorkerLog().trial_ended(ended(COMPLETE, **TRAINED))
    assert lines() == []


def test_a_traceback_stays_with_its_line() -> None:
    try:
        int("no")
    except ValueError as error:
        record = logging.LogRecord("x", logging.WARNING, "x", 1, "bad", (), None)
        record.exc_info = (type(error), error, error.__traceback__)
    assert TextFormatter().format(record).splitlines()[-1].startswith("ValueError: ")
    (line,) = JsonFormatter().format(record).splitlines()
    assert json.loads(line)["traceback"].startswith("Traceback")
