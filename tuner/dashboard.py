"""Optuna Dashboard over the studies of a database, with their artifacts; read-only."""

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
    return _tolerate_plain_clients(app if writable else read_only(app))


def read_only(app: WsgiApp) -> WsgiApp:
    """Answer 405 to whatever could change something: the dashboard itself asks nobody's name."""

    def wrapped(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD", "OPTIONS"):
            return app(environ, start_response)
        body = b'{"reason": "this dashboard is read-only; start it with --writable to change"}'
        headers = [("Content-Type", "application/json"), ("Allow", "GET, HEAD, OPTIONS")]
        start_response("405 Method Not Allowed", headers)
        return [body]

    return wrapped


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
