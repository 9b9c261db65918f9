"""The WSGI application: Optuna Dashboard with access rules and repairs of its answers."""

import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import optuna
import optuna_dashboard
from optuna.storages import BaseStorage, RDBStorage

from puffin.studies.records import is_retraining
from puffin.studies.storage.artifacts import SqlArtifactStore
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import cause_of
from puffin.tuner.dashboard.access import Environ, WsgiApp, guarded
from puffin.tuner.dashboard.changes import checks_changes
from puffin.tuner.dashboard.health import DatabaseHealth, says_when_away
from puffin.tuner.dashboard.home import serves_own_pages
from puffin.tuner.dashboard.pictures import draws_pictures
from puffin.tuner.dashboard.styles import hides_buttons
from puffin.tuner.dashboard.view import StudyView, remembers_what_is_asked, seals_holdouts


def open_for_requests(url: str) -> RDBStorage:
    """Open a database without waiting when it stops answering: each request reports that.

    Raises
    ------
    StorageError
        If it cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(url, pause=lambda _: False)


def dashboard_app(
    storage: RDBStorage, *, writable: bool, password: bytes | None, view: StudyView | None = None
) -> WsgiApp:
    """Return the WSGI application, which requires the password if there is one.

    Parameters
    ----------
    storage : RDBStorage
    writable : bool
    password : bytes or None
    view : StudyView, optional
        Of the storage, to be filled by the caller before the first request.
    """
    shown: Any = StudyView(storage) if view is None else view
    cached = shown.cached
    pages = optuna_dashboard.wsgi(shown, artifact_store=SqlArtifactStore(storage.engine))
    pages.catchall = False  # otherwise it writes tracebacks to the terminal
    logging.getLogger("optuna_dashboard._bottle_util").addFilter(_OneLine())
    # Importance plots warn on the console about their method, which the page names too.
    for category in (UserWarning, optuna.exceptions.ExperimentalWarning):
        warnings.filterwarnings("ignore", category=category, module="optuna")
    app = remembers_what_is_asked(hides_buttons(_tolerate_plain_clients(pages), writable=writable))
    app = names_no_best(answers_importance(app, cached), cached)
    app = seals_holdouts(draws_pictures(app, storage), cached)
    app = serves_own_pages(app, storage)
    app = says_when_away(checks_changes(app, cached), DatabaseHealth(storage.engine))
    return guarded(app, writable=writable, password=password)


class _OneLine(logging.Filter):
    """Replaces a traceback by its cause, and drops consecutive duplicates."""

    def __init__(self) -> None:
        super().__init__()
        self._before = ""

    def filter(self, record: logging.LogRecord) -> bool:
        error = sys.exc_info()[1]
        cause = cause_of(error) if isinstance(error, Exception) else record.getMessage()
        record.msg, record.args = f"a request failed: {cause.partition(chr(10))[0]}", ()
        is_new, self._before = record.msg != self._before, record.msg
        return is_new


def answers_importance(app: WsgiApp, storage: BaseStorage) -> WsgiApp:
    """Answer with an empty importance for a study without hyperparameters, as of retraining.

    Optuna Dashboard would divide by their number, zero.
    """

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = re.fullmatch(r"/api/studies/(\d{1,9})/param_importances", environ["PATH_INFO"])
        if asked is None or _has_parameters(storage, int(asked[1])):
            return app(environ, start_response)
        directions = storage.get_study_directions(int(asked[1]))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"param_importances": [[] for _ in directions]}).encode()]

    return wrapped


def names_no_best(app: WsgiApp, storage: BaseStorage) -> WsgiApp:
    """Serve a study that retrains without a best trial, and without a direction.

    The lowest loss of several trainings of one configuration is low by chance. With a direction the
    browser itself would search for the best trial and draw it into the history. Without one it
    draws a flat line there, at the first trial, which the note explains.
    """

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = re.fullmatch(r"/api/studies/(\d{1,9})", environ["PATH_INFO"])
        if environ["REQUEST_METHOD"] != "GET" or asked is None or not _retrains(storage, asked[1]):
            return app(environ, start_response)
        answers: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(app(environ, lambda status, headers, *_: answers.append((status, headers))))
        status, headers = answers[-1]
        if status.startswith("200"):
            values = json.loads(body) | {"best_trials": [], "directions": ["not_set"]}
            body = json.dumps(values).encode()
        others = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*others, ("Content-Length", str(len(body)))])
        return [body]

    return wrapped


def _retrains(storage: BaseStorage, study_id: str) -> bool:
    """Return whether a study retrains the best of another one; False if it does not exist."""
    try:
        return is_retraining(storage.get_study_user_attrs(int(study_id)))
    except KeyError:
        return False


def _has_parameters(storage: BaseStorage, study_id: int) -> bool:
    """Return whether any trial of a study has a hyperparameter; True if it does not exist."""
    try:
        return any(trial.params for trial in storage.get_all_trials(study_id, deepcopy=False))
    except KeyError:
        return True


def _tolerate_plain_clients(app: WsgiApp) -> WsgiApp:
    """Add a header if it is missing, without which the dashboard's static files answer 500."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        return app(environ, start_response)

    return wrapped
