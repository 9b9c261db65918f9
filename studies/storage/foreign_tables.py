"""Refuse databases in which another program has tables with Optuna's names."""

import re

import sqlalchemy as sa
from optuna.storages._rdb.models import BaseModel
from sqlalchemy import Engine

from puffin.studies.storage.errors import StorageError

# Alembic's table, which every program with migrations has, and the form of Optuna's revisions.
_ALEMBIC_TABLE, _OPTUNA_REVISION = "alembic_version", re.compile(r"v\d+\.\d+\.\d+\.\w")
# A table that only databases of Optuna have.
_OPTUNA_TABLE = "version_info"


def refuse_foreign(engine: Engine, shown: str) -> None:
    """Raise if another program has tables that Optuna would use as its own.

    Raises
    ------
    StorageError
        Before any table is made.
    """
    there = sa.inspect(engine)
    tables = set(there.get_table_names())
    if reason := _foreign_revision(engine, tables):
        raise _refusal(shown, reason)
    if _OPTUNA_TABLE in tables:
        return
    for table in BaseModel.metadata.sorted_tables:
        if table.name in tables:
            columns = {column["name"] for column in there.get_columns(table.name)}
            if not {column.name for column in table.columns} <= columns:
                raise _refusal(shown, f"it has a table {table.name} that is not Optuna's")


def _foreign_revision(engine: Engine, tables: set[str]) -> str | None:
    """Return why Alembic's table belongs to another program, or None if it does not."""
    if _ALEMBIC_TABLE not in tables:
        return None
    query = sa.text(f"SELECT version_num FROM {_ALEMBIC_TABLE}")  # noqa: S608  # a constant
    with engine.connect() as connection:
        revisions = [str(revision) for revision in connection.execute(query).scalars()]
    foreign = [revision for revision in revisions if not _OPTUNA_REVISION.fullmatch(revision)]
    if foreign:
        return f"its table {_ALEMBIC_TABLE} holds the revision {foreign[0]!r}, none of Optuna's"
    if not revisions and _OPTUNA_TABLE not in tables:
        return f"it has a table {_ALEMBIC_TABLE} without a revision"
    return None


def _refusal(shown: str, reason: str) -> StorageError:
    return StorageError(
        f"the database {shown} is in use by another program: {reason}; name a database of its own "
        "for the studies, for example sqlite:///tuner.db or a new one (CREATE DATABASE tuner)"
    )
