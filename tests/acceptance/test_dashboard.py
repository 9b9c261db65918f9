"""`tuner dashboard`: its pages, its address, and what keeps it from starting."""

import hashlib
import json
import re
import socket
from pathlib import Path

import pytest

from tests.acceptance.dashboards import PASSWORD, Server, basic, rows, serving
from tests.acceptance.helpers import Command, Finished, Run, Start, query

POST = b"POST /api/artifacts/1 HTTP/1.1\r\nHost: localhost\r\n"


def test_it_listens_on_loopback_only(server: Server) -> None:
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


def test_pages_are_served_to_clients_without_optional_headers(server: Server) -> None:
    status, page = server.ask("GET", "/dashboard/")
    assert status == 200
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.decode())
    assert files
    for path in files:
        status, body = server.ask("GET", path)
        assert status == 200, path
        assert body, path


def test_artifacts_are_served_byte_for_byte_but_not_a_sealed_holdout(server: Server) -> None:
    stored = {key: body for key, _, body in rows(server.database)["puffin_artifacts"]}
    (data,) = query(
        server.database, "SELECT value_json FROM study_user_attributes WHERE key = 'data'"
    )
    files = json.loads(data[0])
    sealed = files["artifacts"]["prices-holdout.csv"]
    detail = server.get("/api/studies/1?after=0")
    (prices,) = detail["artifacts"]
    assert prices["filename"] == "prices-search.csv"
    status, body = server.ask("GET", f"/artifacts/1/{prices['artifact_id']}")
    assert (status, body) == (200, stored.pop(prices["artifact_id"]))
    assert hashlib.sha256(body).hexdigest() == files["sha256"]["prices-search.csv"]
    for trial in detail["trials"]:
        table, picture = trial["artifacts"]
        assert (table["filename"], picture["filename"]) == ("forecasts.csv", "forecasts.png")
        path = f"/artifacts/1/{trial['trial_id']}/{table['artifact_id']}"
        status, body = server.ask("GET", path)
        assert (status, body) == (200, stored.pop(table["artifact_id"]))
        assert body.startswith(b"date,fold,forecast,actual,persistence\n")
    assert list(stored) == [sealed]
    status, body = server.ask("GET", f"/artifacts/1/{sealed}")
    assert status == 403
    assert "sealed" in json.loads(body)["reason"]
    assert "`tuner report tiny-study` opens it" in json.loads(body)["reason"]


def test_writable_accepts_a_note_and_refuses_to_delete_a_study(
    start: Start, finished: Finished, tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    with serving(start, tmp_path, "--writable") as own:
        before = own.get("/api/studies/1?after=0")["note"]
        written = f"{before['body']}\nA good one."
        note = {"version": before["version"] + 1, "body": written}
        assert own.ask("PUT", "/api/studies/1/note", note).status == 204
        # Ours is derived anew above what the person wrote.
        note = {"version": before["version"] + 1, "body": written + "\n"}
        assert own.get("/api/studies/1?after=0")["note"] == note
        assert "A good one." in own.get("/api/studies/1?after=0")["note"]["body"]
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


def test_a_port_in_use_is_refused_in_one_line(finished: Finished, tuner: Run) -> None:
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
def test_an_unsafe_start_is_refused_with_the_fix(
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


def test_a_typed_password_is_refused(command: Command) -> None:
    code, out, err = command("dashboard", "--password", "hunter2")
    assert (code, out) == (2, "")
    assert "must not be typed" in err
    assert "TUNER_PASSWORD" in err
    assert "hunter2" not in err


def test_an_address_of_another_machine_is_refused_in_one_line(
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


def test_it_prints_its_url_and_its_access(server: Server, public: Server) -> None:
    where = f"dashboard on http://127.0.0.1:{server.port}/"
    assert server.line == f"{where} ; read-only, no password ; Ctrl-C ends it"
    where = f"dashboard on http://0.0.0.0:{public.port}/"
    assert public.line == f"{where} ; writable, password needed ; Ctrl-C ends it"


def test_host_0_0_0_0_listens_on_every_address(public: Server) -> None:
    elsewhere = public._replace(host="127.0.0.2")
    assert elsewhere.ask("GET", "/api/meta", Authorization=basic(PASSWORD)).status == 200


def test_ipv6_loopback_is_served_with_a_password(start: Start, finished: Finished) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    options = {"host": "::1", "TUNER_PASSWORD": PASSWORD}
    with serving(start, finished.folder, "--host", "::1", **options) as six:
        where = f"dashboard on http://[::1]:{six.port}/"
        assert six.line == f"{where} ; read-only, password needed ; Ctrl-C ends it"
        assert six.ask("GET", "/api/meta").status == 401
        assert six.ask("GET", "/api/meta", Authorization=basic(PASSWORD)).status == 200
