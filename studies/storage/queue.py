"""The tickets of a study: one for each trial, each of which finishes exactly once.

A ticket is a trial with the user attribute ``ticket`` (0, 1, 2, ...). The counter of a study is
advanced and the trial is created in one transaction, so no number is lost and none is used twice.
A ticket is finished by a trial that is complete, pruned, or failed with a reason. A trial that
failed without a reason was lost or interrupted: in the same transaction its ticket went back to the
queue, as a WAITING trial with the same parameters.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies.records import TICKET, TrialRecord, is_finished, ticket_of, updated_attrs
from puffin.studies.storage.checkpoints import delete_checkpoints
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import (
    FIXED_PARAMS,
    HeartbeatRow,
    TrialAttributeRow,
    TrialRow,
    stale_trial_ids,
)
from puffin.studies.storage.registry import is_open
from puffin.studies.storage.tables import studies

# A ticket whose worker was lost this often is failed: the trial itself may be the cause.
MAX_RETRIES = 3


@dataclass(frozen=True)
class Outlook:
    """What is left to do of a study.

    Attributes
    ----------
    unissued : tickets of which no trial was ever started
    waiting : tickets that were requeued
    running : tickets in training
    silence : seconds since the oldest of the last heartbeats of the running trials
    """

    unissued: int
    waiting: int
    running: int
    silence: float

    @property
    def is_finished(self) -> bool:
        """Whether every ticket is finished."""
        return not (self.unissued or self.waiting or self.running)


@dataclass(frozen=True)
class TicketQueue:
    """The tickets of one study.

    Parameters
    ----------
    storage : RDBStorage
    study_id : int
        Optuna's key of the study.
    creation_id : str
        Of the study: once it is deleted no method writes anything.
    """

    storage: RDBStorage
    study_id: int
    creation_id: str

    def start_next(self, params: Sequence[Mapping[str, Any]] = ()) -> FrozenTrial | None:
        """Start the trial of the next ticket, or return None if all tickets are issued.

        Parameters
        ----------
        params : sequence of mappings
            Parameters that are fixed for the first tickets; no others are fixed.
        """
        query = (
            sa.update(studies)
            .where(is_open(self.creation_id), studies.c.issued < studies.c.tickets)
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
            # A running trial without a heartbeat would never count as stale.
            self.storage.record_heartbeat(key)
        return self.storage.get_trial(key)

    def claim(self) -> FrozenTrial | None:
        """Start a trial whose ticket was requeued, or return None if there is none."""
        first = (
            sa.select(TrialRow.trial_id)
            .where(TrialRow.study_id == self.study_id, TrialRow.state == TrialState.WAITING)
            .order_by(TrialRow.trial_id)
            .limit(1)
            # Many workers that start at once get different trials, and none waits for another.
            .with_for_update(skip_locked=True)
        )
        with transaction(self.storage) as connection:
            key = connection.execute(first).scalar_one_or_none()
            if key is None:
                return None
            self.storage.set_trial_state_values(key, state=TrialState.RUNNING)
            self.storage.record_heartbeat(key)
        return self.storage.get_trial(key)

    def look(self) -> Outlook:
        """Return what is left to do, in one statement: a worker that waits repeats it.

        Raises
        ------
        KeyError
            If the study was deleted.
        """
        with self.storage.engine.connect() as connection:
            rows = connection.execute(self._left()).all()
        if not rows:
            raise KeyError(self.creation_id)
        trials = {row.state: row.trials for row in rows}
        return Outlook(
            unissued=max(rows[0].unissued, 0),
            waiting=trials.get(TrialState.WAITING, 0),
            running=trials.get(TrialState.RUNNING, 0),
            silence=max((_age(row.oldest, row.now) for row in rows if row.oldest), default=0.0),
        )

    def _left(self) -> sa.Select[Any]:
        """Count the tickets that are not finished; of a study without any there is one row."""
        unfinished = (
            sa.select(TrialRow.state, HeartbeatRow.heartbeat)
            .join(TrialAttributeRow, TrialAttributeRow.trial_id == TrialRow.trial_id)
            .outerjoin(HeartbeatRow, HeartbeatRow.trial_id == TrialRow.trial_id)
            .where(
                TrialRow.study_id == self.study_id,
                TrialRow.state.in_((TrialState.RUNNING, TrialState.WAITING)),
                TrialAttributeRow.key == TICKET,
            )
            .subquery()
        )
        state, heartbeat = unfinished.c
        unissued = (studies.c.tickets - studies.c.issued).label("unissued")
        return (
            sa.select(
                unissued,
                state.label("state"),
                sa.func.count(state).label("trials"),
                sa.func.min(heartbeat).label("oldest"),
                sa.func.now().label("now"),
            )
            .select_from(studies.outerjoin(unfinished, sa.true()))
            .where(is_open(self.creation_id))
            .group_by(unissued, state)
        )

    def requeue(self, trial: int) -> None:
        """End a running trial, given by its key, and requeue its ticket.

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
        """Fail a trial for a lack of resources; requeue its ticket up to `MAX_RETRIES` times.

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
        """Fail the trials whose worker was lost; requeue each ticket up to `MAX_RETRIES` times."""
        for key in stale_trial_ids(self.storage, self.study_id):
            # Another process may end the trial first, or delete the study.
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
        delete_checkpoints(connection, self.creation_id, ticket_of(trial))


def _age(heartbeat: datetime, now: datetime) -> float:
    """Return the seconds since a heartbeat, by the clock of the database, as Optuna does."""
    return (now.replace(tzinfo=None) - heartbeat).total_seconds()


def fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters that the next trial of this one's ticket must not sample.

    A trial that was lost while it sampled has only some of its parameters. If the next trial kept
    those, the others would be drawn with other random numbers than in an undisturbed search, or
    leave the grid.
    """
    if TrialRecord.read(trial).config:
        return trial.params
    fixed: dict[str, Any] = trial.system_attrs.get(FIXED_PARAMS, {})
    return fixed


def count_finished(trials: Iterable[FrozenTrial]) -> int:
    """Return the number of finished tickets."""
    tickets = {TrialRecord.read(trial).ticket for trial in trials if is_finished(trial)}
    return len(tickets - {None})


def count_by_state(trials: Iterable[FrozenTrial]) -> Counter[str]:
    """Count tickets by state: complete, pruned, failed, running, waiting."""
    tally: Counter[str] = Counter()
    for trial in trials:
        if is_finished(trial) or not trial.state.is_finished():
            name = "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()
            tally[name] += 1
    return tally
