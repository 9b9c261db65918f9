"""A real PgBouncer in front of a PostgreSQL, in transaction mode."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_SETTINGS = """
[databases]
* = host=127.0.0.1 port={port} user=puffin
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
auth_type = any
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 1000
query_wait_timeout = 20
ignore_startup_parameters = extra_float_digits
unix_socket_dir =
"""


@contextlib.contextmanager
def running_pgbouncer(port: int, pool: int = 2) -> Iterator[int]:
    """Start a PgBouncer in front of the PostgreSQL at `port`; yield its own port.

    It has at most `pool` connections to each database.
    """
    assert PGBOUNCER is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own: int = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="puffin-pgbouncer-"))
    folder.chmod(0o755)
    settings = folder / "pgbouncer.ini"
    settings.write_text(_SETTINGS.format(port=port, own=own, pool=pool))
    # It does not run as root.
    user = "nobody" if os.geteuid() == 0 else None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PGBOUNCER, settings], user=user, stdout=log, stderr=log)
    try:
        _await(own, process, folder / "log")
        yield own
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def behind(url: str, port: int) -> str:
    """Return the URL of a database as PgBouncer at `port` serves it."""
    return make_url(url).set(port=port).render_as_string(hide_password=False)
