"""When a bar is known, by the clock of its exchange and in every season."""

import pandas as pd
import pytest

from puffin.studies.prices.calendar import Market, length_of
from puffin.studies.prices.names import INTERVALS

NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"


@pytest.mark.parametrize(
    ("zone", "close", "interval", "begin", "known"),
    [
        (NEW_YORK, "16:00", "1d", "2013-03-08", "2013-03-08T21:00"),
        (NEW_YORK, "16:00", "1d", "2013-03-11", "2013-03-11T20:00"),  # summer time
        (TOKYO, "15:00", "1d", "2013-03-11", "2013-03-11T06:00"),
        ("UTC", "24:00", "1d", "2013-03-11", "2013-03-12T00:00"),
        (NEW_YORK, "16:00", "1h", "2013-03-11T15:30", "2013-03-11T20:30"),
        (NEW_YORK, "16:00", "5m", "2013-03-08T15:55", "2013-03-08T21:00"),
        (NEW_YORK, "16:00", "1wk", "2013-03-04", "2013-03-11T04:00"),
        (NEW_YORK, "16:00", "1mo", "2013-02-01", "2013-03-01T05:00"),
    ],
)
def test_bar_is_known_when_its_session_or_its_interval_has_ended(
    zone: str, close: str, interval: str, begin: str, known: str
) -> None:
    index = pd.DatetimeIndex([begin])
    (found,) = Market(zone, close, interval).known_at(index, default_close="00:00")
    assert found == pd.Timestamp(known)


def test_unknown_session_end_falls_back_to_the_default_close() -> None:
    index, market = pd.DatetimeIndex(["2013-03-08"]), Market(NEW_YORK, None, "1d")
    assert market.known_at(index, default_close="00:00")[0] == pd.Timestamp("2013-03-08T05:00")
    assert market.known_at(index, default_close="24:00")[0] == pd.Timestamp("2013-03-09T05:00")


@pytest.mark.parametrize("interval", INTERVALS)
def test_bars_are_known_after_they_start_and_in_order(interval: str) -> None:
    index = pd.date_range("2013-01-01T09:00", periods=60, freq=length_of(interval))
    known = Market(NEW_YORK, "16:00", interval).known_at(
        index if interval != "1d" else index.normalize(), default_close="24:00"
    )
    assert known.is_monotonic_increasing
    assert known.is_unique
    assert (known > index.tz_localize(NEW_YORK).tz_convert(None)).all()
