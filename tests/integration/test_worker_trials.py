"""One worker in this process: trials that raise, diverge, are pruned, taken or stopped."""

import logging
import math
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.models.training import fold_training
from puffin.studies import records
from puffin.studies.lifecycle import delete, submit
from puffin.studies.space import suggest
from puffin.studies.storage import registry
from puffin.studies.storage.checkpoints import Checkpoint, SavedCheckpoint
from puffin.studies.storage.optuna_internals import RUNG_PREFIX
from puffin.studies.storage.queue import count_by_state
from puffin.studies.study import StoredStudy, StudyError
from puffin.tuner.worker import worker as worker_module
from puffin.tuner.worker.scheduler import StudyScheduler
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.integration.helpers import (
    aapl,
    checkpoint_rows,
    endless,
    spec_of,
    spent,
    worker_of,
)
from tests.queues import lose, take


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


@pytest.fixture
def worker(storage: RDBStorage) -> Worker:
    return worker_of(storage)


def serve(worker: Worker, study: StoredStudy) -> int:
    """Run steps until the study is done; their number."""
    for steps in range(100):
        summary = worker.step(study)
        if summary is None:
            return steps
        assert summary, "nothing else holds a ticket"
    return pytest.fail("the study does not end")


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_a_fully_trained_trial_is_complete_even_at_a_rung(storage: RDBStorage, pruner: str) -> None:
    spec = spec_of(
        "tiny",
        training={"max_epochs": 2},
        search={"trials": 6, "sampler": "random", "pruner": pruner},
    )
    study = submit(storage, spec, aapl(spec))
    worker = worker_of(storage)
    while worker.step(study):
        pass
    assert Counter(t.state for t in study.trials()) == {TrialState.COMPLETE: 6}
    assert any(k.startswith(RUNG_PREFIX) for t in study.trials() for k in t.system_attrs), (
        "the pruner was not asked, so nothing was tested"
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("wrong\nsecond line"), "ValueError: wrong"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError: no message"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_trial_that_raises_fails_with_its_reason(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    reason: str,
) -> None:
    spec = spec_of("tiny", search={"trials": 3})
    study = submit(worker.storage, spec, aapl(spec))
    run_trial = worker_module.run_trial

    def run_or_raise(trial: optuna.Trial, *args: Any) -> float:
        value = run_trial(trial, *args) if trial.user_attrs[records.TICKET] != 1 else None
        if value is None:
            suggest(trial, spec.parsed_space)
            raise error
        return value

    monkeypatch.setattr(worker_module, "run_trial", run_or_raise)
    with caplog.at_level(logging.WARNING):
        assert serve(worker, study) == 3
    trials = spent(study)
    assert trials[1].state == TrialState.FAIL
    assert trials[1].user_attrs[records.FAILURE] == reason
    assert trials[1].params
    assert {trials[0].state, trials[2].state} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert count_by_state(study.trials())["failed"] == 1
    assert [record.getMessage() for record in caplog.records] == [f"trial 1 failed: {reason}"]


def test_a_trial_that_diverges_later_keeps_its_best_epoch(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, calls = fold_training.validate, Counter[int]()

    def diverge(network: torch.nn.Module, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        calls[id(network)] += 1
        loss, forecasts = validate(network, *args)
        return loss * (math.nan if calls[id(network)] == 3 else 1.0), forecasts

    monkeypatch.setattr(fold_training, "validate", diverge)
    spec = spec_of("tiny", search={"trials": 2, "pruner": "none"})
    study = submit(worker.storage, spec, aapl(spec))
    assert serve(worker, study) == 2
    for trial in spent(study).values():
        assert trial.state == TrialState.PRUNED
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.constraints == {"finite_loss": 1.0}
        assert trial.user_attrs["reason"] == "diverged: the loss is nan at epoch 3"
        assert trial.user_attrs["best_loss"] == min(trial.intermediate_values.values())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("targets_sha256", "0" * 64, "scores the targets 0000"),
        ("data", {"prices-search.csv": "0" * 64}, "has sha256 .* but 0000"),
    ],
)
def test_a_worker_with_other_targets_or_prices_refuses_to_train(
    worker: Worker, key: str, value: Any, words: str
) -> None:
    spec = spec_of("tiny", search={"trials": 3})
    study = submit(worker.storage, spec, aapl(spec))
    if key == "data":
        value = study.optuna_study.user_attrs["data"] | {"sha256": value}
    study.optuna_study.set_user_attr(key, value)
    with pytest.raises(StudyError, match=words):
        worker.step(study)
    assert study.trials() == []
    assert registry.budgets(worker.storage)["tiny"].issued == 0


@pytest.mark.parametrize(
    "changes", [{"training": {"max_epochs": 1}}, {"walk_forward": {"folds": 3}}]
)
def test_a_new_study_of_a_used_name_is_served_by_its_settings(
    storage: RDBStorage, changes: dict[str, Any]
) -> None:
    old = spec_of("tiny", search={"trials": 1})
    submit(storage, old, aapl(old))
    scheduler = StudyScheduler(worker_of(storage), "tiny", forever=True)
    scheduler.run_one()
    scheduler._studies.clear()  # as for another worker
    delete(storage, "tiny")
    new = spec_of("tiny", search={"trials": 1}, **changes)
    study = submit(storage, new, aapl(new))
    scheduler.run_one()
    (trial,) = study.trials()
    assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED), trial.user_attrs
    assert trial.user_attrs["run"]["epochs"] <= new.training.max_epochs
    assert len(trial.user_attrs["fold_losses"]) == new.walk_forward.folds


def test_a_trial_that_was_failed_meanwhile_is_left_to_its_retry(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a suspension: others have failed and retried the trial that goes on here."""
    spec = spec_of("tiny", search={"trials": 2, "pruner": "none"})
    study = submit(worker.storage, spec, aapl(spec))
    run_trial = worker_module.run_trial
    times = iter([True])

    def suspended(trial: optuna.Trial, *args: Any) -> float:
        if next(times, False):
            lose(study.queue)
        return run_trial(trial, *args)

    monkeypatch.setattr(worker_module, "run_trial", suspended)
    with caplog.at_level(logging.WARNING):
        serve(worker, study)
    assert "trial 0 was ended already; this worker continues" in caplog.text
    trials = spent(study)
    assert {t.state for t in trials.values()} == {TrialState.COMPLETE}
    assert trials[0].user_attrs[records.RETRIES] == 1


@pytest.mark.parametrize("end", ["complete", "pruned", "failed"])
def test_a_trial_failed_at_its_end_leaves_its_checkpoint_to_the_retry(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    spec = spec_of("tiny", search={"trials": 1, "pruner": "none"})
    study = submit(worker.storage, spec, aapl(spec))
    queue = study.queue

    def run_trial(trial: optuna.Trial, *_args: Any) -> float:
        trial.report(0.5, 1)
        lose(queue)  # while this process is suspended
        taken = take(study.optuna_study, queue)
        Checkpoint(worker.storage, study.creation_id, 0, taken._trial_id, 0.0).save(
            SavedCheckpoint({}, {}, b"its own")
        )
        if end == "pruned":
            raise optuna.TrialPruned
        if end == "failed":
            raise ValueError
        return 0.5

    monkeypatch.setattr(worker_module, "run_trial", run_trial)
    worker.step(study)
    assert count_by_state(study.trials()) == {"running": 1}
    assert checkpoint_rows(worker.storage) == 1


def test_a_request_to_stop_requeues_the_ticket_between_epochs(
    storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = Interrupt()
    worker = worker_of(storage, interrupt)
    spec = endless("long")
    study = submit(storage, spec, aapl(spec))
    report = optuna.Trial.report

    def report_and_stop(trial: optuna.Trial, value: float, step: int) -> None:
        report(trial, value, step)
        if step == 3:
            interrupt._handle(signal.SIGTERM, None)

    monkeypatch.setattr(optuna.Trial, "report", report_and_stop)
    assert worker.step(study) is True
    assert interrupt.requested
    lost, again = study.trials()
    assert list(lost.intermediate_values) == [1, 2, 3]
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert records.FAILURE not in lost.user_attrs
