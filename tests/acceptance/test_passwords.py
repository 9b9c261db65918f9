"""The password in the URL of a database is shown to nobody."""

import traceback
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from puffin.tuner import messages
from puffin.tuner.cli import main
from tests.acceptance.helpers import Command, Run

SECRET = "s3cr3t"  # noqa: S105  # of a database that is not there
# Nobody listens on port 1.
URLS = {
    "before the host": f"postgresql://me:{SECRET}@127.0.0.1:1/db",
    "as an option": f"postgresql://me@127.0.0.1:1/db?password={SECRET}",
    "among options": f"postgresql://me@127.0.0.1:1/db?sslmode=disable&password={SECRET}",
    "twice": f"postgresql://me:{SECRET}1@127.0.0.1:1/db?password={SECRET}2",
    "with its driver": f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db",
    "of two words": f"postgresql://me:{SECRET} {SECRET}@127.0.0.1:1/db",
}
FROM_ENVIRONMENT = " (the commands below take it from TUNER_STORAGE)"
COMMANDS = [
    ["run", "demo"],
    ["submit", "demo"],
    ["worker"],
    ["status"],
    ["best", "demo"],
    ["init"],
    ["copy", "demo", "--to", "sqlite:///x.db"],
    ["dashboard"],
    ["delete", "demo"],
]


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_no_command_shows_the_password_of_an_unreachable_server(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in URLS.values():
        for debug in ([], ["--debug"]):
            done = CliRunner(env={"TUNER_STORAGE": url}).invoke(main, [*debug, *args])
            assert done.exit_code == 1, (url, done.output)
            said = done.output + "".join(traceback.format_exception(done.exception))
            assert "does not answer" in said, (url, said)
            assert SECRET not in said


def test_a_wrong_password_is_refused_and_not_shown(
    own_postgres: Any, tuner: Run, command: Command, tmp_path: Path
) -> None:
    url = own_postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE puffin PASSWORD '{SECRET}'")
    own_postgres.stop()
    (own_postgres.folder / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    own_postgres.start()
    host = url.rpartition("@")[2]
    forms = [
        f"postgresql://puffin:{{}}@{host}",
        f"postgresql://puffin@{host}?password={{}}",
        f"postgresql://{host}?user=puffin&password={{}}",
    ]
    for form in forms:
        code, out, err = command("init", TUNER_STORAGE=form.format(SECRET))
        assert (code, out) == (0, ""), (form, err)
        assert err.endswith(" is ready\n")
        assert SECRET not in err
    wrong = [form.format(f"{SECRET}-not") for form in forms]
    answers = [
        tuner("--debug", "status", cwd=tmp_path, TUNER_STORAGE=wrong[0]),
        *(command(*args, TUNER_STORAGE=u) for u in wrong for args in COMMANDS[3:6]),
    ]
    assert answers[0].err.startswith("Traceback")
    for code, out, err in answers:
        assert (code, out) == (1, "")
        assert 'password authentication failed for user "puffin"' in err
        assert SECRET not in err


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_worker_refuses_a_typed_password_before_connecting(url: str, command: Command) -> None:
    """A process shows what was typed for as long as it lives."""
    code, out, err = command("worker", "--forever", f"--storage={url}")
    assert (code, out) == (2, "")
    assert "the URL of --storage holds a password" in err
    assert SECRET not in err


@pytest.mark.parametrize(
    "args",
    [
        ["status", "{}"],
        ["status", "demo", "{}"],
        ["run", "{}"],
        ["{}"],
        ["worker", "--max-trials", "{}"],
        ["dashboard", "--host", "{}"],
        ["check", "demo", "--set", "{}"],
    ],
)
def test_a_misplaced_url_is_shown_without_its_password(
    args: list[str], tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command("init")
    for url in (*URLS.values(), f"postgresql://me:p@{SECRET}@host/db"):
        code, out, err = command(*(word.format(url) for word in args))
        assert code in (1, 2)
        assert "://" in err
        assert SECRET not in out + err


@pytest.mark.parametrize(
    ("storage", "where", "option"),
    [
        ("sqlite:///tuner.db", "sqlite:///tuner.db", ""),
        ("sqlite:///x.db", "sqlite:///x.db", " --storage sqlite:///x.db"),
        (
            "postgresql:///db?host=/var/run",
            "postgresql:///db?host=/var/run",
            " --storage 'postgresql:///db?host=/var/run'",
        ),
        *(
            (
                url,
                f"postgresql://me:***@127.0.0.1:1/db{FROM_ENVIRONMENT}",
                "",
            )
            for url in (URLS["before the host"], URLS["as an option"])
        ),
    ],
)
def test_the_next_steps_are_valid_commands_without_passwords(
    storage: str, where: str, option: str
) -> None:
    study, export, *steps = messages.next_steps("demo", storage, None).splitlines()
    assert study == f"study   demo in {where}"
    assert export == "export  none"
    assert [step[8:].partition("   ")[0] for step in steps] == [
        f"tuner report demo{option}",
        f"tuner compare demo{option}",
        f"tuner best demo{option}",
        f"tuner dashboard{option}",
    ]


def test_a_url_without_a_password_is_shown_in_normal_form(
    command: Command,
) -> None:
    _, _, err = command("status", "--storage", "postgresql://me@127.0.0.1:1/db?options=-cx%3Dy")
    assert "the database postgresql://me@127.0.0.1:1/db?options=*** does not answer" in err
