"""The blocks of the pages, and the commands that are written down."""

import re
import shlex
from pathlib import Path

import click

from puffin.tuner.cli import main

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and body of each block of a text, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def mistake(args: list[str]) -> str | None:
    """Return what click finds wrong with the arguments of a `tuner` command, or None."""
    name, *rest = args
    if name not in main.commands:
        return "--help" if args == ["--help"] else f"no command {name}"
    try:
        with main.commands[name].make_context(name, rest):
            return None
    except click.exceptions.Exit:
        return None  # --help
    except click.UsageError as error:
        return f"{name}: {error.format_message()}"


def typed(line: str) -> list[list[str]]:
    """Return the arguments of each `tuner` command in a line of shell."""
    words = shlex.split(line, comments=True)
    places = [i for i, word in enumerate(words) if word.rpartition("/")[2] == "tuner"]
    return [words[i + 1 :] for i in places]
