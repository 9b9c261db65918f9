"""The dashboard's application in this process: what it takes, what it refuses, how it fails."""

import base64
import io
import json
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from puffin.studies.lifecycle import submit
from puffin.studies.records import file_of
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.optuna_internals import frozen_study_id
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE
from puffin.tuner.dashboard.access import LARGEST_BODY, Headers, WsgiApp
from puffin.tuner.dashboard.app import dashboard_app
from puffin.tuner.dashboard.health import DatabaseHealth
from puffin.tuner.dashboard.view import StudyView
from tests.integration.helpers import aapl
from tests.studies import tiny_spec

only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
FILE = "data:text/plain;base64," + base64.b64encode(b"hello").decode()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        return str(json.loads(self.body)["reason"])


def ask(
    app: WsgiApp,
    method: str,
    path: str,
    values: Any = None,
    kind: str = "application/json",
    **extra: str,
) -> Answer:
    """Ask the application as the server does."""
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    path, _, query = path.partition("?")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}
    if values is not None:
        length = str(len(body))
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": length, "CONTENT_TYPE": kind}
    setup_testing_defaults(environ)
    environ |= {"HTTP_HOST": "localhost"} | extra
    said: list[tuple[str, Headers]] = []
    found = app(environ, lambda status, headers, *_: said.append((status, headers)))
    status, headers = said[-1]
    return Answer(int(status[:3]), dict(headers), b"".join(found))


def retrained(storage: RDBStorage) -> optuna.Study:
    """Make a study of two trials without a hyperparameter, as those of retraining are."""
    study = optuna.create_study(study_name="x.holdout", storage=storage)
    study.set_user_attr("search", "x")
    study.optimize(lambda trial: float(trial.number), n_trials=2)
    return study


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> RDBStorage:
    """Make one database for all tests that leave it as it is."""
    url = f"sqlite:///{tmp_path_factory.mktemp('kept') / 'test.db'}"
    storage = open_storage(url, create=True)
    retrained(storage)
    return storage


@pytest.fixture(scope="module")
def writable(kept: RDBStorage) -> WsgiApp:
    return dashboard_app(kept, writable=True, password=None)


def rows(storage: RDBStorage) -> dict[str, list[Any]]:
    with storage.engine.connect() as connection:
        return {
            name: list(map(tuple, connection.execute(sa.text(f"SELECT * FROM {name}"))))  # noqa: S608
            for name in sa.inspect(connection).get_table_names()
        }


def test_the_importance_of_a_study_without_hyperparameters_is_empty(
    storage: RDBStorage, caplog: pytest.LogCaptureFixture
) -> None:
    study = retrained(storage)
    app = dashboard_app(storage, writable=False, password=None)
    found = ask(app, "GET", f"/api/studies/{study._study_id}/param_importances")
    assert (found.status, json.loads(found.body)) == (200, {"param_importances": [[]]})
    assert ask(app, "GET", f"/api/studies/{study._study_id}?after=0").status == 200
    assert ask(app, "GET", "/api/studies/77/param_importances").status == 404
    other = optuna.create_study(study_name="searched", storage=storage)
    other.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=3)
    found = ask(app, "GET", f"/api/studies/{other._study_id}/param_importances")
    assert [each["name"] for each in json.loads(found.body)["param_importances"][0]] == ["lr"]
    assert caplog.messages == []


def test_only_searches_have_a_best_trial_in_the_dashboard(storage: RDBStorage) -> None:
    study = retrained(storage)
    search = optuna.create_study(study_name="searched", storage=storage)
    search.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=2)
    app = dashboard_app(storage, writable=False, password=None)
    answers = [ask(app, "GET", f"/api/studies/{s._study_id}?after=0") for s in (study, search)]
    assert [int(a.headers["Content-Length"]) for a in answers] == [len(a.body) for a in answers]
    again, found = (json.loads(answer.body) for answer in answers)
    # Without a direction the browser looks for no lowest value either.
    assert (again["best_trials"], again["directions"]) == ([], ["not_set"])
    assert [trial["number"] for trial in again["trials"]] == [0, 1]
    assert [t["number"] for t in found["best_trials"]] == [search.best_trial.number]
    assert found["directions"] == ["minimize"]
    assert ask(app, "GET", "/api/studies/77?after=0").status == 404


@only_sqlite
def test_the_list_of_studies_has_only_attributes_that_others_have_added(
    storage: RDBStorage,
) -> None:
    spec = tiny_spec()
    submit(storage, spec, aapl(spec)).optuna_study.set_user_attr("owner", "me")
    optuna.create_study(study_name="other", storage=storage).set_user_attr("spec", "theirs")
    app = dashboard_app(storage, writable=False, password=None)
    listed = json.loads(ask(app, "GET", "/api/studies").body)["study_summaries"]
    shown = [[(a["key"], a["value"]) for a in study["user_attrs"]] for study in listed]
    assert shown == [[("owner", "me")], [("spec", "theirs")]]


@pytest.mark.parametrize(
    "path", ["1/{}", "1/{}/", "2/{}", "01/{}", "00000000001/{}", "1/1/{}", "1/1/{}/"]
)
def test_no_path_leads_to_a_sealed_holdout(path: str, tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'test.db'}", create=True)
    spec = tiny_spec()
    submit(storage, spec, aapl(spec))
    (frozen,) = storage.get_all_studies()
    holdout, search = (str(file_of(frozen, name)) for name in (HOLDOUT_FILE, SEARCH_FILE))
    app = dashboard_app(storage, writable=False, password=None)
    answer = ask(app, "GET", f"/artifacts/{path.format(holdout)}")
    assert (answer.status, b"is sealed until" in answer.body) == (403, True)
    # Without the message the file is hidden all the same.
    view: Any = StudyView(storage)
    key = frozen_study_id(frozen)
    assert holdout not in str(view.get_study_system_attrs(key))
    assert search in str(view.get_study_system_attrs(key))
    assert ask(app, "GET", f"/artifacts/1/{search}").status == 200


@pytest.mark.parametrize(
    ("method", "path", "values", "words"),
    [
        ("POST", "/api/studies", {"study_name": "x.seeds"}, "must not end in .seeds, .holdout"),
        ("POST", "/api/studies", {"study_name": "y.holdout"}, "must not end in"),
        ("POST", "/api/studies", {"study_name": "y.lock"}, "must not end in"),
        ("POST", "/api/studies", {"study_name": "[red]x"}, "must have 1 to 64 letters"),
        ("POST", "/api/studies", {"study_name": "\x1b[2J"}, "must have 1 to 64 letters"),
        ("POST", "/api/studies", {"study_name": "x" * 65}, "must have 1 to 64 letters"),
        ("POST", "/api/studies", {"study_name": 7}, "must have 1 to 64 letters"),
        ("POST", "/api/studies", {"study_name": "fine", "directions": [7]}, "must be a list of"),
        ("POST", "/api/studies", [], "must be a JSON object"),
        ("POST", "/api/studies", b"[" * 4000, "must be a JSON object"),
        ("POST", "/api/studies", b"{", "must be a JSON object"),
        ("PUT", "/api/studies/1/note", {"version": 1, "body": 7}, "a note must have a body"),
        ("PUT", "/api/studies/1/note", {"version": "1", "body": "x"}, "a note must have a body"),
        (
            "POST",
            "/api/artifacts/1",
            {"filename": "prices-search.csv"},
            "must not be prices-search",
        ),
        ("POST", "/api/artifacts/1", {"filename": "Prices-Holdout.CSV"}, "must not be Prices-Hold"),
        ("POST", "/api/artifacts/1", {"filename": "forecasts.csv"}, "must not be forecasts.csv"),
        ("POST", "/api/artifacts/1", {"filename": ""}, "must have 1 to 255 printable characters"),
        ("POST", "/api/artifacts/1", {"filename": "../x"}, "must have 1 to 255 printable"),
        ("POST", "/api/artifacts/1", {"filename": "\x1b[2J"}, "must have 1 to 255 printable"),
        ("POST", "/api/artifacts/1", {"filename": None}, "must have 1 to 255 printable"),
        ("POST", "/api/artifacts/1", {"filename": "x.txt", "file": "hello"}, "must be a data URI"),
        ("POST", "/api/artifacts/1", {"filename": "x", "file": "data:x,a"}, "must be a data URI"),
    ],
)
def test_an_invalid_change_is_refused_with_the_rule(
    kept: RDBStorage, writable: WsgiApp, method: str, path: str, values: Any, words: str
) -> None:
    if isinstance(values, dict):
        values = {"directions": ["minimize"], "file": FILE} | values
    before = rows(kept)
    answer = ask(writable, method, path, values)
    assert answer.status == 400
    assert words in answer.reason
    assert rows(kept) == before


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/artifacts/9999", 404),
        ("PUT", "/api/studies/9999/note", 404),
        ("PUT", "/api/studies/1/9999/note", 404),
        ("POST", "/api/artifacts/99999999999999999999", 405),
        ("POST", "/api/artifacts/-1", 405),
        ("POST", "/api/artifacts/1/1", 405),
        ("POST", "/api/artifacts/1/-1", 405),
        ("DELETE", "/api/artifacts/-1/00", 405),
        ("DELETE", "/api/studies/-0", 405),
        ("POST", "/api/studies/-1/rename", 405),
        ("POST", "/api/trials/-1/tell", 405),
        ("PUT", "/api/trials/-1/user-attrs", 405),
        ("POST", "/api/studies/1/preference", 405),
        ("DELETE", "/api/studies/1/preference/x", 405),
        ("PUT", "/api/studies/1/preference_feedback_component", 405),
        ("POST", "/api/studies/1/1/skip", 405),
        ("POST", "/api/llm/generate", 405),
        ("PATCH", "/api/studies/1/note", 405),
    ],
)
def test_only_notes_new_studies_and_study_files_can_be_written(
    kept: RDBStorage, writable: WsgiApp, method: str, path: str, status: int
) -> None:
    before = rows(kept)
    values = {"filename": "x.txt", "file": FILE, "version": 1, "body": "x", "study_name": "z"}
    answer = ask(writable, method, path, values | {"state": "Fail", "output_type": "note"})
    assert answer.status == status
    assert answer.reason
    assert rows(kept) == before


@only_sqlite
def test_an_allowed_change_is_written(storage: RDBStorage) -> None:
    retrained(storage)
    writable = dashboard_app(storage, writable=True, password=None)
    for method, path, values, status in [
        ("POST", "/api/studies", {"study_name": "mine", "directions": ["minimize"]}, 201),
        ("PUT", "/api/studies/1/note", {"version": 1, "body": "x" * 60_000}, 204),
        ("PUT", "/api/studies/1/2/note", {"version": 1, "body": "y"}, 204),
        ("POST", "/api/artifacts/1", {"filename": "prix é.txt", "file": FILE}, 201),
    ]:
        assert ask(writable, method, path, values).status == status, path
    assert [study.study_name for study in storage.get_all_studies()] == ["x.holdout", "mine"]
    assert [body for *_, body in rows(storage)["puffin_artifacts"]] == [b"hello"]
    form = "application/x-www-form-urlencoded"
    assert ask(writable, "PUT", "/api/studies/1/note", {"version": 2}, kind=form).status == 415


@pytest.mark.parametrize(
    ("method", "path", "largest"),
    [
        ("POST", "/api/studies", 4 * 2**10),
        ("PUT", "/api/studies/1/note", 64 * 2**10),
        ("PUT", "/api/studies/1/1/note", 64 * 2**10),
        ("POST", "/api/artifacts/1", LARGEST_BODY),
        ("GET", "/api/studies", 2**10),
    ],
)
def test_a_body_larger_than_its_request_needs_is_refused(
    writable: WsgiApp, method: str, path: str, largest: int
) -> None:
    answer = ask(writable, method, path, {}, CONTENT_LENGTH=str(largest + 1))
    assert answer.status == 413
    assert answer.reason == (
        f"the body of this request may have at most {largest} bytes, but has {largest + 1}"
    )


@only_sqlite
def test_a_failed_request_logs_one_line_and_shows_no_code(
    storage: RDBStorage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    study = retrained(storage)
    meta = {"artifact_id": "0" * 8, "filename": "x", "mimetype": "text/plain", "encoding": None}
    storage.set_study_system_attr(study._study_id, f"artifacts:{'0' * 8}", json.dumps(meta))
    app = dashboard_app(storage, writable=False, password=None)
    for path in ("/api/studies/1?after=x", "/artifacts/1/00000000"):
        answer = ask(app, "GET", path)
        assert answer.status == 500
        assert b"File" not in answer.body
        assert answer.headers["X-Frame-Options"] == "DENY"
    assert len(caplog.messages) == 2
    for message in caplog.messages:
        assert "failed: " in message
        assert "\n" not in message
    assert capfd.readouterr() == ("", "")


@only_sqlite
def test_a_deleted_database_file_is_named_in_the_response(
    storage: RDBStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = dashboard_app(storage, writable=False, password=None)
    assert ask(app, "GET", "/api/studies").status == 200
    (tmp_path / "test.db").rename(tmp_path / "gone.db")
    answer = ask(app, "GET", "/api/studies")
    assert answer.status == 503
    assert "test.db was deleted while this process used it" in answer.reason
    assert ask(app, "GET", "/dashboard").status == 200
    assert len([line for line in caplog.messages if "the database is away" in line]) == 1


class Hanging:
    """An engine whose database neither answers nor refuses."""

    def __init__(self) -> None:
        self.asked = 0
        self.free = threading.Event()

    def connect(self) -> Any:
        self.asked += 1
        self.free.wait(20)
        raise OSError("gone")


def test_a_hanging_database_is_reported_after_two_seconds_then_at_once() -> None:
    engine: Any = Hanging()
    pulse = DatabaseHealth(engine)
    started = time.monotonic()
    assert pulse.trouble() == "no answer within 2 s"
    assert 1.5 < time.monotonic() - started < 10
    started = time.monotonic()
    assert [pulse.trouble(anew=True) for _ in range(50)] == ["no answer within 2 s"] * 50
    assert time.monotonic() - started < 1
    assert engine.asked == 1
    engine.free.set()
