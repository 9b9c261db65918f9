"""Optuna Dashboard over the studies of a database, with their artifacts; read-only."""

import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import optuna
import optuna_dashboard
import waitress
from optuna.storages import RDBStorage

from models.errors import PuffinError
from studies.artifacts import SqlArtifactStore
from tuner.guard import Environ, Place, WsgiApp, guarded
from tuner.interrupt import stop_signals

_LARGEST_UPLOAD = 64 * 2**20  # bytes


def dashboard_app(storage: RDBStorage, *, writable: bool, password: bytes | None) -> WsgiApp:
    """Make the WSGI application, which asks for the password if there is one.

    The storage goes through ``get_storage``, whose cache makes a refresh four times as fast.
    """
    app = optuna_dashboard.wsgi(
        optuna.storages.get_storage(storage), artifact_store=SqlArtifactStore(storage.engine)
    )
    # Its plots of importance warn on the console about a method that the page itself names.
    warnings.filterwarnings("ignore", category=UserWarning, module="optuna")
    return guarded(_tolerate_plain_clients(app), writable=writable, password=password)


def _tolerate_plain_clients(app: WsgiApp) -> WsgiApp:
    """Fill in a header without which the dashboard's static files answer 500."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")
        return app(environ, start_response)

    return wrapped


def serve(app: WsgiApp, place: Place, on_ready: Callable[[str], None]) -> None:
    """Serve at one address, in one process (the cache is in its memory) with a few threads.

    `on_ready` gets the URL, whose port the system chooses when that of `place` is 0. Returns when
    the process is asked to end.

    Raises
    ------
    PuffinError
        If the address is none of this machine's, or the port is taken.
    """
    asked = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: asked.set())
    with _bound(place) as listener:
        server = waitress.create_server(
            app, sockets=[listener], threads=4, max_request_body_size=_LARGEST_UPLOAD
        )
        # Beside, for an exception that a signal raises in the midst of its loop may get lost.
        threading.Thread(target=server.run, daemon=True).start()
        host, port, *_ = listener.getsockname()
        on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        asked.wait()


def _bound(place: Place) -> socket.socket:
    host, port, *_ = place.address
    try:
        return socket.create_server(place.address, family=place.family)
    except OSError as error:
        # Its own words go on about what was tried.
        why = os.strerror(error.errno or 0)
        msg = f"cannot serve on port {port} of {host}: {why}; choose another with --port or --host"
        raise PuffinError(msg) from None
