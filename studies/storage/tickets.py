"""The budget of a study: one ticket per trial, each of which finishes exactly once.

A ticket is a trial with the user attribute ``ticket`` (0, 1, 2, ...). The counter of a study is
advanced and the trial is created in one transaction, so no number is lost and none is used twice.
A ticket is finished by a trial that is complete, pruned, or failed with a reason. A trial that
failed without a reason was lost or interrupted: in the same transaction its ticket went back to the
queue, as a WAITING trial with the same parameters.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.models.errors import PuffinError
from puffin.studies.records import TrialRecord, is_finished, ticket_of, updated_attrs
from puffin.studies.storage.checkpoints import delete_checkpoint
from puffin.studies.storage.database import studies, transaction
from puffin.studies.storage.optuna_internals import FIXED_PARAMS, stale_trial_ids, trial_id

# A ticket whose worker was lost this often is failed: the trial itself may be what kills.
MAX_RETRIES = 3


class StudyGoneError(PuffinError):
    """A study that was deleted while this process worked on it."""


class NameTakenError(PuffinError):
    """A name that another study has."""


@dataclass(frozen=True)
class Budget:
    """What workers must know of a study before they load it."""

    name: str
    creation_id: str
    tickets: int
    issued: int
    priority: int
    paused: bool


def _exists(creation_id: str) -> sa.ColumnElement[bool]:
    """Select a study that is not being deleted."""
    return sa.and_(studies.c.creation_id == creation_id, studies.c.tickets.is_not(None))


def register(connection: sa.Connection, name: str) -> str:
    """Take a name for the study that this transaction creates; return its creation id.

    Nobody else sees the study before the transaction ends, with `publish` in it. Another process
    that registers the same name waits for that end.

    Raises
    ------
    NameTakenError
        If there is a study of that name, maybe one that is being deleted.
    """
    creation_id = uuid.uuid4().hex
    row = {"name": name, "creation_id": creation_id, "issued": 0, "priority": 1, "paused": False}
    try:
        connection.execute(sa.insert(studies).values(row))
    except sa.exc.IntegrityError:
        msg = f"there is a study {name!r} already"
        raise NameTakenError(msg) from None
    return creation_id


def publish(
    connection: sa.Connection, creation_id: str, tickets: int, issued: int = 0, priority: int = 1
) -> None:
    """Set the budget of a study that `register` has begun: from its commit on workers see it."""
    row = studies.c.creation_id == creation_id
    values = {"tickets": tickets, "issued": issued, "priority": priority}
    connection.execute(sa.update(studies).where(row).values(values))


def require(connection: sa.Connection, creation_id: str, *, exclusive: bool = False) -> None:
    """Require that a study exists until this transaction ends.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        Of the transaction.
    creation_id : str
    exclusive : bool
        Make every other transaction wait that requires the study.

    Raises
    ------
    StudyGoneError
        If it was deleted, even if there is another study of its name now.
    """
    query = sa.select(studies.c.name).where(_exists(creation_id))
    if connection.execute(query.with_for_update(read=not exclusive)).one_or_none() is None:
        msg = "the study was deleted while this process worked on it; nothing more was written"
        raise StudyGoneError(msg)


def close(connection: sa.Connection, name: str) -> str | None:
    """Hide a study from workers for good; return its creation id, or None if there is none."""
    query = sa.update(studies).where(studies.c.name == name).values(tickets=None)
    result = connection.execute(query.returning(studies.c.creation_id)).scalar_one_or_none()
    return None if result is None else str(result)


def is_closed(connection: sa.Connection, creation_id: str) -> bool:
    """Return whether a study is closed, and keep others from deleting it in this transaction."""
    row = sa.and_(studies.c.creation_id == creation_id, studies.c.tickets.is_(None))
    query = sa.select(studies.c.name).where(row).with_for_update()
    return connection.execute(query).one_or_none() is not None


def unregister(connection: sa.Connection, creation_id: str) -> None:
    """Free the name of a study that was closed and deleted."""
    connection.execute(sa.delete(studies).where(studies.c.creation_id == creation_id))


def closed_id_of(storage: RDBStorage, name: str) -> str | None:
    """Return the creation id of a study that is being deleted, or None."""
    query = sa.select(studies.c.creation_id).where(
        studies.c.name == name, studies.c.tickets.is_(None)
    )
    with storage.engine.connect() as connection:
        return connection.execute(query).scalar_one_or_none()


def budget_of(storage: RDBStorage, name: str) -> Budget | None:
    """Return the budget of a study, or None if there is no study of that name."""
    return _budgets(storage, studies.c.name == name).get(name)


def budgets(storage: RDBStorage) -> dict[str, Budget]:
    """Return the budgets of all studies by name."""
    return _budgets(storage, sa.true())


def _budgets(storage: RDBStorage, condition: sa.ColumnElement[bool]) -> dict[str, Budget]:
    columns = [studies.c[name] for name in Budget.__dataclass_fields__]
    query = sa.select(*columns).where(condition, studies.c.tickets.is_not(None))
    with storage.engine.connect() as connection:
        return {row.name: Budget(*row) for row in connection.execute(query)}


def total(storage: RDBStorage, name: str) -> int | None:
    """Return the number of tickets of a study, or None if there is no study of that name."""
    budget = budget_of(storage, name)
    return None if budget is None else budget.tickets


def set_priority(storage: RDBStorage, creation_id: str, priority: int) -> None:
    """Set a study's share of the workers' time.

    Raises
    ------
    StudyGoneError
        If it was deleted.
    """
    _change(storage, creation_id, priority=priority)


def set_paused(storage: RDBStorage, creation_id: str, *, paused: bool) -> None:
    """Stop workers from starting trials of a study, or let them start again.

    Raises
    ------
    StudyGoneError
        If it was deleted.
    """
    _change(storage, creation_id, paused=paused)


def _change(storage: RDBStorage, creation_id: str, **values: Any) -> None:
    with transaction(storage) as connection:
        require(connection, creation_id, exclusive=True)
        set_budget(connection, creation_id, **values)


def set_budget(connection: sa.Connection, creation_id: str, **values: Any) -> None:
    """Set columns of a study that this transaction has required, such as its tickets."""
    query = sa.update(studies).where(studies.c.creation_id == creation_id)
    connection.execute(query.values(values))


def extend(storage: RDBStorage, creation_id: str, more: int) -> int:
    """Add tickets to a study; return the new total.

    Raises
    ------
    StudyGoneError
        If it was deleted.
    """
    with transaction(storage) as connection:
        require(connection, creation_id, exclusive=True)
        set_budget(connection, creation_id, tickets=studies.c.tickets + more)
        query = sa.select(studies.c.tickets).where(studies.c.creation_id == creation_id)
        return int(connection.execute(query).scalar_one())


@dataclass(frozen=True)
class TicketQueue:
    """The tickets of one study.

    Parameters
    ----------
    storage : RDBStorage
    study_id : int
        Optuna's key of the study.
    creation_id : str
        Ours: once the study is deleted no method writes anything.
    """

    storage: RDBStorage
    study_id: int
    creation_id: str

    def start_next(self, params: Sequence[Mapping[str, Any]] = ()) -> FrozenTrial | None:
        """Start the trial of the next number, or return None if all numbers are issued.

        Parameters
        ----------
        params : sequence of mappings
            Parameters that are fixed for the first tickets; of all others none is fixed.
        """
        query = (
            sa.update(studies)
            .where(_exists(self.creation_id), studies.c.issued < studies.c.tickets)
            .values(issued=studies.c.issued + 1)
            .returning(studies.c.issued)
        )
        with transaction(self.storage) as connection:
            issued = connection.execute(query).scalar_one_or_none()
            if issued is None:
                return None
            number = int(issued) - 1
            fixed = params[number] if number < len(params) else {}
            key = self._create(TrialState.RUNNING, TrialRecord(ticket=number), fixed)
            # A running trial without a heartbeat would never be found to be stale.
            self.storage.record_heartbeat(key)
        return self.storage.get_trial(key)

    def claim(self) -> FrozenTrial | None:
        """Start a trial whose ticket went back to the queue, or return None if there is none."""
        waiting = self.storage.get_all_trials(
            self.study_id, deepcopy=False, states=(TrialState.WAITING,)
        )
        for trial in waiting:
            # A trial that was finished or deleted since it was read is nobody's any more.
            with suppress(UpdateFinishedTrialError, KeyError), transaction(self.storage):
                key = trial_id(trial)
                if self.storage.set_trial_state_values(key, state=TrialState.RUNNING):
                    self.storage.record_heartbeat(key)
                    return trial
        return None

    def requeue(self, trial: int) -> None:
        """End a running trial, given by its key, and put its ticket back on the queue.

        Raises
        ------
        UpdateFinishedTrialError
            If another process has ended the trial, and taken care of its ticket.
        KeyError
            If the study was deleted.
        """
        with transaction(self.storage):
            failed = self._fail(trial)
            left = TrialRecord.read(failed).for_next_trial
            self._create(TrialState.WAITING, left, fixed_params(failed))

    def retry_or_fail(self, trial: int, why: str) -> None:
        """End a running trial that could not go on; requeue its ticket, or fail it in the end.

        Raises
        ------
        UpdateFinishedTrialError
            If another process has ended the trial, and taken care of its ticket.
        KeyError
            If the study was deleted.
        """
        with transaction(self.storage) as connection:
            self._retry(connection, self._fail(trial), why)

    def retry_stale(self) -> None:
        """End the trials whose worker was lost, and requeue their tickets a few times."""
        for key in stale_trial_ids(self.storage, self.study_id):
            # Another process may be faster, or may delete the study.
            with suppress(UpdateFinishedTrialError, KeyError), transaction(self.storage) as now:
                trial = self._fail(key)
                record = TrialRecord.read(trial)
                if record.ticket is None:
                    continue  # not one of ours
                worker = "a worker" if record.worker is None else f"worker {record.worker}"
                self._retry(now, trial, f"{worker} was lost")

    def _create(self, state: TrialState, record: TrialRecord, fixed: Mapping[str, Any]) -> int:
        """Create a trial, some parameters of which are `fixed`; return its key."""
        template = create_trial(
            state=state, user_attrs=record.to_attrs(), system_attrs={FIXED_PARAMS: dict(fixed)}
        )
        return self.storage.create_new_trial(self.study_id, template)

    def _fail(self, trial: int) -> FrozenTrial:
        """End a running trial; return it as it then is."""
        self.storage.set_trial_state_values(trial, state=TrialState.FAIL)
        return self.storage.get_trial(trial)

    def _retry(self, connection: sa.Connection, trial: FrozenTrial, why: str) -> None:
        left = TrialRecord.read(trial).for_next_trial
        left = replace(left, retries=left.retries + 1, notes=(*left.notes, why))
        if left.retries <= MAX_RETRIES:
            self._create(TrialState.WAITING, left, fixed_params(trial))
            return
        reason = f"tried {left.retries} times: {'; '.join(dict.fromkeys(left.notes))}"
        failed = create_trial(
            state=TrialState.FAIL,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=updated_attrs(trial, replace(left, failure=reason)),
        )
        self.storage.create_new_trial(self.study_id, failed)
        delete_checkpoint(connection, self.creation_id, ticket_of(trial))


def fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that the next trial of this one's ticket must not sample.

    A trial that was lost while it sampled leaves only some of its parameters. The rest would then
    be drawn with other random numbers than in an undisturbed search, or leave the grid.
    """
    if TrialRecord.read(trial).config:
        return trial.params
    fixed: dict[str, Any] = trial.system_attrs.get(FIXED_PARAMS, {})
    return fixed


def finished(trials: Iterable[FrozenTrial]) -> int:
    """Return the number of finished tickets."""
    tickets = {TrialRecord.read(trial).ticket for trial in trials if is_finished(trial)}
    return len(tickets - {None})


def count(trials: Iterable[FrozenTrial]) -> Counter[str]:
    """Count tickets by what became of them: complete, pruned, failed, running, waiting."""
    tally: Counter[str] = Counter()
    for trial in trials:
        if is_finished(trial) or not trial.state.is_finished():
            name = "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()
            tally[name] += 1
    return tally
