"""Who may read and change what in the dashboard."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from puffin.studies.storage.database import open_storage
from puffin.tuner.dashboard.access import guarded
from tests.acceptance.dashboards import PASSWORD, Headers, Server, basic, rows, serving
from tests.acceptance.helpers import Start


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
def test_a_read_only_dashboard_refuses_every_change(server: Server, method: str, path: str) -> None:
    before = rows(server.database)
    artifact = server.get("/api/studies/1?after=0")["artifacts"][0]["artifact_id"]
    body = {"study_name": "mine", "directions": ["minimize"], "version": 1, "body": "mine"}
    status, said = server.ask(method, path.format(artifact=artifact), body)
    assert status == 405
    assert "read-only" in json.loads(said)["reason"]
    assert rows(server.database) == before


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
def test_without_the_password_every_path_answers_401(
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
def test_every_method_and_path_requires_the_password(
    public: Server, method: str, path: str
) -> None:
    assert public.ask(method, path, {"study_name": "x"}).status == 401


@pytest.mark.parametrize("user", ["", "anybody", "Zoë"])
def test_the_password_is_enough_for_any_user_and_host_name(public: Server, user: str) -> None:
    for header in (basic(PASSWORD, user), basic(PASSWORD, user).replace("Basic ", "bAsIc  ")):
        given: Headers = {"Authorization": header, "Host": "puffin.example"}
        (status, body), _ = public.request("GET", "/api/studies", given)
        assert status == 200
        assert b"tiny-study" in body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("which", ["server", "public"])
def test_healthz_needs_no_password(request: pytest.FixtureRequest, which: str, method: str) -> None:
    running: Server = request.getfixturevalue(which)
    (status, body), said = running.request(method, "/healthz", {"Host": "tuner"})
    assert (status, body) == (200, b"ok" if method == "GET" else b"")
    assert said["Content-Type"] == "text/plain"


def test_healthz_needs_no_database() -> None:
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
def test_without_a_password_only_loopback_hosts_are_served(
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
def test_changes_from_other_origins_are_refused(
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
def test_other_spellings_of_a_refused_path_are_refused(
    public: Server, method: str, path: str
) -> None:
    before = rows(public.database)
    body = {"study_name": "mine", "state": "Fail", "user_attrs": {"a": 1}}
    assert public.ask(method, path, body, Authorization=basic(PASSWORD)).status == 404
    assert rows(public.database) == before


def test_artifacts_are_downloads_and_never_pages(server: Server, public: Server) -> None:
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
def test_no_response_can_be_framed_by_other_sites(
    public: Server, request_: bytes, status: int
) -> None:
    answer = raw(public, request_.replace(b"{auth}", basic(PASSWORD).encode()))
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    assert int(head.split()[1]) == status
    assert "X-Frame-Options: DENY" in head
    (policy,) = re.findall(r"(?m)^Content-Security-Policy: (.*)$", head)
    assert "frame-ancestors 'none'" in policy


def test_no_body_is_read_without_the_password(public: Server) -> None:
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
def test_a_body_that_is_too_long_or_chunked_is_refused_unread(
    public: Server, header: bytes, status: bytes
) -> None:
    answer = raw(public, POST + header + b"\r\n\r\n")
    assert answer.split()[1] == status
    assert b"100 Continue" not in answer


def test_a_hundred_idle_connections_do_not_block_others(public: Server) -> None:
    with contextlib.ExitStack() as idle:
        for _ in range(120):
            idle.enter_context(socket.create_connection((public.host, public.port), timeout=10))
        assert public.ask("GET", "/healthz").status == 200
        assert public.ask("GET", "/api/meta", Authorization=basic(PASSWORD)).status == 200


def test_healthz_answers_while_the_database_is_away(
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
    # The server may log the end of a connection after it.
    assert "the database is back" in err.splitlines()[-2:]
