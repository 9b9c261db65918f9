"""What a worker writes, on trials made by hand."""

from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies.records import FAILURE
from puffin.tuner.worker.worker_log import WorkerLog
from tests.trials import scores

COMPLETE, PRUNED, FAILED = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
TRAINED = scores(1e-7, best_epoch=5).to_attrs() | {"run": {"epochs": 8, "seconds": 12.34}}


def ended(state: TrialState, **attrs: Any) -> FrozenTrial:
    value = attrs.get("best_loss") if state == COMPLETE else None
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    trial.number = 7
    return trial


@pytest.mark.parametrize(
    ("trial", "line"),
    [
        (ended(COMPLETE, **TRAINED), "complete, loss 1.000e-07 at epoch 5, 8 epochs in 12.3 s"),
        (
            ended(PRUNED, **TRAINED | {"run": {"epochs": 1, "seconds": 2.0}}),
            "pruned, loss 1.000e-07 at epoch 5, 1 epoch in 2.0 s",
        ),
        (ended(PRUNED, reason="diverged"), "pruned"),
        (ended(FAILED, **{FAILURE: "ValueError: no"}), "failed"),
        (ended(FAILED), "stopped, waits for a worker again"),
    ],
)
def test_a_trial_ends_with_one_line(
    trial: FrozenTrial, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    WorkerLog(quiet=False).trial_ended("de\x1bmo", trial)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"trial 7 of study de\\x1bmo: {line}\n")


def test_waiting_is_logged_once_until_the_next_trial_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = WorkerLog(quiet=False)
    log.ends("it never started")
    for _ in range(3):
        log.starts("sqlite:///tuner.db", "cpu")
    for _ in range(3):
        log.waits("no study has work left")
    log.trial_ended("demo", ended(COMPLETE, **TRAINED))
    log.waits("no study has work left")
    log.ends("it was asked to stop")
    first, *lines = capsys.readouterr().err.splitlines()
    assert " on cpu, sqlite:///tuner.db; puffin-tuner " in first
    assert [line.endswith("; waiting") for line in lines] == [True, False, True, False]
    assert lines[-1].endswith(
        " ends after 0 s: 1 complete, 0 pruned, 0 failed; it was asked to stop"
    )


def test_a_quiet_worker_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log = WorkerLog(quiet=True)
    log.starts("sqlite:///tuner.db", "cpu")
    log.waits("no study has work left")
    log.trial_ended("demo", ended(COMPLETE, **TRAINED))
    log.ends("no work is left")
    assert capsys.readouterr() == ("", "")


def test_a_worker_continues_when_its_stderr_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("puffin.tuner.worker.worker_log.click.echo", broken)
    WorkerLog(quiet=False).trial_ended("demo", ended(COMPLETE, **TRAINED))
