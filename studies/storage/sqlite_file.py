"""Notice that a database file was deleted or replaced, before anything more is written."""

import contextlib
import os
import sqlite3
from typing import Any

from sqlalchemy import Engine, event

from puffin.studies.storage.errors import ReplacedError


def watch(engine: Engine, path: str) -> None:
    """Raise `ReplacedError` on every use of a connection once the file is no longer the same.

    An open connection keeps using the file that it opened, even after a rename or a deletion. A new
    connection would open the new file together with the old file's write-ahead log, which damages
    it. So no new connection is made, and the log is written back into the old file and truncated to
    zero bytes, so that it cannot damage the new file when that is opened.
    """
    opened = _identity(path)

    def require_same() -> None:
        now = _identity(path)
        if now != opened:
            what = "deleted" if now is None else "replaced by another file"
            msg = (
                f"the database file {path} was {what} while this process used it; stop everything "
                "that uses it, then start it again"
            )
            raise ReplacedError(msg)

    @event.listens_for(engine, "do_connect")
    def before_connecting(*_: Any) -> None:
        require_same()

    @event.listens_for(engine, "checkout")
    def before_use(connection: sqlite3.Connection, *_: Any) -> None:
        try:
            require_same()
        except ReplacedError:
            _empty_the_log(connection)
            raise


def _identity(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116  # called for every use of a connection
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _empty_the_log(connection: sqlite3.Connection) -> None:
    """Write the log back into its file and truncate it, unless another connection blocks that."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 1000")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
