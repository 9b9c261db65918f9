"""Checkpoints: the state from which another worker can resume the training of a ticket.

One row for each ticket in training, overwritten in place, under the creation id of its study, so
that a later study of the same name never reads it. Only a running trial may write it: a worker that
was suspended, and whose ticket another worker has taken, finds that its trial has ended.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.models.errors import PuffinError
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import TrialRow
from puffin.studies.storage.tables import checkpoints


class DamagedCheckpointError(PuffinError):
    """A checkpoint whose content differs from what was saved."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """What a checkpoint holds.

    Attributes
    ----------
    config : dict of str to value
        The configuration in training, as `Config.to_dict` returns it.
    rungs : dict of str to value
        System attributes of the trial in which the pruner has recorded what it saw.
    body : bytes
        State of the training.
    """

    config: dict[str, Any]
    rungs: dict[str, Any]
    body: bytes


@dataclass
class Checkpoint:
    """The checkpoint of one ticket, written by one trial.

    Parameters
    ----------
    storage : RDBStorage
    creation_id : str
        Of the study.
    ticket, trial_id : int
    seconds : float
        Shortest time between two checkpoints.
    """

    storage: RDBStorage
    creation_id: str
    ticket: int
    trial_id: int
    seconds: float

    def __post_init__(self) -> None:
        """Start the clock: the first checkpoint is due after the same time as the others."""
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the next checkpoint is due."""
        return time.monotonic() - self._saved_at >= self.seconds

    def load(self) -> SavedCheckpoint | None:
        """Return the last checkpoint of this ticket, whichever trial saved it, or None.

        Raises
        ------
        DamagedCheckpointError
            If the stored checkpoint is not intact.
        """
        query = sa.select(checkpoints.c.facts, checkpoints.c.body).where(self._row)
        with self.storage.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        try:
            facts = json.loads(row.facts)
            intact = facts["sha256"] == hashlib.sha256(row.body).hexdigest()
            saved = SavedCheckpoint(dict(facts["config"]), dict(facts["rungs"]), row.body)
        except (ValueError, TypeError, KeyError):
            intact = False
        if not intact:
            msg = f"the checkpoint of ticket {self.ticket} is damaged"
            raise DamagedCheckpointError(msg)
        return saved

    def save(self, content: SavedCheckpoint) -> None:
        """Save a checkpoint in place of the one before.

        Raises
        ------
        UpdateFinishedTrialError
            If another process has ended the trial.
        """
        sha256 = hashlib.sha256(content.body).hexdigest()
        facts = {"config": content.config, "rungs": content.rungs, "sha256": sha256}
        values = {"trial_id": self.trial_id, "facts": json.dumps(facts), "body": content.body}
        key = {"creation_id": self.creation_id, "ticket": self.ticket}
        with transaction(self.storage) as connection:
            require_running(connection, self.trial_id)
            update = sa.update(checkpoints).where(self._row).values(values)
            if not connection.execute(update).rowcount:
                connection.execute(sa.insert(checkpoints).values(key | values))
        self._saved_at = time.monotonic()

    def delete(self, connection: sa.Connection) -> None:
        """Delete the checkpoint in the transaction that finishes the ticket."""
        delete_checkpoints(connection, self.creation_id, self.ticket)

    @property
    def _row(self) -> sa.ColumnElement[bool]:
        return sa.and_(
            checkpoints.c.creation_id == self.creation_id, checkpoints.c.ticket == self.ticket
        )


def require_running(connection: sa.Connection, trial: int) -> None:
    """Require that a trial, given by its key, is running until this transaction ends.

    Raises
    ------
    UpdateFinishedTrialError
        If another process has ended it, or its study was deleted.
    """
    query = sa.select(TrialRow.state).where(TrialRow.trial_id == trial)
    state = connection.execute(query.with_for_update()).scalar_one_or_none()
    if state != TrialState.RUNNING:
        msg = f"the trial with key {trial} was ended by another process"
        raise UpdateFinishedTrialError(msg)


def delete_checkpoints(
    connection: sa.Connection, creation_id: str, ticket: int | None = None
) -> None:
    """Delete the checkpoint of a ticket, or those of a whole study."""
    query = sa.delete(checkpoints).where(checkpoints.c.creation_id == creation_id)
    if ticket is not None:
        query = query.where(checkpoints.c.ticket == ticket)
    connection.execute(query)
