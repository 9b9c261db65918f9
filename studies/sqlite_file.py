"""A database file that is deleted or replaced under its users must end them, and not be damaged."""

import contextlib
import os
import sqlite3
from typing import Any

from sqlalchemy import Engine, event

from studies.database_errors import ReplacedError


def watch(engine: Engine, path: str) -> None:
    """Raise `ReplacedError` before each use of a connection once the file is another one.

    An open connection stays with the file that it opened, wherever that is by now, while a new one
    would open the new file together with the write-ahead log of the old one, which damages it. So
    no connection is made from then on, and the log is written into the file that it belongs to and
    cut to nothing: whoever opens the new file next finds an empty one.
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
        found = os.stat(path)  # noqa: PTH116  # for each use of a connection: no object is made
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _empty_the_log(connection: sqlite3.Connection) -> None:
    """Write the log into its file and cut it, unless others keep it in use for a second."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 1000")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
