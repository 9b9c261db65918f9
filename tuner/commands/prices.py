"""`tuner prices`: the prices that a source has for a symbol, before a study uses them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from puffin.studies.prices.load import Prices
from puffin.studies.prices.validation import broken_rules
from puffin.studies.spec import parse_data
from puffin.studies.text import counted, printable, when
from puffin.tuner.messages import say, stdout
from puffin.tuner.submit import read_prices

_GAPS = 3  # of the longest gaps between bars are printed


def prices(keys: Mapping[str, str | None], *, refresh: bool) -> None:
    """Load prices as a study would, and print their facts and warnings.

    Parameters
    ----------
    keys : mapping
        Keys of ``[data]`` that name the prices; None for a key that is left out.
    refresh : bool

    Raises
    ------
    PuffinError
        If a key is not valid, or the prices cannot be loaded or used.
    """
    data: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
    # Only closes are required here; faults in the other columns are printed as warnings below.
    data |= {"features": ["price"], "target": "price"}
    loaded = read_prices(parse_data(data, "tuner prices"), refresh=refresh)
    out = stdout()
    out.print(Text(loaded.origin))
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(loaded):
        facts.add_row(f"  {name}", Text(printable(value)))
    out.print(facts)
    for warning in loaded.warnings:
        say(f"prices: {warning}")
    for fault in broken_rules(loaded.frame):
        say(f"prices: a study that reads all columns is refused: {fault}")


def _facts(prices: Prices) -> list[tuple[str, str]]:
    frame = prices.frame
    index = pd.DatetimeIndex(frame.index)
    longest = index.to_series().diff().dropna().nlargest(_GAPS)
    gaps = [f"{_length(gap)} before {when(at)}" for at, gap in longest.items()]
    splits = [f"{ratio:g} for 1 on {when(date)}" for date, ratio in prices.splits.items()]
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
    return counted(gap.days, "day")


def _closes(close: pd.Series) -> str:
    return f"{close.iloc[-1]:g} at last, lowest {close.min():g}, highest {close.max():g}"
