"""Checks of what a browser writes: names of new studies, notes, and files of studies."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from optuna.storages import BaseStorage

from puffin.studies.board.note import note_of_person
from puffin.studies.sections import NAME
from puffin.studies.study import HOLDOUT_FILE, RETRAINING_SUFFIXES, SEARCH_FILE
from puffin.tuner.dashboard.access import Environ, Refusal, WsgiApp, reads

# Suffixes of the studies and locks that the program makes beside a study.
_RESERVED_SUFFIXES = (*RETRAINING_SUFFIXES, ".lock")
# Names of the files that the program attaches to studies and trials.
_RESERVED_FILES = {SEARCH_FILE, HOLDOUT_FILE, "forecasts.csv", "report.html"}

Reason = str | None


def checks_changes(app: WsgiApp, storage: BaseStorage) -> WsgiApp:
    """Refuse a change that Optuna Dashboard accepts although it breaks a study or is lost."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if reads(environ):
            return app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        refusal = _refusal(environ, body, storage)
        if refusal is not None:
            return refusal.send(start_response)
        if environ["PATH_INFO"].endswith("/note"):
            body = _without_our_part(body)
        sent = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return app(environ | sent, start_response)

    return wrapped


def _without_our_part(body: bytes) -> bytes:
    """Return the body of a request that writes a note, with only what a person wrote of it."""
    values = json.loads(body)
    return json.dumps(values | {"body": note_of_person(values["body"])}).encode()


def _refusal(environ: Environ, body: bytes, storage: BaseStorage) -> Refusal | None:
    """Return the refusal of a change, or None if it is allowed."""
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal("415 Unsupported Media Type", "a change is sent as application/json")
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return Refusal("400 Bad Request", "the body of a change must be a JSON object")
    path = environ["PATH_INFO"]
    ids = [int(part) for part in path.split("/") if part.isdigit()]
    if ids and not _exists(storage, *ids):
        return Refusal("404 Not Found", "there is no such study or trial in the database")
    if path == "/api/studies":
        reason = _why_not_create(values)
    elif path.endswith("/note"):
        reason = _why_not_note(values)
    else:
        reason = _why_not_attach(values)
    return None if reason is None else Refusal("400 Bad Request", reason)


def _exists(storage: BaseStorage, study_id: int, trial_id: int | None = None) -> bool:
    try:
        storage.get_study_name_from_id(study_id)
    except KeyError:
        return False
    trials = [] if trial_id is None else storage.get_all_trials(study_id, deepcopy=False)
    return trial_id is None or any(t._trial_id == trial_id for t in trials)  # noqa: SLF001  # no public name


def _why_not_create(values: dict[str, Any]) -> Reason:
    name, directions = values.get("study_name"), values.get("directions")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        return "study_name must have 1 to 64 letters, digits, dots, dashes or underscores"
    if name.endswith(_RESERVED_SUFFIXES):
        suffixes = ", ".join(_RESERVED_SUFFIXES)
        return (
            f"study_name must not end in {suffixes}: such studies are created by the program itself"
        )
    if not isinstance(directions, list) or not all(isinstance(d, str) for d in directions):
        return "directions must be a list of minimize or maximize"
    return None


def _why_not_note(values: dict[str, Any]) -> Reason:
    if isinstance(values.get("body"), str) and isinstance(values.get("version"), int):
        return None
    return "a note must have a body, which is text, and a version, which is a whole number"


def _why_not_attach(values: dict[str, Any]) -> Reason:
    name, file = values.get("filename"), values.get("file")
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[^/\\]{1,255}", name)
        or not name.isprintable()
    ):
        return "filename must have 1 to 255 printable characters without / and \\"
    if name.lower() in _RESERVED_FILES:
        return f"filename must not be {name}: files of this name are written by the program itself"
    if not isinstance(file, str) or not _is_data_uri(file):
        return "file must be a data URI in base64, as data:text/plain;base64,aGVsbG8="
    return None


def _is_data_uri(text: str) -> bool:
    head, comma, data = text.partition(",")
    if not head.startswith("data:") or not comma:
        return False
    try:
        base64.standard_b64decode(data)
    except ValueError:
        return False
    return True
