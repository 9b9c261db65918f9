"""When the bars of a market are known, and in which local time their index is."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from puffin.studies.prices.names import INTERVALS

# Largest delay of prices; a bar is finished when it can no longer change.
DELAY = pd.Timedelta(minutes=20)
# Notes on times that have a zone or a UTC offset.
NO_ZONE = "time zone dropped, clock times kept"
IN_UTC = "the clock is set back within the bars, so their times are in UTC"


@dataclass(frozen=True)
class Market:
    """The trading hours of a bar, which determine when it is known.

    Attributes
    ----------
    zone : str
        Time zone of the exchange, such as "America/New_York".
    close : str or None
        End of the regular session, such as "16:00"; None if it is unknown.
    interval : str
        Length of a bar, a key of `names.INTERVALS`.
    """

    zone: str
    close: str | None
    interval: str

    def known_at(self, index: pd.DatetimeIndex, *, default_close: str) -> pd.DatetimeIndex:
        """Return when the bars of an index are known, in UTC, without a zone.

        Parameters
        ----------
        index : DatetimeIndex, (bars,)
            Start of each bar in the exchange's local time, without a zone.
        default_close : str
            End of the session if it is unknown: "00:00" is the earliest, "24:00" the latest.
        """
        length: pd.DateOffset | pd.Timedelta = length_of(self.interval)
        if self.interval == "1d":
            length = pd.Timedelta(f"{self.close or default_close}:00")
        ends = (index + length).tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward")
        return ends.tz_convert(None)


def length_of(interval: str) -> pd.DateOffset:
    """Return the length of a bar, given a key of `names.INTERVALS`."""
    return pd.DateOffset(**INTERVALS[interval])  # type: ignore[arg-type]  # only its flags are bool


def as_index(index: pd.Index) -> pd.Index:
    """Return the index, converted to UTC if it is of objects that each have a UTC offset."""
    if index.dtype == object and len(index) and all(isinstance(t, datetime) for t in index):
        return pd.to_datetime(index, utc=True)
    return index


def without_zone(index: pd.Index) -> tuple[pd.DatetimeIndex, list[str]]:
    """Return the times of an index without a zone, and notes on the conversion."""
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
    """Choose between local time and UTC for bars whose UTC offset is known.

    Local time is preferred because days and hours have a meaning in it. If clocks are set back
    within the bars, an hour occurs twice in local time, and only UTC keeps the bars distinct and
    in order.

    Parameters
    ----------
    clock, utc : DatetimeIndex, (bars,)
        The same times without a zone, in local time and in UTC.

    Returns
    -------
    tuple of DatetimeIndex and list of str
        One of the two, and notes on the choice.
    """
    order = np.argsort(utc.to_numpy(), kind="stable")
    later = np.diff(utc.to_numpy()[order]) > np.timedelta64(0)
    back = np.diff(clock.to_numpy()[order]) <= np.timedelta64(0)
    if (later & back).any():
        return utc, [IN_UTC]
    return clock, [NO_ZONE]
