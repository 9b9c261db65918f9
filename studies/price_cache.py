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

from studies.market import Market
from studies.snapshot import from_csv, sha256, to_csv
from studies.validation import DataError


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
