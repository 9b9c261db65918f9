"""Errors of databases, and their causes in one line."""

import contextlib
from collections.abc import Collection, Iterator

import optuna
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from puffin.models.errors import PuffinError

# Temporary refusals of PostgreSQL (57P03 cannot_connect_now, 53300 too_many_connections) and of a
# pooler that cannot reach its server or has no free connection.
_BUSY = (
    "starting up",
    "accepting connections",  # "not yet", and "not" on a standby
    "shutting down",
    "recovery mode",
    "too many",
    "connection slots",
    "no more connections allowed",
    "cannot connect to server",
    "server_login_retry",
    "query_wait_timeout",
)
# What to do, by a part of the database's message in lower case.
_ADVICE = {
    "prepared statement": "a pooler such as PgBouncer lends one connection to many: take "
    "prepare_threshold out of the URL",
    "unsupported startup parameter": "the pooler takes no such option: take it out of the URL, or "
    "add it to ignore_startup_parameters of PgBouncer",
    "read-only transaction": "PostgreSQL is read-only here (a standby, or "
    "default_transaction_read_only): name the primary server, or allow writing",
    "readonly database": "the file or its folder cannot be written by this user: allow writing to "
    "both, for the write-ahead log lies beside the file",
    "unable to open database file": "it needs a file in a folder that this user can write to",
    "disk is full": "make room on the disk of the database and try again",
    "no space left on device": "make room on the disk of the database and try again",
    "disk image is malformed": "the file is damaged or was overwritten: restore it from a copy, "
    "without the files -wal and -shm beside it",
    "permission denied for schema": "the role needs a database of its own: ALTER DATABASE ... "
    "OWNER TO ..., or GRANT CREATE ON SCHEMA public TO ...",
    "fatal:  database": "make it first: CREATE DATABASE ... OWNER ...",
    "no encryption": "the server wants an encrypted connection: add ?sslmode=require to the URL",
    "no password supplied": "set PGPASSWORD, or write the password to ~/.pgpass",
}


class StorageError(PuffinError):
    """A database that cannot be used as it is."""


class NoStudiesError(StorageError):
    """A database that is not there or does not answer yet, or holds no studies yet."""


class BusyError(NoStudiesError):
    """A database that answers, but takes no connection for now."""


class ReplacedError(StorageError):
    """A database file that was deleted or replaced while this process used it."""


@contextlib.contextmanager
def readable_errors(shown: str, secrets: Collection[str], *, is_server: bool) -> Iterator[None]:
    """Turn errors of a database into one line with the cause.

    Parameters
    ----------
    shown : str
        The URL of the database as messages may show it.
    secrets : collection of str
        Values of the URL that no message may repeat.
    is_server : bool
        Whether the database may be down for a while, as a file cannot.

    Raises
    ------
    NoStudiesError
        If the server does not answer; `BusyError` if it answers but takes no connection for now.
    StorageError
        If the database refuses for good.
    """
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = _without(secrets, cause_of(error))
        if not is_server or not isinstance(_inner(error), OperationalError):
            msg = f"the database {shown} cannot be used: {cause}"
            raise StorageError(msg) from error
        if any(words in cause for words in _BUSY):
            msg = f"the database {shown} does not answer: {cause}"
            raise BusyError(msg) from error
        # A server that refuses for good says FATAL; psycopg reports no SQLSTATE here.
        if "FATAL" in cause or "no password supplied" in cause:
            msg = f"the database {shown} cannot be used: {cause}"
            raise StorageError(msg) from error
        msg = f"the database {shown} does not answer: {cause}"
        raise NoStudiesError(msg) from error


def _without(secrets: Collection[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _inner(error: Exception) -> Exception:
    """Return the error of SQLAlchemy that Optuna has wrapped in one of its own, if it has."""
    return error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error


def cause_of(error: Exception) -> str:
    """Return the message of the database in one line, with what to do if that is known."""
    inner = _inner(error)
    cause = (str(getattr(inner, "orig", None) or inner).splitlines() or ["nothing"])[0]
    advice = next((advice for words, advice in _ADVICE.items() if words in cause.lower()), None)
    return cause if advice is None else f"{cause}; {advice}"
