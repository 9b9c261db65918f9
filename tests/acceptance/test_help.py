"""Help is instant, complete, and its examples can be typed as they stand."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from puffin.tuner.cli import main
from puffin.tuner.group import SECTIONS
from tests.acceptance.helpers import Run

COMMANDS = sorted(main.commands)
ROOT = Path(__file__).parents[2]


def examples(text: str) -> list[list[str]]:
    """Return the lines below "Example:", split as by a shell."""
    return [shlex.split(line) for line in text.partition("Example:\n")[2].splitlines() if line]


def options(text: str) -> set[str]:
    """Return the options that a help page lists."""
    words = text.partition("Options:")[2].partition("Example:")[0].replace(",", " ").split()
    return {word for word in words if word.startswith("-")}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_help_can_be_parsed(name: str, tuner: Run) -> None:
    code, out, err = tuner(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: tuner {name} ")
    assert examples(out)
    for program, command, *rest in examples(out):
        assert (program, command) == ("tuner", name)
        assert {word for word in rest if word.startswith("-")} <= options(out)
        # Raises click.UsageError unless the whole line is right.
        with main.commands[name].make_context(name, rest):
            pass


def test_an_unknown_option_in_an_example_is_detected() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        main.commands["run"].make_context("run", ["demo", "--speed", "9"])


def test_help_lists_every_command_in_a_section_in_whole_sentences(tuner: Run) -> None:
    code, out, err = tuner("--help", COLUMNS="80")
    assert (code, err) == (0, "")
    rows = [line.split(maxsplit=1) for line in out.splitlines() if re.match("  [a-z]+  ", line)]
    assert sorted(name for name, _ in rows) == COMMANDS
    assert [text for _, text in rows if not text.endswith(".") or text.endswith("..")] == []
    assert sorted(name for names in SECTIONS.values() for name in names) == COMMANDS


def test_no_help_page_imports_a_heavy_module() -> None:
    program = f"""
import sys
from puffin.tuner.cli import main
for args in [["--help"], *([name, "--help"] for name in {COMMANDS!r})]:
    try:
        main(args)
    except SystemExit as end:
        assert end.code == 0, args
heavy = {{"torch", "optuna", "numpy", "pandas", "sqlalchemy", "sklearn"}}
sys.exit(f"imported: {{heavy & set(sys.modules)}}" if heavy & set(sys.modules) else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: ") == len(COMMANDS) + 1


def test_help_takes_less_than_three_tenths_of_a_second(tuner: Run) -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert tuner("--help").code == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 0.3


def test_every_command_is_documented() -> None:
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    text = " ".join(page.read_text("utf-8") for page in pages if page.exists())
    words = " ".join(text.replace("`", " ").split()) + " "
    assert [name for name in COMMANDS if f"tuner {name} " not in words] == []


def test_the_version_is_that_of_the_distribution(tuner: Run) -> None:
    code, out, err = tuner("--version")
    assert (code, err) == (0, "")
    assert f'version = "{out.split()[-1]}"' in (ROOT / "pyproject.toml").read_text("utf-8")
