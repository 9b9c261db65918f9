"""The real yfinance, whose every request a stub on loopback answers: what a user sees, and when."""

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yfinance
from click.testing import CliRunner, Result
from optuna.trial import TrialState

from puffin.models.features import needs_of
from puffin.studies.prices import cache, yahoo
from puffin.studies.prices.basket import Basket, load_basket
from puffin.studies.prices.cache import FetchedPrices
from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.yahoo_session import YahooError
from puffin.studies.storage.database import open_storage
from puffin.studies.study import SEARCH_FILE, load
from puffin.tuner.cli import main
from tests.yahoo_stub import Stub, environment, sample

TUNER = Path(sys.executable).with_name("tuner")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stub]:
    with Stub(tmp_path_factory.mktemp("stub"), None) as stub:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        yield stub
        stub.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder: yfinance keeps to the first that it sees."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def stub(served: Stub, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Yahoo as it is when all is well; no prices are kept, and nothing waits for long."""
    served.frames = {symbol: sample(symbol) for symbol in ("AAPL", "IBM")}
    served.zones = dict.fromkeys(served.frames, "America/New_York")
    served.faults, served.charts = [], 0
    served.half_days, served.retry_after = set(), None
    for name, value in environment(served, home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(yahoo, "_PAUSE", lambda _: 0.05)
    monkeypatch.setattr(yahoo, "_LONG_PAUSE", lambda _: 0.2)
    yfinance.data.YfData.cache_get.cache_clear()
    for symbol in served.frames:
        yfinance.cache.get_tz_cache().store(symbol, None)
    return served


def ask(symbol: str = "AAPL", **options: object) -> Prices:
    return load_prices("yfinance", PriceRequest(symbol, **options))


# What comes


def test_fetched_bars_are_those_of_the_service() -> None:
    ours, theirs = ask(), load_prices("sample", PriceRequest("AAPL"))
    pd.testing.assert_frame_equal(ours.frame, theirs.frame, rtol=1e-12)
    assert pd.DatetimeIndex(ours.frame.index).tz is None
    assert re.fullmatch(r"yfinance AAPL, fetched 20\S+ \S+ UTC", ours.origin)
    assert ours.warnings == theirs.warnings


def test_start_and_end_are_inclusive_days_of_the_exchange(stub: Stub) -> None:
    stub.zones["AAPL"] = "Asia/Tokyo"
    frame = ask(start=date(2012, 1, 4), end=date(2012, 2, 1)).frame
    assert (str(frame.index[0].date()), str(frame.index[-1].date())) == ("2012-01-04", "2012-02-01")
    assert frame.index.equals(
        load_prices("sample", PriceRequest("AAPL")).frame[frame.index[0] :].index[:20]
    )


def test_a_period_is_the_services_own() -> None:
    frame = ask(period="2y").frame
    assert (str(frame.index[0].date()), str(frame.index[-1].date())) == ("2011-03-01", "2013-03-01")


def test_end_alone_fetches_all_earlier_bars(stub: Stub) -> None:
    frame = ask(end=date(2012, 6, 1)).frame
    assert (str(frame.index[0].date()), str(frame.index[-1].date())) == ("2000-03-01", "2012-06-01")
    assert len(ask(end=date(9999, 12, 31)).frame) == len(stub.frames["AAPL"])


@pytest.mark.parametrize(
    ("interval", "freq", "last"), [("1wk", "W-MON", "2013-02-18"), ("1mo", "MS", "2013-01-01")]
)
def test_weekly_and_monthly_bars_have_no_gaps_and_no_unfinished_bar(
    interval: str, freq: str, last: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = stub.frames["AAPL"].resample(freq, label="left", closed="left").last()
    stub.frames["AAPL"] = stub.frames["IBM"] = frame
    monkeypatch.setattr(yahoo, "_now", pd.Timestamp("2013-02-27", tz="UTC").to_pydatetime)
    found = ask(interval=interval, extra=("IBM",))
    assert str(found.frame.index[-1].date()) == last
    assert not [line for line in found.warnings if "gaps" in line or "weekend" in line]


def test_half_hourly_bars_have_no_empty_nights(stub: Stub) -> None:
    days = pd.bdate_range("2013-02-18", "2013-03-01")
    index = pd.DatetimeIndex(
        [d + pd.Timedelta(hours=9.5, minutes=15 * i) for d in days for i in range(26)]
    )
    rises = 100.0 + np.arange(len(index))
    names = ("open", "high", "low", "close", "adj_close")
    stub.frames["AAPL"] = pd.DataFrame(dict.fromkeys(names, rises), index).assign(volume=1.0)
    found = ask(start=date(2013, 2, 18), end=date(2013, 3, 1), interval="30m").frame
    assert len(found) == len(days) * 13
    assert found["close"].tolist() == rises[1::2].tolist()


def test_a_split_is_told_and_makes_no_jump(stub: Stub) -> None:
    raw = stub.frames["AAPL"]
    # Yahoo's prices are adjusted for splits; its adj_close for dividends too.
    factor = np.where(raw.index < "2005-02-28", 0.5, 1.0) * np.where(
        raw.index < "2000-06-21", 0.5, 1.0
    )
    told = raw.assign(**{name: raw[name] * factor for name in ("open", "high", "low", "close")})
    splits = pd.Series(0.0, raw.index)
    splits[["2000-06-21", "2005-02-28"]] = 2.0
    stub.frames["AAPL"] = told.assign(splits=splits)
    found = ask()
    assert found.splits.to_dict() == {
        pd.Timestamp("2000-06-21"): 2.0,
        pd.Timestamp("2005-02-28"): 2.0,
    }
    expected = load_prices("sample", PriceRequest("AAPL"))
    assert found.frame["close"].to_numpy() == pytest.approx(expected.frame["close"].to_numpy())
    assert found.splits.to_dict() == expected.splits.to_dict()


def test_last_bar_without_prices_is_left_out_with_a_note(stub: Stub) -> None:
    stub.frames["AAPL"].iloc[-1] = np.nan
    found = ask()
    assert len(found.frame) == 3269
    assert found.fetch_notes == ("the bar of 2013-03-01 has no prices yet, and is left out",)


@pytest.mark.parametrize(
    ("now", "last"),
    # The session of 2013-03-01 ends at 21:00 UTC, and prices come up to 20 minutes late.
    [("2013-03-01T21:10", "2013-02-28"), ("2013-03-01T21:30", "2013-03-01")],
)
def test_a_bar_that_can_still_change_is_left_out(
    now: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yahoo, "_now", pd.Timestamp(now, tz="UTC").to_pydatetime)
    found = ask()
    assert str(found.frame.index[-1].date()) == last
    note = "the bar of 2013-03-01 is not finished yet, and is left out"
    assert found.fetch_notes == (() if last == "2013-03-01" else (note,))


def test_hourly_bars_are_in_local_time_of_the_exchange(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Over the weekend on which New York's clocks went forward, and the day at hand.
    days = [pd.Timestamp(day) for day in ("2013-03-08", "2013-03-11", "2013-03-12")]
    index = pd.DatetimeIndex([d + pd.Timedelta(hours=9.5 + i) for d in days for i in range(7)])
    rises = 100.0 + np.arange(21.0)
    bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close", "adj_close"), rises), index)
    stub.frames["AAPL"] = bars.assign(volume=1000.0)
    # 11:35 in New York: the bar of 10:30 has ended, but may still change.
    monkeypatch.setattr(yahoo, "_now", pd.Timestamp("2013-03-12T15:35", tz="UTC").to_pydatetime)
    found = ask(start=date(2013, 3, 1), end=date(2013, 3, 12), interval="1h")
    assert found.frame.index.equals(index[:15])
    assert found.frame["close"].tolist() == rises[:15].tolist()


def test_bars_of_a_repeated_hour_are_kept_in_utc() -> None:
    # Of a market that never closes, which the stub has not.
    hours = pd.date_range("2012-11-03", periods=60, freq="h", tz="America/New_York")
    bars = pd.DataFrame({"Close": 100.0 + np.arange(60.0)}, index=hours)
    request = PriceRequest(
        "EURUSD=X", interval="1h", start=date(2012, 11, 3), end=date(2012, 11, 6)
    )
    found = yahoo._to_prices(bars, {"symbol": "EURUSD=X"}, request)
    assert found.frame["close"].tolist() == bars["Close"].tolist()
    assert found.frame.index.equals(hours.tz_convert(None))
    assert found.market.zone == "UTC"
    assert found.notes == ("the clock is set back within the bars, so their times are in UTC",)


def test_invalid_bar_in_an_unread_column_is_accepted(stub: Stub) -> None:
    bars = stub.frames["AAPL"].copy()
    bars.iloc[100, bars.columns.get_loc("open")] = 0.0
    bars.iloc[101, bars.columns.get_loc("low")] = 0.0
    bars.iloc[102, bars.columns.get_loc("high")] = bars["close"].iloc[102] * 0.997
    stub.frames["AAPL"] = bars
    prices = load_prices(
        "yfinance", PriceRequest("AAPL", needs=needs_of(["return", "volume"], "return"))
    )
    assert len(prices.frame) == len(bars)
    with pytest.raises(DataError) as caught:
        load_prices("yfinance", PriceRequest("AAPL", needs=needs_of(["return", "range"], "return")))
    message = str(caught.value)
    rule = f"but is not in 1 bar, first {bars.index[101]:%Y-%m-%d}"
    assert f"low must be positive for the logarithm in feature 'range', {rule}" in message
    left = (
        f"set start after {bars.index[101]:%Y-%m-%d}, which leaves {len(bars) - 102} bars, or use"
    )
    assert left in message
    assert "correct" not in message
    done = tuner("prices", "AAPL")
    assert done.exit_code == 0, done.output
    assert f"that reads all columns is refused: low must be positive, {rule}" in done.stderr


# What does not come

FAILURES = [
    (["429", "ok"], None, 2.0),
    (["500", "ok"], None, 2.0),
    (["html", "ok"], None, 2.0),
    (["empty", "empty", "ok"], None, 2.0),
    (["429"], "had too many requests from this address (HTTP 429); wait a while (3 tries in ", 2.0),
    (["500"], "Yahoo is unavailable (HTTP 500) (3 tries in ", 2.0),
    (["html"], "Yahoo's response cannot be read (JSONDecodeError: ", 2.0),
    (["empty"], "Yahoo returned no prices for this date range (3 tries", 2.0),
    (["404"], "Yahoo refused the request: not found (HTTP 404)", 1.0),
    (["other"], "Yahoo returned ELSE instead: use that symbol", 1.0),
    (["zone"], "time zone", 2.0),
    (["401"], "Yahoo refuses requests from this address (HTTP 401) (3 tries", 2.0),
    (["403"], "Yahoo refuses requests from this address (HTTP 403) (3 tries", 2.0),
    (["silent"], "Yahoo does not respond", 4.0),
]


@pytest.mark.parametrize(("faults", "said", "seconds"), FAILURES, ids=lambda v: str(v)[:20])
def test_failures_are_retried_if_that_may_help_and_reported_otherwise(
    faults: list[str],
    said: str | None,
    seconds: float,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yahoo, "DEADLINE", 3.0)
    stub.faults = list(faults)
    begin = time.monotonic()
    if said is None:
        assert len(ask().frame) == 3270
    else:
        with pytest.raises(DataError) as caught:
            ask()
        assert said in str(caught.value)
        assert str(caught.value).startswith("yfinance AAPL: Yahoo")
        final = "HTTP 404" in said or "ELSE" in said
        assert ('source = "sample"' in str(caught.value)) is not final
    assert time.monotonic() - begin < seconds
    assert not list(cache.cache_folder().glob(".new-*"))


def test_a_failure_is_asked_again_and_not_remembered(stub: Stub) -> None:
    stub.faults = ["500", "ok"]
    ask()
    # One that failed, and one each for the bars and the ends of sessions; perhaps the time zone.
    assert stub.charts in {3, 4}


def test_unknown_symbol_is_requested_once(stub: Stub) -> None:
    with pytest.raises(
        DataError, match=r"Yahoo refused the request: No data found, symbol may be delisted"
    ):
        ask("NOSUCH")
    assert stub.charts == 1


def test_refused_connection_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"the connection to Yahoo was refused \(3 tries"):
        ask()


@pytest.mark.parametrize(("seconds", "comes"), [(1, True), (60, False)])
def test_retry_after_is_respected_within_the_deadline(
    seconds: int, comes: object, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yahoo, "DEADLINE", 5.0)
    stub.faults, stub.retry_after = ["429", "ok"], seconds
    begin = time.monotonic()
    if comes:
        assert len(ask().frame) == 3270
        assert time.monotonic() - begin > 1.0
    else:
        with pytest.raises(DataError, match="too many requests"):
            ask()
        assert time.monotonic() - begin < 1.0, "it does not wait for what comes too late"


def test_all_series_of_a_study_share_one_deadline(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(extra=("IBM",))
    later = yahoo._now() + timedelta(days=3)
    monkeypatch.setattr(yahoo, "_now", lambda: later)
    monkeypatch.setattr(yahoo, "DEADLINE", 2.0)
    stub.faults = ["silent"]
    begin = time.monotonic()
    found = ask(extra=("IBM",))
    assert time.monotonic() - begin < 3.0
    assert len(found.fetch_notes) == 2, "both are from the cache"


# The cache


def test_cached_bars_are_used_with_their_age_if_the_service_fails(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask()
    later = yahoo._now() + timedelta(days=3, hours=2)
    monkeypatch.setattr(yahoo, "_now", lambda: later)
    stub.faults = ["500"]
    again = ask()
    pd.testing.assert_frame_equal(again.frame, first.frame, check_exact=True)
    assert again.warnings == first.warnings
    assert again.fetch_notes[0] == (
        "Yahoo is unavailable (HTTP 500) (3 tries in 0 s): these are from the cache, "
        "fetched 3 days ago"
    )
    assert again.origin == first.origin, "it says when the bars were fetched"
    with pytest.raises(DataError, match=r"unavailable .* the copy of 3 days ago is used"):
        ask(refresh=True)


def test_past_days_are_not_fetched_again(stub: Stub) -> None:
    options = {"start": date(2012, 1, 4), "end": date(2012, 12, 28)}
    first = ask(**options)
    asked = stub.charts
    again = ask(**options)
    assert stub.charts == asked
    assert (
        "from the cache, fetched less than a minute ago; --refresh fetches again"
        in again.fetch_notes
    )
    pd.testing.assert_frame_equal(again.frame, first.frame, check_exact=True)
    ask(**options, refresh=True)
    assert stub.charts > asked
    ask(start=date(2012, 1, 4), end=date(2012, 12, 31))
    assert stub.charts > asked + 1, "other days are another request"


@pytest.mark.parametrize(
    ("hours", "asks"),
    # Fetched on Monday 2013-02-25 at 22:00 UTC, an hour after the close; the next one is at 21:00.
    [(7, False), (23, False), (23.5, True), (30, True)],
)
def test_cache_is_current_until_the_next_bar_can_be_finished(
    hours: float, asks: object, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.frames["AAPL"] = stub.frames["AAPL"][:"2013-02-25"]
    now = pd.Timestamp("2013-02-25T22:00", tz="UTC")
    monkeypatch.setattr(yahoo, "_now", now.to_pydatetime)
    ask()
    before = stub.charts
    monkeypatch.setattr(yahoo, "_now", (now + timedelta(hours=hours)).to_pydatetime)
    ask()
    assert (stub.charts > before) is asks


def test_late_bar_is_fetched_after_its_day(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stub.frames["AAPL"]
    stub.frames["AAPL"] = whole[:"2013-02-28"]
    now = pd.Timestamp("2013-03-01T21:30", tz="UTC")
    monkeypatch.setattr(yahoo, "_now", now.to_pydatetime)
    assert len(ask(end=date(2013, 3, 1)).frame) == 3269
    stub.frames["AAPL"] = whole
    monkeypatch.setattr(yahoo, "_now", (now + timedelta(days=700)).to_pydatetime)
    assert len(ask(end=date(2013, 3, 1)).frame) == 3270


@pytest.mark.parametrize("how", ["cut", "bit", "head", "zone", "empty"])
def test_damaged_cache_file_is_replaced(how: str, stub: Stub) -> None:
    options = {"start": date(2012, 1, 4), "end": date(2012, 12, 28)}
    first = ask(**options)
    (file,) = cache.cache_folder().iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "cut": whole[:middle],
            "bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "head": b"[" + whole,
            "zone": whole.replace(b"New_York", b"New_Yorc"),
            "empty": b"",
        }[how]
    )
    stub.faults = ["500"]
    with pytest.raises(DataError, match="and no copy is in the cache; prices that need no network"):
        ask(**options)
    stub.faults = []
    again = ask(**options)
    assert "the copy in the cache is damaged, and is not used" in again.fetch_notes
    pd.testing.assert_frame_equal(again.frame, first.frame, check_exact=True)
    asked = stub.charts
    ask(**options)
    assert stub.charts == asked


def test_cache_file_of_another_series_is_not_used(stub: Stub) -> None:
    options = {"start": date(2012, 1, 4), "end": date(2012, 12, 28)}
    ask("IBM", **options)
    (file,) = cache.cache_folder().iterdir()
    expected = ask("AAPL", **options)
    (own,) = set(cache.cache_folder().iterdir()) - {file}
    file.replace(own)
    asked = stub.charts
    again = ask("AAPL", **options)
    assert stub.charts > asked
    pd.testing.assert_frame_equal(again.frame, expected.frame, check_exact=True)


def test_prices_are_loaded_if_the_cache_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder is to be")
    found = ask()
    assert len(found.frame) == 3270
    assert "not cached: " in found.fetch_notes[0]


# Several symbols


def ask_for(*symbols: str) -> Basket:
    return load_basket("yfinance", PriceRequest(), symbols)


def test_symbols_without_prices_are_named_and_the_others_are_in_the_cache(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the hours after a close a bar that came late is asked for again, cached or not.
    monkeypatch.setattr(cache, "_LATE", pd.Timedelta(0))
    with pytest.raises(DataError) as caught:
        ask_for("AAPL", "NOSUCH", "ibm", "GONE")
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("2 of 4 symbols cannot be used")
    assert head.endswith("the others are in the cache, so a second try requests only these")
    assert [line.partition(": Yahoo refused")[0] for line in lines] == [
        "- NOSUCH: yfinance NOSUCH",
        "- GONE: yfinance GONE",
    ]
    stub.charts = 0
    basket = ask_for("AAPL", "ibm")
    assert (stub.charts, list(basket.frames)) == (0, ["AAPL", "ibm"])
    expected = load_prices("sample", PriceRequest("IBM")).frame
    pd.testing.assert_frame_equal(basket.frames["ibm"], expected, rtol=1e-12)
    assert len(basket.fetch_notes) == 1
    assert basket.fetch_notes[0].startswith("AAPL and ibm: from the cache, fetched less than a min")


def test_an_outage_ends_the_requests_and_leaves_what_is_cached(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("IBM")
    stub.faults, stub.charts = ["500"], 0
    monkeypatch.setattr(cache, "is_current", lambda *_: False)
    with pytest.raises(DataError) as caught:
        ask_for("A", "B", "C", "IBM", "D")
    assert stub.charts == 3 * 3
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("4 of 5 symbols cannot be used")
    assert "D: yfinance D: not requested, as Yahoo answered none of the 3 before it" in lines[-1]


def test_the_deadline_grows_with_the_number_of_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    untils: list[float] = []

    def fetch(_: PriceRequest, until: float) -> FetchedPrices:
        untils.append(until)
        raise YahooError("none", again=False)

    monkeypatch.setattr(yahoo, "fetch", fetch)
    request = PriceRequest(extra=("X",))
    for symbols in (["A"], ["A", "B", "C"]):
        with pytest.raises(DataError):
            load_basket("yfinance", request, symbols)
    assert [until - request.requested_at for until in untils] == pytest.approx([30, 34, 34, 34])


# Other series


def test_another_series_is_joined_as_it_was_known(stub: Stub) -> None:
    stub.frames["IBM"] = stub.frames["IBM"].drop(pd.Timestamp("2012-06-05"))
    found = ask(start=date(2012, 6, 1), end=date(2012, 6, 29), extra=("IBM",)).frame
    ibm = load_prices("sample", PriceRequest("IBM")).frame["close"]
    assert found["extra:IBM"]["2012-06-04"] == pytest.approx(ibm["2012-06-04"])
    assert found["extra:IBM"]["2012-06-05"] == pytest.approx(ibm["2012-06-04"])
    assert found["extra:IBM"]["2012-06-06"] == pytest.approx(ibm["2012-06-06"])


# On the last day the session may end early: that is no matter of the days before.
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("own", "other", "lag"),
    [
        ("America/New_York", "America/New_York", 0),
        ("America/New_York", "Asia/Tokyo", 0),  # closes before New York opens
        ("Asia/Tokyo", "America/New_York", 1),  # closes when Tokyo sleeps, on the next day there
        ("America/New_York", "America/Chicago", 1),  # an hour later, so its close is not known yet
        ("America/Chicago", "America/New_York", 0),
    ],
)
def test_extra_series_of_another_exchange_is_known_after_its_session(
    own: str, other: str, lag: int, half: object, stub: Stub
) -> None:
    stub.zones = {"AAPL": own, "IBM": other}
    stub.half_days = {"AAPL"} if half else set()
    found = ask(start=date(2012, 6, 4), end=date(2012, 6, 29), extra=("IBM",)).frame
    ibm = load_prices("sample", PriceRequest("IBM")).frame["close"].shift(lag)
    assert found["extra:IBM"].to_numpy() == pytest.approx(ibm[found.index].to_numpy())


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ({"tradingPeriods": {"end": ["2013-02-28T21:00Z", "2013-03-01T18:00Z"]}}, "16:00"),
        (
            {"currentTradingPeriod": {"regular": {"end": pd.Timestamp("2013-03-01T21:00Z")}}},
            "16:00",
        ),
        ({"currentTradingPeriod": {"regular": {"end": "2013-03-02T05:00Z"}}}, "24:00"),
        ({"currentTradingPeriod": {"regular": {"end": None}}}, None),
        ({"currentTradingPeriod": None}, None),
        ({}, None),
    ],
)
def test_session_end_is_the_regular_one_and_midnight_is_24_00(
    told: dict[str, Any], end: str | None
) -> None:
    assert yahoo._session_end(told, "America/New_York") == end


# What a user sees


def tuner(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_the_command_shows_what_the_loader_got(stub: Stub) -> None:
    splits = pd.Series(0.0, stub.frames["AAPL"].index)
    splits["2005-02-28"] = 2.0
    stub.frames["AAPL"]["splits"] = splits
    done = tuner("prices", "AAPL", "--start", "2004-01-02", "--end", "2006-12-29")
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("yfinance AAPL, fetched 20")
    assert "  bars             755, from 2004-01-02 to 2006-12-29" in lines
    assert "  splits           2 for 1 on 2005-02-28" in lines
    assert any("longest gaps" in line and " days before " in line for line in lines)
    again = tuner("prices", "AAPL", "--start", "2004-01-02", "--end", "2006-12-29")
    assert (
        again.stderr
        == "prices: from the cache, fetched less than a minute ago; --refresh fetches again\n"
    )


def test_a_wrong_symbol_is_said_in_one_line() -> None:
    done = tuner("prices", "NOSUCH")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: yfinance NOSUCH: Yahoo refused the request: No data found, symbol may be delisted "
        "(HTTP 404)\n"
    )


@pytest.fixture
def live(tiny_file: Path) -> Path:
    """The tiny study, on prices of the service."""
    text = tiny_file.read_text().replace('"tiny"', '"live"').replace("trials = 8", "trials = 4")
    text = text.replace('["return"]', '["return", "extra", "weekday_sin", "weekday_cos"]')
    tiny_file.write_text(text.replace("[data]", '[data]\nsource = "yfinance"\nextra = ["IBM"]'))
    return tiny_file


def test_a_study_that_is_there_asks_nobody(stub: Stub, live: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'live.db'}"
    assert tuner("submit", str(live), "--storage", url).exit_code == 0
    asked, stub.faults = stub.charts, ["500"]
    again = tuner("submit", str(live), "--storage", url)
    assert (again.exit_code, stub.charts) == (0, asked), again.output
    assert again.stderr.startswith("study live: 4 of 4 trials to do")
    fresh = tuner("submit", str(live), "--refresh", "--storage", url)
    assert fresh.stderr.startswith("prices: study live resumes with its own copy\nstudy live: 4 of")
    assert stub.charts == asked


def test_two_workers_finish_a_study_while_the_service_is_down(
    stub: Stub, live: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    url = f"sqlite:///{tmp_path / 'live.db'}"
    assert tuner("submit", str(live), "--storage", url).exit_code == 0
    asked, stub.faults = stub.charts, ["500"]
    workers = [start(url, TUNER, "worker") for _ in range(2)]
    assert [worker.end(60) for worker in workers] == [0, 0], [w.said for w in workers]
    study = load(open_storage(url), "live")
    trials = [t for t in study.trials() if t.state in {TrialState.COMPLETE, TrialState.PRUNED}]
    assert len(trials) == 4
    assert stub.charts == asked, "a worker reads the study's own copy"
    folder = tmp_path / "best"
    assert tuner("export", "live", str(folder), "--storage", url).exit_code == 0
    snapshot = (folder / "prices-search.csv").read_bytes()
    assert hashlib.sha256(snapshot).hexdigest() == study.record.data.sha256[SEARCH_FILE]
    assert snapshot.partition(b"\n")[0] == b"date,open,high,low,close,volume,extra:IBM"
    assert stub.charts == asked
