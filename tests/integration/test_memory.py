"""A trial that finds no memory is tried again, a few times, from where it was."""

import logging
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.studies import records
from puffin.studies.records import FAILURE, NOTES, RETRIES, TICKET
from puffin.studies.storage.queue import MAX_RETRIES, count_by_state
from puffin.studies.storage.workers import process_name
from puffin.studies.study import StoredStudy
from puffin.tuner.worker import worker as module
from puffin.tuner.worker.worker import Worker
from tests.queues import lose

MakeStudy = Callable[..., StoredStudy]
MakeWorker = Callable[..., Worker]
Starve = Callable[..., list[int]]
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc.cpp:1] DefaultCPUAllocator: can't allocate memory: you"),
]
SAID = ["CUDA out of memory.", "no message", str(OUT_OF_MEMORY[2])]
CASES = pytest.mark.parametrize(
    ("error", "said"), list(zip(OUT_OF_MEMORY, SAID, strict=True)), ids=["gpu", "python", "host"]
)


on_both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


@pytest.fixture
def starve(monkeypatch: pytest.MonkeyPatch) -> Starve:
    """Make the first trainings raise after an epoch; return the epochs of each attempt."""

    def arrange(error: Exception, times: int, after: int = 2) -> list[int]:
        train = module.run_trial
        epochs: list[int] = []

        def short(trial: optuna.Trial, *args: Any) -> float:
            report = trial.report

            def report_or_raise(value: float, step: int) -> None:
                report(value, step)
                epochs[-1] += 1
                if len(epochs) <= times and step > after:
                    raise error

            epochs.append(0)
            monkeypatch.setattr(trial, "report", report_or_raise)
            return train(trial, *args)

        monkeypatch.setattr(module, "run_trial", short)
        monkeypatch.setattr(module, "_PAUSE_WITHOUT_MEMORY", 0.01)
        return epochs

    return arrange


@pytest.fixture
def study(make_study: MakeStudy) -> StoredStudy:
    return make_study(
        training={"max_epochs": 6, "patience": 6}, search={"trials": 1, "pruner": "none"}
    )


def curve(trial: FrozenTrial) -> dict[int, float]:
    return trial.intermediate_values


def checkpoints(storage: RDBStorage) -> int:
    with storage.engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM puffin_checkpoints")).scalar())


@CASES
def test_a_trial_out_of_memory_is_retried_with_its_parameters(
    study: StoredStudy, make_worker: MakeWorker, starve: Starve, error: Exception, said: str
) -> None:
    starve(error, times=1)
    worker = make_worker()
    assert worker.step(study) is True
    short, again = study.trials()
    note = f"out of memory on cpu of {process_name()}: {said}"
    assert (short.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert FAILURE not in short.user_attrs
    assert again.user_attrs == {TICKET: 0, RETRIES: 1, NOTES: [note]}
    assert again.system_attrs["fixed_params"] == short.params != {}
    assert worker.step(study) is True
    (trial,) = study.optuna_study.get_trials(states=(TrialState.COMPLETE,))
    assert trial.params == short.params
    assert trial.user_attrs[NOTES] == [note]
    assert worker.step(study) is None


@on_both
def test_a_trial_out_of_memory_resumes_to_identical_losses(
    storage: RDBStorage,
    study: StoredStudy,
    make_study: MakeStudy,
    make_worker: MakeWorker,
    starve: Starve,
) -> None:
    epochs = starve(MemoryError(), times=2, after=3)
    worker = make_worker()
    worker.checkpoint_seconds = 0.0
    for _ in range(2):
        assert worker.step(study) is True
        assert checkpoints(storage) == 1
    assert worker.step(study) is True
    *_, trial = study.trials()
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["run"]["resumed_after"] == 3
    assert len(curve(trial)) == 6
    assert epochs[:2] == [4, 4], "the second try is given three epochs and fails at the same one"
    assert checkpoints(storage) == 0
    alone = make_study(
        "alone",
        training={"max_epochs": 6, "patience": 6},
        search={"trials": 1, "pruner": "none"},
    )
    assert worker.step(alone) is True
    (undisturbed,) = alone.trials()
    assert curve(undisturbed) == curve(trial)
    assert undisturbed.user_attrs["fold_losses"] == trial.user_attrs["fold_losses"]


@on_both
def test_a_trial_out_of_memory_four_times_fails(
    storage: RDBStorage,
    study: StoredStudy,
    make_worker: MakeWorker,
    starve: Starve,
    caplog: pytest.LogCaptureFixture,
) -> None:
    epochs = starve(MemoryError("too wide"), times=99)
    worker = make_worker()
    worker.checkpoint_seconds = 0.0
    with caplog.at_level(logging.WARNING):
        for _ in range(MAX_RETRIES + 1):
            assert worker.step(study) is True
        assert checkpoints(storage) == 0
        assert worker.step(study) is None
    note = f"out of memory on cpu of {process_name()}: too wide"
    assert caplog.messages == [f"trial {number}: {note}" for number in range(4)]
    assert len(epochs) == 4
    failed = [t for t in study.trials() if records.is_finished(t)]
    assert [t.user_attrs[FAILURE] for t in failed] == [f"tried 4 times: {note}"]
    assert failed[0].user_attrs[NOTES] == [note] * 4
    assert failed[0].params == study.trials()[0].params
    assert count_by_state(study.trials()) == {"failed": 1}


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access"), ValueError("can't allocate memory")],
    ids=["broken", "another kind"],
)
def test_a_trial_that_raises_another_error_fails_at_once(
    storage: RDBStorage,
    study: StoredStudy,
    make_worker: MakeWorker,
    starve: Starve,
    error: Exception,
) -> None:
    starve(error, times=1)
    worker = make_worker()
    worker.checkpoint_seconds = 0.0
    assert worker.step(study) is True
    (failed,) = study.trials()
    assert failed.user_attrs[FAILURE] == f"{type(error).__name__}: {error}"
    assert worker.step(study) is None
    assert checkpoints(storage) == 0


def test_a_trial_out_of_memory_that_was_ended_meanwhile_is_left(
    study: StoredStudy,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def ended(*_args: Any) -> float:
        lose(study.queue)
        raise MemoryError

    monkeypatch.setattr(module, "run_trial", ended)
    assert make_worker().step(study) is True
    assert "trial 0 was ended already; this worker continues" in caplog.text
    assert count_by_state(study.trials()) == {"waiting": 1}
    assert [t.user_attrs.get(RETRIES) for t in study.trials()] == [None, 1]
