"""When the bars of a market are known."""

from dataclasses import dataclass

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

    def closes(self, index: pd.DatetimeIndex, *, unknown: str) -> pd.DatetimeIndex:
        """Tell when the bars of an index are known, in UTC, without a zone.

        Parameters
        ----------
        index : DatetimeIndex, (bars,)
            Begin of each bar by the exchange's clock, without a zone.
        unknown : str
            The end of a session that is not told: "00:00" is the earliest, "24:00" the latest.
        """
        length = INTERVALS[self.interval]
        if self.interval == "1d":
            length = pd.Timedelta(f"{self.close or unknown}:00")
        ends = (index + length).tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward")
        return ends.tz_convert(None)
