"""What the symbols of a basket do on average at each bar, of what was known when it closed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.features import MARKET, Needs, log_size
from puffin.studies.prices.calendar import Market
from puffin.studies.prices.load import ValidatedBars
from puffin.studies.prices.names import DataError

# The means that there are, by name: of a log return, and of the log of its size.
_VALUES = {"return": lambda returns: returns, "volatility": log_size}


def with_market(bars: Mapping[str, ValidatedBars], needs: Needs) -> dict[str, ValidatedBars]:
    """Add to the bars of each symbol the columns ``MARKET + name`` that are read, if any.

    They are means over the symbols that have a bar of the same time stamp, in the local times of
    their exchanges, which is known when the symbol's own bar is known. A symbol counts from its
    second bar on, the first with a return. The order of the symbols changes no bit.

    Raises
    ------
    DataError
        If one is read and the basket has one symbol.
    """
    wanted = [name for name in _VALUES if MARKET + name in needs.reads]
    if not wanted:
        return dict(bars)
    if len(bars) == 1:
        raise DataError(
            f"{needs.reads[MARKET + wanted[0]]} is a mean over the symbols of a study, so there "
            f"must be at least two, but there is {next(iter(bars))}: add symbols, or leave the "
            "feature out"
        )
    times = _all_times(bars)
    totals = _totals(bars, times)
    return {symbol: _joined(own, times, totals, wanted) for symbol, own in bars.items()}


def _all_times(bars: Mapping[str, ValidatedBars]) -> pd.DatetimeIndex:
    every = np.concatenate([own.frame.index.to_numpy() for own in bars.values()])
    return pd.DatetimeIndex(np.unique(every))


@dataclass(frozen=True, eq=False)
class _Totals:
    """Sums over the symbols of one market at each time.

    Attributes
    ----------
    count : array, (times,), symbols that have a return
    sums : dict of array, (times,), by name
    known : DatetimeIndex, (times,), when the bars are known at the latest
    """

    count: Floats
    sums: dict[str, Floats]
    known: pd.DatetimeIndex


def _totals(
    bars: Mapping[str, ValidatedBars], times: pd.DatetimeIndex
) -> dict[Market | None, _Totals]:
    found: dict[Market | None, _Totals] = {}
    # Sorted, because sums of another order differ in the last bit.
    for _, own in sorted(bars.items()):
        if own.market not in found:
            zeros = {name: np.zeros(len(times)) for name in _VALUES}
            known = own.known_at("24:00", times)
            found[own.market] = _Totals(np.zeros(len(times)), zeros, known)
        at, values = times.get_indexer(own.frame.index)[1:], _values(own)
        found[own.market].count[at] += 1
        for name, sums in found[own.market].sums.items():
            sums[at] += values[name][1:]
    return found


def _values(own: ValidatedBars) -> dict[str, Floats]:
    returns = np.diff(np.log(own.frame["close"].to_numpy()), prepend=np.nan)
    return {name: compute(returns) for name, compute in _VALUES.items()}


def _joined(
    own: ValidatedBars,
    times: pd.DatetimeIndex,
    totals: Mapping[Market | None, _Totals],
    wanted: list[str],
) -> ValidatedBars:
    at = times.get_indexer(own.frame.index)
    # If the end of a session is unknown, assume the earliest for the bar and the latest for those
    # of the other symbols, so that no value from the future is used.
    now = own.known_at("00:00")
    known = {market: total.known[at] <= now for market, total in totals.items()}
    values = _values(own)
    apart = ~known[own.market]  # its own bar is known in any case
    apart[0] = False
    count = apart + sum(np.where(known[m], t.count[at], 0.0) for m, t in totals.items())
    columns = {}
    for name in wanted:
        total = sum(np.where(known[m], t.sums[name][at], 0.0) for m, t in totals.items())
        total = total + np.where(apart, values[name], 0.0)
        columns[MARKET + name] = total / np.where(count > 0, count, np.nan)
    return replace(own, frame=own.frame.assign(**columns))
