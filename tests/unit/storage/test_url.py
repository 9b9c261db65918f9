"""Which database URLs are understood, and that no message repeats a password."""

import os

import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from puffin.studies.storage.errors import StorageError
from puffin.studies.storage.url import (
    connect_args,
    displayed_url,
    holds_secret,
    masked_url,
    parse,
    secret_values,
)
from puffin.tuner.cli import main

# Wherever a password may be written, by the book or not. Nobody listens on port 1.
FORMS = [
    "postgresql://me:{}@127.0.0.1:1/db",
    "postgresql+psycopg://me:{}@127.0.0.1:1/db",
    "postgres://:{}@127.0.0.1:1/db",
    "postgresql://me@corp:{}@127.0.0.1:1/db",
    "postgresql://m/e:{}@127.0.0.1:1/db",
    "postgresql://me:{}@127.0.0.1:1",
    "postgresql://me:{}@127.0.0.1:port/db",
    "postgresql://me:{}@/db?host=127.0.0.1&port=1",
    "postgresql://me:{}@[::1]:1/db",
    "postgresql://me:{}@127.0.0.1:1,127.0.0.1:1/db",
    "postgresql://me;password={}@127.0.0.1:1/db",
    "postgresql://127.0.0.1:1;password={}/db",
    "postgresql://me@127.0.0.1:1/db;password={}",
    "postgresql://me@127.0.0.1:1/db?password={}",
    "postgresql://me@127.0.0.1:1/db?sslmode=disable&password={}",
    "postgresql://me@127.0.0.1:1/db?password={}&password={}",
    "postgresql://me@127.0.0.1:1/db?PASSWORD={}",
    "postgresql://me@127.0.0.1:1/db?passwd={}",
    "postgresql://me@127.0.0.1:1/db?pwd={}",
    "postgresql://me@127.0.0.1:1/db?pass%77ord={}",
    "postgresql://me@127.0.0.1:1/db?sslpassword={}",
    "postgresql://me@127.0.0.1:1/db?oauth_client_secret={}",
    "postgresql://me@127.0.0.1:1/db?options=-c%20x.y%3D{}",
    "postgresql://me@127.0.0.1:1/db?{}=1",
    "postgresql:///db?host=127.0.0.1&port=1&user=me&password={}",
    "postgresql:me:{}@127.0.0.1/db",
    "postgresql:/me:{}@127.0.0.1/db",
    "jdbc:postgresql://127.0.0.1:1/db?user=me&password={}",
    "host=127.0.0.1 port=1 user=me password={} dbname=db",
    "mysql://me:{}@127.0.0.1:1/db",
    "sqlite://me:{}@127.0.0.1/db",
    "sqlite+pysqlcipher://:{}@/x.db",
    "sqlite:///x.db?key={}",
    "me:{}@127.0.0.1:1/db",
    "://me:{}@127.0.0.1:1/db",
]
# Pieces with two of these four letters are in no message of the program or of libpq.
RARE = "QXZJ"
passwords = st.text(alphabet=RARE + "@#/?;:&=%+ .,7\\\n\0é\udcff", min_size=4, max_size=16)


def leaks(password: str, message: str) -> list[str]:
    """Return the pieces of four characters of a password that a message repeats."""
    pieces = (password[i : i + 4] for i in range(len(password) - 3))
    return [p for p in pieces if sum(letter in RARE for letter in p) > 1 and p in message]


# SQLAlchemy drops options that have no value.
@example(form="postgresql://me@127.0.0.1:1/db?password={}", password="&7JJ")  # noqa: S106 - made up
@example(form="postgresql://me@127.0.0.1:1/db?password={}", password="=QXZJ")  # noqa: S106 - made up
@settings(max_examples=400, deadline=None)
@given(form=st.sampled_from(FORMS), password=passwords)
def test_no_url_form_shows_a_part_of_its_password(form: str, password: str) -> None:
    text = form.format(password, password)
    try:
        message = masked_url(text) + displayed_url(parse(text))
    except StorageError as error:
        message = str(error)
        assert len(message.splitlines()) == 1
    assert leaks(password, message) == []


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(FORMS), password=passwords)
def test_no_command_repeats_a_part_of_an_environment_password(form: str, password: str) -> None:
    url = form.format(password, password).replace("\0", "")  # no environment holds a zero byte
    done = CliRunner(env={"TUNER_STORAGE": url}).invoke(main, ["status"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "unexpected" not in done.stderr
    assert leaks(password, done.output) == []


@pytest.mark.parametrize("form", FORMS)
def test_no_command_shows_a_password_that_was_typed(form: str) -> None:
    for option in (["status", "--storage"], ["copy", "demo", "--to"]):
        done = CliRunner(env={"TUNER_STORAGE": None}).invoke(
            main, [*option, form.format("QXZJQXZJ", "QXZJQXZJ")]
        )
        assert done.exit_code in (1, 2)
        assert "Traceback" not in done.output
        assert "unexpected" not in done.output
        assert leaks("QXZJQXZJ", done.output) == []


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("sqlite:///tuner.db", "sqlite:///tuner.db"),
        ("sqlite:////tmp/a b.db", "sqlite:////tmp/a b.db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgres://me@host/db", "postgres://me@host/db"),
        ("postgresql:///db?host=/var/run", "postgresql:///db?host=/var/run"),
        ("postgresql://me@[::1]:5432/db", "postgresql://me@[::1]:5432/db"),
        ("postgresql://me:pw@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:@host/db", "postgresql://me:***@host/db"),
        ("postgres://me:pw@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:p%40w:@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:p/w?x#y@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:a\nb@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db?password=pw", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db?pass%77ord=pw", "postgresql://me:***@host/db"),
        ("postgresql://me:pw@host/db?password=pw", "postgresql://me:***@host/db"),
        ("postgresql:///db?host=h&password=pw", "postgresql://:***@/db?host=h"),
        (
            "postgresql://me@host/db?sslmode=require&sslpassword=pw&options=-cx%3Dy",
            "postgresql://me@host/db?sslmode=require&sslpassword=***&options=***",
        ),
        (
            "postgresql:///db?host=a:1&host=b:2&passfile=x",
            "postgresql:///db?host=a:1&host=b:2&passfile=***",
        ),
    ],
)
def test_a_masked_url_keeps_everything_but_its_secrets(typed: str, expected: str) -> None:
    assert masked_url(typed) == expected


def test_secret_values_are_those_that_errors_must_not_repeat() -> None:
    url = parse("postgresql://me:abc@host/db?sslpassword=longer&sslmode=require&options=-cx%3Dy")
    assert secret_values(url) == ["longer", "-cx=y"]  # three letters would be masked in every word


@pytest.mark.parametrize(
    ("typed", "driver", "rest"),
    [
        ("sqlite:///tuner.db", "sqlite", "tuner.db"),
        ("sqlite:////x/tuner.db", "sqlite", "/x/tuner.db"),
        ("sqlite+pysqlite:///tuner.db", "sqlite", "tuner.db"),
        ("sqlite+aiosqlite:///tuner.db", "sqlite", "tuner.db"),
        ("SQLite:///tuner.db", "sqlite", "tuner.db"),
        ("sqlite:///~/tuner.db", "sqlite", os.path.expanduser("~/tuner.db")),  # noqa: PTH111
        ("postgresql://me@host/db", "postgresql+psycopg", "db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg", "db"),
        ("postgres://me@host/db", "postgresql+psycopg", "db"),
        ("postgresql+psycopg2://me@host/db", "postgresql+psycopg", "db"),
        ("postgresql+asyncpg://me@host/db", "postgresql+psycopg", "db"),
        ("postgres+pg8000://me@host/db", "postgresql+psycopg", "db"),
        ("PostgreSQL://me@host/db", "postgresql+psycopg", "db"),
        ("postgresql:///?service=tuner", "postgresql+psycopg", ""),
        (" postgresql://me@host/db\n", "postgresql+psycopg", "db"),
    ],
)
def test_urls_of_other_drivers_are_normalised(typed: str, driver: str, rest: str) -> None:
    url = parse(typed)
    assert (url.drivername, url.database) == (driver, rest)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "not a database URL"),
        ("tuner", "not a database URL"),
        ("tuner.db", "tuner.db is a path, not a database URL; write sqlite:///tuner.db"),
        ("/x/tuner.db", "write sqlite:////x/tuner.db"),
        ("./a b/tuner.sqlite3", "write sqlite:///./a b/tuner.sqlite3"),
        ("~/tuner.db", "write sqlite:///~/tuner.db"),
        (r"C:\data\tuner.db", r"write sqlite:///C:\data\tuner.db"),
        ("sqlite:tuner.db", "three slashes before a relative path"),
        ("sqlite:/tuner.db", "three slashes before a relative path"),
        ("sqlite://tuner.db", "three slashes before a relative path"),
        ("sqlite://", "a study in memory cannot be shared by workers"),
        ("sqlite:///:memory:", "a study in memory cannot be shared by workers"),
        ("sqlite:///tuner.db?timeout=1", "takes no options after a question mark"),
        (r"sqlite:///C:\data\tuner.db", "path of Windows, and this is not Windows"),
        ("sqlite:///C:/data/tuner.db", "path of Windows, and this is not Windows"),
        ("sqlite:///~nobody-of-that-name/x.db", "the home folder"),
        ("sqlite:///a%00b.db", "zero byte"),
        ("mysql://me@host/db", "mysql:// cannot be used: only sqlite and postgresql are known"),
        ("host=h dbname=d user=u", "options of PostgreSQL's library are not a database URL"),
        ("postgresql://host", "postgresql://host names no database"),
        ("postgresql://me@host:0x1/db", "cannot be read for certain"),
        ("postgresql://me@host:70000/db", "the port of the database URL must be from 1 to 65535"),
        ("postgresql://me:p@ss@host/db", "a @ in a name or a password as %40"),
        ("postgresql://me@host/db?ssl=require", "option 1 after the question mark"),
        ("postgresql://me@host/db?sslmode=a&passwd=b", "option 2 after the question mark"),
        ("postgresql://me@host/db?sslmode=a&sslmode=b", "the option sslmode twice"),
        ("postgresql://me@host/db?prepare_threshold=-1", "must be a whole number or none"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_write(typed: str, words: str) -> None:
    with pytest.raises(StorageError) as caught:
        parse(typed)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("query", "threshold", "seconds"),
    [
        ("", None, 10),
        ("?prepare_threshold=none", None, 10),
        ("?prepare_threshold=0", 0, 10),
        ("?prepare_threshold=5&connect_timeout=3", 5, "3"),
    ],
)
def test_statements_are_prepared_only_where_the_url_asks_for_it(
    query: str, threshold: int | None, seconds: object
) -> None:
    found = connect_args(parse(f"postgresql://me@host/db{query}"))
    assert found["client_encoding"] == "utf8"
    assert found["connect_timeout"] == seconds
    assert found["prepare_threshold"] == threshold


def test_a_lost_network_is_noticed_within_a_minute_by_default() -> None:
    """By the system's own settings a connection is waited on for two hours."""
    url = "postgresql://me@host/db"
    found = connect_args(parse(url))
    unanswered = found["keepalives_idle"] + found["keepalives_interval"] * found["keepalives_count"]
    assert max(unanswered, found["tcp_user_timeout"] / 1000) <= 60
    assert connect_args(parse(f"{url}?keepalives_idle=90"))["keepalives_idle"] == "90"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///tuner.db", False),
        ("postgresql://me@host/db", False),
        ("postgresql://me:@host/db", False),
        ("postgresql://me@host/db?sslmode=require&passfile=x&options=-cx%3Dy", False),
        ("postgresql://me:pw@host/db", True),
        ("postgresql://me@host/db?password=pw", True),
        ("postgresql://me@host/db?sslpassword=pw", True),
        ("postgresql://me@host/db?oauth_client_secret=pw", True),
        ("postgresql://me@host/db?scram_client_key=pw", True),
    ],
)
def test_a_url_with_a_secret_is_known(url: str, *, expected: bool) -> None:
    assert holds_secret(url) == expected


@pytest.mark.parametrize(
    ("command", "variable"),
    [(["status", "--storage"], "TUNER_STORAGE"), (["copy", "x", "--to"], "TUNER_TO")],
)
def test_a_typed_url_with_a_password_is_refused(command: list[str], variable: str) -> None:
    done = CliRunner().invoke(main, [*command, "postgresql://me:QXZJ@127.0.0.1:1/db"])
    assert done.exit_code == 2
    assert f"{command[-1]} holds a password, which others on this machine" in done.stderr
    assert f"PGPASSWORD or ~/.pgpass, or set {variable} to the whole URL" in done.stderr
    assert "QXZJ" not in done.output


def test_a_password_in_the_url_of_the_environment_is_taken() -> None:
    url = "postgresql://me:QXZJ@127.0.0.1:1/db"
    done = CliRunner(env={"TUNER_STORAGE": url}).invoke(main, ["status"])
    assert done.exit_code == 1
    assert "postgresql://me:***@127.0.0.1:1/db does not answer" in done.stderr
