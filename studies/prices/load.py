"""Load the prices of a study: read, validate, adjust for splits and dividends, join extra series.

>>> prices = load_prices("sample", PriceRequest("AAPL"))
>>> len(prices.frame)
3270
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pandas as pd

from puffin.models.features import Needs
from puffin.studies.prices.calendar import Market
from puffin.studies.prices.csv_header import shown
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest, RawPrices, Reader
from puffin.studies.prices.sources import SOURCES, members
from puffin.studies.prices.validation import MAX_GAP, Remedies, validate
from puffin.studies.text import when

# Prefix of the columns that hold series other than the one that is forecast.
EXTRA = "extra:"
# Calendar days read before `start`, so that an extra series has a close before the first bar.
# Bars shorter than a day get none, because Yahoo keeps too few of them.
_DAYS_BEFORE = {"1d": 15, "1wk": 30, "1mo": 75}
# A step of adj_close / close above this relative size is a split; dividend steps are smaller.
_SPLIT = 0.2


@dataclass(frozen=True, eq=False)
class Prices:
    """Bars that passed `validate`.

    Attributes
    ----------
    frame : DataFrame, (bar, column), adjusted prices and traded volume
        float64. The columns are those of open, high, low, close, volume that the source has, in
        this order and with close always, then the columns "column:NAME" of a file, then the
        closes of other series, named with `EXTRA`. Columns that the study does not read are not
        validated and may hold NaN. The index "date" has no time zone and strictly increases.
    warnings : tuple of str
        What was cleaned or guessed, and what is legitimate but suspicious.
    origin : str
        The source in words: "sample AAPL", "csv prices.csv".
    splits : Series, (split,), new shares per old share
        The index is the first bar after each split. The prices are adjusted for them.
    fetch_notes : tuple of str
        How the bars were obtained this time: "from the cache, ...".
    """

    frame: pd.DataFrame
    warnings: tuple[str, ...]
    origin: str
    splits: pd.Series = field(default_factory=lambda: pd.Series(dtype="float64"))
    fetch_notes: tuple[str, ...] = ()


def load_prices(source: str, request: PriceRequest) -> Prices:
    """Read the requested bars, validate and adjust them, and join the extra series.

    Only bars from `request.start` to `request.end`, and only the columns that `request.needs`
    names, are cleaned and validated. Each series of `request.extra` becomes a column
    ``EXTRA + name``: its close as it was known when the bar closed. Bars before the first known
    close of an extra series are left out.

    Raises
    ------
    DataError
        If the source or the symbol is unknown, the source has several symbols and none is
        requested, or the bars cannot be read or used.
    """
    readers = members(source, request, [request.symbol] if request.symbol else [])
    if len(readers) > 1:
        raise DataError(
            f"{request.path} has {len(readers)} symbols ({shown(list(readers), 5)}), but one is "
            f"read here: write the bars of one, such as {next(iter(readers))}, to a separate file"
        )
    read = next(iter(readers.values()), SOURCES[source].load)  # which refuses a missing symbol
    return join(load_bars(source, read, request), load_others(source, read, request))


def load_others(source: str, read: Reader, request: PriceRequest) -> "dict[str, ValidatedBars]":
    """Read the extra series of a request, and validate their closes."""
    of_extra = replace(
        request,
        start=_start_of_extra(request.start, request.interval),
        extra=(),
        needs=_close_of_extra(request.needs),
    )
    return {
        name: load_bars(source, read, replace(of_extra, symbol=name, column=name))
        for name in request.extra
    }


def _close_of_extra(needs: Needs) -> Needs:
    """Return the needs of an extra series, of which only the close is read."""
    reads, logs = (words.get("extra", "") for words in (needs.reads, needs.logs))
    return Needs({"close": reads}, {"close": logs})


def _start_of_extra(start: date | None, interval: str) -> date | None:
    """Return a day early enough for an extra series to have a close before the first bar."""
    days = _DAYS_BEFORE.get(interval, 0)
    return None if start is None else date.fromordinal(max(start.toordinal() - days, 1))


@dataclass(frozen=True, eq=False)
class ValidatedBars:
    """Validated bars of one series, with what is needed to join series in time.

    Attributes
    ----------
    market : Market or None
        Determines when each bar is known; without one a bar is known at its time stamp.
    """

    frame: pd.DataFrame
    warnings: tuple[str, ...]
    origin: str
    market: Market | None
    splits: pd.Series
    fetch_notes: tuple[str, ...]

    def known_at(
        self, default_close: str, times: pd.DatetimeIndex | None = None
    ) -> pd.DatetimeIndex:
        """Return when its bars are known, or bars of other `times` in its market would be.

        It is in UTC or, without a market, the time stamp.
        """
        index = pd.DatetimeIndex(self.frame.index) if times is None else times
        return (
            index
            if self.market is None
            else self.market.known_at(index, default_close=default_close)
        )


def load_bars(source: str, read: Reader, request: PriceRequest) -> ValidatedBars:
    """Read the bars of one series between two days, validate and adjust them."""
    raw = read(request)
    bars = _between(raw, request.start, request.end)
    columns = [name for name in bars if name != "splits"]
    remedies = Remedies(live=SOURCES[source].is_live)
    if request.column is not None:
        # Of an extra series only the close is read.
        columns = [name for name in columns if "close" in str(name)]
        if SOURCES[source].needs_path:
            remedies = Remedies(no_logs=f"'column:{request.column}' takes no logarithm")
    frame, warnings = validate(bars[columns], raw.origin, request.needs, remedies)
    return ValidatedBars(
        frame, raw.notes + warnings, raw.origin, raw.market, _splits(bars), raw.fetch_notes
    )


def _splits(bars: pd.DataFrame) -> pd.Series:
    """Return the splits that the source lists, or those that adj_close / close implies."""
    if "splits" in bars:
        listed = bars["splits"]
        return listed[listed > 0]
    if "adj_close" not in bars:
        return pd.Series(dtype="float64")
    bars = bars.sort_index()
    bars = bars[(bars["close"] > 0) & (bars["adj_close"] > 0)]
    factor = bars["adj_close"] / bars["close"]
    steps = (factor / factor.shift()).dropna()
    return steps[(steps - 1).abs() > _SPLIT].round(2)


def join(bars: ValidatedBars, others: dict[str, ValidatedBars]) -> Prices:
    """Add to each bar the last close of each extra series that was known at its close."""
    frame, warnings, origin, notes = bars.frame, bars.warnings, bars.origin, bars.fetch_notes
    # If the end of a session is unknown, assume the earliest for the bar and the latest for the
    # extra series, so that no value from the future is used.
    at = bars.known_at(default_close="00:00")
    for name, other in others.items():
        closes = pd.Series(
            other.frame["close"].to_numpy(), index=other.known_at(default_close="24:00")
        )
        frame = frame.assign(**{EXTRA + name: closes.reindex(at, method="ffill").to_numpy()})
        warnings += tuple(f"{name}: {line}" for line in other.warnings)
        notes += tuple(f"{name}: {line}" for line in other.fetch_notes)
        age = at.max() - closes.index.max()
        if age > MAX_GAP:
            warnings += (f"{name}: its last bar is {age.days} days older than that of the prices",)
    missing = _without_extra(frame, origin, list(others))
    if missing.any():
        warnings += (f"bars before the first of {', '.join(others)}: {missing.sum()}, left out",)
    if others:
        origin += f" with {', '.join(others)}"
    return Prices(frame[~missing], warnings, origin, bars.splits, notes)


def _without_extra(frame: pd.DataFrame, origin: str, names: Sequence[str]) -> pd.Series:
    """Return which bars lack a value of an extra series, and raise if all of them do."""
    missing = frame[[EXTRA + name for name in names]].isna().any(axis=1)
    if missing.all():
        raise DataError(
            f"{origin}: no bar has an earlier value of each of {', '.join(names)}; choose extra "
            "series that overlap with the prices"
        )
    return missing


def _between(raw: RawPrices, start: date | None, end: date | None) -> pd.DataFrame:
    """Cut the bars to the days from `start` to `end`, both included."""
    if (start is None and end is None) or not isinstance(raw.frame.index, pd.DatetimeIndex):
        return raw.frame
    if start and end and start > end:
        raise DataError(f"start must not be after end, but got {start} and {end}")
    days = raw.frame.index.tz_localize(None).normalize()
    keep = np.ones(len(days), dtype=bool)
    if start:
        keep &= days >= pd.Timestamp(start)
    if end:
        keep &= days <= pd.Timestamp(end)
    if len(days) and not keep.any():
        raise DataError(
            f"{raw.origin}: no bars from {start or 'the first'} to {end or 'the last'}; "
            f"choose start and end within {when(days.min())} to {when(days.max())}"
        )
    return raw.frame[keep]
