"""The server of the dashboard stops at a signal and says nothing."""

import logging
import os
import signal
import socket
import time
from urllib.parse import urlsplit

import pytest

from puffin.tuner.dashboard.access import BindAddress
from puffin.tuner.dashboard.serve import serve


@pytest.mark.usefixtures("own_signals")
def test_a_client_that_leaves_after_the_end_is_not_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients = []

    def stop(url: str) -> None:
        clients.append(socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)))
        clients[0].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[0].recv(100).startswith(b"HTTP/1.1 200")
        os.kill(os.getpid(), signal.SIGTERM)

    def app(_environ: object, start_response: object) -> list[bytes]:
        assert callable(start_response)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    serve(app, BindAddress(socket.AF_INET, ("127.0.0.1", 0)), [], stop)
    clients[0].close()
    time.sleep(0.2)  # so that a server that still polls would notice
    assert logging.getLogger("waitress").isEnabledFor(logging.WARNING)
    assert caplog.record_tuples == []
