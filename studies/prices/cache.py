"""Prices that were fetched, kept on disk: one file each, whole or not there, and known to be so.

A file is the sha256 of the rest, a line of JSON with what was fetched when, and CSV as `to_csv`
writes it. The folder is the platform's own for caches, such as ``~/.cache/puffin-tuner/prices``;
whatever is in it may be deleted.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import platformdirs

from puffin.studies.prices.calendar import DELAY, INTERVALS, Market
from puffin.studies.prices.snapshot import from_csv, sha256, to_csv
from puffin.studies.prices.validation import DataError

# Some bars, such as those of funds, come as long after their session.
_LATE = pd.Timedelta(hours=6)


class CorruptCacheError(ValueError):
    """A file of the cache that is not as it was written."""


@dataclass(frozen=True)
class BarsRequest:
    """What is asked of a service: a symbol, a length of bars, and either days or a period."""

    symbol: str
    interval: str = "1d"
    start: str | None = None
    end: str | None = None
    period: str | None = None


@dataclass(frozen=True, eq=False)
class FetchedPrices:
    """Bars as they came.

    Attributes
    ----------
    frame : DataFrame, (bar, column), neither checked nor adjusted
        open, high, low, close, adj_close, volume, dividends and splits; the index is the begin of
        each bar by the exchange's clock, without a zone.
    market : Market
    fetched_at : datetime, when they were fetched, in UTC
    notes : tuple of str, what was left out
    """

    frame: pd.DataFrame
    market: Market
    fetched_at: datetime
    notes: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Give the folder of the cache, which need not be there."""
    return platformdirs.user_cache_path("puffin-tuner") / "prices"


def cache_path(request: BarsRequest) -> Path:
    """Give the file that keeps what is wanted."""
    key = hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{quote(request.symbol, safe='')}-{request.interval}-{key[:12]}.csv"


def read(request: BarsRequest) -> FetchedPrices | None:
    """Read what is kept; None where nothing is.

    Raises
    ------
    CorruptCacheError
        If it is not what was written.
    """
    try:
        digest, _, rest = cache_path(request).read_bytes().partition(b"\n")
        if sha256(rest) != digest.decode():
            raise CorruptCacheError
        head, _, body = rest.partition(b"\n")
        said = json.loads(head)
        if said["wanted"] != asdict(request):
            raise CorruptCacheError
        market = Market(**said["market"])
        at = datetime.fromisoformat(said["at"])
        return FetchedPrices(from_csv(body), market, at, tuple(said["notes"]))
    except OSError:
        return None
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise CorruptCacheError(str(error)) from error


def write(request: BarsRequest, fetched: FetchedPrices) -> None:
    """Keep bars in the place of those that are kept, whole or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    body = to_csv(fetched.frame)
    said = {
        "wanted": asdict(request),
        "market": asdict(fetched.market),
        "at": fetched.fetched_at.isoformat(),
        "notes": fetched.notes,
    }
    rest = json.dumps(said).encode() + b"\n" + body
    path = cache_path(request)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        new = Path(file.name)
        try:
            file.write(sha256(rest).encode() + b"\n" + rest)
            file.flush()
            os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink()
            raise


def is_current(kept: FetchedPrices, request: BarsRequest, now: datetime) -> bool:
    """Tell whether no bar that is wanted can have come since `kept` was fetched.

    A bar may come as soon as it is finished, and some come hours later.
    """
    at, by = (pd.Timestamp(moment).tz_convert(None) for moment in (kept.fetched_at, now))
    if at > by:
        return False
    local = pd.Timestamp(now).tz_convert(kept.market.zone).tz_localize(None)
    later = pd.date_range(kept.frame.index[-1], local, freq=INTERVALS[kept.market.interval])[1:]
    if request.end is not None:
        later = later[later.normalize() <= pd.Timestamp(request.end)]
    finished = kept.market.known_at(later, default_close="00:00") + DELAY
    return not ((finished + _LATE > at) & (finished <= by)).any()


def age(kept: FetchedPrices, now: datetime) -> str:
    """Say how long ago bars were fetched: "3 days"."""
    minutes = max(int((now - kept.fetched_at).total_seconds() // 60), 0)
    for size, name in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {name}{'s' * (count > 1)}"
    return "less than a minute"
