"""When the bars of a market are known, and by which clock they are kept."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

# Prices come late by as much at most; a bar is finished when it cannot change any more.
DELAY = pd.Timedelta(minutes=20)
# Lengths of bars. Those of a day end with its session, longer ones with their last day.
INTERVALS: dict[str, pd.Timedelta | pd.DateOffset] = {
    "1m": pd.Timedelta(minutes=1),
    "5m": pd.Timedelta(minutes=5),
    "15m": pd.Timedelta(minutes=15),
    "30m": pd.Timedelta(minutes=30),
    "1h": pd.Timedelta(hours=1),
    "1d": pd.Timedelta(days=1),
    "1wk": pd.DateOffset(weeks=1),
    "1mo": pd.DateOffset(months=1),
}
# What is said of times that came with a zone or a UTC offset.
NO_ZONE = "time zone dropped, clock times kept"
IN_UTC = "the clock is set back within the bars, so their times are in UTC"


@dataclass(frozen=True)
class Market:
    """Where and how long a bar is traded: enough to tell when it is known.

    Attributes
    ----------
    zone : str, the exchange's time zone, such as "America/New_York"
    close : str or None, when its regular session ends, "16:00"; None where that is not told
    interval : str, the length of a bar, a key of `INTERVALS`
    """

    zone: str
    close: str | None
    interval: str

    def known_at(self, index: pd.DatetimeIndex, *, default_close: str) -> pd.DatetimeIndex:
        """Tell when the bars of an index are known, in UTC, without a zone.

        Parameters
        ----------
        index : DatetimeIndex, (bars,)
            Begin of each bar by the exchange's clock, without a zone.
        default_close : str
            The end of a session that is not told: "00:00" is the earliest, "24:00" the latest.
        """
        length = INTERVALS[self.interval]
        if self.interval == "1d":
            length = pd.Timedelta(f"{self.close or default_close}:00")
        ends = (index + length).tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward")
        return ends.tz_convert(None)


def as_index(index: pd.Index) -> pd.Index:
    """Return an index in UTC for an object index of times that each carry a UTC offset."""
    if index.dtype == object and len(index) and all(isinstance(t, datetime) for t in index):
        return pd.to_datetime(index, utc=True)
    return index


def without_zone(index: pd.Index) -> tuple[pd.DatetimeIndex, list[str]]:
    """Return the times of an index without a zone, and what is to be said of that."""
    if index.dtype == object:
        clock = pd.DatetimeIndex([pd.Timestamp(time).tz_localize(None) for time in index])
        return clock_or_utc(clock, pd.DatetimeIndex(as_index(index)).tz_localize(None))
    times = pd.DatetimeIndex(index)
    if times.tz is None:
        return times, []
    return clock_or_utc(times.tz_localize(None), times.tz_convert(None))


def clock_or_utc(
    clock: pd.DatetimeIndex, utc: pd.DatetimeIndex
) -> tuple[pd.DatetimeIndex, list[str]]:
    """Choose between the clock of the market and UTC for bars whose UTC offset is known.

    The clock is wanted, since days and hours mean something on it. Where it is set back within the
    bars an hour comes twice on it, and only UTC keeps the bars apart and in order.

    Parameters
    ----------
    clock, utc : DatetimeIndex, (bars,)
        The same times without a zone, by the clock and in UTC.

    Returns
    -------
    tuple of DatetimeIndex and list of str
        One of the two, and what is to be said of it.
    """
    order = np.argsort(utc.to_numpy(), kind="stable")
    later = np.diff(utc.to_numpy()[order]) > np.timedelta64(0)
    back = np.diff(clock.to_numpy()[order]) <= np.timedelta64(0)
    if (later & back).any():
        return utc, [IN_UTC]
    return clock, [NO_ZONE]
