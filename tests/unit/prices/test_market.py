"""Features over a basket: means of what was known when a bar closed, and of nothing later."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puffin.models.features import needs_of
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.calendar import Market
from puffin.studies.prices.load import ValidatedBars
from puffin.studies.prices.market import with_market
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest

NEEDS = needs_of(["market_return", "market_volatility"], "return")
DAYS = pd.date_range("2024-01-01", periods=40)
NEW_YORK = Market("America/New_York", "16:00", "1d")
TOKYO = Market("Asia/Tokyo", "15:00", "1d")
COINS = Market("UTC", "24:00", "1d")
UNKNOWN = Market("America/New_York", None, "1d")
COLUMNS = ["market:return", "market:volatility"]


def series(closes: Mapping[int, float], market: Market | None = None) -> ValidatedBars:
    """Bars of some of the days, by number."""
    frame = pd.DataFrame({"close": list(closes.values())}, index=DAYS[list(closes)])
    return ValidatedBars(frame, (), "test", market, pd.Series(dtype="float64"), ())


def means(bars: Mapping[str, ValidatedBars]) -> dict[str, pd.DataFrame]:
    return {symbol: own.frame[COLUMNS] for symbol, own in with_market(bars, NEEDS).items()}


def test_the_means_of_unequal_calendars_are_what_is_worked_out_by_hand() -> None:
    found = means(
        {
            "A": series({0: 100, 1: 110, 2: 99, 3: 99}),
            "B": series({1: 50, 2: 100, 4: 50}),
            "C": series({2: 7, 3: 14}),
        }
    )
    a, b, two = math.log(1.1), math.log(0.9), math.log(2)
    floor = math.log(1e-4)
    expected = {
        "A": ([math.nan, a, (b + two) / 2, (0 + two) / 2], (floor + math.log(two)) / 2),
        "B": ([a, (b + two) / 2, -two], math.log(two)),
        "C": ([(b + two) / 2, (0 + two) / 2], (floor + math.log(two)) / 2),
    }
    for symbol, (returns, last) in expected.items():
        assert found[symbol]["market:return"].tolist() == pytest.approx(returns, nan_ok=True)
        assert found[symbol]["market:volatility"].iloc[-1] == pytest.approx(last)


@pytest.mark.parametrize(
    ("own", "other", "counts"),
    [
        (None, None, True),
        (NEW_YORK, NEW_YORK, True),
        (NEW_YORK, TOKYO, True),  # closes before New York opens
        (TOKYO, NEW_YORK, False),  # closes when Tokyo sleeps
        (NEW_YORK, COINS, False),  # midnight in Greenwich is in the evening of New York
        (COINS, NEW_YORK, True),
        (UNKNOWN, UNKNOWN, False),  # another may have closed later
        (NEW_YORK, UNKNOWN, False),
        (UNKNOWN, NEW_YORK, False),
        (UNKNOWN, TOKYO, False),
    ],
)
def test_a_bar_counts_if_it_is_known_when_the_own_one_is(
    own: Market | None, other: Market | None, *, counts: bool
) -> None:
    bars = {"OWN": series({0: 1, 1: 2}, own), "OTHER": series({0: 1, 1: 8}, other)}
    expected = math.log(4) if counts else math.log(2)
    assert means(bars)["OWN"]["market:return"].iloc[1] == pytest.approx(expected)


@st.composite
def baskets(draw: st.DrawFn) -> dict[str, ValidatedBars]:
    """Two to four symbols that trade on days of their own, in markets of their own."""
    markets = st.sampled_from([NEW_YORK, TOKYO, COINS, UNKNOWN])
    found = {}
    for symbol in "ABCD"[: draw(st.integers(2, 4))]:
        days = sorted(draw(st.sets(st.integers(0, 39), min_size=2)))
        rng = np.random.default_rng(draw(st.integers(0, 1000)))
        closes = np.exp(rng.normal(0, 0.1, len(days)).cumsum())
        found[symbol] = series(dict(zip(days, closes.tolist(), strict=True)), draw(markets))
    return found


@settings(max_examples=40, deadline=None)
@given(baskets(), st.data())
def test_prices_after_a_time_change_no_value_at_or_before_it(
    bars: dict[str, ValidatedBars], data: st.DataObject
) -> None:
    now = pd.Timestamp(DAYS[data.draw(st.integers(0, 39))]) + pd.Timedelta(
        hours=data.draw(st.integers(0, 30))
    )
    altered, known = {}, {}
    for symbol, own in bars.items():
        # Whenever a session of unknown end may have ended.
        known[symbol] = own.known_at(data.draw(st.sampled_from(["00:00", "16:00", "24:00"]))) <= now
        later = ~known[symbol]
        close = own.frame["close"].where(~later, own.frame["close"] * 3 + 1)
        altered[symbol] = replace(own, frame=own.frame.assign(close=close))
    before, after = means(bars), means(altered)
    for symbol, mask in known.items():
        pd.testing.assert_frame_equal(before[symbol][mask], after[symbol][mask], check_exact=True)


@settings(max_examples=30, deadline=None)
@given(baskets())
def test_the_order_of_symbols_changes_no_bit_and_later_bars_have_values(
    bars: dict[str, ValidatedBars],
) -> None:
    found = means(bars)
    turned = means(dict(reversed(bars.items())))
    assert list(turned) == list(reversed(found))
    for symbol, frame in found.items():
        pd.testing.assert_frame_equal(frame, turned[symbol], check_exact=True)
        assert np.isfinite(frame.iloc[1:].to_numpy()).all()


def test_the_columns_are_there_only_if_a_feature_reads_them() -> None:
    def columns(*features: str) -> list[str]:
        request = PriceRequest(needs=needs_of(features, "return"), extra=("IBM",))
        basket = load_basket("sample", request, ["AAPL", "MSFT"])
        return [str(name) for name in basket.frames["AAPL"]][5:]

    assert columns("return") == ["extra:IBM"]
    assert columns("market_volatility") == ["market:volatility", "extra:IBM"]


def test_one_symbol_has_no_market() -> None:
    request = PriceRequest(needs=needs_of(["market_return"], "return"))
    with pytest.raises(DataError, match=r"'market_return' is a mean .* at least two, but there is"):
        load_basket("sample", request, ["AAPL"])
