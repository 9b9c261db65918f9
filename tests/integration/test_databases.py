"""Unusual databases: poolers, encodings, foreign tables, files that are replaced."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.storages._rdb import models as rows
from sqlalchemy.engine import make_url

from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import NoStudiesError, ReplacedError, StorageError
from puffin.studies.storage.tables import metadata
from puffin.studies.storage.workers import Registration, alive
from puffin.studies.study import study_names
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.pgbouncer import PGBOUNCER, behind, running_pgbouncer

only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
OURS = {*metadata.tables, *rows.BaseModel.metadata.tables, "alembic_version"}


def tuner(*args: str) -> Any:
    return CliRunner(env={"TUNER_STORAGE": None}).invoke(main, args)


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def tables(url: str) -> set[str]:
    with connected(url) as connection:
        return set(sa.inspect(connection).get_table_names())


# Encodings and settings of a server


@pytest.fixture
def ascii_url(postgres: Any) -> str:
    """Create a database without an encoding (SQL_ASCII)."""
    url = make_url(postgres.new_database()).set(database="ascii")
    with psycopg.connect(postgres.new_database(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS ascii")
        connection.execute(
            "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize("query", ["", "?client_encoding=latin1"])
def test_an_sql_ascii_database_keeps_unicode_text(ascii_url: str, query: str) -> None:
    storage = open_storage(ascii_url + query, create=True)
    with storage.engine.begin() as connection:
        row = {"artifact_id": "prix à São Paulo, 価格", "body": b""}
        connection.execute(sa.insert(metadata.tables["puffin_artifacts"]).values(row))
    with open_storage(ascii_url).engine.connect() as connection:
        stored = sa.select(metadata.tables["puffin_artifacts"].c.artifact_id)
        assert connection.execute(stored).scalar() == "prix à São Paulo, 価格"
    assert study_names(storage) == []


@only_postgresql
@pytest.mark.parametrize("driver", ["postgres", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_a_url_of_another_driver_opens_the_same_database(url: str, driver: str) -> None:
    typed = url.replace("postgresql", driver)
    done = tuner("init", "--storage", typed)
    assert (done.exit_code, done.stderr) == (0, f"{typed} is ready\n")
    assert tables(url) >= OURS


@only_postgresql
def test_a_read_only_server_is_readable_and_explains_failed_writes(url: str) -> None:
    database = make_url(url).database

    def make_read_only() -> None:
        with connected(url) as connection:
            connection.execute(
                sa.text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
            )

    make_read_only()
    done = tuner("init", "--storage", url)
    assert done.exit_code == 1
    assert "read-only transaction; PostgreSQL is read-only here (a standby" in done.stderr
    assert tables(url) == set()
    with psycopg.connect(url, options="-c default_transaction_read_only=off") as connection:
        connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    open_storage(url, create=True)
    make_read_only()
    assert tuner("status", "--storage", url).exit_code == 0


@only_sqlite
def test_a_file_that_cannot_be_written_says_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write to every file, so the connection itself refuses as a file would."""
    open_storage(url, create=True)
    connect = sqlite3.connect

    def read_only(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.execute("PRAGMA query_only = on")
        return connection

    monkeypatch.setattr(sqlite3, "connect", read_only)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", read_only)
    done = tuner("submit", "demo", "--storage", url)
    assert done.exit_code == 1
    assert "readonly database; the file or its folder cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_refuses_says_what_helps(postgres: Any) -> None:
    url = make_url(postgres.new_database())
    with psycopg.connect(postgres.new_database(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
    for wrong, words in [
        (url.set(username="guest"), "permission denied for schema public; the role needs a data"),
        (url.set(database="nosuch"), '"nosuch" does not exist; make it first: CREATE DATABASE'),
    ]:
        done = tuner("init", "--storage", wrong.render_as_string(hide_password=False))
        assert done.exit_code == 1
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_path_that_no_system_takes_is_refused_in_words() -> None:
    done = tuner("init", "--storage", f"sqlite:///{'x' * 300}.db")
    assert done.exit_code == 1
    assert "cannot be reached: File name too long; name another" in done.stderr


# Tables of others, and too few of ours


def alembic_of_another(url: str, *, revision: str | None = "abc123") -> None:
    with connected(url) as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        if revision:
            statement = sa.text("INSERT INTO alembic_version VALUES (:revision)")
            connection.execute(statement, {"revision": revision})


@pytest.mark.parametrize("revision", ["abc123", None])
def test_a_database_that_another_program_migrates_is_refused_unchanged(
    url: str, revision: str | None
) -> None:
    alembic_of_another(url, revision=revision)
    for command in (["init"], ["submit", "demo"], ["status"], ["worker"]):
        done = tuner(*command, "--storage", url)
        assert done.exit_code == 1
        assert "is in use by another program: it" in done.stderr
        assert "alembic_version" in done.stderr
        assert "name a database of its own for the studies" in done.stderr
    assert tables(url) == {"alembic_version"}
    with connected(url) as connection:
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
        assert found.all() == ([revision] if revision else [])


def test_foreign_tables_with_names_of_optuna_are_refused(
    url: str,
) -> None:
    with connected(url) as connection:
        connection.execute(sa.text("CREATE TABLE trials (patient INTEGER, drug VARCHAR(9))"))
    done = tuner("init", "--storage", url)
    assert done.exit_code == 1
    assert "it has a table trials that is not Optuna's" in done.stderr
    assert tables(url) == {"trials"}


def test_optuna_tables_with_a_foreign_revision_are_refused(url: str) -> None:
    RDBStorage(url.replace("postgresql:", "postgresql+psycopg:")).engine.dispose()
    with connected(url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'abc123'"))
    with pytest.raises(StorageError, match="holds the revision 'abc123', none of Optuna's"):
        open_storage(url, create=True)


@pytest.mark.parametrize("lost", ["puffin_workers", "trial_values"])
def test_a_database_that_was_not_made_completely_is_completed(url: str, lost: str) -> None:
    """As a disk that is full while the tables are made leaves it."""
    open_storage(url, create=True)
    with connected(url) as connection:
        connection.execute(sa.text(f"DROP TABLE {lost}"))
    with pytest.raises(
        NoStudiesError, match=f"not made completely: it has no {lost}; `tuner init`"
    ):
        open_storage(url)
    assert tuner("init", "--storage", url).exit_code == 0
    assert tables(url) >= OURS
    assert tuner("status", "--storage", url).exit_code == 0


# A pooler


@pytest.mark.skipif(PGBOUNCER is None, reason="needs Debian's pgbouncer")
@only_postgresql
def test_processes_behind_a_pooler_in_transaction_mode_share_its_connections(
    url: str, postgres: Any
) -> None:
    """They have two connections in turns; psycopg would prepare what it runs five times."""
    with running_pgbouncer(postgres.port) as port:
        pooled = behind(url, port)
        assert tuner("init", "--storage", pooled).exit_code == 0
        pair = [Registration(open_storage(pooled), "cpu", {}, 60) for _ in range(2)]
        for number in range(48):
            pair[number % 2].write("study", number)
        assert len(alive(pair[0].storage)) == 2

        bare = "?options=-c%20statement_timeout%3D9000"
        optional = tuner("status", "--storage", pooled + bare)
        assert "the pooler takes no such option: take it out of the URL" in optional.stderr
        for _ in range(2):
            prepared = tuner("status", "--storage", pooled + "?prepare_threshold=0")
        if prepared.exit_code:  # since 1.21 a pooler may keep prepared statements apart
            assert "take prepare_threshold out of the URL" in prepared.stderr


@pytest.mark.skipif(PGBOUNCER is None, reason="needs Debian's pgbouncer")
@only_postgresql
def test_a_process_behind_a_pooler_starts_with_one_connection(url: str, postgres: Any) -> None:
    """If each held one and waited for another, some that start at once would wait for ever."""
    open_storage(url, create=True)
    with running_pgbouncer(postgres.port) as port, psycopg.connect(behind(url, port)) as taken:
        taken.execute("SELECT 1")
        assert study_names(open_storage(behind(url, port))) == []


# A file that goes


def workers_end(url: str, change: Callable[[], None]) -> str:
    """Change the file under a waiting worker; return with what words it ends."""
    interrupt, said = Interrupt(), []

    def serve() -> None:
        with pytest.raises(ReplacedError) as caught:
            work(url, interrupt, WorkerOptions(device="cpu", forever=True))
        said.append(str(caught.value))

    worker = threading.Thread(target=serve)
    worker.start()
    storage = open_storage(url)
    while not alive(storage):
        time.sleep(0.05)
    storage.engine.dispose()
    change()
    worker.join(20)
    return said[0]


@only_sqlite
def test_a_worker_whose_database_file_is_deleted_ends_in_words(
    url: str, storage: RDBStorage, tmp_path: Path
) -> None:
    storage.engine.dispose()
    said = workers_end(url, (tmp_path / "test.db").unlink)
    assert "was deleted while this process used it; stop everything that uses it" in said
    assert not (tmp_path / "test.db").exists()


@only_sqlite
def test_a_replaced_database_file_is_not_damaged_by_a_worker(
    url: str, make_study: Callable[..., Any], storage: RDBStorage, tmp_path: Path
) -> None:
    """The old log, with pages of the old file, must not be read into the new one."""
    make_study()
    storage.engine.dispose()
    other = tmp_path / "other.db"
    open_storage(f"sqlite:///{other}", create=True).engine.dispose()
    before = other.read_bytes()
    said = workers_end(url, lambda: os.replace(other, tmp_path / "test.db"))  # noqa: PTH105
    assert "was replaced by another file while this process used it" in said
    assert (tmp_path / "test.db").read_bytes() == before
    with closing(sqlite3.connect(tmp_path / "test.db")) as found:
        assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert found.execute("SELECT count(*) FROM studies").fetchone() == (0,)


@only_sqlite
def test_every_use_of_a_file_that_was_replaced_is_refused(
    url: str, storage: RDBStorage, tmp_path: Path
) -> None:
    with storage.engine.connect() as held:
        held.execute(sa.text("SELECT 1"))
        (tmp_path / "test.db").rename(tmp_path / "moved.db")
        for _ in range(2):
            with pytest.raises(ReplacedError, match=r"test.db was deleted"):
                study_names(storage)
    done = tuner("status", "--storage", url)
    assert "there is no database" in done.stderr


# A server without a free connection


@only_postgresql
def test_a_worker_that_finds_no_connection_free_waits_for_one(url: str) -> None:
    with connected(url) as connection:
        connection.execute(sa.text("DROP ROLE IF EXISTS narrow"))
        connection.execute(sa.text("CREATE ROLE narrow LOGIN CONNECTION LIMIT 1 SUPERUSER"))
        connection.execute(sa.text("ALTER ROLE narrow NOSUPERUSER"))
    open_storage(url, create=True)
    narrow = make_url(url).set(username="narrow").render_as_string(hide_password=False)
    with connected(url) as connection:
        for table in OURS:
            connection.execute(sa.text(f"GRANT ALL ON {table} TO narrow"))
    taken = psycopg.connect(narrow)
    interrupt = Interrupt()
    ended: list[bool] = []

    def work_to_the_end() -> None:
        work(narrow, interrupt, WorkerOptions(device="cpu"))
        ended.append(True)

    worker = threading.Thread(target=work_to_the_end)
    worker.start()
    time.sleep(1)
    assert worker.is_alive()
    assert ended == []
    with connected(url) as connection:
        connection.execute(sa.text("ALTER ROLE narrow CONNECTION LIMIT 10"))
    taken.close()
    worker.join(30)
    assert ended == [True]
