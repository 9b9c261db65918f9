"""Optuna Dashboard over the studies of a database, with their artifacts; read-only."""

import json
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import optuna
import optuna_dashboard
import waitress
from optuna.storages import RDBStorage

from studies.artifacts import SqlArtifactStore

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def dashboard_app(storage: RDBStorage, *, writable: bool = False) -> WsgiApp:
    """Make the WSGI application.

    The storage goes through ``get_storage``, whose cache makes a refresh four times as fast.
    """
    app = optuna_dashboard.wsgi(
        optuna.storages.get_storage(storage), artifact_store=SqlArtifactStore(storage.engine)
    )
    # Its plots of importance warn on the console about a method that the page itself names.
    warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
    return _tolerate_plain_clients(_guarded(app, writable=writable))


def _guarded(app: WsgiApp, *, writable: bool) -> WsgiApp:
    """Answer 405 to what must not be changed: the dashboard itself asks nobody's name."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        reason = _refusal(environ["REQUEST_METHOD"], environ["PATH_INFO"], writable=writable)
        if reason is None:
            return app(environ, start_response)
        headers = [("Content-Type", "application/json"), ("Allow", "GET, HEAD, OPTIONS")]
        start_response("405 Method Not Allowed", headers)
        return [json.dumps({"reason": reason}).encode()]

    return wrapped


def _refusal(method: str, path: str, *, writable: bool) -> str | None:
    """Say why a request is refused, or None if it is not.

    A study is more than its rows in Optuna's tables. Renaming copies only those, and deleting
    leaves the rest behind, so neither is allowed to anybody.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return None
    if not writable:
        return "this dashboard is read-only; `tuner dashboard --writable` is not"
    if re.fullmatch(r"/api/studies/\d+/rename", path):
        return "a study keeps its name; `tuner submit` makes one of another name"
    if re.fullmatch(r"/api/trials/\d+/(tell|user-attrs)", path):
        return "only a worker ends a trial and writes down what it found"
    if method == "DELETE" and re.fullmatch(r"/api/studies/\d+", path):
        return "`tuner delete NAME` deletes a study with all it owns"
    return None


def _tolerate_plain_clients(app: WsgiApp) -> WsgiApp:
    """Fill in a header without which the dashboard's static files answer 500."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        return app(environ, start_response)

    return wrapped


def serve(app: WsgiApp, port: int, on_ready: Callable[[int], None]) -> None:
    """Serve on loopback, in one process (the cache is in its memory) with a few threads.

    `on_ready` gets the port, which the system chooses when `port` is 0. Returns on SIGINT.

    Raises
    ------
    OSError
        If the port is taken.
    """
    server = waitress.create_server(app, host="127.0.0.1", port=port, threads=4)
    on_ready(server.effective_port)
    server.run()
