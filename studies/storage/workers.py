"""The workers of a database: one row for each, for as long as the process runs.

All times are those of the database, the only clock that its workers share.
"""

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage

from puffin.studies.storage.tables import workers


@dataclass(frozen=True)
class WorkerRow:
    """A worker whose row is not older than its grace period.

    Attributes
    ----------
    host, pid : machine and process
    device : device that it trains on
    versions : package to version, of the packages that a study checks
    since : start of the worker
    study, ticket : what it trains; None while it waits
    """

    host: str
    pid: int
    device: str
    versions: dict[str, str]
    since: datetime
    study: str | None
    ticket: int | None

    @property
    def name(self) -> str:
        """Name of the process, as its trials record it."""
        return f"{self.host}:{self.pid}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"since": self.since.isoformat()}


def process_name() -> str:
    """Return the name of this process, as its trials record it."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass
class Registration:
    """The row of this process; written again if another process has deleted it as stale.

    Parameters
    ----------
    storage : RDBStorage
    device : str
    versions : mapping
        Package to version.
    grace : int
        Seconds of silence after which it counts as gone.
    """

    storage: RDBStorage
    device: str
    versions: Mapping[str, str]
    grace: int

    def __post_init__(self) -> None:
        self._worker = uuid.uuid4().hex
        self._since: datetime | None = None

    def write(self, study: str | None, ticket: int | None) -> None:
        """Update the row with the present time and with what the process trains."""
        at = {"study": study, "ticket": ticket}
        with self.storage.engine.begin() as connection:
            if self._since is None:
                self._since = _now(connection)
                _forget_the_gone(connection, self._since)
            query = sa.update(workers).where(self._row()).values(seen=sa.func.now(), **at)
            if connection.execute(query).rowcount:
                return
            who = {
                "worker": self._worker,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "device": self.device,
                "versions": json.dumps(dict(self.versions)),
                "grace": self.grace,
                "since": self._since,
            }
            connection.execute(sa.insert(workers).values(seen=sa.func.now(), **who, **at))

    def longest_grace(self) -> int:
        """Return the longest grace period of all workers: none is judged by a shorter one."""
        # Nearly always none: 1,000 workers must not read 1,000 rows with each of their heartbeats.
        longer = sa.select(workers).where(workers.c.grace > self.grace)
        with self.storage.engine.connect() as connection:
            rows = connection.execute(longer).all()
            now = _now(connection) if rows else None
        graces = [int(row.grace) for row in rows if now and not _is_gone(row, now)]
        return max(graces, default=self.grace)

    def remove(self) -> None:
        """Delete the row, because the process ends."""
        with self.storage.engine.begin() as connection:
            connection.execute(sa.delete(workers).where(self._row()))

    def _row(self) -> sa.ColumnElement[bool]:
        return workers.c.worker == self._worker


def alive(storage: RDBStorage) -> list[WorkerRow]:
    """Return the workers that are alive, the oldest first."""
    with storage.engine.connect() as connection:
        now = _now(connection)
        rows = connection.execute(sa.select(workers).order_by(workers.c.since)).all()
    return [
        WorkerRow(r.host, r.pid, r.device, json.loads(r.versions), _utc(r.since), r.study, r.ticket)
        for r in rows
        if not _is_gone(r, now)
    ]


def _now(connection: sa.Connection) -> datetime:
    query = sa.select(sa.func.now(type_=sa.DateTime(timezone=True)))
    return _utc(connection.execute(query).scalar_one())


def _utc(value: datetime) -> datetime:
    """Return a time with its zone; SQLite returns UTC without one."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _is_gone(row: sa.Row[Any], now: datetime) -> bool:
    return bool((now - _utc(row.seen)).total_seconds() > row.grace)


def _forget_the_gone(connection: sa.Connection, now: datetime) -> None:
    shortest = connection.execute(sa.select(sa.func.min(workers.c.grace))).scalar_one()
    # Not those that are alive: 1,000 workers that start together would read them 1,000 times.
    silent = sa.select(workers).where(workers.c.seen < now - timedelta(seconds=shortest or 0))
    gone = [row.worker for row in connection.execute(silent) if _is_gone(row, now)]
    if gone:
        connection.execute(sa.delete(workers).where(workers.c.worker.in_(gone)))
