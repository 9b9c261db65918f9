"""The HTTP server of the dashboard: limits on bodies, connections and threads.

Waitress reads a whole request before it calls the application, and serves requests in the order of
their arrival. Therefore requests are refused here, by their headers, before their bodies are read;
and health checks have a separate thread, because all others may be waiting for the database.
"""

import io
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import waitress
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, ThreadedTaskDispatcher

from puffin.models.errors import PuffinError
from puffin.tuner.dashboard.access import (
    LARGEST_BODY,
    NO_FRAMES,
    BindAddress,
    Environ,
    Refusal,
    Rule,
    WsgiApp,
    first_refusal,
)
from puffin.tuner.worker.signals import stop_signals

_SETTINGS = {
    # A browser opens six connections, and a request that hangs blocks a thread.
    "threads": 16,
    # Connections that send nothing are closed after 15 s. At the limit new ones wait until then.
    "connection_limit": 500,
    "channel_timeout": 15,
    "cleanup_interval": 3,
    "log_socket_errors": False,  # a client that disconnects is not an error
    "asyncore_use_poll": True,  # select() fails for file descriptors from 1,024 on
    "max_request_header_size": 32 * 2**10,
    "max_request_body_size": LARGEST_BODY + 1,
}


class _Nowhere:
    """A buffer that discards the body of a refused request."""

    def append(self, _data: bytes) -> None:
        """Discard the data."""

    def __len__(self) -> int:
        return 0

    def getfile(self) -> io.BytesIO:
        """Return an empty file."""
        return io.BytesIO()

    def close(self) -> None:
        """Do nothing."""


class _Refused:
    """A refusal as an error object of waitress."""

    def __init__(self, refusal: Refusal) -> None:
        self._refusal = refusal

    def to_response(self, _ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body."""
        return self._refusal.status, self._refusal.headers, self._refusal.body


def _channel(rules: Sequence[Rule]) -> type[HTTPChannel]:
    """Return a connection class that applies the rules before it reads bodies."""

    class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
        body_rcv: Any
        content_length: int
        expect_continue: bool

        def parse_header(self, header_plus: bytes) -> None:
            super().parse_header(header_plus)
            if self.body_rcv is None:
                return  # the application applies the rules
            refusal = first_refusal(_environ(self), rules)
            if refusal is None:
                return
            self.error = _Refused(refusal)
            if self.chunked or self.expect_continue:
                # Answer now, and close: the end of such a body is not known, or it is not sent yet.
                self.body_rcv, self.content_length, self.expect_continue = None, 0, False
            else:
                # Read to the end: a client that is still sending would not see the answer.
                self.body_rcv.buf = _Nowhere()

    class WithoutFrames(ErrorTask):  # type: ignore[misc]  # waitress has no types
        def execute(self) -> None:
            self.response_headers.extend(NO_FRAMES.items())
            super().execute()

    class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
        parser_class = Parser
        error_task_class = WithoutFrames

    return Channel


def _environ(request: HTTPRequestParser) -> Environ:
    """Return the parts of a request that the rules read, by their names in WSGI."""
    names = {"CONTENT_LENGTH": "CONTENT_LENGTH", "CONTENT_TYPE": "CONTENT_TYPE"}
    headers = {names.get(key, f"HTTP_{key}"): value for key, value in request.headers.items()}
    path = "/" + request.path.lstrip("/")
    return {"REQUEST_METHOD": request.command, "PATH_INFO": path, **headers}


class _Lanes:
    """Task dispatcher with a separate thread for health checks."""

    def __init__(self, others: ThreadedTaskDispatcher) -> None:
        self._others = others
        self._health = ThreadedTaskDispatcher()
        self._health.set_thread_count(1)

    def add_task(self, channel: HTTPChannel) -> None:
        """Queue the next request of a connection."""
        is_health = getattr(channel.requests[0], "path", None) == "/healthz"  # None if malformed
        (self._health if is_health else self._others).add_task(channel)


def serve(
    app: WsgiApp, place: BindAddress, rules: Sequence[Rule], on_ready: Callable[[str], None]
) -> None:
    """Serve at one address until a stop signal, in one process because its cache is in memory.

    Parameters
    ----------
    app : callable
        The application.
    place : BindAddress
        Where to serve.
    rules : sequence of callable
        Applied to the headers of a request before its body is read.
    on_ready : callable
        Called with the URL; the system chooses the port if that of `place` is 0.

    Raises
    ------
    PuffinError
        If the address is not one of this machine, or the port is in use.
    """
    asked = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: asked.set())
    with _bound(place) as listener:
        polled: dict[int, Any] = {}  # sockets by file descriptor
        server = waitress.create_server(app, polled, sockets=[listener], **_SETTINGS)
        server.channel_class = _channel(rules)
        server.task_dispatcher = _Lanes(server.task_dispatcher)
        # In a thread: an exception that a signal handler raises in waitress' loop would be lost.
        loop = threading.Thread(target=server.run, daemon=True)
        loop.start()
        host, port, *_ = listener.getsockname()
        on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        asked.wait()
        # The loop ends when it has nothing to poll. It would log the listener's end as an error.
        server.trigger.pull_trigger(polled.clear)
        loop.join()


def _bound(place: BindAddress) -> socket.socket:
    host, port, *_ = place.address
    try:
        return socket.create_server(place.address, family=place.family)
    except OSError as error:
        # The error's own message repeats the address.
        why = os.strerror(error.errno or 0)
        msg = f"cannot serve on port {port} of {host}: {why}; choose another with --port or --host"
        raise PuffinError(msg) from None
