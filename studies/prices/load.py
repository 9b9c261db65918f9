"""Prices: from a source, checked, adjusted for splits and dividends, kept as exact bytes.

>>> prices = load_prices("sample", "AAPL")
>>> len(prices.frame)
3270
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from puffin.models.features import Needs
from puffin.studies.prices.calendar import Market
from puffin.studies.prices.csv_bytes import decode, read_bytes
from puffin.studies.prices.csv_columns import RequestedColumns
from puffin.studies.prices.csv_file import parse_csv
from puffin.studies.prices.snapshot import sha256
from puffin.studies.prices.validation import (
    ALL_COLUMNS,
    MAX_GAP,
    DataError,
    Remedies,
    validate,
    when,
)

_SAMPLE = Path(__file__).parent.with_name("sample")
# Days; of shorter bars Yahoo has too few to ask for more.
_DAYS_BEFORE = {"1d": 15, "1wk": 30, "1mo": 75}
# No dividend steps so far: a share of the price.
_SPLIT = 0.2


@dataclass(frozen=True, eq=False)
class Prices:
    """Bars that passed `validate`.

    Attributes
    ----------
    frame : DataFrame, (bar, column), adjusted prices and traded volume
        float64; columns are some of open, high, low, close, volume in this order, close always,
        then the columns "column:NAME" of a file, and then the closes of other series, named with
        `EXTRA`. Those that are not read may have anything in them, NaN too. The index "date" has
        no time zone, ascends and holds no time twice.
    warnings : tuple of str
        What was cleaned or guessed, and what is legitimate but odd.
    origin : str
        Where the bars are from, for people: "sample AAPL", "csv prices.csv".
    splits : Series, (splits,), new shares for an old one, at the first bar after; adjusted for
    fetch_notes : tuple of str
        How they came this time, which is no matter of the bars: "from the cache, ...".
    """

    frame: pd.DataFrame
    warnings: tuple[str, ...]
    origin: str
    splits: pd.Series = field(default_factory=lambda: pd.Series(dtype="float64"))
    fetch_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PriceRequest:
    """What is asked of a source: the keys of ``[data]`` that tell which bars.

    Attributes
    ----------
    symbol : str or None, for sources that have symbols
    path : Path or None, for files
    start, end : date or None, first and last day, both included
    period : str or None, in the place of start and end, where a source has periods
    interval : str, the length of a bar
    refresh : bool, not to make do with what was kept from an earlier time
    extra : tuple of str, other series that are asked for beside this one
    column : str or None, what a file has in the place of a close
    columns : mapping, what columns of a file are called: "close" to a name in the file
    needs : Needs, the columns that are read
    requested_at : float, when the prices were asked for, by `time.monotonic`; all series share one
        deadline
    """

    symbol: str | None = None
    path: Path | None = None
    start: date | None = None
    end: date | None = None
    period: str | None = None
    interval: str = "1d"
    refresh: bool = False
    extra: tuple[str, ...] = ()
    column: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = ALL_COLUMNS
    requested_at: float = field(default_factory=time.monotonic)


class RawPrices(NamedTuple):
    """What a source gives: bars as found, their origin, notes on them, and on how they came.

    Bars "adj_close" and "splits" are welcome. `market` tells when bars are known; without one
    they are known at the time they stand at.
    """

    frame: pd.DataFrame
    origin: str
    notes: tuple[str, ...] = ()
    market: Market | None = None
    fetch_notes: tuple[str, ...] = ()


Source: TypeAlias = Callable[[PriceRequest], RawPrices]


def load_prices(  # noqa: PLR0913, PLR0917  # each is a key of [data]
    source: str,
    symbol: str | None = None,
    path: Path | None = None,
    start: date | None = None,
    end: date | None = None,
    period: str | None = None,
    interval: str = "1d",
    extra: Sequence[str] = (),
    *,
    refresh: bool = False,
    columns: Mapping[str, str] | None = None,
    needs: Needs = ALL_COLUMNS,
) -> Prices:
    """Read, cut to start..end (both inclusive), check and adjust; only the cut part is checked.

    Of that part only the columns are cleaned and checked that `needs` says are read. `columns`
    says what some are called in a file.

    Each of `extra`, a symbol of the same source or another column of the same file, becomes a
    column ``EXTRA + name``: its close, as it was known when the bar closed. Bars before the first
    of an extra series are left out.

    Raises
    ------
    DataError
        If the source or symbol is unknown, or the bars cannot be read or used.
    """
    if source not in SOURCES:
        raise DataError(f"source must be one of {', '.join(SOURCES)}, but got {source!r}")
    request = PriceRequest(
        symbol,
        path,
        start,
        end,
        period,
        interval,
        refresh,
        tuple(extra),
        columns=columns or {},
        needs=needs,
    )
    bars = _load(source, request)
    early = replace(
        request, start=_start_of_extra(start, interval), extra=(), needs=_close_of_extra(needs)
    )
    others = {name: _load(source, replace(early, symbol=name, column=name)) for name in extra}
    return _join(bars, others)


def _close_of_extra(needs: Needs) -> Needs:
    """Return the needs of another series, of which only the close is read."""
    reads, logs = (words.get("extra", "") for words in (needs.reads, needs.logs))
    return Needs({"close": reads}, {"close": logs})


def _start_of_extra(start: date | None, interval: str) -> date | None:
    """Go back so far that the first bar sees the last close of another series before it."""
    days = _DAYS_BEFORE.get(interval, 0)
    return None if start is None else date.fromordinal(max(start.toordinal() - days, 1))


@dataclass(frozen=True, eq=False)
class _CheckedBars:
    """Bars that are checked, where they are from, and when they are known."""

    frame: pd.DataFrame
    warnings: tuple[str, ...]
    origin: str
    market: Market | None
    splits: pd.Series
    fetch_notes: tuple[str, ...]

    def known_at(self, default_close: str) -> pd.DatetimeIndex:
        index = pd.DatetimeIndex(self.frame.index)
        return (
            index
            if self.market is None
            else self.market.known_at(index, default_close=default_close)
        )


def _load(source: str, request: PriceRequest) -> _CheckedBars:
    raw = SOURCES[source](request)
    found = _between(raw, request.start, request.end)
    columns = [name for name in found if name != "splits"]
    remedies = Remedies(live=raw.market is not None)
    if request.column is not None:
        # Of another series only the close is read.
        columns = [name for name in columns if "close" in str(name)]
        if source == "csv":
            remedies = Remedies(no_logs=f"'column:{request.column}' takes no logarithm")
    frame, warnings = validate(found[columns], raw.origin, request.needs, remedies)
    return _CheckedBars(
        frame, raw.notes + warnings, raw.origin, raw.market, _splits(found), raw.fetch_notes
    )


def _splits(found: pd.DataFrame) -> pd.Series:
    """Give the splits that a source tells, or those that show where prices become adjusted."""
    if "splits" in found:
        told = found["splits"]
        return told[told > 0]
    if "adj_close" not in found:
        return pd.Series(dtype="float64")
    bars = found.sort_index()
    bars = bars[(bars["close"] > 0) & (bars["adj_close"] > 0)]
    factor = bars["adj_close"] / bars["close"]
    steps = (factor / factor.shift()).dropna()
    return steps[(steps - 1).abs() > _SPLIT].round(2)


def _join(bars: _CheckedBars, others: dict[str, _CheckedBars]) -> Prices:
    """Put the last close of each other series that was known at each bar beside it."""
    frame, warnings, origin, said = bars.frame, bars.warnings, bars.origin, bars.fetch_notes
    # Where the end of a session is not told: nothing that may have come later is used.
    at = bars.known_at(default_close="00:00")
    for name, other in others.items():
        closes = pd.Series(
            other.frame["close"].to_numpy(), index=other.known_at(default_close="24:00")
        )
        frame = frame.assign(**{EXTRA + name: closes.reindex(at, method="ffill").to_numpy()})
        warnings += tuple(f"{name}: {line}" for line in other.warnings)
        said += tuple(f"{name}: {line}" for line in other.fetch_notes)
        age = at.max() - closes.index.max()
        if age > MAX_GAP:
            warnings += (f"{name}: its last bar is {age.days} days older than that of the prices",)
    missing = frame[[EXTRA + name for name in others]].isna().any(axis=1)
    if missing.all():
        raise DataError(
            f"{origin}: no bar has a value of each of {', '.join(others)} before it; "
            "choose extra series that overlap with it"
        )
    if missing.any():
        warnings += (f"bars before the first of {', '.join(others)}: {missing.sum()}, left out",)
    if others:
        origin += f" with {', '.join(others)}"
    return Prices(frame[~missing], warnings, origin, bars.splits, said)


def _between(raw: RawPrices, start: date | None, end: date | None) -> pd.DataFrame:
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


def _sample(request: PriceRequest) -> RawPrices:
    _require_daily(request, "sample")
    lines = (_SAMPLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name.removesuffix(".csv.gz"): digest for digest, name in map(str.split, lines)}
    known = (request.symbol or "").upper()
    if known not in sums:
        raise DataError(
            f"symbol of the sample must be one of {', '.join(sums)}, but got {request.symbol!r}"
        )
    file = _SAMPLE / f"{known}.csv.gz"
    data = read_bytes(file)
    if sha256(data) != sums[known]:
        raise DataError(
            f"sample {known} must have the sha256 {sums[known]}, but has {sha256(data)}: "
            "the file was changed, install puffin-tuner again"
        )
    return RawPrices(parse_csv(decode(data, file)[0], str(file))[0], f"sample {known}")


def _csv(request: PriceRequest) -> RawPrices:
    _require_daily(request, "csv")
    if request.path is None:
        raise DataError(
            'source "csv" needs a path: give path = "prices.csv" or choose source "sample"'
        )
    path = request.path
    text, odd = decode(read_bytes(path), path)
    wanted = RequestedColumns(request.columns, request.needs.reads, request.column)
    frame, notes = parse_csv(text, str(path), wanted, request.extra)
    origin = " ".join(["csv", path.name, *filter(None, [request.column])])
    return RawPrices(frame, origin, notes if request.column else (*odd, *notes))


def _require_daily(request: PriceRequest, source: str) -> None:
    if request.period is not None or request.interval != "1d":
        raise DataError(
            f'period and interval go with source "yfinance", but source is "{source}": '
            "its bars are as they are, cut by start and end"
        )


def _yfinance(request: PriceRequest) -> RawPrices:
    # Late, since its libraries take a while to import, and most commands need none of them.
    from puffin.studies.prices import yahoo
    from puffin.studies.prices.cache import BarsRequest

    if request.symbol is None:
        raise DataError('source "yfinance" needs a symbol: give symbol = "AAPL"')
    start, end = (None if d is None else d.isoformat() for d in (request.start, request.end))
    period = request.period or (None if start or end else "max")
    wanted = BarsRequest(request.symbol.upper(), request.interval, start, end, period)
    fetched, said = yahoo.load(
        wanted, request.requested_at + yahoo.DEADLINE, refresh=request.refresh
    )
    bars = fetched.frame.drop(columns="dividends", errors="ignore")
    origin = f"yfinance {wanted.symbol}, {yahoo.describe(fetched)}"
    return RawPrices(bars, origin, market=fetched.market, fetch_notes=said)


SOURCES: dict[str, Source] = {"sample": _sample, "csv": _csv, "yfinance": _yfinance}
# Bars of series other than the one that is forecast.
EXTRA = "extra:"
