"""The services of Compose, run as plain processes."""

import base64
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.deploy.tools import (
    BIN,
    DATABASE,
    ROLE,
    TINY,
    Output,
    passed_on,
    run_tool,
)
from tests.acceptance.helpers import until
from tests.postgres import POSTGRES_BIN

ENDLESS = ("name=endless", "training.max_epochs=1000000", "training.patience=1000000")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def database_of_the_image(server: Any, password: str) -> Iterator[dict[str, Any]]:
    """Run the script of the service `db` as its image does, and require passwords.

    Yields the arguments of `psycopg.connect`; a URL is not possible, because libpq accepts no space
    in it.
    """
    with psycopg.connect(server.new_database(), autocommit=True) as connection:
        connection.execute("CREATE ROLE image LOGIN SUPERUSER PASSWORD 'image'")
    address = {"host": "127.0.0.1", "port": server.port}
    with psycopg.connect(**address, user="image", dbname="postgres", autocommit=True) as admin:
        # The superuser of the tests has the name of the role that the script creates.
        admin.execute(f"ALTER ROLE {ROLE} RENAME TO tests")
        made = {"POSTGRES_USER": "image", "POSTGRES_DB": "postgres", "POSTGRES_PASSWORD": password}
        server_of = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port)}
        done = run_tool("sh", DATABASE, PATH=f"{POSTGRES_BIN}:/usr/bin:/bin", **made, **server_of)
        rules = server.folder / "pg_hba.conf"
        before = rules.read_text()
        try:
            assert done.code == 0, done.text
            rules.write_text(f"host {ROLE} all 127.0.0.1/32 scram-sha-256\n{before}")
            admin.execute("SELECT pg_reload_conf()")
            own = address | {"user": ROLE, "password": password, "dbname": ROLE}
            until(lambda: is_refused(own | {"password": "wrong"}), "asking for passwords", 120)
            yield own
        finally:
            rules.write_text(before)
            admin.execute("SELECT pg_reload_conf()")
            admin.execute(f"DROP DATABASE IF EXISTS {ROLE} WITH (FORCE)")
            admin.execute(f"DROP ROLE IF EXISTS {ROLE}")
            admin.execute(f"ALTER ROLE tests RENAME TO {ROLE}")
    with psycopg.connect(server.new_database(), autocommit=True) as connection:
        connection.execute("DROP ROLE image")


def is_refused(login: dict[str, Any]) -> bool:
    try:
        psycopg.connect(**login).close()
    except psycopg.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


class Stage:
    """Starts services of the compose file by their own commands and environments.

    Only the address of the database and the port of the dashboard differ.
    """

    def __init__(self, services: dict[str, Any], address: tuple[str, int], folder: Path) -> None:
        self.services = services
        self.address = address
        self.port = free_port()
        self.folder = folder
        self.started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def _place(self, name: str) -> Path:
        """Return the working folder of a service: the mounted one, or an empty one."""
        service = self.services[name]
        mounts = {m["target"]: m["source"] for m in service.get("volumes", [])}
        return Path(mounts.get(service.get("working_dir"), self.folder))

    def _environment(self, name: str) -> dict[str, str]:
        given: dict[str, str] = dict(self.services[name]["environment"])
        host, port = self.address
        url = make_url(given["TUNER_STORAGE"]).set(host=host, port=port)
        given["TUNER_STORAGE"] = url.render_as_string(hide_password=False)
        path = f"{BIN}:{os.environ['PATH']}"
        return passed_on() | {"PATH": path, "HOME": str(self.folder)} | given

    def _port(self, words: list[str]) -> list[str]:
        """Replace port 8080, which may be in use here."""
        changed = [re.sub(r"\b8080\b", str(self.port), word) for word in words]
        assert changed != words
        return changed

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        service = self.services[name]
        command = [*(service["entrypoint"] or []), *service["command"]]
        if service.get("ports"):
            command = self._port(command)
        log = self.folder / f"{name}-{len(self.started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env=self._environment(name),
                cwd=self._place(name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.started.append((process, log))
        return process

    def run(self, *args: str) -> Output:
        """Run a command as ``docker compose run --rm tuner ARGS`` does."""
        done = subprocess.run(
            [*self.services["tuner"]["entrypoint"], *args],
            env=self._environment("tuner"),
            cwd=self._place("tuner"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Output(done.returncode, done.stdout + done.stderr)

    def is_healthy(self, name: str) -> bool:
        """Run the health check that Docker would run."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        asked = subprocess.run(
            self._port(command), env=self._environment(name), capture_output=True, check=False
        )
        return asked.returncode == 0

    def answers(self) -> bool:
        """Return whether the dashboard accepts connections: cheaper to poll than a health check."""
        with contextlib.suppress(OSError):
            return self.get("/healthz") == 200
        return False

    def get(self, path: str, password: str | None = None) -> int:
        """Return the status of a request to the dashboard."""
        headers = {}
        if password is not None:
            word = base64.b64encode(f"anybody:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {word}"
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        ) as connection:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status

    @property
    def logs(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()}" for _, log in self.started)

    def end(self) -> None:
        for process, _ in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def database(services: dict[str, Any], postgres: Any) -> Iterator[dict[str, Any]]:
    password = services["db"]["environment"]["POSTGRES_PASSWORD"]
    with database_of_the_image(postgres, password) as login:
        yield login


@pytest.fixture
def stage(
    services: dict[str, Any], database: dict[str, Any], folder: Path, tmp_path: Path
) -> Iterator[Stage]:
    (folder / "tiny.toml").write_text(TINY)
    stage = Stage(services, (database["host"], database["port"]), tmp_path)
    yield stage
    stage.end()


def test_workers_log_on_as_a_role_that_owns_only_its_database(
    database: dict[str, Any],
) -> None:
    with psycopg.connect(**database) as connection:
        rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
        query = f"SELECT {rights} FROM pg_roles WHERE rolname = current_user"  # noqa: S608
        assert connection.execute(query).fetchone() == (False,) * 5
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert connection.execute(owner).fetchone() == (ROLE,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
    # The superuser has no password that could be guessed.
    for word in ("image", database["password"], ""):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(**database | {"user": "image", "password": word})


def test_the_services_search_as_plain_processes(stage: Stage, database: dict[str, Any]) -> None:
    def trials(study: str, *states: str) -> int:
        with psycopg.connect(**database) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM trials JOIN studies USING (study_id)"
                " WHERE study_name = %s AND state::text = ANY(%s)",
                [study, list(states)],
            ).fetchone() or (0,)
        return int(count)

    init = stage.start("init")
    assert init.wait(60) == 0, stage.logs
    worker = stage.start("worker")
    dashboard = stage.start("dashboard")
    until(lambda: dashboard.poll() is not None or stage.answers(), "the dashboard", 120)
    assert dashboard.poll() is None, stage.logs
    assert stage.is_healthy("dashboard"), stage.logs

    code, text = stage.run("submit", "tiny.toml")
    assert code == 0, text
    until(lambda: trials("tiny", "COMPLETE", "PRUNED") == 4, f"the study: {stage.logs}", 120)
    code, text = stage.run("best", "tiny")
    assert code == 0, text
    assert 'study = "tiny"' in text

    password = stage.services["dashboard"]["environment"]["TUNER_PASSWORD"]
    for path in ("/dashboard/", "/api/studies"):
        assert stage.get(path) == 401
        assert stage.get(path, "wrong") == 401
        assert stage.get(path, password) == 200
    assert stage.get("/healthz") == 200

    # Stopped in the middle of training, as `docker compose stop` does.
    code, text = stage.run("submit", "tiny.toml", *(f"--set={change}" for change in ENDLESS))
    assert code == 0, text
    until(lambda: trials("endless", "RUNNING") >= 1, f"a trial that never ends: {stage.logs}", 120)
    assert worker.poll() is None, stage.logs
    worker.terminate()
    assert worker.wait(10) == 0, stage.logs
    assert trials("endless", "RUNNING") == 0
    assert trials("endless", "WAITING") >= 1
    dashboard.terminate()
    dashboard.wait(10)
