"""The root command: one line and an exit code for each error, and usable standard streams."""

import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from puffin.models.errors import PuffinError
from puffin.studies.text import first_line, printable_lines
from puffin.tuner.worker.log_format import JsonFormatter, StderrHandler

_INTERRUPTED = 130  # a shell's exit code for SIGINT
_ARGUMENTS = f"{__name__}.arguments"  # key of the typed arguments in the context


# The sections of `tuner --help`. A command that is not listed here is in the last one.
SECTIONS = {
    "Search": ("run", "submit", "worker"),
    "Look": ("status", "trials", "best", "compare", "dashboard"),
    "Judge": ("report", "walk", "targets", "judge", "reproduce"),
    "Use": ("export", "predict"),
    "Prepare": ("check", "prices", "schema", "init"),
    "Manage": ("pause", "resume", "priority", "extend", "copy", "delete"),
}


class CommandGroup(click.Group):
    """A group whose errors are one line and an exit code; a traceback only with --debug."""

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in sections, in the order in which they are used."""
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(sorted(set(self.commands) - listed))
        *_, last = SECTIONS
        width = max(map(len, self.commands))
        for title, names in (SECTIONS | {last: SECTIONS[last] + others}).items():
            rows = [
                (f"{name:{width}}", self.commands[name].get_short_help_str(limit=formatter.width))
                for name in names
                if name in self.commands
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments as they were typed, so that messages can hide passwords in them."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and end with a message and an exit code if it raises."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            shown = _hide_passwords(ctx, error.format_message())
            raise click.UsageError(shown, error.ctx) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)
        except BrokenPipeError:  # the reader of stdout has ended, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for the flush at exit
            sys.exit(0)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            _write_error(_hide_passwords(ctx, _describe(error)))
            sys.exit(1)


def write_message(message: str) -> None:
    """Write a message to stderr without loading rich, wrapped between words on a terminal.

    Control characters are escaped.
    """
    lines = printable_lines(message).split("\n")
    if sys.stderr.isatty():
        lines = [_wrapped(line, shutil.get_terminal_size().columns) for line in lines]
    click.echo("\n".join(lines), err=True)


def _wrapped(line: str, width: int) -> str:
    """Return a line wrapped between words, which keep their indentation."""
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line,
        max(width, 20),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _write_error(message: str) -> None:
    """Write the error that ends a command, as JSON if the log is JSON."""
    if any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers):
        logging.getLogger(__name__).error("%s", message)
    else:
        write_message(f"error: {message}")


@contextmanager
def logging_to_stderr(*, debug: bool) -> Iterator[None]:
    """Log to stderr meanwhile: warnings and errors, or everything of this program."""
    root, handler = logging.getLogger(), StderrHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    _quieten_libraries()
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _quieten_libraries() -> None:
    for verbose in ("alembic", "sqlalchemy", "urllib3", "optuna"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
    # matplotlib warns if there is no home for its list of fonts, as in a container.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # waitress logs each request that waits for a thread, and a browser sends many at once.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def open_closed_streams() -> None:
    """Open the null device for each standard stream that was closed.

    Otherwise the next file that is opened, such as a database, would get the stream's number, and
    library output would be written into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            stream = open(os.devnull, mode)  # noqa: SIM115, PTH123  # until the program ends
            if stream.fileno() != number:
                os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)


def _hide_passwords(ctx: click.Context, message: str) -> str:
    """Mask each typed URL that may contain a password, whichever argument it was."""
    for argument in ctx.meta.get(_ARGUMENTS, ()):
        url = re.search(r"(\w[\w+.-]*://)(.*[@?;=].*)", argument, re.DOTALL)
        if url and _may_hold_password(url[0]):
            before_host = url[0].rpartition("@")[0] or url[0]
            for part in (url[0], repr(url[0])[1:-1], before_host):
                message = message.replace(part, f"{url[1]}***")
    return message


def _may_hold_password(url: str) -> bool:
    from puffin.studies.storage.url import holds_secret

    try:
        return holds_secret(url)
    except PuffinError:
        return True


def _describe(error: Exception) -> str:
    """Return an error as a message for users."""
    kind = type(error)
    if isinstance(error, PuffinError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        what = repr(error.filename) if error.filename else "the output"
        return f"cannot read or write {what}: {error.strerror}"
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if kind.__module__.startswith("sqlalchemy") or kind.__name__ == "StorageInternalError":
        from puffin.studies.storage.errors import cause_of

        return f"the database failed: {cause_of(error)}"
    return f"unexpected {kind.__name__}: {first_line(error)}; `tuner --debug ...` shows where"
