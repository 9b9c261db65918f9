"""The connection to the database of studies, and its transactions.

SQLite serves one machine, PostgreSQL many. The tables are created once, by
`open_storage(url, create=True)` in ``tuner run`` and ``tuner submit``; workers only load them.

Rows that belong together are written in one `transaction`: a process that is killed inside it has
written nothing, and one that was suspended for too long is refused when it commits.
"""

import contextlib
import gc
import random
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from puffin.studies.records import is_requeued
from puffin.studies.storage.errors import NoStudiesError, StorageError, readable_errors
from puffin.studies.storage.foreign_tables import refuse_foreign
from puffin.studies.storage.optuna_internals import (
    OPTUNA_TABLES,
    RUNG_PREFIX,
    StudyRow,
    TrialRow,
    VersionRow,
)
from puffin.studies.storage.sqlite_file import watch
from puffin.studies.storage.tables import metadata, studies
from puffin.studies.storage.url import connect_args, displayed_url, is_sqlite, parse, secret_values

# A worker whose heartbeat is older counts as lost; it beats six times as often.
GRACE_SECONDS = 60
# SQLite lets one process write at a time; the others wait this long before they give up.
_SQLITE_TIMEOUT_SECONDS = 60

# A worker uses at most two connections at once, one of them for its heartbeat; one is spare.
_POOL = {"pool_size": 2, "max_overflow": 1, "pool_pre_ping": True}
# PostgreSQL ends a session that is idle for longer within a transaction: the locks of a suspended
# process must not block the others until it wakes up.
_IDLE_IN_TRANSACTION_SECONDS = 30
# Longest restart of a database: a process that was connected retries for so long.
RECONNECT_SECONDS = 100.0


@contextlib.contextmanager
def transaction(storage: RDBStorage) -> Iterator[sa.Connection]:
    """Commit all writes of this thread inside the block, Optuna's too, or none of them.

    Optuna commits after each of its calls; inside the block its session joins this transaction, and
    its commits are savepoints. On SQLite the write lock is taken first, so that nothing that was
    read inside can change before the end; on PostgreSQL the caller locks the rows it depends on.
    """
    with storage.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        sessions = storage.scoped_session
        joined = sessions.session_factory(bind=connection, join_transaction_mode="create_savepoint")
        sessions.registry.set(joined)
        try:
            yield connection
        finally:
            # The savepoint of a broken connection cannot be rolled back, and need not be.
            with contextlib.suppress(SQLAlchemyError):
                sessions.remove()
            sessions.registry.clear()


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def open_storage(
    url: str,
    *,
    create: bool = False,
    pause: Callable[[float], bool] = _sleep,
    grace_seconds: int = GRACE_SECONDS,
) -> RDBStorage:
    """Open the database at an SQLAlchemy URL.

    Parameters
    ----------
    url : str
        For example ``sqlite:///tuner.db`` or ``postgresql://user@host/database``.
    create : bool
        Create missing tables; otherwise they must exist.
    pause : callable
        Waits for the given seconds between two attempts to reconnect; returns False to stop
        trying.
    grace_seconds : int
        A trial whose heartbeat is older counts as lost.

    Raises
    ------
    NoStudiesError
        If the database does not exist, does not answer, or has no tables for studies.
    StorageError
        If the text is not a database URL, or the database refuses the connection.
    """
    parsed = parse(url)
    if is_sqlite(parsed):
        _check_sqlite_file(parsed, create=create)
    make = _create if create else _load
    with readable_errors(
        displayed_url(parsed), secret_values(parsed), is_server=not is_sqlite(parsed)
    ):
        storage = make(parsed, grace_seconds)
    if not is_sqlite(parsed):
        _end_idle_transactions(storage)
        _reconnect(storage, pause)
    return storage


def _check_sqlite_file(url: URL, *, create: bool) -> None:
    path = Path(url.database or "")
    try:
        _require_place(path, create=create)
    except OSError as error:  # the name is too long, or the folder is not readable
        msg = f"the database file {path} cannot be reached: {error.strerror}; name another"
        raise StorageError(msg) from None


def _require_place(path: Path, *, create: bool) -> None:
    if not path.parent.is_dir():
        msg = f"the folder of {path} does not exist; make it, or give another --storage"
        raise StorageError(msg)
    if path.is_dir():
        msg = f"{path} is a folder; name a file in it, for example sqlite:///{path / 'tuner.db'}"
        raise StorageError(msg)
    if not path.exists() and not create:
        msg = f"there is no database {path}; `tuner run demo` or `tuner submit` makes one"
        raise NoStudiesError(msg)


def _never_reuse_keys() -> None:
    """Make SQLite assign each key of a study or trial only once.

    Otherwise a worker that still holds a trial of a deleted study could write into a later one.
    """
    for model in (StudyRow, TrialRow):
        model.__table__.dialect_options["sqlite"]["autoincrement"] = True


def _probe(url: URL) -> None:
    """Raise at once if no retry can help, for example because the file is not a database."""
    engine = sa.create_engine(url, **_engine_options(url))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA schema_version" if is_sqlite(url) else "SELECT 1")
        refuse_foreign(engine, displayed_url(url))
    finally:
        engine.dispose()


def _load(url: URL, grace: int) -> RDBStorage:
    _require_tables(url)
    return _connect(url, grace, create=False)


def _require_tables(url: URL) -> None:
    engine = sa.create_engine(url, **_engine_options(url))
    try:
        there = sa.inspect(engine)
        tables = set(there.get_table_names())
        if studies.name not in tables:
            refuse_foreign(engine, displayed_url(url))
            place = displayed_url(url)
            msg = f"{place} holds no studies; `tuner run demo` or `tuner submit` makes one"
            raise NoStudiesError(msg)
        if missing := {*metadata.tables, *OPTUNA_TABLES} - tables:
            msg = (
                f"{displayed_url(url)} was not made completely: it has no "
                f"{', '.join(sorted(missing))}; `tuner init` makes the rest"
            )
            raise NoStudiesError(msg)
        for table in metadata.sorted_tables:
            columns = {column["name"] for column in there.get_columns(table.name)}
            _require_columns(url, table, columns)
    finally:
        engine.dispose()


def _require_columns(url: URL, table: sa.Table, there: set[str]) -> None:
    if missing := {column.name for column in table.columns} - there:
        msg = (
            f"{displayed_url(url)} was made by another version of Puffin Tuner: {table.name} has "
            f"no {', '.join(sorted(missing))}; use that version, or another --storage"
        )
        raise StorageError(msg)


def _require_version(storage: RDBStorage, url: URL) -> None:
    if _is_of_this_version(storage):
        return
    here, there = storage.get_head_version(), storage.get_current_version()
    if here != there:
        msg = (
            f"the database {displayed_url(url)} was made by another version of Optuna: its tables "
            f"are of revision {there}, and this version's of {here}; use that version, or another "
            "database"
        )
        raise StorageError(msg)


def _is_of_this_version(storage: RDBStorage) -> bool:
    """Return whether the installed version of Optuna has made the tables, or upgraded them last.

    To compare revisions, Alembic executes every migration of Optuna: a tenth of a short command.
    """
    query = sa.select(VersionRow.library_version)
    with storage.engine.connect() as connection:
        return list(connection.execute(query).scalars()) == [optuna.__version__]


class _Storage(RDBStorage):
    """`RDBStorage` that hides the pruner's rungs of requeued trials.

    Successive halving compares all trials that have reached a rung, so a lost trial would compete
    with the trial that resumes its ticket and repeats its losses.
    """

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[optuna.trial.FrozenTrial]:
        with _without_collector():
            trials: list[optuna.trial.FrozenTrial] = super()._get_trials(*args, **kwargs)
        for trial in trials:
            if is_requeued(trial):
                for key in [k for k in trial.system_attrs if k.startswith(RUNG_PREFIX)]:
                    del trial.system_attrs[key]
        return trials

    def _build_frozen_trial_from_trial_model(self, row: Any) -> optuna.trial.FrozenTrial:
        """Return a trial with its losses in the order of its epochs.

        PostgreSQL returns the rows in any order, and Optuna keeps that order.
        """
        trial = super()._build_frozen_trial_from_trial_model(row)
        trial.intermediate_values = dict(sorted(trial.intermediate_values.items()))
        return trial


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector of this process.

    SQLAlchemy makes an object for each row, and the collector would look at all of them again and
    again: 1,000 trials of 50 epochs take 3.6 s with it, and 0.9 s without.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _connect(url: URL, grace: int, *, create: bool) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats
        storage = _Storage(
            url.render_as_string(hide_password=False),
            engine_kwargs=_engine_options(url),
            # Optuna's own heartbeat is not used: its thread ends at the first error.
            heartbeat_interval=1,
            grace_period=grace,
            skip_table_creation=not create,
            # The check holds one connection while it waits for a second: several processes that do
            # so at once exhaust the connections of a pooler for ever.
            skip_compatibility_check=True,
        )
    _require_version(storage, url)
    if is_sqlite(url):
        _use_wal(storage)
        _lock_rows(storage)
        watch(storage.engine, url.database or "")
    return storage


def _engine_options(url: URL) -> dict[str, Any]:
    # The parameters of a failed statement may be megabytes of weights.
    quiet = {"hide_parameters": True}
    if is_sqlite(url):
        return quiet | {"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}}
    return quiet | _POOL | {"connect_args": connect_args(url)}


def _end_idle_transactions(storage: RDBStorage) -> None:
    """Make PostgreSQL end the transaction of a process that was suspended inside it."""

    @event.listens_for(storage.engine, "connect")
    def set_timeout(connection: Any, _record: Any) -> None:
        connection.execute(
            f"SET idle_in_transaction_session_timeout = '{_IDLE_IN_TRANSACTION_SECONDS}s'"
        )
        connection.commit()

    storage.engine.dispose()  # a connection made before the listener has no timeout


def _reconnect(storage: RDBStorage, pause: Callable[[float], bool]) -> None:
    """Retry connecting while the database restarts.

    `pool_pre_ping` notices before a statement that a connection is lost and opens a new one, which
    fails while the database is down; Optuna does not recover from that error (its issue 5280).
    """

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        end = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return dialect.connect(*args, **options)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() > end or not pause(0.5):
                    raise


def _create(url: URL, grace: int) -> RDBStorage:
    """Open the database and create its tables; if two processes do so at once, one retries."""
    _probe(url)
    if is_sqlite(url):
        _never_reuse_keys()
    for attempts_left in reversed(range(10)):
        try:
            storage = _connect(url, grace, create=True)
            metadata.create_all(storage.engine)
            _require_tables(url)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, AssertionError):
            # AssertionError: Optuna saw the tables of another process before its version row.
            if not attempts_left:
                raise
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  # only to separate the two processes
        else:
            return storage
    raise AssertionError  # the last attempt returned or raised


def _use_wal(storage: RDBStorage) -> None:
    """Turn on the write-ahead log, with which readers do not wait for the writer."""

    @event.listens_for(storage.engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        # Otherwise a worker that writes while its study is deleted leaves orphaned rows.
        connection.execute("PRAGMA foreign_keys=ON")

    storage.engine.dispose()  # a connection made before the listener has no pragmas


def _lock_rows(storage: RDBStorage) -> None:
    """Take the write lock of SQLite for ``SELECT ... FOR UPDATE``, which SQLite ignores.

    Otherwise two workers claim the same waiting trial, and a stale trial is retried twice. This
    relies on one private name each of SQLAlchemy and Optuna, so both are pinned, and a test with
    eight processes checks it.
    """

    @event.listens_for(storage.scoped_session.session_factory, "do_orm_execute")
    def begin_immediate(state: Any) -> None:
        if getattr(state.statement, "_for_update_arg", None) is not None:
            connection = state.session.connection()
            if not connection.connection.dbapi_connection.in_transaction:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
