"""`tuner prices`: what a source has of a symbol, before a study is made of it."""

from datetime import datetime

import click
import numpy as np
import pandas as pd

from studies.prices import Prices, load_prices
from studies.validation import when

_WIDTH, _HEIGHT, _GAPS = 72, 8, 3
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def prices(
    symbol: str,
    source: str,
    start: datetime | None,
    end: datetime | None,
    period: str | None,
    interval: str,
    *,
    refresh: bool,
) -> None:
    """Load prices as a study would, and print what they are.

    Raises
    ------
    DataError
        If they cannot be had, or not be used.
    """
    first, last = (None if day is None else day.date() for day in (start, end))
    found = load_prices(source, symbol, None, first, last, period, interval, refresh=refresh)
    click.echo(found.origin)
    for name, value in _facts(found):
        click.echo(f"  {name:<16} {value}")
    click.echo()
    for line in chart(found.frame["close"].to_numpy()):
        click.echo(line)
    for warning in found.warnings:
        click.echo(f"prices: {warning}", err=True)


def _facts(found: Prices) -> list[tuple[str, str]]:
    frame = found.frame
    index = pd.DatetimeIndex(frame.index)
    longest = index.to_series().diff().dropna().nlargest(_GAPS)
    gaps = [f"{_length(gap)} before {when(at)}" for at, gap in longest.items()]
    splits = [f"{ratio:g} for 1 on {when(date)}" for date, ratio in found.splits.items()]
    return [
        ("bars", f"{len(frame)}, from {when(index[0])} to {when(index[-1])}"),
        ("columns", ", ".join(map(str, frame.columns))),
        (
            "longest gaps",
            ", ".join(gaps),
        ),
        ("splits", ", ".join(splits) or "none"),
        ("close, adjusted", _closes(frame["close"])),
    ]


def _length(gap: pd.Timedelta) -> str:
    return f"{gap.days} days" if gap >= pd.Timedelta(days=1) else str(gap).removeprefix("0 days ")


def _closes(close: pd.Series) -> str:
    return f"{close.iloc[-1]:g} at last, lowest {close.min():g}, highest {close.max():g}"


def chart(values: np.ndarray) -> list[str]:
    """Draw values, (bars,), as lines of text, the highest on top.

    Each column stands for equally many bars and shows the last of them.
    """
    columns = min(len(values), _WIDTH)
    shown = values[
        np.linspace(len(values) / columns - 1, len(values) - 1, columns).round().astype(int)
    ]
    low, high = shown.min(), shown.max()
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
