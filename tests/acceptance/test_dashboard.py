"""The dashboard shows a finished study to whom it may, and lets nobody change it unasked."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from puffin.studies.storage.database import open_storage
from puffin.tuner.dashboard.access import guarded
from tests.acceptance.helpers import Command, Finished, Run, Start

CHROMIUM = shutil.which("chromium")

Headers = dict[str, str | bytes]


class Answer(NamedTuple):
    status: int
    body: bytes


class Server(NamedTuple):
    """A dashboard that runs: where, in which process, over which database, and what it said."""

    host: str
    port: int
    process: "subprocess.Popen[str]"
    database: Path
    line: str

    def request(
        self, method: str, path: str, headers: Headers, data: bytes = b""
    ) -> tuple[Answer, HTTPMessage]:
        """Send a request with these headers, a length, and no other; Host is one of them."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            response = connection.getresponse()
            return Answer(response.status, response.read()), response.headers

    @property
    def address(self) -> str:
        """Where it is, as a browser writes it in Host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str | bytes
    ) -> Answer:
        """Send a request with no header but those that it needs, and those given."""
        data = b"" if body is None else json.dumps(body).encode()
        own: Headers = {"Host": self.address, "Content-Type": "application/json"}
        return self.request(method, path, own | headers, data)[0]

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
def serving(
    start: Start, folder: Path, *options: str, host: str = "127.0.0.1", **env: str
) -> Iterator[Server]:
    """Start a dashboard on any free port, to be asked at `host`, and see to its end."""
    process = start("dashboard", "--port", "0", *options, cwd=folder, **env)
    try:
        line = process.stderr.readline()
        said = re.fullmatch(r"dashboard on http://\S+:(\d+)/dashboard/ ; .*\n", line)
        assert said, line
        yield Server(host, int(said[1]), process, folder / "tuner.db", line.strip())
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def server(start: Start, finished: Finished) -> Iterator[Server]:
    """Serve the finished study as a user would, read-only."""
    with serving(start, finished.folder) as running:
        yield running


PASSWORD = "sésame: open"  # noqa: S105  # with a colon and a letter that is not ASCII


def basic(password: str, user: str = "anybody") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module")
def public(
    start: Start, finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Serve a copy to everybody who has the password, writable."""
    folder = tmp_path_factory.mktemp("public")
    finished.copy(folder)
    (folder / "secret.txt").write_bytes(PASSWORD.encode() + b"\r\n")
    options = ("--host", "0.0.0.0", "--writable", "--password-file", "secret.txt")  # noqa: S104
    with serving(start, folder, *options) as running:
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
    stored = {key: body for key, _, body in rows(server.database)["puffin_artifacts"]}
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
    start: Start, finished: Finished, tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    with serving(start, tmp_path, "--writable") as own:
        note = {"version": 1, "body": "A good one."}
        assert own.ask("PUT", "/api/studies/1/note", note).status == 204
        assert own.get("/api/studies/1?after=0")["note"] == note
        # Both would leave rows of ours behind, or the study without them.
        assert own.ask("POST", "/api/studies/1/rename", {"study_name": "mine"}).status == 405
        assert own.ask("DELETE", "/api/studies/1").status == 405
        prices = own.get("/api/studies/1?after=0")["artifacts"][0]["artifact_id"]
        assert own.ask("DELETE", f"/api/artifacts/1/{prices}").status == 405
        assert own.ask("GET", f"/artifacts/1/{prices}").status == 200
        assert own.get("/api/studies")["study_summaries"][0]["study_name"] == "tiny-study"
        # Nor does a page of another site write one: nobody was asked for a password.
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{own.port + 1}"):
            evil = {"version": 2, "body": "evil"}
            assert own.ask("PUT", "/api/studies/1/note", evil, Origin=origin).status == 403
        assert own.get("/api/studies/1?after=0")["note"] == note
        tell = {"state": "Complete", "values": [0.0]}
        assert own.ask("POST", "/api/trials/1/tell", tell).status == 405
        code, out, err = own.end()
    assert (code, out, err) == (0, "", "")


def test_a_taken_port_is_said_in_one_line(finished: Finished, tuner: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = tuner("dashboard", "--port", str(port), cwd=finished.folder)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    taken_by = f"error: cannot serve on port {port} of 127.0.0.1: Address already in use"
    assert err.startswith(taken_by)
    assert "--port" in err


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        ("--host 0.0.0.0", {}, "needs a password, and --host 0.0.0.0 has none; set TUNER_PASSWORD"),
        ("--host 0", {}, "--password-file FILE"),
        ("--host ::", {}, "needs a password"),
        ("--host ::ffff:192.0.2.1 --writable", {}, "needs a password"),
        ("--host 0.0.0.0", {"TUNER_PASSWORD": ""}, "to a non-empty value"),
        ("--host 0.0.0.0", {"TUNER_PASSWORD": " "}, "TUNER_PASSWORD must be one line"),
        ("--host 0.0.0.0", {"TUNER_PASSWORD": "1234567"}, "must have at least 8 characters"),
        ("--host :: --password-file one.txt", {}, "must have at least 8 characters"),
        ("--password-file all.txt", {}, "everybody may write to the password file all.txt"),
        ("", {"TUNER_PASSWORD": "two\nlines"}, "has 2 lines"),
        ("--password-file gone.txt", {}, "password file gone.txt: No such file or directory"),
        ("--password-file .", {}, "password file .: Is a directory"),
        ("", {"TUNER_PASSWORD_FILE": "gone.txt"}, "password file gone.txt: No such file"),
        ("--password-file empty.txt", {}, "file empty.txt must be one line, but is empty; make"),
        ("--password-file line.txt", {}, "but is empty; make it the"),
        ("--password-file two.txt", {}, "but has 2 lines; make it the"),
        ("--password-file one.txt", {"TUNER_PASSWORD": "x"}, "must be one password, but"),
        ("--host [127.0.0.1", {}, "--host must be an address of this machine"),
        (f"--host {'a' * 64}", {}, "--host must be an address of this machine"),
    ],
)
def test_what_may_not_be_served_is_refused_in_one_line_that_says_what_to_do(
    options: str,
    env: dict[str, str],
    words: str,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"empty.txt": "", "line.txt": "\n", "one.txt": "x\n", "two.txt": "x\ny\n"}
    files["all.txt"] = "long enough\n"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "all.txt").chmod(0o666)
    monkeypatch.chdir(tmp_path)
    # No database was made either: nothing was begun.
    code, out, err = command("dashboard", "--port", "0", *options.split(), **env)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert words in err
    assert "unexpected" not in err
    assert len(err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == set(files)


def test_a_password_is_not_taken_from_the_command_line(command: Command) -> None:
    code, out, err = command("dashboard", "--password", "hunter2")
    assert (code, out) == (2, "")
    assert "must not be typed" in err
    assert "TUNER_PASSWORD" in err
    assert "hunter2" not in err


def test_an_address_of_another_machine_is_said_in_one_line(
    finished: Finished, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    # 203.0.113.0/24 is for examples.
    args = ("dashboard", "--port", "0", "--host", "203.0.113.1")
    code, out, err = command(*args, TUNER_PASSWORD=PASSWORD)
    assert (code, out) == (1, "")
    why = "port 0 of 203.0.113.1: Cannot assign requested address; choose another with --port or"
    assert err.startswith(f"error: cannot serve on {why} --host")
    assert len(err.splitlines()) == 1


def test_it_says_where_it_is_and_who_may_do_what(server: Server, public: Server) -> None:
    where = f"dashboard on http://127.0.0.1:{server.port}/dashboard/"
    assert server.line == f"{where} ; read-only, no password ; Ctrl-C ends it"
    where = f"dashboard on http://0.0.0.0:{public.port}/dashboard/"
    assert public.line == f"{where} ; writable, password needed ; Ctrl-C ends it"


def test_every_address_is_served_if_wanted(public: Server) -> None:
    elsewhere = public._replace(host="127.0.0.2")
    assert elsewhere.ask("GET", "/api/meta", Authorization=basic(PASSWORD)).status == 200


def test_ipv6_is_served_and_a_password_is_asked_for_on_loopback_too(
    start: Start, finished: Finished
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    options = {"host": "::1", "TUNER_PASSWORD": PASSWORD}
    with serving(start, finished.folder, "--host", "::1", **options) as six:
        where = f"dashboard on http://[::1]:{six.port}/dashboard/"
        assert six.line == f"{where} ; read-only, password needed ; Ctrl-C ends it"
        assert six.ask("GET", "/api/meta").status == 401
        assert six.ask("GET", "/api/meta", Authorization=basic(PASSWORD)).status == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YTpi=YTpi",
        "Basic \u00e9",
        b"Basic \xff\xfe",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic " + base64.b64encode(PASSWORD.partition(":")[0].encode()).decode(),
        basic(""),
        basic("wrong"),
        basic(PASSWORD[:-1]),
        basic(PASSWORD + "\n"),
        basic(PASSWORD).replace("Basic", "Bearer"),
        basic(PASSWORD).replace("Basic ", "Basic"),
        basic(PASSWORD) + ", " + basic(PASSWORD),
        "Basic " + base64.b64encode(f"anybody:{PASSWORD}".encode("latin-1")).decode(),
    ],
)
def test_without_the_password_there_is_nothing_but_the_question(
    public: Server, header: str | bytes | None
) -> None:
    headers: Headers = {} if header is None else {"Authorization": header}
    (status, body), said = public.request("GET", "/api/meta", headers)
    assert status == 401
    assert said["WWW-Authenticate"] == 'Basic realm="Puffin Tuner", charset="UTF-8"'
    assert list(json.loads(body)) == ["reason"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/dashboard/"),
        ("GET", "/static/bundle.js"),
        ("GET", "/favicon.ico"),
        ("GET", "/csv/1"),
        ("GET", "/artifacts/1/0"),
        ("GET", "/healthz/"),
        ("GET", "/healthz/../api/meta"),
        ("POST", "/healthz"),
        ("OPTIONS", "/api/studies"),
        ("POST", "/api/studies"),
        ("DELETE", "/api/studies/1"),
        ("GET", "/nothing"),
    ],
)
def test_the_password_is_asked_for_everywhere(public: Server, method: str, path: str) -> None:
    assert public.ask(method, path, {"study_name": "x"}).status == 401


@pytest.mark.parametrize("user", ["", "anybody", "Zoë"])
def test_with_the_password_any_user_sees_all_by_any_name_of_the_host(
    public: Server, user: str
) -> None:
    for header in (basic(PASSWORD, user), basic(PASSWORD, user).replace("Basic ", "bAsIc  ")):
        given: Headers = {"Authorization": header, "Host": "puffin.example"}
        (status, body), _ = public.request("GET", "/api/studies", given)
        assert status == 200
        assert b"tiny-study" in body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("which", ["server", "public"])
def test_health_is_told_to_anybody(request: pytest.FixtureRequest, which: str, method: str) -> None:
    running: Server = request.getfixturevalue(which)
    (status, body), said = running.request(method, "/healthz", {"Host": "tuner"})
    assert (status, body) == (200, b"ok" if method == "GET" else b"")
    assert said["Content-Type"] == "text/plain"


def test_health_is_told_without_the_database() -> None:
    def dashboard(*_: object) -> list[bytes]:
        pytest.fail("was asked")

    said: list[str] = []
    app = guarded(dashboard, writable=False, password=b"x")
    environ = {"PATH_INFO": "/healthz", "REQUEST_METHOD": "GET"}
    assert list(app(environ, lambda status, _: said.append(status))) == [b"ok"]
    assert said == ["200 OK"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8080", 200),
        ("127.8.9.10:1", 200),
        ("localhost", 200),
        ("LocalHost:8080", 200),
        ("[::1]", 200),
        ("[::1]:8080", 200),
        (None, 403),
        ("", 403),
        (":8080", 403),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8080", 403),
        ("evil.example:8080:localhost", 403),
        ("localhost@evil.example", 403),
        ("127.0.0.1, evil.example", 403),
        ("0.0.0.0", 403),  # noqa: S104
        ("[::]:8080", 403),
        ("192.0.2.1:8080", 403),
        ("::1", 403),
        ("[::1", 403),
        ("[::1]evil.example", 403),
        (b"\xff", 403),
    ],
)
def test_without_a_password_only_names_of_loopback_lead_here(
    server: Server, host: str | bytes | None, status: int
) -> None:
    for path in ("/dashboard/", "/api/studies"):
        answer, _ = server.request("GET", path, {} if host is None else {"Host": host})
        assert answer.status == status
        if status == 403:
            assert "Host header must be loopback" in json.loads(answer.body)["reason"]


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("puffin.example", None, True),
        ("puffin.example", "https://puffin.example", True),
        ("puffin.example:8080", "http://puffin.example:8080", True),
        ("puffin.example", "https://puffin.example:8443", False),
        ("puffin.example:8080", "http://puffin.example", False),
        ("puffin.example", "http://evil.example", False),
        ("puffin.example", "https://puffin.example.evil.example", False),
        ("puffin.example", "puffin.example", False),
        ("puffin.example", "null", False),
        ("puffin.example", "", False),
        ("", "null", False),
        (None, "null", False),
    ],
)
def test_only_the_pages_of_the_dashboard_change_something(
    public: Server, host: str | None, origin: str | None, *, allowed: bool
) -> None:
    given: Headers = {"Authorization": basic(PASSWORD), "Content-Type": "application/json"}
    given |= {
        name: value for name, value in (("Host", host), ("Origin", origin)) if value is not None
    }
    (_, body), _ = public.request("GET", "/api/studies/1?after=0", given)
    note = {"version": json.loads(body)["note"]["version"] + 1, "body": "mine"}
    before = rows(public.database)
    answer, _ = public.request("PUT", "/api/studies/1/note", given, json.dumps(note).encode())
    assert answer.status == (204 if allowed else 403)
    assert (rows(public.database) != before) == allowed
    if not allowed:
        assert f"Origin is {origin!r}" in json.loads(answer.body)["reason"]
    # To look is free: the browser shows the answer to no page but its own.
    assert public.request("GET", "/api/meta", given)[0].status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/studies/1/rename/"),
        ("POST", "/api/studies/1/rename//"),
        ("POST", "/api/studies/1/rename%2F"),
        ("POST", "/api/studies/1/rename%0A"),
        ("POST", "/api/studies/%D9%A1/rename"),
        ("POST", "/ap%FFi/studies/1/rename"),
        ("POST", "/api/trials/1/user-attrs/"),
        ("POST", "/api/trials/1/tell/"),
        ("DELETE", "/api/studies/1/"),
        ("DELETE", "/api/studies/1%0A"),
        ("DELETE", "/api/studies/%EF%BC%91"),
    ],
)
def test_what_is_refused_is_refused_however_it_is_spelt(
    public: Server, method: str, path: str
) -> None:
    before = rows(public.database)
    body = {"study_name": "mine", "state": "Fail", "user_attrs": {"a": 1}}
    assert public.ask(method, path, body, Authorization=basic(PASSWORD)).status == 404
    assert rows(public.database) == before


def test_uploaded_files_are_saved_and_never_shown(server: Server, public: Server) -> None:
    page = base64.b64encode(b"<script>alert(1)</script>").decode()
    upload = {"filename": "evil.html", "file": f"data:text/html;base64,{page}"}
    auth = {"Authorization": basic(PASSWORD)}
    status, body = public.ask("POST", "/api/artifacts/1", upload, **auth)
    assert status == 201
    evil = f"/artifacts/1/{json.loads(body)['artifact_id']}"
    detail = server.get("/api/studies/1?after=0")
    of_study = f"/artifacts/1/{detail['artifacts'][0]['artifact_id']}"
    trial = detail["trials"][0]
    of_trial = f"/artifacts/1/{trial['trial_id']}/{trial['artifacts'][0]['artifact_id']}"
    for running, path, expected in [
        (public, evil, 200),
        (public, of_study, 200),
        (server, of_study, 200),
        (server, of_trial, 200),
        (server, "/artifacts/1/0", 404),
    ]:
        (status, _), said = running.request("GET", path, {"Host": "localhost", **auth})
        assert status == expected
        assert said.get_all("X-Content-Type-Options") == ["nosniff"]
        assert said.get_all("Content-Security-Policy") == [
            "sandbox; default-src 'none'; frame-ancestors 'none'"
        ]
        assert said.get_all("Content-Disposition") == ["attachment"]
        assert said.get_all("Access-Control-Allow-Origin") is None
    # Another spelling, which the dashboard would take for the same, leads to no file.
    for path in (evil.replace("art", "%FFart"), evil + "%0A"):
        assert public.ask("GET", path, **auth).status == 404
    # The dashboard's own pages are none of them.
    _, said = server.request("GET", "/dashboard/", {"Host": "localhost", "Accept-Encoding": ""})
    assert said["Content-Disposition"] is None
    assert "script-src 'self'" in said["Content-Security-Policy"]


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the other side closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):  # it does so without reading what was sent
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def raw(server: Server, request: bytes) -> bytes:
    """Send bytes as they are, and return the answer."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(request)
        return received(connection)


POST = b"POST /api/artifacts/1 HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /dashboard HTTP/1.0\r\n\r\n", 401),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /nothing HTTP/1.0\r\nAuthorization: {auth}\r\n\r\n", 404),
        (b"GET /dashboard HTTP/1.0\r\nAuthorization: {auth}\r\n\r\n", 200),
        (b"GET /api/studies HTTP/1.0\r\nAuthorization: {auth}\r\n\r\n", 200),
        (b"GET /artifacts/1/0 HTTP/1.0\r\nAuthorization: {auth}\r\n\r\n", 404),
        (b"DELETE /api/studies/1 HTTP/1.0\r\nAuthorization: {auth}\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nX: " + b"x" * 33_000 + b"\r\n\r\n", 431),
        (POST + b"Content-Length: 99999999\r\n\r\n", 413),
        (POST + b"Content-Length: 1\r\n\r\n1", 401),
    ],
)
def test_no_answer_is_shown_in_a_frame_of_another_page(
    public: Server, request_: bytes, status: int
) -> None:
    answer = raw(public, request_.replace(b"{auth}", basic(PASSWORD).encode()))
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    assert int(head.split()[1]) == status
    assert "X-Frame-Options: DENY" in head
    (policy,) = re.findall(r"(?m)^Content-Security-Policy: (.*)$", head)
    assert "frame-ancestors 'none'" in policy


def test_a_body_is_not_taken_before_the_password(public: Server) -> None:
    """Neither into memory nor into a file: what is sent goes nowhere, and the answer is 401."""
    body = b"x" * 2**20

    def temporary_files() -> list[str]:
        folder = Path(f"/proc/{public.process.pid}/fd")
        links = [str(path.readlink()) for path in folder.iterdir() if path.is_symlink()]
        return [link for link in links if link.endswith("(deleted)")]

    head = POST + b"Content-Length: %d\r\n\r\n" % (2 * len(body))
    with socket.create_connection((public.host, public.port), timeout=30) as connection:
        connection.sendall(head + body)
        # The server is through with what came before as soon as it answers somebody else.
        assert public.ask("GET", "/healthz").status == 200
        assert temporary_files() == []
        connection.sendall(body)
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'Www-Authenticate: Basic realm="Puffin Tuner"' in answer
    assert b"the password of this dashboard is needed" in answer


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Transfer-Encoding: chunked", b"401"),
        (b"Expect: 100-continue\r\nContent-Length: 1000000", b"401"),
        (b"Content-Length: 100000000", b"413"),
    ],
)
def test_a_body_whose_end_is_not_near_is_refused_before_it_comes(
    public: Server, header: bytes, status: bytes
) -> None:
    answer = raw(public, POST + header + b"\r\n\r\n")
    assert answer.split()[1] == status
    assert b"100 Continue" not in answer


def test_a_hundred_idle_connections_lock_nobody_out(public: Server) -> None:
    with contextlib.ExitStack() as idle:
        for _ in range(120):
            idle.enter_context(socket.create_connection((public.host, public.port), timeout=10))
        assert public.ask("GET", "/healthz").status == 200
        assert public.ask("GET", "/api/meta", Authorization=basic(PASSWORD)).status == 200


def test_health_does_not_wait_for_the_database_and_other_requests_say_that_it_is_away(
    start: Start, own_postgres: Any, tmp_path: Path
) -> None:
    """First one that hangs, as behind a network that is gone, and then one that is stopped."""
    url = own_postgres.new_database()
    open_storage(url, create=True)
    main_process = int((own_postgres.folder / "postmaster.pid").read_text().split()[0])

    def send(number: int) -> None:
        family = f"/proc/{main_process}/task/{main_process}/children"
        for pid in [main_process, *map(int, Path(family).read_text().split())]:
            os.kill(pid, number)

    with serving(start, tmp_path, TUNER_STORAGE=url) as running:
        assert running.ask("GET", "/api/studies").status == 200
        send(signal.SIGSTOP)
        began = time.monotonic()
        try:
            with ThreadPoolExecutor(24) as pool:
                asked = [pool.submit(running.ask, "GET", "/api/studies") for _ in range(24)]
                assert running.ask("GET", "/healthz") == (200, b"ok")
                health = time.monotonic() - began
                assert {future.result().status for future in asked} == {503}
        finally:
            send(signal.SIGCONT)
        # 0.0 and 3 s where the machine is idle.
        assert health < 2.5
        assert time.monotonic() - began < 15
        own_postgres.stop("immediate")
        began = time.monotonic()
        answers = [running.ask("GET", path) for path in ("/api/studies", "/csv/1")]
        assert {answer.status for answer in answers} == {503}
        assert "the database is away, try again" in json.loads(answers[0].body)["reason"]
        assert running.ask("GET", "/dashboard/").status == 200
        assert time.monotonic() - began < 10
        own_postgres.start()
        time.sleep(1.1)
        assert running.ask("GET", "/api/studies").status == 200
        code, out, err = running.end()
    assert (code, out) == (0, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "the database is back"
