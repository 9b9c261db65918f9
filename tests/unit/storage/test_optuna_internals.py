"""The private names of Optuna that this program uses exist and behave as expected."""

import warnings
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.studies.storage import optuna_internals as internals


@pytest.fixture
def storage() -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return RDBStorage("sqlite://", heartbeat_interval=1, grace_period=60)


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=storage)


def test_keys_and_rows_are_those_of_the_database(storage: RDBStorage, study: optuna.Study) -> None:
    key = storage.create_new_trial(internals.study_id(study))
    trial = internals.running_trial(study, key)
    assert internals.study_id(study) == storage.get_study_id_from_name("s")
    assert internals.trial_id(trial) == key == internals.trial_id(study.trials[0])
    assert internals.backend_of(study) is storage
    with storage.engine.connect() as connection:
        studies = connection.execute(internals.StudyRow.__table__.select()).all()
        (row,) = connection.execute(internals.TrialRow.__table__.select()).all()
    assert [(s.study_id, s.study_name) for s in studies] == [(internals.study_id(study), "s")]
    assert (row.trial_id, row.study_id, row.state) == (key, studies[0].study_id, TrialState.RUNNING)


def test_a_trial_that_another_process_created_can_be_written(
    storage: RDBStorage, study: optuna.Study
) -> None:
    trial = internals.running_trial(study, storage.create_new_trial(internals.study_id(study)))
    trial.suggest_float("x", 0.0, 1.0)
    trial.report(0.5, 1)
    assert study.trials[0].intermediate_values == {1: 0.5}


def test_fixed_parameters_are_not_sampled(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 0.25})
    assert study.trials[0].system_attrs == {internals.FIXED_PARAMS: {"x": 0.25}}


def test_the_pruner_records_rungs_under_the_prefix(
    storage: RDBStorage, study: optuna.Study
) -> None:
    study.pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    trial = internals.running_trial(study, storage.create_new_trial(internals.study_id(study)))
    trial.report(0.5, 1)
    trial.should_prune()
    assert list(study.trials[0].system_attrs) == [f"{internals.RUNG_PREFIX}0"]


def test_an_artifact_is_a_system_attribute_under_the_prefix(
    study: optuna.Study, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    store = FileSystemArtifactStore(tmp_path)
    key = upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=study)
    attrs = internals.backend_of(study).get_study_system_attrs(internals.study_id(study))
    assert list(attrs) == [internals.ARTIFACT_PREFIX + key]


def test_a_trial_with_an_old_heartbeat_is_stale(storage: RDBStorage, study: optuna.Study) -> None:
    key = storage.create_new_trial(internals.study_id(study))
    storage.record_heartbeat(key)
    assert internals.stale_trial_ids(storage, internals.study_id(study)) == []
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    assert internals.stale_trial_ids(storage, internals.study_id(study)) == [key]
