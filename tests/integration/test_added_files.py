"""Files and studies added by the dashboard or another program cause no errors."""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from puffin.studies import retraining
from puffin.studies.export.write import export
from puffin.studies.lifecycle import delete
from puffin.studies.storage.optuna_internals import ARTIFACT_PREFIX, study_id, trial_id
from puffin.studies.storage.queue import count_finished
from puffin.studies.storage.tables import artifacts
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE, StoredStudy
from puffin.tuner.worker.scheduler import StudyScheduler, WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker

MakeStudy = Callable[..., StoredStudy]
MakeWorker = Callable[..., Worker]


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    return new_url("sqlite")


def add_file(study: StoredStudy, filename: str, trial: int | None = None) -> None:
    """Add a file to a study or a trial as Optuna Dashboard does."""
    artifact_id = f"added-{filename}-{trial}"
    meta = {"artifact_id": artifact_id, "filename": filename, "mimetype": "", "encoding": None}
    key, text = ARTIFACT_PREFIX + artifact_id, json.dumps(meta)
    study.store.write(artifact_id, io.BytesIO(b"x"))
    if trial is None:
        study.storage.set_study_system_attr(study_id(study.optuna_study), key, text)
    else:
        study.storage.set_trial_system_attr(trial, key, text)


def test_added_files_do_not_affect_search_or_export(
    url: str, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = make_study(search={"trials": 2, "pruner": "none"})
    for name in (SEARCH_FILE, HOLDOUT_FILE, "forecasts.csv", "notes.txt"):
        add_file(study, name)
    report = optuna.Trial.report

    def report_and_add(trial: optuna.Trial, value: float, step: int) -> None:
        report(trial, value, step)
        if step == 1:
            for name in ("forecasts.csv", "notes.txt"):
                add_file(study, name, trial_id(trial))

    monkeypatch.setattr(optuna.Trial, "report", report_and_add)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    assert count_finished(study.trials()) == 2
    best = study.best()
    assert len(retraining.read_artifact(study, best).splitlines()) == 1 + 2 * 20
    assert (export(study, tmp_path / "best") / "forecasts.csv").read_bytes() == (
        retraining.read_artifact(study, best)
    )
    delete(study.storage, "tiny")
    with study.storage.engine.connect() as connection:
        assert connection.execute(sa.select(artifacts)).all() == []


def test_an_empty_study_does_not_block_a_retraining_study(
    url: str, storage: RDBStorage, make_study: MakeStudy
) -> None:
    study = make_study(search={"trials": 1, "pruner": "none"}, training={"max_epochs": 1})
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    for suffix in (".seeds", ".holdout"):
        optuna.create_study(study_name=f"tiny{suffix}", storage=storage)
    assert retraining.retrain_with_seeds(study, 1).name == "tiny.seeds"
    assert retraining.open_seal(study, 1).name == "tiny.holdout"


@pytest.mark.parametrize(
    "break_study",
    [
        lambda study: study.set_user_attr("data", {}),
        lambda study: study.set_user_attr("made_with", None),
        lambda study: study.set_user_attr("data", {"artifacts": {SEARCH_FILE: "gone"}}),
        lambda study: study.set_user_attr("spec", {}),
    ],
    ids=["no data", "no versions", "no file", "no spec"],
)
def test_an_unreadable_study_is_logged_once_and_skipped(
    storage: RDBStorage,
    make_study: MakeStudy,
    make_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
    break_study: Callable[[optuna.Study], Any],
) -> None:
    good = make_study("good", search={"trials": 2}, training={"max_epochs": 1})
    bad = make_study("bad", search={"trials": 2})
    break_study(bad.optuna_study)
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    with caplog.at_level(logging.WARNING):
        while scheduler.run_one():
            pass
    assert count_finished(good.trials()) == 2
    assert storage.get_all_trials(study_id(bad.optuna_study)) == []
    assert len([m for m in caplog.messages if "'bad'" in m]) == 1


def test_deleting_a_study_in_training_does_not_end_the_worker(
    storage: RDBStorage,
    make_study: MakeStudy,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = make_study(search={"trials": 1, "pruner": "none"})
    report = optuna.Trial.report

    def report_and_delete(trial: optuna.Trial, value: float, step: int) -> None:
        if step == 2:
            delete(storage, "tiny")
        report(trial, value, step)

    monkeypatch.setattr(optuna.Trial, "report", report_and_delete)
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    with caplog.at_level(logging.WARNING):
        while scheduler.run_one():
            pass
    assert not study.still_exists()
    assert caplog.messages == []
