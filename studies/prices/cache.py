"""A cache on disk of fetched prices: one file per request, written atomically, with a checksum.

A file has the SHA-256 of the rest, a line of JSON with the request and the time, and CSV as
`to_csv` writes it. It lies in the platform's folder for caches, such as
``~/.cache/puffin-tuner/prices``, and may be deleted at any time.
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

from puffin.studies.prices.calendar import DELAY, Market, length_of
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import from_csv, sha256, to_csv
from puffin.studies.text import counted

# Some bars, such as those of funds, appear only so long after their session.
_LATE = pd.Timedelta(hours=6)


class CorruptCacheError(ValueError):
    """A file of the cache is not as it was written."""


@dataclass(frozen=True, eq=False)
class FetchedPrices:
    """Bars as a service returned them.

    Attributes
    ----------
    frame : DataFrame, (bar, column), neither validated nor adjusted
        open, high, low, close, adj_close, volume, dividends and splits. The index is the start of
        each bar in the exchange's local time, without a zone.
    market : Market
    fetched_at : datetime, in UTC
    notes : tuple of str
        What was left out.
    """

    frame: pd.DataFrame
    market: Market
    fetched_at: datetime
    notes: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Return the folder of the cache, which may not exist yet."""
    return platformdirs.user_cache_path("puffin-tuner") / "prices"


def cache_path(request: PriceRequest) -> Path:
    """Return the file that stores the bars of a request."""
    key = hashlib.sha256(json.dumps(_key(request), sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{quote(request.ticker, safe='')}-{request.interval}-{key[:12]}.csv"


def _key(request: PriceRequest) -> dict[str, str | None]:
    """Return what distinguishes the bars of one request from those of another."""
    start, end = (None if day is None else day.isoformat() for day in (request.start, request.end))
    return {
        "symbol": request.ticker,
        "interval": request.interval,
        "start": start,
        "end": end,
        "period": request.period,
    }


def read(request: PriceRequest) -> FetchedPrices | None:
    """Return the cached bars of a request, or None if there are none.

    Raises
    ------
    CorruptCacheError
        If the file is not as it was written.
    """
    try:
        digest, _, rest = cache_path(request).read_bytes().partition(b"\n")
        if sha256(rest) != digest.decode():
            raise CorruptCacheError
        head, _, body = rest.partition(b"\n")
        stored = json.loads(head)
        if stored["wanted"] != _key(request):
            raise CorruptCacheError
        market = Market(**stored["market"])
        at = datetime.fromisoformat(stored["at"])
        return FetchedPrices(from_csv(body), market, at, tuple(stored["notes"]))
    except OSError:
        return None
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise CorruptCacheError(str(error)) from error


def write(request: PriceRequest, fetched: FetchedPrices) -> None:
    """Replace the cached bars of a request atomically.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    body = to_csv(fetched.frame)
    stored = {
        "wanted": _key(request),
        "market": asdict(fetched.market),
        "at": fetched.fetched_at.isoformat(),
        "notes": fetched.notes,
    }
    rest = json.dumps(stored).encode() + b"\n" + body
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


def is_current(cached: FetchedPrices, request: PriceRequest, now: datetime) -> bool:
    """Return whether no requested bar can have appeared since `cached` was fetched.

    A bar may come as soon as it is finished, and some come hours later.
    """
    at, by = (pd.Timestamp(moment).tz_convert(None) for moment in (cached.fetched_at, now))
    if at > by:
        return False
    local = pd.Timestamp(now).tz_convert(cached.market.zone).tz_localize(None)
    later = pd.date_range(cached.frame.index[-1], local, freq=length_of(cached.market.interval))[1:]
    if request.end is not None:
        later = later[later.normalize() <= pd.Timestamp(request.end)]
    finished = cached.market.known_at(later, default_close="00:00") + DELAY
    return not ((finished + _LATE > at) & (finished <= by)).any()


def age(cached: FetchedPrices, now: datetime) -> str:
    """Return how long ago bars were fetched, in words: "3 days"."""
    minutes = max(int((now - cached.fetched_at).total_seconds() // 60), 0)
    for size, name in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            return counted(minutes // size, name)
    return "less than a minute"
