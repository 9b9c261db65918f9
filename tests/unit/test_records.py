"""Records of trials and studies: the keys in the database, and what is read back."""

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from puffin.studies.records import (
    RetrainingJob,
    Scores,
    SnapshotRecord,
    StudyHeader,
    StudyRecord,
    TrainingRun,
    TrialRecord,
    is_finished,
    is_requeued,
    is_retraining,
    ticket_of,
    updated_attrs,
    write_creation_id,
    write_jobs,
    write_opened_for,
)

RUN = TrainingRun(8, 12.5, "cpu", "host", {"torch": "2"}, "abc", 3, "artifact")
FULL = TrialRecord(
    ticket=0,
    retries=1,
    notes=("lost",),
    worker="host:1",
    config={"cell": "lstm"},
    scores=Scores(5, 0.5, (0.4, 0.6), 0.1, 0.5, (0.4, 0.6)),
    run=RUN,
    reason="pruned at epoch 8",
    failure="ValueError: no",
    duplicate_of=0,
    retrained_trial=0,
    seed=0,
)
# As every release has stored them.
STORED: dict[str, Any] = {
    "ticket": 0,
    "retries": 1,
    "notes": ["lost"],
    "worker": "host:1",
    "config": {"cell": "lstm"},
    "best_epoch": 5,
    "best_loss": 0.5,
    "fold_losses": [0.4, 0.6],
    "skill": 0.1,
    "direction_accuracy": 0.5,
    "direction_interval": [0.4, 0.6],
    "run": {
        "epochs": 8,
        "seconds": 12.5,
        "device": "cpu",
        "host": "host",
        "machine": {"torch": "2"},
        "targets_sha256": "abc",
        "resumed_after": 3,
        "forecasts": "artifact",
    },
    "reason": "pruned at epoch 8",
    "failure": "ValueError: no",
    "duplicate_of": 0,
    "rerun_of": 0,
    "seed": 0,
}
DATA = SnapshotRecord("sample", 3, "a", "c", "b", {"f": "1"}, {"f": "id"}, ("odd",))
STUDY: dict[str, Any] = {
    "spec": {"name": "x"},
    "spec_version": 1,
    "made_with": {"torch": "2"},
    "submitted": "2026-01-01T00:00:00+00:00",
    "data": {
        "origin": "sample",
        "bars": 3,
        "first": "a",
        "last": "c",
        "search_last": "b",
        "sha256": {"f": "1"},
        "artifacts": {"f": "id"},
        "warnings": ["odd"],
    },
    "targets_sha256": "abc",
    "persistence_losses": [1.0, 2.0],
    "mean_losses": [1.5, 2.5],
    "mean_direction_accuracy": 0.5,
}


def search_record() -> StudyRecord:
    return StudyRecord(
        spec={"name": "x"},
        spec_version=1,
        made_with={"torch": "2"},
        data=DATA,
        targets_sha256="abc",
        submitted="2026-01-01T00:00:00+00:00",
        persistence_losses=(1.0, 2.0),
        mean_losses=(1.5, 2.5),
        mean_direction_accuracy=0.5,
    )


def test_a_trial_is_stored_under_the_keys_of_every_release() -> None:
    trial = optuna.create_study().ask()
    FULL.write(trial)
    assert trial.user_attrs == STORED


def test_a_trial_is_read_as_it_was_stored() -> None:
    trial = create_trial(state=TrialState.PRUNED, user_attrs=STORED)
    assert TrialRecord.read(trial) == FULL
    assert Scores.read(trial) == FULL.scores
    assert TrainingRun.read(trial) == RUN
    assert ticket_of(trial) == 0


def test_fields_without_a_value_are_not_stored() -> None:
    assert TrialRecord().to_attrs() == {}
    assert TrialRecord(ticket=0, scores=None).to_attrs() == {"ticket": 0}
    assert TrainingRun(1, 2.0).to_attrs() == {"epochs": 1, "seconds": 2.0, "machine": {}}


def test_a_trial_of_another_program_has_an_empty_record() -> None:
    trial = create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={"mine": 1})
    assert TrialRecord.read(trial) == TrialRecord()
    for read in (Scores.read, TrainingRun.read, ticket_of):
        with pytest.raises(KeyError):
            read(trial)


def test_a_run_of_another_release_may_lack_fields_or_have_more() -> None:
    run = {"epochs": 8, "seconds": 12.5, "later": 1}
    trial = create_trial(state=TrialState.PRUNED, user_attrs={"run": run})
    assert TrainingRun.read(trial) == TrainingRun(8, 12.5)


def test_an_update_keeps_the_attributes_that_it_does_not_set() -> None:
    trial = create_trial(state=TrialState.PRUNED, user_attrs={"mine": 1, "ticket": 3})
    assert updated_attrs(trial, TrialRecord(retries=2)) == {"mine": 1, "ticket": 3, "retries": 2}


def test_the_next_trial_of_a_ticket_inherits_ticket_retries_and_notes() -> None:
    assert FULL.for_next_trial == TrialRecord(ticket=0, retries=1, notes=("lost",))


@pytest.mark.parametrize(
    ("state", "failure", "finished", "requeued"),
    [
        (TrialState.COMPLETE, None, True, False),
        (TrialState.PRUNED, None, True, False),
        (TrialState.FAIL, "no", True, False),
        (TrialState.FAIL, None, False, True),
        (TrialState.RUNNING, None, False, False),
        (TrialState.WAITING, None, False, False),
    ],
)
def test_a_failed_trial_without_a_reason_was_requeued(
    state: TrialState, failure: str | None, *, finished: bool, requeued: bool
) -> None:
    value = 1.0 if state == TrialState.COMPLETE else None
    attrs = TrialRecord(failure=failure).to_attrs()
    trial = create_trial(state=state, value=value, user_attrs=attrs)
    assert (is_finished(trial), is_requeued(trial)) == (finished, requeued)


def test_a_study_is_stored_under_the_keys_of_every_release() -> None:
    study = optuna.create_study()
    search_record().write(study)
    assert study.user_attrs == STUDY
    assert StudyRecord.read(study) == search_record()
    assert not is_retraining(study.user_attrs)


def test_a_retraining_study_stores_its_parent_jobs_and_openings() -> None:
    study = optuna.create_study()
    job = RetrainingJob(3, {"cell": "gru"}, 5, 1)
    record = StudyRecord({}, 1, {}, DATA, "abc", parent_name="x", jobs=(job,), opened_for={3: "id"})
    record.write(study)
    stored = study.user_attrs
    assert stored["search"] == "x"
    assert stored["reruns"] == [{"trial": 3, "config": {"cell": "gru"}, "epochs": 5, "seed": 1}]
    assert stored["opened_for"] == {"3": "id"}
    assert not {"submitted", "persistence_losses", "mean_direction_accuracy"} & set(stored)
    assert StudyRecord.read(study) == record
    assert is_retraining(stored)
    write_jobs(study, [job, job])
    write_opened_for(study, {3: "id", 4: "other"})
    assert StudyRecord.read(study).jobs == (job, job)
    assert StudyRecord.read(study).opened_for == {3: "id", 4: "other"}


def test_a_header_is_read_of_any_release_but_not_without_a_spec() -> None:
    study = optuna.create_study()
    with pytest.raises(KeyError):
        StudyHeader.read(study)
    study.set_user_attr("spec", {"name": "x"})
    assert StudyHeader.read(study) == StudyHeader(None, None, {"name": "x"})
    write_creation_id(study, "id")
    assert StudyHeader.read(study).creation_id == "id"
