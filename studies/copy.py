"""Copy a study to another database, with all that belongs to it."""

from dataclasses import dataclass
from typing import Self

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies.lifecycle import create_within
from puffin.studies.openings import holdout_sha256, insert, read_openings
from puffin.studies.records import CREATION_ID, TrialRecord
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import artifact_ids
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import FIXED_PARAMS, study_id
from puffin.studies.storage.queue import fixed_params
from puffin.studies.storage.tables import artifacts, checkpoints
from puffin.studies.study import RETRAINING_SUFFIXES, StoredStudy, StudyError, load


@dataclass(frozen=True)
class CopySummary:
    """Numbers of copied trials and artifacts; `in_training` of the trials wait to be resumed."""

    trials: int
    artifacts: int
    in_training: int

    def __add__(self, other: Self) -> "CopySummary":
        return CopySummary(
            self.trials + other.trials,
            self.artifacts + other.artifacts,
            self.in_training + other.in_training,
        )


def copy(source: StoredStudy, target: RDBStorage) -> CopySummary:
    """Copy a study with trials, tickets, snapshot, artifacts and checkpoints, and its retrainings.

    Every opening of the holdout's bars is copied too, whichever study it belongs to, because the
    report of the copy must name it. Trials keep their numbers. A running trial waits in the copy,
    with its checkpoint if it has one. The copy exists completely or not at all, and is not paused.

    Raises
    ------
    StudyError
        If the target has a study of that name.
    """
    family = [source]
    if source.parent_name is None:
        known = registry.budgets(source.storage)
        names = (source.name + suffix for suffix in RETRAINING_SUFFIXES)
        family += [load(source.storage, name) for name in names if name in known]
    bars = holdout_sha256(source)
    copied = CopySummary(0, 0, 0)
    try:
        with transaction(target) as connection:
            for study in family:
                copied += _copy_one(connection, study, target)
            # Read last, so that an opening recorded while the studies were copied is included.
            insert(connection, read_openings(source.storage, bars))
    except registry.NameTakenError:
        msg = f"a study {source.name!r} is in that database already; `tuner delete` it there first"
        raise StudyError(msg) from None
    return copied


def _copy_one(connection: sa.Connection, source: StoredStudy, target: RDBStorage) -> CopySummary:
    """Copy one study in the current transaction of the target."""
    study, creation_id = create_within(connection, target, source.name)
    key, budget = study_id(study), registry.budgets(source.storage)[source.name]
    # Read once, so that the copied trials and the number of issued tickets agree.
    trials = source.trials()
    system_attrs = source.storage.get_study_system_attrs(study_id(source.optuna_study))
    user_attrs = source.storage.get_study_user_attrs(study_id(source.optuna_study))
    for name, value in system_attrs.items():
        target.set_study_system_attr(key, name, value)
    for name, value in user_attrs.items():
        if name != CREATION_ID:
            target.set_study_user_attr(key, name, value)
    for trial in trials:
        target.create_new_trial(key, _as_waiting(trial))
    at_rest = [t.system_attrs for t in trials if t.state != TrialState.RUNNING]
    ids = [each for attrs in (system_attrs, *at_rest) for each in artifact_ids(attrs)]
    copied = _copy_artifacts(connection, source, creation_id, ids)
    _copy_checkpoints(connection, source, creation_id)
    # A ticket issued since the trials were read is issued again in the copy.
    numbers = [TrialRecord.read(t).ticket for t in trials]
    issued = max((number for number in numbers if number is not None), default=-1) + 1
    registry.publish(connection, creation_id, budget.tickets, issued, budget.priority)
    return CopySummary(len(trials), copied, sum(t.state == TrialState.RUNNING for t in trials))


def _as_waiting(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial as the copy stores it: a running one waits, because nobody trains it there."""
    if trial.state != TrialState.RUNNING:
        return trial
    return create_trial(
        state=TrialState.WAITING,
        system_attrs={FIXED_PARAMS: fixed_params(trial)},
        user_attrs=TrialRecord.read(trial).for_next_trial.to_attrs(),
    )


def _copy_artifacts(
    connection: sa.Connection, source: StoredStudy, creation_id: str, ids: list[str]
) -> int:
    """Copy files; return their number."""
    count = 0
    for artifact_id in ids:
        query = sa.select(artifacts).where(artifacts.c.artifact_id == artifact_id)
        with source.storage.engine.connect() as reading:
            row = reading.execute(query).mappings().one_or_none()
        if row is not None:  # a file added in the dashboard may have lost its content
            values = {**row, "creation_id": creation_id}
            connection.execute(sa.insert(artifacts).values(values))
            count += 1
    return count


def _copy_checkpoints(connection: sa.Connection, source: StoredStudy, creation_id: str) -> None:
    query = sa.select(checkpoints).where(checkpoints.c.creation_id == source.creation_id)
    with source.storage.engine.connect() as reading:
        rows = [{**row, "creation_id": creation_id} for row in reading.execute(query).mappings()]
    if rows:
        connection.execute(sa.insert(checkpoints), rows)
