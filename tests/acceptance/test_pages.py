"""Every block of the pages runs, from top to bottom, and prints what the page shows."""

import contextlib
import io
import re
import shlex
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from tests.acceptance.helpers import Command, Finished
from tests.pages import ROOT, blocks, typed

PAGES = ("tutorial", "notebook", "first", "baskets")


def differences(shown: str, printed: str) -> list[tuple[str, str]]:
    """Compare word by word: words must be equal, and figures nearly, because machines differ."""
    parts = [re.findall(r"[A-Za-z]+|[+-]?[\d.]*\d", without_times(t)) for t in (shown, printed)]
    if len(parts[0]) != len(parts[1]):
        return [(shown, printed)]
    return [(a, b) for a, b in zip(*parts, strict=True) if a != b and not alike(a, b)]


def without_times(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "seconds" not in line)


def alike(shown: str, printed: str) -> bool:
    """Return whether two figures agree within a tenth, or counts within one."""
    try:
        a, b = float(shown), float(printed)
    except ValueError:
        return False
    slack = 1.0 if shown.isdigit() else 0.02
    return abs(a - b) <= max(0.1 * abs(a), slack)


def run_python(body: str, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(body, "page", "exec"), names)  # noqa: S102  # our own page
    return out.getvalue()


def run_console(body: str, command: Callable[..., Any]) -> str:
    """Run the commands and return the output of the last one."""
    out = ""
    for line in body.splitlines():
        dollar, program, *args = shlex.split(line)
        assert (dollar, program) == ("$", "tuner")
        # Any number of workers gives these figures, and one is the fastest.
        if args[0] in {"run", "report"}:
            args += ["--workers", "1"]
        code, out, err = command(*args)
        assert code == 0, f"{line}\n{err}"
    return out


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_page_runs_and_prints_what_it_shows(
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
) -> None:
    if name != "notebook":  # no other test has `puffin.search` start processes
        request.getfixturevalue("trains_here")
    page = (ROOT / f"docs/{name}.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    load_prices("sample", PriceRequest("AAPL", None, date(2008, 1, 1))).frame.to_csv("prices.csv")
    names: dict[str, Any] = {}
    printed, shown = "", 0
    for language, body in blocks(page):
        if language == "python":
            printed = run_python(body, names)
        elif language == "console":
            printed = run_console(body, command)
        elif language == "toml":
            (tmp_path / body.splitlines()[0].removeprefix("# ")).write_text(body, "utf-8")
        else:
            assert language == "text"
            assert differences(body, printed) == []
            shown += 1
    assert shown == len(re.findall("^```text$", page, flags=re.MULTILINE))


def test_the_commands_of_the_readme_run(
    reported: Finished, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a study that has been searched and judged: the whole search of the page takes minutes."""
    monkeypatch.chdir(reported.copy(tmp_path).folder)
    page = (ROOT / "README.md").read_text("utf-8")
    (block,) = (body for _, body in blocks(page) if "tuner check" in body)
    for page_has, is_here in (("my.toml", "x.toml"), ("my-first", "tiny-study --top 2")):
        assert page_has in block
        block = block.replace(page_has, is_here)
    *commands, last = (args for line in block.splitlines() for args in typed(line))
    assert last == ["dashboard"]  # which never ends: test_dashboard.py runs it
    for args in commands:
        done = command(*args)
        assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("printed", "differs"),
    [
        ("skill  +17.9 %\nseconds 9", []),
        ("skill -17.4 %\nseconds 1", [("+17.4", "-17.4")]),
        ("skill +99.9 %\nseconds 1", [("+17.4", "+99.9")]),
        ("skull +17.4 %\nseconds 1", [("skill", "skull")]),
    ],
)
def test_a_word_or_figure_not_on_the_page_is_a_difference(
    printed: str, differs: list[tuple[str, str]]
) -> None:
    assert differences("skill +17.4 %\nseconds 1", printed) == differs
