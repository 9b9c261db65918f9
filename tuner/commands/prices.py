"""`tuner prices`: what a source has of a symbol, before a study is made of it."""

from collections.abc import Mapping
from typing import Any

import click
import numpy as np
import pandas as pd

from puffin.studies.prices.load import Prices
from puffin.studies.prices.validation import broken_rules
from puffin.studies.spec import parse_data
from puffin.studies.text import when
from puffin.tuner.commands.run import read_prices

_WIDTH, _HEIGHT, _GAPS = 72, 8, 3
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def prices(wanted: Mapping[str, str | None], *, refresh: bool) -> None:
    """Load prices as a study would, and print what they are.

    Parameters
    ----------
    wanted : mapping
        Keys of ``[data]`` that tell which bars; None where one is left out.
    refresh : bool

    Raises
    ------
    PuffinError
        If the keys break a rule, or the prices cannot be had or not be used.
    """
    given: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    # A look reads the closes alone; what keeps a study from reading the rest is said below.
    given |= {"features": ["price"], "target": "price"}
    found = read_prices(parse_data(given, "tuner prices"), refresh=refresh)
    click.echo(found.origin)
    for name, value in _facts(found):
        click.echo(f"  {name:<16} {value}")
    click.echo()
    for line in chart(found.frame["close"].to_numpy()):
        click.echo(line)
    for warning in found.warnings:
        click.echo(f"prices: {warning}", err=True)
    for fault in broken_rules(found.frame):
        click.echo(f"prices: a study that reads all columns is refused: {fault}", err=True)


def _facts(found: Prices) -> list[tuple[str, str]]:
    frame = found.frame
    index = pd.DatetimeIndex(frame.index)
    longest = index.to_series().diff().dropna().nlargest(_GAPS)
    gaps = [f"{_length(gap)} before {when(at)}" for at, gap in longest.items()]
    splits = [f"{ratio:g} for 1 on {when(date)}" for date, ratio in found.splits.items()]
    return [
        ("bars", f"{len(frame)}, from {when(index[0])} to {when(index[-1])}"),
        ("columns", ", ".join(map(str, frame.columns))),
        ("longest gaps", ", ".join(gaps)),
        ("splits", ", ".join(splits) or "none"),
        ("close, adjusted", _closes(frame["close"])),
    ]


def _length(gap: pd.Timedelta) -> str:
    if gap < pd.Timedelta(days=1):
        return str(gap).removeprefix("0 days ")
    return f"{gap.days} day{'s' * (gap.days > 1)}"


def _closes(close: pd.Series) -> str:
    return f"{close.iloc[-1]:g} at last, lowest {close.min():g}, highest {close.max():g}"


def chart(values: np.ndarray) -> list[str]:
    """Draw values, (bars,), as lines of text, the highest on top.

    Each column stands for about equally many bars and shows the last of them; the lowest and the
    highest that are told are those of all.
    """
    columns = min(len(values), _WIDTH)
    shown = values[np.arange(1, columns + 1) * len(values) // columns - 1]
    low, high = values.min(), values.max()
    # From an eighth of a line to all of them, so that the lowest can be seen.
    spread = high - low or 1.0
    eighths = 1 + np.round((shown - low) / spread * (8 * _HEIGHT - 1)).astype(int)
    lines = [
        "".join(_EIGHTHS[level] for level in np.clip(eighths - 8 * line, 0, 8))
        for line in reversed(range(_HEIGHT))
    ]
    labels = [f"{high:.6g}", *[""] * (_HEIGHT - 2), f"{low:.6g}"]
    width = max(map(len, labels))
    return [f"{label:>{width}} {line.rstrip()}" for label, line in zip(labels, lines, strict=True)]
