"""From where the training of a ticket can be resumed by whichever worker takes it next.

One row for each ticket in training, overwritten in place, under the creation id of its study: a
later study of the same name never sees it. Only a trial that is running writes it: a worker that
was suspended, and whose ticket went to another one, finds that its own trial was ended.
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
    """A checkpoint that is not what was saved."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint: `metadata` as they were saved, and the state of the training."""

    metadata: dict[str, Any]
    body: bytes


# Key of the facts under which the sum of the body is saved.
_SHA256 = "sha256"


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
        """Start the clock: the first checkpoint is due after as long as the others."""
        self._saved_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._saved_at >= self.seconds

    def load(self) -> SavedCheckpoint | None:
        """Return what was saved last, by whichever trial of this ticket.

        Raises
        ------
        DamagedCheckpointError
            If it was changed since.
        """
        query = sa.select(checkpoints.c.facts, checkpoints.c.body).where(self._row)
        with self.storage.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        try:
            facts = json.loads(row.facts)
            intact = facts.pop(_SHA256) == hashlib.sha256(row.body).hexdigest()
        except (ValueError, TypeError, AttributeError, KeyError):
            intact = False
        if not intact:
            msg = f"the checkpoint of ticket {self.ticket} is damaged"
            raise DamagedCheckpointError(msg)
        return SavedCheckpoint(facts, row.body)

    def save(self, facts: dict[str, Any], body: bytes) -> None:
        """Replace what was saved before.

        Raises
        ------
        UpdateFinishedTrialError
            If another process has ended the trial.
        """
        facts = facts | {_SHA256: hashlib.sha256(body).hexdigest()}
        values = {"trial_id": self.trial_id, "facts": json.dumps(facts), "body": body}
        key = {"creation_id": self.creation_id, "ticket": self.ticket}
        with transaction(self.storage) as connection:
            require_running(connection, self.trial_id)
            update = sa.update(checkpoints).where(self._row).values(values)
            if not connection.execute(update).rowcount:
                connection.execute(sa.insert(checkpoints).values(key | values))
        self._saved_at = time.monotonic()

    def delete(self, connection: sa.Connection) -> None:
        """Delete it in the transaction that finishes the ticket."""
        delete_checkpoint(connection, self.creation_id, self.ticket)

    @property
    def _row(self) -> sa.ColumnElement[bool]:
        return _row(self.creation_id, self.ticket)


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


def _row(creation_id: str, ticket: int) -> sa.ColumnElement[bool]:
    return sa.and_(checkpoints.c.creation_id == creation_id, checkpoints.c.ticket == ticket)


def delete_checkpoint(connection: sa.Connection, creation_id: str, ticket: int) -> None:
    """Delete the checkpoint of a ticket that is finished."""
    connection.execute(sa.delete(checkpoints).where(_row(creation_id, ticket)))


def delete_checkpoints(connection: sa.Connection, creation_id: str) -> None:
    """Delete the checkpoints of a study."""
    connection.execute(sa.delete(checkpoints).where(checkpoints.c.creation_id == creation_id))
