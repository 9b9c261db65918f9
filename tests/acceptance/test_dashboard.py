"""The dashboard shows a finished study to this machine alone, and lets nobody change it unasked."""

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CHROMIUM = shutil.which("chromium")


class Answer(NamedTuple):
    status: int
    body: bytes


class Server(NamedTuple):
    """A dashboard that runs: where, in which process, and over which database."""

    port: int
    process: "subprocess.Popen[str]"
    database: Path

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Send a request with no header but those that it needs."""
        data = b"" if body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            response = connection.getresponse()
            return Answer(response.status, response.read())

    def get(self, path: str) -> Any:
        """Read what the API says."""
        status, body = self.ask("GET", path)
        assert status == 200
        return json.loads(body)

    def end(self) -> tuple[int, str, str]:
        """Press Ctrl-C; give the exit code, stdout, and what stderr said after the start."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def rows(database: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for (name,) in tables.fetchall()
        }


@contextlib.contextmanager
def serving(start: Callable[..., Any], folder: Path, *options: str) -> Iterator[Server]:
    """Start a dashboard on any free port, and see to its end."""
    process = start("dashboard", "--port", "0", *options, cwd=folder)
    try:
        line = process.stderr.readline()
        said = re.fullmatch(r"dashboard on http://127\.0\.0\.1:(\d+)/dashboard/ ; .*\n", line)
        assert said, line
        yield Server(int(said[1]), process, folder / "tuner.db")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def server(start: Callable[..., Any], finished: Any) -> Iterator[Server]:
    """Serve the finished study as a user would, read-only."""
    with serving(start, finished.folder) as running:
        yield running


def test_it_answers_on_loopback_and_on_no_other_address(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10):
        pass
    # Would be answered by a server that is bound to all addresses.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=10)


def test_the_api_lists_the_study_with_all_its_trials(server: Server) -> None:
    assert "artifact_is_available" in server.get("/api/meta")
    assert server.get("/api/meta")["artifact_is_available"] is True
    (summary,) = server.get("/api/studies")["study_summaries"]
    assert summary["study_name"] == "tiny-study"
    detail = server.get(f"/api/studies/{summary['study_id']}?after=0")
    assert [t["number"] for t in detail["trials"]] == list(range(6))
    assert {t["state"] for t in detail["trials"]} <= {"Complete", "Pruned"}


def test_pages_and_their_files_come_to_the_plainest_of_clients(server: Server) -> None:
    status, page = server.ask("GET", "/dashboard/")
    assert status == 200
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.decode())
    assert files
    for path in files:
        status, body = server.ask("GET", path)
        assert status == 200, path
        assert body, path


def test_artifacts_of_study_and_trials_come_with_their_very_bytes(server: Server) -> None:
    stored = dict(rows(server.database)["puffin_artifacts"])
    detail = server.get("/api/studies/1?after=0")
    (data,) = [json.loads(a["value"]) for a in detail["user_attrs"] if a["key"] == "data"]
    assert {a["filename"] for a in detail["artifacts"]} == set(data["sha256"])
    for artifact in detail["artifacts"]:
        status, body = server.ask("GET", f"/artifacts/1/{artifact['artifact_id']}")
        assert (status, body) == (200, stored.pop(artifact["artifact_id"]))
        assert hashlib.sha256(body).hexdigest() == data["sha256"][artifact["filename"]]
    for trial in detail["trials"]:
        (artifact,) = trial["artifacts"]
        assert artifact["filename"] == "forecasts.csv"
        path = f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}"
        status, body = server.ask("GET", path)
        assert (status, body) == (200, stored.pop(artifact["artifact_id"]))
        assert body.startswith(b"date,fold,forecast,actual,persistence\n")
    assert stored == {}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("PUT", "/api/studies/1/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("POST", "/api/artifacts/1"),
        ("DELETE", "/api/artifacts/1/{artifact}"),
        ("DELETE", "/api/studies/1"),
        ("PATCH", "/api/studies/1"),
    ],
)
def test_whatever_could_change_something_is_refused(server: Server, method: str, path: str) -> None:
    before = rows(server.database)
    artifact = server.get("/api/studies/1?after=0")["artifacts"][0]["artifact_id"]
    body = {"study_name": "mine", "directions": ["minimize"], "version": 1, "body": "mine"}
    status, said = server.ask(method, path.format(artifact=artifact), body)
    assert status == 405
    assert "read-only" in json.loads(said)["reason"]
    assert rows(server.database) == before


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_browser_shows_the_study(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1400,1200",
            "--virtual-time-budget=15000",
            f"--screenshot={tmp_path / 'study.png'}",
            "--dump-dom",
            f"http://127.0.0.1:{server.port}/dashboard/studies/1",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    text = re.sub(r"<(style|script).*?</\1>", "", done.stdout, flags=re.DOTALL)
    assert "tiny-study" in re.sub(r"<[^>]*>", " ", text)
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_writable_takes_a_note_but_no_study_away_and_ctrl_c_ends_it_quietly(
    start: Callable[..., Any], finished: Any, tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    with serving(start, tmp_path, "--writable") as own:
        note = {"version": 1, "body": "A good one."}
        assert own.ask("PUT", "/api/studies/1/note", note).status == 204
        assert own.get("/api/studies/1?after=0")["note"] == note
        # Both would leave rows of ours behind, or the study without them.
        assert own.ask("POST", "/api/studies/1/rename", {"study_name": "mine"}).status == 405
        assert own.ask("DELETE", "/api/studies/1").status == 405
        assert own.get("/api/studies")["study_summaries"][0]["study_name"] == "tiny-study"
        tell = {"state": "Complete", "values": [0.0]}
        assert own.ask("POST", "/api/trials/1/tell", tell).status == 405
        code, out, err = own.end()
    assert code in (0, 130)
    assert (out, err) == ("", "")


def test_a_taken_port_is_said_in_one_line(finished: Any, tuner: Callable[..., Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = tuner("dashboard", "--port", str(port), cwd=finished.folder)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: cannot serve on port {port}: Address already in use")
    assert "--port" in err
