"""Consoles, and messages that users can act on. stdout is data, stderr is messages."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from puffin.studies.storage.url import masked_url
from puffin.studies.text import printable, printable_lines

# Output to a file is neither cut nor wrapped.
FILE_WIDTH = 10_000


class _Results(Console):
    """A console that leaves a broken pipe to the command line, which then ends without a word."""

    def on_broken_pipe(self) -> None:
        """Raise what the write has raised."""
        raise BrokenPipeError


# Names may contain anything, so nothing in them is markup.
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}


def stdout() -> Console:
    """Return the console for results."""
    return _wide_enough(_Results(width=_width(sys.stdout), **_PLAIN))


def stderr() -> Console:
    """Return the console for messages."""
    return _wide_enough(Console(stderr=True, width=_width(sys.stderr), **_PLAIN))


def _width(stream: TextIO) -> int | None:
    return None if stream.isatty() else FILE_WIDTH


def _wide_enough(console: Console) -> Console:
    if console.width < 1:  # COLUMNS=0
        console.width = 80
    return console


def say(message: str, console: Console | None = None) -> None:
    """Print a message to stderr, wrapped between words on a terminal and unwrapped in a file."""
    out = console or stderr()
    out.print(Text(printable_lines(message)), soft_wrap=not out.is_terminal)


def shell_command(*words: str, storage: str = "") -> str:
    """Return a command of this program, quoted for a shell.

    Parameters
    ----------
    words : str
        The command and its arguments.
    storage : str
        Database of the command. It is left out if it is the default, or if it contains a password,
        which is not shown: TUNER_STORAGE has it.
    """
    options = []
    if storage not in ("", "sqlite:///tuner.db") and masked_url(storage) == storage:
        options = ["--storage", storage]
    return shlex.join(["tuner", *words, *options])


_IN_ENVIRONMENT = " (the commands below take it from TUNER_STORAGE)"
_INDENT = " " * 8


def next_steps(name: str, storage: str, folder: Path | None, cost: str = "") -> str:
    """Return where the results are and which commands to type next.

    Parameters
    ----------
    name : str
        Of a finished search.
    storage : str
        Its database.
    folder : Path or None
        Of the export, if there is one.
    cost : str
        What ``tuner report`` has to train, and how long that takes.
    """
    shown = masked_url(storage)
    report, compare, best, dashboard = (
        shell_command(*words, storage=storage)
        for words in (["report", name], ["compare", name], ["best", name], ["dashboard"])
    )
    steps = {
        report: "opens the sealed holdout" + (f"; {cost}" if cost else ""),
        compare: "best LSTM beside best GRU",
        best: "the configuration as TOML",
        dashboard: "every trial in a browser",
    }
    first, *others = _two_columns(steps, stdout().width - len(_INDENT))
    return "\n".join(
        [
            f"study   {printable(name)} in {shown}{_IN_ENVIRONMENT if shown != storage else ''}",
            f"export  {f'{folder}/' if folder else 'none'}",
            f"next    {first}",
            *(f"{_INDENT}{line}" for line in others),
        ]
    )


def _two_columns(steps: Mapping[str, str], width: int) -> list[str]:
    """Return lines of commands and their purpose, which is on a line below if it is too wide."""
    longest = max(map(len, steps))
    lines = [f"{command:{longest}}   {purpose}" for command, purpose in steps.items()]
    if max(map(len, lines)) <= width:
        return lines
    return [line for command, why in steps.items() for line in (command, f"    {why}")]
