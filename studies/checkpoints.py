"""Where the training of a ticket stands, so that whoever takes it over goes on from there.

One row for each ticket in training, overwritten in place. Only a trial that is running writes it: a
worker that was suspended, and whose ticket went to another, finds its own trial ended.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models as rows
from optuna.trial import TrialState

from studies.storage import checkpoints


@dataclass(frozen=True)
class Saved:
    """A checkpoint: `facts` as given, and the state of the training."""

    facts: dict[str, Any]
    body: bytes


@dataclass
class Checkpoint:
    """The checkpoint of one ticket, in the hands of one trial.

    Parameters
    ----------
    storage : RDBStorage
    study : str
    ticket, trial_id : int
    seconds : float
        Time between two checkpoints, at least.
    """

    storage: RDBStorage
    study: str
    ticket: int
    trial_id: int
    seconds: float

    def __post_init__(self) -> None:
        """Begin to count: the first one is due after as long as the others."""
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._saved >= self.seconds

    def load(self) -> Saved | None:
        """Give what was saved last, by whichever trial of this ticket."""
        query = sa.select(checkpoints.c.facts, checkpoints.c.body).where(self._row())
        with self.storage.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Saved(json.loads(row.facts), row.body)

    def save(self, facts: dict[str, Any], body: bytes) -> None:
        """Take the place of what was saved before.

        Raises
        ------
        UpdateFinishedTrialError
            If others have ended the trial: its ticket is no longer in these hands.
        """
        values = {"trial_id": self.trial_id, "facts": json.dumps(facts), "body": body}
        running = sa.exists().where(
            rows.TrialModel.trial_id == self.trial_id,
            rows.TrialModel.state == TrialState.RUNNING,
        )
        update = sa.update(checkpoints).where(self._row(), running).values(values)
        own = {"study": self.study, "ticket": self.ticket} | values
        columns = [checkpoints.c[name] for name in own]
        source = sa.select(*(sa.literal(own[c.name], c.type) for c in columns)).where(running)
        insert = sa.insert(checkpoints).from_select([c.name for c in columns], source)
        with self.storage.engine.begin() as connection:
            written = connection.execute(update.returning(checkpoints.c.ticket)).first()
            written = written or connection.execute(insert.returning(checkpoints.c.ticket)).first()
            if written is None:
                raise UpdateFinishedTrialError(f"the trial of ticket {self.ticket} was ended")
        self._saved = time.monotonic()

    def drop(self) -> None:
        """Forget it: the ticket is spent."""
        drop(self.storage, self.study, self.ticket)

    def _row(self) -> sa.ColumnElement[bool]:
        return _row(self.study, self.ticket)


def _row(study: str, ticket: int) -> sa.ColumnElement[bool]:
    return sa.and_(checkpoints.c.study == study, checkpoints.c.ticket == ticket)


def drop(storage: RDBStorage, study: str, ticket: int) -> None:
    """Forget the checkpoint of a ticket that is spent."""
    with storage.engine.begin() as connection:
        connection.execute(sa.delete(checkpoints).where(_row(study, ticket)))


def drop_all(storage: RDBStorage, study: str) -> None:
    """Forget the checkpoints of a study, all of whose tickets are spent."""
    with storage.engine.begin() as connection:
        connection.execute(sa.delete(checkpoints).where(checkpoints.c.study == study))
