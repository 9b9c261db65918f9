"""When a worker waits, and what it does if a study is deleted or cannot be read."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from puffin.studies import summary
from puffin.studies.lifecycle import delete, submit
from puffin.studies.storage import database as storage_module
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import StoredStudy, StudyError, load
from puffin.tuner.worker.scheduler import StudyScheduler, WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.integration.helpers import aapl, spec_of, spent, worker_of
from tests.queues import lose, take


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


def test_a_worker_without_a_study_refuses_a_missing_database(tmp_path: Path) -> None:
    with pytest.raises(storage_module.StorageError, match="there is no database"):
        work(f"sqlite:///{tmp_path / 'gone.db'}", Interrupt(), WorkerOptions())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("wrong", ["nonsense", "mysql://host/db", "sqlite:///{}/no.db"])
def test_a_worker_does_not_wait_for_an_impossible_database(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "no.db").write_text("some notes and no database")
    with pytest.raises(storage_module.StorageError, match=r"sqlite|not a database"):
        work(wrong.format(tmp_path), Interrupt(), WorkerOptions("tiny", device="cpu"))


@pytest.mark.parametrize("study", [None, "tiny"])
def test_a_worker_stopped_before_its_start_claims_nothing(url: str, study: str | None) -> None:
    spec = spec_of("tiny")
    submit(open_storage(url, create=True), spec, aapl(spec))
    interrupt = Interrupt()
    interrupt._handle(signal.SIGINT, None)
    work(url, interrupt, WorkerOptions(study, device="cpu"))
    assert load(open_storage(url), "tiny").trials() == []


def test_a_worker_of_one_study_ends_when_it_is_deleted(
    url: str, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("tiny")
    submit(storage, spec, aapl(spec))
    step = Worker.step

    def step_and_delete(worker: Worker, study: StoredStudy) -> bool | None:
        summary = step(worker, study)
        delete(storage, "tiny")
        return summary

    monkeypatch.setattr(Worker, "step", step_and_delete)
    with pytest.raises(StudyError, match="study 'tiny' was deleted while this worker served it"):
        work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))


def test_a_worker_continues_other_studies_when_one_is_deleted(
    url: str, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "stays"):
        spec = spec_of(name, search={"trials": 3})
        submit(storage, spec, aapl(spec))
    step = Worker.step

    def step_and_delete(worker: Worker, study: StoredStudy) -> bool | None:
        summary = step(worker, study)
        if study.name == "gone":
            delete(storage, "gone")
        return summary

    monkeypatch.setattr(Worker, "step", step_and_delete)
    work(url, Interrupt(), WorkerOptions(None, device="cpu"))
    assert len(spent(load(open_storage(url), "stays"))) == 3


def test_a_trial_of_a_deleted_study_cannot_write_to_the_next(storage: RDBStorage) -> None:
    old = spec_of("old", search={"trials": 1})
    study = submit(storage, old, aapl(old))
    held = take(study.optuna_study, study.queue)
    delete(storage, "old")
    new = spec_of("new", search={"trials": 1})
    other = submit(storage, new, aapl(new))
    take(other.optuna_study, other.queue)
    with pytest.raises(KeyError):
        held.report(0.001, 1)
    assert [t.intermediate_values for t in other.optuna_study.trials] == [{}]


def test_a_worker_serves_other_studies_when_one_is_unreadable(
    storage: RDBStorage, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = (spec_of(name, search={"trials": 1}) for name in ("broken", "sound"))
    bad = submit(storage, broken, aapl(broken))
    bad.optuna_study.set_user_attr("spec", broken.to_json() | {"made_by_a_later_version": 1})
    good = submit(storage, sound, aapl(sound))
    scheduler = StudyScheduler(worker_of(storage), None, forever=False)
    while scheduler.run_one():
        pass
    assert count_finished(good.trials()) == 1
    assert [r.message for r in caplog.records if "not serving study 'broken'" in r.message]


def test_a_lost_trial_that_had_diverged_has_no_failure_reason(
    storage: RDBStorage,
) -> None:
    spec = spec_of("tiny", search={"trials": 1})
    study = submit(storage, spec, aapl(spec))
    take(study.optuna_study, study.queue).set_constraint("finite_loss", 1.0)
    lose(study.queue)
    assert summary.failure_reasons(study) == {}
