"""`tuner prices`: the prices that a source has for symbols, before a study uses them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from puffin.studies.prices.basket import Basket
from puffin.studies.prices.load import Prices
from puffin.studies.prices.validation import broken_rules
from puffin.studies.spec import parse_data
from puffin.studies.text import counted, printable, when
from puffin.tuner.columns import new_table
from puffin.tuner.messages import say, stdout
from puffin.tuner.submit import read_prices

_GAPS = 3  # of the longest gaps between bars are printed


def prices(symbols: Sequence[str], keys: Mapping[str, str | None], *, refresh: bool) -> None:
    """Load prices as a study would, and print their facts and warnings.

    Parameters
    ----------
    symbols : sequence of str
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
    data |= {"symbols": list(symbols), "features": ["price"], "target": "price"}
    basket = read_prices(parse_data(data, "tuner prices"), refresh=refresh)
    if len(basket.members) == 1:
        _print_facts(next(iter(basket.members.values())))
    else:
        stdout().print(_table(basket))
    for warning in basket.warnings:
        say(f"prices: {warning}")
    for symbol, frame in basket.frames.items():
        of = f"{symbol}: " if len(basket.members) > 1 else ""
        for fault in broken_rules(frame):
            say(f"prices: {of}a study that reads all columns is refused: {fault}")


def _print_facts(prices: Prices) -> None:
    out = stdout()
    out.print(Text(prices.origin))
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(prices):
        facts.add_row(f"  {name}", Text(printable(value)))
    out.print(facts)


def _table(basket: Basket) -> Table:
    """Return one row for each symbol; what was repaired is counted, and printed as warnings."""
    table = new_table("symbol", "first", "last", "bars", "warnings", "source")
    for symbol, prices in basket.members.items():
        index = prices.frame.index
        row = [symbol, when(index[0]), when(index[-1]), len(index), len(prices.warnings)]
        table.add_row(*(Text(printable(str(cell))) for cell in [*row, prices.origin]))
    return table


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
