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

from puffin.studies.prices.market import DELAY, INTERVALS, Market
from puffin.studies.prices.snapshot import from_csv, sha256, to_csv
from puffin.studies.prices.validation import DataError

# Some bars, such as those of funds, come as long after their session.
_LATE = pd.Timedelta(hours=6)


class DamagedError(ValueError):
    """A file of the cache that is not as it was written."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a service: a symbol, a length of bars, and either days or a period."""

    symbol: str
    interval: str = "1d"
    start: str | None = None
    end: str | None = None
    period: str | None = None


@dataclass(frozen=True, eq=False)
class Fetched:
    """Bars as they came.

    Attributes
    ----------
    frame : DataFrame, (bar, column), neither checked nor adjusted
        open, high, low, close, adj_close, volume, dividends and splits; the index is the begin of
        each bar by the exchange's clock, without a zone.
    market : Market
    at : datetime, when they were fetched, in UTC
    notes : tuple of str, what was left out
    """

    frame: pd.DataFrame
    market: Market
    at: datetime
    notes: tuple[str, ...] = ()


def folder() -> Path:
    """Give the folder of the cache, which need not be there."""
    return platformdirs.user_cache_path("puffin-tuner") / "prices"


def file_of(wanted: Wanted) -> Path:
    """Give the file that keeps what is wanted."""
    key = hashlib.sha256(json.dumps(asdict(wanted), sort_keys=True).encode()).hexdigest()
    return folder() / f"{quote(wanted.symbol, safe='')}-{wanted.interval}-{key[:12]}.csv"


def read(wanted: Wanted) -> Fetched | None:
    """Read what is kept; None where nothing is.

    Raises
    ------
    DamagedError
        If it is not what was written.
    """
    try:
        digest, _, rest = file_of(wanted).read_bytes().partition(b"\n")
        if sha256(rest) != digest.decode():
            raise DamagedError
        head, _, body = rest.partition(b"\n")
        said = json.loads(head)
        if said["wanted"] != asdict(wanted):
            raise DamagedError
        market = Market(**said["market"])
        at = datetime.fromisoformat(said["at"])
        return Fetched(from_csv(body), market, at, tuple(said["notes"]))
    except OSError:
        return None
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(str(error)) from error


def write(wanted: Wanted, fetched: Fetched) -> None:
    """Keep bars in the place of those that are kept, whole or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    body = to_csv(fetched.frame)
    said = {
        "wanted": asdict(wanted),
        "market": asdict(fetched.market),
        "at": fetched.at.isoformat(),
        "notes": fetched.notes,
    }
    rest = json.dumps(said).encode() + b"\n" + body
    path = file_of(wanted)
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


def is_current(kept: Fetched, wanted: Wanted, now: datetime) -> bool:
    """Tell whether no bar that is wanted can have come since `kept` was fetched.

    A bar may come as soon as it is finished, and some come hours later.
    """
    at, by = (pd.Timestamp(moment).tz_convert(None) for moment in (kept.at, now))
    if at > by:
        return False
    local = pd.Timestamp(now).tz_convert(kept.market.zone).tz_localize(None)
    later = pd.date_range(kept.frame.index[-1], local, freq=INTERVALS[kept.market.interval])[1:]
    if wanted.end is not None:
        later = later[later.normalize() <= pd.Timestamp(wanted.end)]
    finished = kept.market.closes(later, unknown="00:00") + DELAY
    return not ((finished + _LATE > at) & (finished <= by)).any()


def age(kept: Fetched, now: datetime) -> str:
    """Say how long ago bars were fetched: "3 days"."""
    minutes = max(int((now - kept.at).total_seconds() // 60), 0)
    for size, name in ((24 * 60, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {name}{'s' * (count > 1)}"
    return "less than a minute"
