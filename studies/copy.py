"""A study taken from one database to another, with all it owns."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from operator import add

import optuna
import sqlalchemy as sa
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies import tickets
from studies.storage import artifacts, checkpoints
from studies.study import RERUNS, Handle, StudyError, load, make

# What a trial that was running in one database hands on to the one that goes on in the other.
_KEPT = (tickets.TICKET, tickets.RETRIES, tickets.NOTES)


@dataclass(frozen=True)
class Copied:
    """How much was copied; `in_training` of the trials wait to be gone on with."""

    trials: int
    artifacts: int
    in_training: int


def copy(source: Handle, target: RDBStorage) -> Copied:
    """Copy a study with trials, tickets, snapshot, artifacts and checkpoints, and its reruns.

    Trials keep their numbers. One that is in training waits in the copy, at its checkpoint if it
    has one. The copy exists whole or not at all, and is not paused.

    Raises
    ------
    StudyError
        If a study of that name is there.
    """
    copied = Copied(0, 0, 0)

    def fill(study: optuna.Study) -> int:
        nonlocal copied
        trials = [*source.trials()]
        # Read after the trials: a number that is drawn meanwhile is then missing in the copy, where
        # the audit finds it. The other way round the copy would draw it a second time.
        budget = tickets.budgets(source.storage)[source.name]
        _copy_attrs(source, study)
        study.add_trials(map(_at_rest, trials))
        bodies = _copy_artifacts(source, trials, target)
        _copy_checkpoints(source, target)
        tickets.adopt(target, budget)
        running = sum(t.state == TrialState.RUNNING for t in trials)
        copied = Copied(len(trials), bodies, running)
        # Before the search is whole: without them a seal that was opened would seem closed.
        for name in (source.name + suffix for suffix in RERUNS if source.search is None):
            if name in tickets.budgets(source.storage):
                also = copy(load(source.storage, name), target)
                copied = Copied(*map(add, astuple(copied), astuple(also)))
        return budget.tickets

    if make(target, source.name, fill) is None:
        msg = f"a study {source.name!r} is in that database already; `tuner delete` it there first"
        raise StudyError(msg)
    return copied


def _copy_attrs(source: Handle, study: optuna.Study) -> None:
    own, other = source.study, study
    system = own._storage.get_study_system_attrs(own._study_id)  # noqa: SLF001  # as copy_study does
    for key, value in system.items():
        other._storage.set_study_system_attr(other._study_id, key, value)  # noqa: SLF001
    for key, value in source.attrs.items():
        other.set_user_attr(key, value)


def _at_rest(trial: FrozenTrial) -> FrozenTrial:
    """Give a trial as it can stand in a database where nobody trains it."""
    if trial.state != TrialState.RUNNING:
        return trial
    return create_trial(
        state=TrialState.WAITING,
        system_attrs={"fixed_params": tickets.point(trial)},
        user_attrs={key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs},
    )


def _copy_artifacts(source: Handle, trials: list[FrozenTrial], target: RDBStorage) -> int:
    count = 0
    for artifact_id in _artifact_ids(source, trials):
        query = sa.select(artifacts).where(artifacts.c.artifact_id == artifact_id)
        with source.storage.engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            continue  # Optuna writes the meta row first; a death leaves it without a body
        with target.engine.begin() as connection:
            connection.execute(sa.insert(artifacts).values(**row))
        count += 1
    return count


def _artifact_ids(source: Handle, trials: list[FrozenTrial]) -> Iterator[str]:
    storage = source.study._storage  # noqa: SLF001  # Optuna asks for it beside a FrozenTrial
    at_rest = [t for t in trials if t.state != TrialState.RUNNING]
    owners: list[optuna.Study | FrozenTrial] = [source.study, *at_rest]
    for owner in owners:
        for meta in get_all_artifact_meta(owner, storage=storage):
            yield meta.artifact_id


def _copy_checkpoints(source: Handle, target: RDBStorage) -> None:
    query = sa.select(checkpoints).where(checkpoints.c.study == source.name)
    with source.storage.engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    if rows:
        with target.engine.begin() as connection:
            connection.execute(sa.insert(checkpoints), rows)
