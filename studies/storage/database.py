"""The database behind a study: Optuna's tables and five of ours. The only maker of storages.

SQLite serves one machine, PostgreSQL many. Schema and studies are made once, by
`open_storage(url, create=True)` in ``tuner run`` and ``tuner submit``; workers only load.

Whatever belongs together is written in one `transaction`: a process that is killed inside has
written nothing, and one that was suspended for too long is refused when it commits.
"""

import contextlib
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
from puffin.studies.storage.optuna_internals import OPTUNA_TABLES, RUNG_PREFIX, StudyRow, TrialRow
from puffin.studies.storage.sqlite_file import watch
from puffin.studies.storage.tables import metadata, studies
from puffin.studies.storage.url import connect_args, displayed_url, is_sqlite, parse, secret_values

# A worker that is silent for so long is taken for lost, and beats six times as often.
GRACE_SECONDS = 60
# SQLite lets one process write at a time; the others wait this long before they give up.
_SQLITE_TIMEOUT_SECONDS = 60

# A worker uses two connections at once at most, its own and that of its heartbeat; one is spare.
_POOL = {"pool_size": 2, "max_overflow": 1, "pool_pre_ping": True}
# PostgreSQL ends a session that is silent for so long within a transaction, as that of a suspended
# process is: its locks must not stop the other processes for as long as it sleeps.
_IDLE_IN_TRANSACTION_SECONDS = 30
# What a restart of the database may take: a process that was connected tries again for so long.
RECONNECT_SECONDS = 100.0


@contextlib.contextmanager
def transaction(storage: RDBStorage) -> Iterator[sa.Connection]:
    """Commit all that this thread writes inside, Optuna's writes too, at once or not at all.

    Optuna commits after each of its calls; inside, its session joins this transaction, and what it
    commits are savepoints. On SQLite the write lock is taken first, so that what is read inside
    stays true until the end; on PostgreSQL the caller locks the rows that it depends on.
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
            # The savepoint of a connection that broke cannot be rolled back, nor need it be.
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
        Make the tables where they are missing; otherwise they must be there.
    pause : callable
        Waits so many seconds between two tries to connect again to a database that was there
        before; False gives up.
    grace_seconds : int
        A trial whose worker is silent for longer is taken for lost.

    Raises
    ------
    NoStudiesError
        If the database is not there, does not answer, or holds no studies.
    StorageError
        If the URL is none, or the database refuses.
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
    except OSError as error:  # a name that is too long, or a folder that is closed to this user
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
    """Have SQLite give no key twice.

    A worker that still holds a trial of a deleted study must not write into the next one's.
    """
    for model in (StudyRow, TrialRow):
        model.__table__.dialect_options["sqlite"]["autoincrement"] = True


def _probe(url: URL) -> None:
    """Fail at once on what no second try can change, such as a file that is no database."""
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
    here, there = storage.get_head_version(), storage.get_current_version()
    if here != there:
        msg = (
            f"the database {displayed_url(url)} was made by another version of Optuna: its tables "
            f"are of revision {there}, and this version's of {here}; use that version, or another "
            "database"
        )
        raise StorageError(msg)


class _Storage(RDBStorage):
    """Optuna's, but for what a trial that gave its ticket back leaves to the pruner: nothing.

    Successive halving lets every trial compete that has reached a rung, so a trial that was lost
    would stand against the one that goes on in its place, with the same numbers.
    """

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[optuna.trial.FrozenTrial]:
        trials: list[optuna.trial.FrozenTrial] = super()._get_trials(*args, **kwargs)
        for trial in trials:
            if is_requeued(trial):
                for key in [k for k in trial.system_attrs if k.startswith(RUNG_PREFIX)]:
                    del trial.system_attrs[key]
        return trials

    def _build_frozen_trial_from_trial_model(self, row: Any) -> optuna.trial.FrozenTrial:
        """Return a trial with its curve in the order of its epochs.

        PostgreSQL returns the rows of a curve in any order, and Optuna keeps it.
        """
        trial = super()._build_frozen_trial_from_trial_model(row)
        trial.intermediate_values = dict(sorted(trial.intermediate_values.items()))
        return trial


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
            # It holds one connection and waits for a second, and where several processes do so a
            # pooler runs out of connections for good.
            skip_compatibility_check=True,
        )
    _require_version(storage, url)
    if is_sqlite(url):
        _use_wal(storage)
        _lock_rows(storage)
        watch(storage.engine, url.database or "")
    return storage


def _engine_options(url: URL) -> dict[str, Any]:
    # What a failed statement was given may be megabytes of weights.
    quiet = {"hide_parameters": True}
    if is_sqlite(url):
        return quiet | {"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}}
    return quiet | _POOL | {"connect_args": connect_args(url)}


def _end_idle_transactions(storage: RDBStorage) -> None:
    """Have PostgreSQL end the transaction of a process that was suspended inside of it."""

    @event.listens_for(storage.engine, "connect")
    def set_timeout(connection: Any, _record: Any) -> None:
        connection.execute(
            f"SET idle_in_transaction_session_timeout = '{_IDLE_IN_TRANSACTION_SECONDS}s'"
        )
        connection.commit()

    storage.engine.dispose()  # a connection made before the listener has no timeout


def _reconnect(storage: RDBStorage, pause: Callable[[float], bool]) -> None:
    """Have lost connections made again through a restart of the database, wherever they are needed.

    Before a statement `pool_pre_ping` finds out that a connection is lost; what it then asks for
    would fail while the database is down, and Optuna takes that badly (its issue 5280).
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
    """Open and make all tables; of two processes that start at once one fails and looks again."""
    _probe(url)
    if is_sqlite(url):
        _never_reuse_keys()
    for attempts_left in reversed(range(10)):
        try:
            storage = _connect(url, grace, create=True)
            metadata.create_all(storage.engine)
            _require_tables(url)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, AssertionError):
            # AssertionError: Optuna saw the other's tables before the other's version row.
            if not attempts_left:
                raise
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  # only to part the two
        else:
            return storage
    raise AssertionError  # the last attempt returned or raised


def _use_wal(storage: RDBStorage) -> None:
    """Let readers and one writer work at the same time."""

    @event.listens_for(storage.engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        # Otherwise a worker that writes while its study is deleted leaves rows of no trial.
        connection.execute("PRAGMA foreign_keys=ON")

    storage.engine.dispose()  # a connection made before the listener has no pragmas


def _lock_rows(storage: RDBStorage) -> None:
    """Make ``SELECT ... FOR UPDATE`` lock, which SQLite ignores.

    Without it two workers pop the same waiting trial, and a stale trial is retried twice. It rests
    on a private name of SQLAlchemy and one of Optuna, so both are pinned, and a test with eight
    processes holds it.
    """

    @event.listens_for(storage.scoped_session.session_factory, "do_orm_execute")
    def begin_immediate(state: Any) -> None:
        if getattr(state.statement, "_for_update_arg", None) is not None:
            connection = state.session.connection()
            if not connection.connection.dbapi_connection.in_transaction:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
