"""The lines of a log: text or JSON, each with time, level, worker, study and trial.

Importable without Optuna, because every command logs.
"""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import click

from puffin.studies.text import printable_lines

# A thread starts without a trial.
_AT: ContextVar[tuple[str, int] | None] = ContextVar("trial", default=None)
EVENTS = logging.getLogger("puffin.tuner.worker")


class StderrHandler(logging.Handler):
    """Writes to stderr; control characters, which names may contain, are escaped."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless nobody reads stderr any more."""
        with suppress(OSError):
            click.echo(printable_lines(self.format(record)), err=True)


@contextmanager
def at_trial(study: str, number: int) -> Iterator[None]:
    """Add study and trial to what this thread logs meanwhile."""
    token = _AT.set((study, number))
    try:
        yield
    finally:
        _AT.reset(token)


class TextFormatter(logging.Formatter):
    """Lines like ``2026-11-27T00:40:12Z INFO host:7 demo trial 3: complete, loss 0.6081``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line, and its traceback below."""
        at = _AT.get()
        words = [_time(record), record.levelname, _process()]
        message = record.getMessage()
        if at is not None:
            words.append(f"{at[0]} trial {at[1]}")
            message = message.removeprefix(f"trial {at[1]}").lstrip(": ")
        line = f"{' '.join(words)}: {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Lines of JSON with time, level, worker, study, trial, message, and figures of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as an object in one line."""
        study, trial = _AT.get() or (None, None)
        values: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "worker": _process(),
            "study": study,
            "trial": trial,
            "message": record.getMessage(),
            **getattr(record, "figures", {}),
        }
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values)


@contextmanager
def events_logged(*, quiet: bool, structured: bool, forwarded: bool) -> Iterator[None]:
    """Log the events of a worker meanwhile.

    Parameters
    ----------
    quiet : bool
        Log warnings and errors only.
    structured : bool
        Log lines of JSON.
    forwarded : bool
        Log bare messages, because the program that reads them adds the rest.
    """
    if not forwarded:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, StderrHandler):
                handler.setFormatter(JsonFormatter() if structured else TextFormatter())
    level = EVENTS.level
    if not quiet:
        EVENTS.setLevel(min(logging.INFO, logging.getLogger().level))
    try:
        yield
    finally:
        EVENTS.setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
