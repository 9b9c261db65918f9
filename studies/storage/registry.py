"""The registry of studies: their names, creation ids, numbers of tickets, priorities.

A study is one row. It is created, extended and closed in the transaction that changes what belongs
to it, and every later write of a worker requires the row: a worker that holds the creation id of a
deleted study can write nothing.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage

from puffin.models.errors import PuffinError
from puffin.studies.storage.database import transaction
from puffin.studies.storage.tables import studies


class StudyGoneError(PuffinError):
    """The study was deleted while this process worked on it."""


class NameTakenError(PuffinError):
    """Another study has this name."""


@dataclass(frozen=True)
class Budget:
    """The row of a study, which a worker reads before it loads the study."""

    name: str
    creation_id: str
    tickets: int
    issued: int
    priority: int
    paused: bool


def is_open(creation_id: str) -> sa.ColumnElement[bool]:
    """Select the row of a study that exists and is not being deleted."""
    return sa.and_(studies.c.creation_id == creation_id, studies.c.tickets.is_not(None))


def register(connection: sa.Connection, name: str) -> str:
    """Reserve a name for the study that this transaction creates; return its creation id.

    Other processes see the study only after the transaction, which must call `publish`, has ended.
    Another process that registers the same name waits for that end.

    Raises
    ------
    NameTakenError
        If there is a study of that name, even one that is being deleted.
    """
    creation_id = uuid.uuid4().hex
    row = {"name": name, "creation_id": creation_id, "issued": 0, "priority": 1, "paused": False}
    try:
        connection.execute(sa.insert(studies).values(row))
    except sa.exc.IntegrityError:
        msg = f"there is already a study {name!r}"
        raise NameTakenError(msg) from None
    return creation_id


def publish(
    connection: sa.Connection, creation_id: str, tickets: int, issued: int = 0, priority: int = 1
) -> None:
    """Set the budget of a registered study; from the commit on workers see it."""
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
        Make every other transaction that requires the study wait.

    Raises
    ------
    StudyGoneError
        If it was deleted, even if there is another study of its name now.
    """
    query = sa.select(studies.c.name).where(is_open(creation_id))
    if connection.execute(query.with_for_update(read=not exclusive)).one_or_none() is None:
        msg = "the study was deleted while this process worked on it; nothing more was written"
        raise StudyGoneError(msg)


def close(connection: sa.Connection, name: str) -> str | None:
    """Hide a study from workers, before it is deleted; return its creation id, or None."""
    query = sa.update(studies).where(studies.c.name == name).values(tickets=None)
    result = connection.execute(query.returning(studies.c.creation_id)).scalar_one_or_none()
    return None if result is None else str(result)


def is_closed(connection: sa.Connection, creation_id: str) -> bool:
    """Return whether a study is closed; lock its row until the transaction ends."""
    row = sa.and_(studies.c.creation_id == creation_id, studies.c.tickets.is_(None))
    query = sa.select(studies.c.name).where(row).with_for_update()
    return connection.execute(query).one_or_none() is not None


def unregister(connection: sa.Connection, creation_id: str) -> None:
    """Delete the row of a study that was closed and deleted, which frees its name."""
    connection.execute(sa.delete(studies).where(studies.c.creation_id == creation_id))


def closed_id_of(storage: RDBStorage, name: str) -> str | None:
    """Return the creation id of a study that is being deleted, or None."""
    query = sa.select(studies.c.creation_id).where(
        studies.c.name == name, studies.c.tickets.is_(None)
    )
    with storage.engine.connect() as connection:
        return connection.execute(query).scalar_one_or_none()


def closed_names(storage: RDBStorage) -> list[str]:
    """Return the names of the studies that are being deleted."""
    query = sa.select(studies.c.name).where(studies.c.tickets.is_(None))
    with storage.engine.connect() as connection:
        return list(connection.execute(query).scalars())


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
    """Set columns of a study that this transaction has required, for example its tickets."""
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
