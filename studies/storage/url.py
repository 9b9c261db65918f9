"""Database URLs: parsing, drivers, and the parts that messages may show.

A URL may contain a password. So a URL that was not parsed for certain is never shown, and of a
parsed one only the parts that are known to be harmless.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url

from puffin.studies.storage.errors import StorageError

EXAMPLES = "sqlite:///tuner.db or postgresql://user@host/database"
_HIDDEN = "***"
# How long a process waits for a server or network that does not answer, in seconds; the defaults
# of operating systems are up to two hours. tcp_user_timeout is in milliseconds.
_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# Stricter than SQLAlchemy and libpq, which do not agree on where a password with an unescaped "@"
# ends: with one "@" at most, and only plain characters beside the password, there is one reading.
_SERVER = re.compile(
    r"""
    \w+(?:\+\w+)?://
    (?:[^:/?\#@;=&\s]* (?: :[^@]* )? @)?                     # user, password
    (?:[\w.,-]+ | \[[\w:.%]+\])? (?: :[0-9]{1,5} )?          # host, port
    (?: /[^:/?\#@;=&\s]* )?                                  # database
    (?: \?[^@\s]* )?                                         # options
    """,
    re.VERBOSE,
)
_PATH = re.compile(r"([A-Za-z]:|~)?[\w .\\/-]*\.(db|sqlite3?)")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_HARMLESS = {
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "port",
    "prepare_threshold",
    "sslmode",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
}

_NO_URL = (
    "not a database URL, which --storage, TUNER_STORAGE and --to take; write for example "
    f"{EXAMPLES}"
)
_SLASHES = (
    "a database URL of SQLite has three slashes before a relative path and four before an absolute "
    "one; write sqlite:///tuner.db or sqlite:////folder/tuner.db"
)
_UNCERTAIN = (
    "the database URL cannot be read for certain, so it is not shown; write it as "
    "postgresql://user@host:port/database, a @ in a name or a password as %40, : as %3A, / as %2F, "
    "? as %3F, # as %23 and % as %25, or leave the password out and set PGPASSWORD"
)


def parse(text: str) -> URL:
    """Return the URL of a database that can be used, with the driver that serves it.

    Raises
    ------
    StorageError
        If it cannot be used; the message repeats nothing that could be a password.
    """
    text = text.strip()
    scheme, separator, _ = text.partition("://")
    if not separator or not re.fullmatch(r"\w+(\+\w+)?", scheme):
        raise StorageError(_no_url(text))
    kind, _, driver = scheme.lower().partition("+")
    if kind == "sqlite" and driver in ("", "pysqlite", "aiosqlite"):
        return _sqlite(text)
    if kind in ("postgres", "postgresql"):
        return _postgresql(text)
    msg = f"a database of {scheme}:// cannot be used: only sqlite and postgresql are known; write "
    raise StorageError(msg + EXAMPLES)


def is_sqlite(url: URL) -> bool:
    """Return whether the URL is that of an SQLite file."""
    return url.drivername == "sqlite"


def _no_url(text: str) -> str:
    """Return why a text is not a URL, repeating it only if it is certainly a path."""
    if _PATH.fullmatch(text):
        return f"{text} is a path, not a database URL; write sqlite:///{text}"
    if text.lower().startswith("sqlite:"):
        return _SLASHES
    if re.search(r"\b(host|hostaddr|dbname|user|port)\s*=", text):
        return (
            "options of PostgreSQL's library are not a database URL; write them as "
            "postgresql://user@host:port/database"
        )
    return _NO_URL


def _sqlite(text: str) -> URL:
    location = text.partition("://")[2]
    if location and location[0] not in "/?":
        raise StorageError(_SLASHES)
    path, question, _ = location.removeprefix("/").partition("?")
    if question:
        msg = "SQLite takes no options after a question mark; write sqlite:///tuner.db"
        raise StorageError(msg)
    if path in ("", ":memory:"):
        msg = "a study in memory cannot be shared by workers; write for example sqlite:///tuner.db"
        raise StorageError(msg)
    if _WINDOWS_PATH.match(path) and os.name != "nt":
        msg = (
            f"{path} is a path of Windows, and this is not Windows; write the path as this system "
            "names it, for example sqlite:////home/me/tuner.db"
        )
        raise StorageError(msg)
    url = make_url(f"sqlite:///{path}")
    _require_text(url)
    try:
        return url.set(database=str(Path(url.database or "").expanduser()))
    except RuntimeError:
        msg = f"the home folder in {path} is not known; write the whole path"
        raise StorageError(msg) from None


def _postgresql(text: str) -> URL:
    if _SERVER.fullmatch(text) is None:
        raise StorageError(_UNCERTAIN)
    url = make_url(text).set(drivername="postgresql+psycopg")
    _require_text(url)
    _require_values(text)
    if not 0 < (url.port or 5432) <= 65535:
        msg = "the port of the database URL must be from 1 to 65535; PostgreSQL's own is 5432"
        raise StorageError(msg)
    _require_known_options(url)
    if not url.database and not {"dbname", "service"} & set(url.query):
        msg = f"the database URL {displayed_url(url)} names no database; write {EXAMPLES}"
        raise StorageError(msg)
    return url


def _require_text(url: URL) -> None:
    """Raise on characters that neither a file system nor a server accepts."""
    parts = [url.username, url.password, url.database, *map(str, url.query.values())]
    try:
        zero = b"\0" in "".join(filter(None, parts)).encode()
    except UnicodeEncodeError:  # bytes of the environment that are no text
        zero = True
    if zero:
        msg = (
            "the database URL holds a zero byte or a byte that is not UTF-8; write each other "
            "byte that a URL cannot hold as % and two hexadecimal digits"
        )
        raise StorageError(msg)


def _require_values(text: str) -> None:
    """Raise on an option without a value: SQLAlchemy drops it, so that nothing would mask it."""
    # No "@" is left unescaped in the options, but a "?" may be in the password.
    query = text.rpartition("@")[2].partition("?")[2]
    for number, option in enumerate(query.split("&") if query else (), start=1):
        if not all(option.partition("=")):
            msg = (
                f"option {number} after the question mark of the database URL has no name or no "
                "value; write options as in ?sslmode=require&connect_timeout=5, and & in a value "
                "as %26"
            )
            raise StorageError(msg)


@cache
def _options() -> dict[str, bool]:
    """Return every option of PostgreSQL's library, and whether the library treats it as secret."""
    import psycopg

    known = psycopg.pq.Conninfo.get_defaults()
    return {o.keyword.decode(): o.dispchar != b"" for o in known} | {"prepare_threshold": False}


def _require_known_options(url: URL) -> None:
    """Raise on an option that the library does not know: its error message would repeat it."""
    for number, (key, value) in enumerate(url.query.items(), start=1):
        if key not in _options():
            msg = (
                f"option {number} after the question mark of the database URL is not known to "
                "PostgreSQL's library; write options as in ?sslmode=require&connect_timeout=5, and "
                "set PGPASSWORD for a password"
            )
            raise StorageError(msg)
        if not isinstance(value, str) and key not in ("host", "port"):
            msg = f"the database URL has the option {key} twice; write it once"
            raise StorageError(msg)
    threshold = str(url.query.get("prepare_threshold", "none"))
    if not re.fullmatch("none|[0-9]{1,9}", threshold):
        msg = (
            f"prepare_threshold of the database URL must be a whole number or none, but is "
            f"{threshold!r}; leave it out behind a pooler such as PgBouncer"
        )
        raise StorageError(msg)


def connect_args(url: URL) -> dict[str, Any]:
    """Return the arguments that psycopg needs beside the URL.

    Prepared statements belong to a connection, and a pooler in transaction mode such as PgBouncer
    lends another one for each transaction: they are off unless the URL asks for them.
    """
    threshold = str(url.query.get("prepare_threshold", "none"))
    network = {key: url.query.get(key, default) for key, default in _NETWORK.items()}
    return network | {
        # A database of the encoding SQL_ASCII would send bytes instead of text.
        "client_encoding": "utf8",
        "prepare_threshold": None if threshold == "none" else int(threshold),
    }


def secret_values(url: URL) -> list[str]:
    """Return the values of a URL that no message may repeat, except very short ones."""
    values = [url.password, *(str(v) for k, v in url.query.items() if k not in _HARMLESS)]
    return [value for value in values if value and len(value) > 3]


def holds_secret(text: str) -> bool:
    """Return whether a URL contains a password, of the user or of a key.

    Raises
    ------
    StorageError
        If it is not a database URL.
    """
    url = parse(text)
    return not is_sqlite(url) and bool(url.password or any(_options()[key] for key in url.query))


def displayed_url(url: URL) -> str:
    """Return a URL as messages may show it."""
    if is_sqlite(url):
        return f"sqlite:///{url.database}"
    has_password = url.password is not None or "password" in url.query
    base = url.set(
        drivername="postgresql",
        # SQLAlchemy writes a password only behind a name, be it an empty one.
        username=(url.username or "") if has_password else url.username,
        password=_HIDDEN if has_password else None,
        query={},
    )
    options = [
        f"{key}={value}" if key in _HARMLESS else f"{key}={_HIDDEN}"
        for key, values in url.query.items()
        for value in ((values,) if isinstance(values, str) else values)
        if key != "password"
    ]
    return base.render_as_string(hide_password=True) + "?" * bool(options) + "&".join(options)


def masked_url(text: str) -> str:
    """Return a URL as it was typed, with its secrets masked.

    Raises
    ------
    StorageError
        If it is not a database URL.
    """
    text = text.strip()
    url = parse(text)
    return text if url.password is None and set(url.query) <= _HARMLESS else displayed_url(url)
