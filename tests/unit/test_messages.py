"""Messages as users read them: one line in a file, commands quoted for a shell."""

import io
import shlex

import pytest
from rich.console import Console

from puffin.tuner import messages


def test_a_message_in_a_file_is_not_wrapped_and_shows_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "word " * 40 + "[/x] \x1b[2J"
    messages.say(f"{long}\nsecond line")
    assert capsys.readouterr().err == "word " * 40 + "[/x] \\x1b[2J\nsecond line\n"


NEXT = "sqlite:///my data/tuner $HOME.db"


def test_the_next_steps_are_quoted_for_a_shell() -> None:
    study, _, *steps = messages.next_steps("demo", NEXT, None).splitlines()
    assert study == f"study   demo in {NEXT}"
    commands = [step[8:].partition("   ")[0] for step in steps]
    assert [shlex.split(command) for command in commands] == [
        ["tuner", *words, "--storage", NEXT]
        for words in (["report", "demo"], ["compare", "demo"], ["best", "demo"], ["dashboard"])
    ]


def test_a_command_has_its_own_line_if_the_terminal_is_too_narrow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow = Console(file=io.StringIO(), width=80, markup=False, emoji=False, highlight=False)
    monkeypatch.setattr(messages, "stdout", lambda: narrow)
    lines = messages.next_steps("n" * 40, NEXT, None, "27 trainings, about 3 min").splitlines()
    command = f"tuner report {'n' * 40} --storage '{NEXT}'"
    why = "opens the sealed holdout; 27 trainings, about 3 min"
    assert lines[2:4] == [f"next    {command}", f"            {why}"]
    assert len(lines[3]) <= 80
