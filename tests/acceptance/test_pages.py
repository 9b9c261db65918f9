"""Every block of the tutorial page does what the page says: it is run here, from top to bottom."""

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text("utf-8")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Give language and body of each block, in order."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def words(text: str) -> list[str]:
    """Give what is no figure: figures differ between machines, and with them their width."""
    return re.findall(r"[A-Za-z]+", text)


def run_python(body: str, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(body, "docs/tutorial.md", "exec"), names)  # noqa: S102  # our own page
    return out.getvalue()


def run_console(body: str, command: Callable[..., Any]) -> str:
    """Run the commands, and give what the last one printed."""
    out = ""
    for line in body.splitlines():
        dollar, program, *args = shlex.split(line)
        assert (dollar, program) == ("$", "tuner")
        code, out, err = command(*args)
        assert code == 0, f"{line}\n{err}"
    return out


@pytest.mark.timeout(600)
def test_every_block_of_the_tutorial_runs_and_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed, shown = "", 0
    for language, body in blocks(PAGE):
        if language == "python":
            printed = run_python(body, names)
        elif language == "console":
            printed = run_console(body, command)
        elif language == "toml":
            (tmp_path / body.splitlines()[0].removeprefix("# ")).write_text(body, "utf-8")
        else:
            assert language == "text"
            assert words(body) == words(printed)
            shown += 1
    assert shown == len(re.findall("^```text$", PAGE, flags=re.MULTILINE)) > 0


def test_figures_are_no_words() -> None:
    assert words("skill  +17.4 % of 300 bars [0.1 0.2]") == ["skill", "of", "bars"]
