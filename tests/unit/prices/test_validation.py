"""Validation of prices: repairs, errors and warnings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puffin.models.arrays import Floats
from puffin.models.features import needs_of
from puffin.studies.prices.names import COLUMNS, DataError
from puffin.studies.prices.validation import Remedies, adjust, validate
from tests.prices import bars


def refused(frame: pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        validate(frame)
    return str(caught.value)


def test_valid_bars_are_unchanged_and_give_no_warning() -> None:
    close = bars()["close"].to_numpy()
    frame = bars(low=close - 1, high=close + 1, open=close + 0.5, volume=np.arange(200))
    checked, warnings = validate(frame)
    assert warnings == ()
    assert list(checked.columns) == list(COLUMNS)
    for name in COLUMNS:
        np.testing.assert_array_equal(checked[name], frame[name])
    again, _ = validate(checked)
    pd.testing.assert_frame_equal(again, checked, check_exact=True)


def broken(column: str, value: float, rows: int = 2) -> pd.DataFrame:
    close = bars()["close"].to_numpy()
    frame = bars(open=close, high=close + 1, low=close - 1, volume=1.0, adj_close=close)
    frame.iloc[5 : 5 + rows, frame.columns.get_loc(column)] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (broken("close", 0.0), "close must be positive, but is not in 2 bars, first 2020-01-08"),
        (broken("adj_close", -1.0), "adj_close must be positive, but is not in 2 bars"),
        (broken("open", -1.0, 1), "open must be positive, but is not in 1 bar, first 2020-01-08"),
        (broken("high", np.inf), "high must be finite, but is not in 2 bars, first 2020-01-08"),
        (broken("volume", -5.0), "volume must not be negative, but is not in 2 bars"),
        (broken("volume", np.inf), "volume must be finite"),
        (broken("low", 1e6), "low <= open, close <= high must hold, but is not in 2 bars"),
        (broken("high", 1.0), "low <= open, close <= high must hold, but is not in 2 bars"),
        (broken("open", 1e6), "low <= open, close <= high must hold, but is not in 2 bars"),
        (broken("close", np.nan, 3), "at most 1% of the bars.*3 bars, first 2020-01-08 of 200"),
        (bars().assign(close=7.5), "close must change, but is always 7.5"),
        (bars(1), "at least 2 bars, but there are 1"),
        (bars(0), "at least 2 bars, but there are none"),
        (bars().drop(columns="close").assign(last=1), "a close column, but there are last"),
        (bars().reset_index(drop=True), "must be a DatetimeIndex, but is of int64"),
        (bars().astype(str), "columns must be numbers, but close are not"),
        (pd.concat([bars(), bars()], axis=1), "columns must differ, but close occurs twice"),
        (pd.concat({"AAPL": bars()}, axis=1), "one level, but have 2: take one symbol"),
        (bars().set_axis([pd.NaT, *bars().index[1:]]), "every bar must have a date, but 1 have"),
    ],
)
def test_broken_rule_is_reported_with_count_and_first_bar(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        validate(frame)


def test_all_broken_rules_are_reported_at_once() -> None:
    frame = broken("close", 0.0, 1)
    frame.iloc[20, frame.columns.get_loc("volume")] = -1
    frame.iloc[30, frame.columns.get_loc("open")] = 1e9
    frame.iloc[40:60, frame.columns.get_loc("high")] = np.nan
    frame.index = [*frame.index[:-1], frame.index[-2]]
    first, *rest = refused(frame).splitlines()
    assert first == "prices: 5 rules are broken"
    assert [line[:16] for line in rest] == [
        "- at most 1% of ",
        "- close must be ",
        "- volume must no",
        "- the order low ",
        "- each time must",
    ]


RETURN = needs_of(["return"], "return")
RANGE = needs_of(["return", "range", "volume"], "return")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("open", 0.0),
        ("low", 0.0),
        ("low", 1e9),
        ("high", 99.7),
        ("high", np.nan),
        ("volume", np.nan),
        ("volume", -1.0),
        ("open", np.inf),
    ],
)
def test_unread_column_is_neither_validated_nor_cleaned(column: str, value: float) -> None:
    frame = broken(column, value, 40)
    checked, warnings = validate(frame, "prices", RETURN)
    np.testing.assert_array_equal(checked["close"], frame["close"])
    assert warnings == ()
    assert validate(frame.drop(columns=column), "prices", RETURN)[0]["close"].equals(
        checked["close"]
    )


@pytest.mark.parametrize(
    ("column", "value", "live", "words"),
    [
        pytest.param(
            "low",
            0.0,
            True,
            "low must be positive for the logarithm in feature 'range', but is not in 1 bar, first "
            "2020-01-08 (0): set start after 2020-01-08, which leaves 194 bars, or use "
            "others than feature 'range'",
        ),
        pytest.param(
            "high",
            90.0,
            True,
            "the order low <= open, close <= high must hold, but is not in 1 bar, first 2020-01-08 "
            "(low 104.5 is above high 90): set start after 2020-01-08, which leaves 194 bars, or "
            "use others than feature 'range'",
        ),
        pytest.param(
            "volume",
            -5.0,
            False,
            "volume must not be negative, but is not in 1 bar, first 2020-01-08 (-5): correct them "
            "in the file, or set start after 2020-01-08, which leaves 194 bars, or use others than "
            "feature 'volume'",
        ),
        pytest.param(
            "close",
            -37.63,
            False,
            "close must be positive for the logarithm in feature 'return' and target 'return', but "
            "is not in 1 bar, first 2020-01-08 (-37.63): correct them in the file, or set start "
            "after 2020-01-08, which leaves 194 bars, or use others than feature "
            "'return' and target 'return' "
            "('price' and 'change' take no logarithm)",
        ),
    ],
)
def test_invalid_value_in_a_read_column_is_refused_with_rule_and_fix(
    column: str, value: float, words: str, *, live: bool
) -> None:
    frame = broken(column, value, 1).drop(columns="adj_close")
    with pytest.raises(DataError) as caught:
        validate(frame, "prices", RANGE, Remedies(live=live))
    assert words in str(caught.value)
    assert "delete" not in str(caught.value)
    assert ("correct" in str(caught.value)) is not live


def test_prices_may_be_negative_without_a_logarithm() -> None:
    frame = bars().assign(close=np.linspace(-5.0, 5.0, 200))
    frame.iloc[100] = 0.0
    for target in ("price", "change"):
        checked, warnings = validate(frame, "rates", needs_of([target, "rsi"], target))
        np.testing.assert_array_equal(checked["close"], frame["close"])
        assert warnings == ()
    adjusted, _ = validate(
        frame.assign(open=1.0, adj_close=frame["close"]), "rates", needs_of(["price"], "price")
    )
    assert (adjusted["open"] == 1.0).all()


def test_rows_without_any_price_are_left_out() -> None:
    frame = broken("volume", 0.0, 60)
    frame.iloc[5:65, frame.columns.isin(["open", "high", "low", "close", "adj_close"])] = np.nan
    checked, warnings = validate(frame)
    assert len(checked) == 140
    assert warnings[0] == "rows without any price were left out: 60 bars, first 2020-01-08"


def test_a_column_without_any_value_is_none() -> None:
    checked, warnings = validate(bars(volume=np.nan), "prices", RETURN)
    assert (list(checked), warnings) == (
        ["close"],
        ("columns without any value are left out: volume",),
    )


MOOD = needs_of(["return", "column:mood"], "return")


def test_user_column_may_be_negative_and_starts_at_its_first_value() -> None:
    mood = np.r_[np.full(30, np.nan), np.sin(np.arange(170))]
    checked, warnings = validate(bars(**{"column:mood": mood}), "prices", MOOD)
    np.testing.assert_array_equal(checked["column:mood"], mood[30:])
    assert warnings == ("bars before the first value of mood: 30, left out",)


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        (
            np.r_[np.arange(100.0), np.full(20, np.nan), np.arange(80.0)],
            "20 bars, first 2020-05-20 of",
        ),
        (np.r_[np.arange(199.0), np.inf], "column:mood must be finite, but is not in 1 bar"),
    ],
)
def test_user_column_with_missing_values_is_refused(mood: Floats, words: str) -> None:
    with pytest.raises(DataError) as caught:
        validate(bars(**{"column:mood": mood}), "prices", MOOD)
    assert words in str(caught.value)
    assert "use others than feature 'column:mood'" in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"column:mood": 2.0}, "mood is 2 in every bar, which carries no information"),
        ({"column:mood": np.arange(200.0), "volume": 0.0}, "volume is 0 in every bar, which"),
    ],
)
def test_constant_column_gives_a_warning(columns: dict[str, object], words: str) -> None:
    needs = needs_of(["return", "column:mood", "volume"], "return")
    _, (warning,) = validate(bars(**columns), "prices", needs)
    assert words in warning


def test_unsorted_rows_are_sorted_with_a_note() -> None:
    checked, warnings = validate(bars()[::-1])
    np.testing.assert_array_equal(checked["close"], bars()["close"])
    assert warnings == ("bars were not in order of time and were sorted",)


def test_exact_duplicates_are_dropped_and_conflicting_ones_refused() -> None:
    frame = bars()
    checked, warnings = validate(pd.concat([frame, frame.iloc[[3, 4]]]))
    np.testing.assert_array_equal(checked["close"], frame["close"])
    assert "exact duplicates of bars were dropped: 2 bars, first 2020-01-06" in warnings
    message = refused(pd.concat([frame, frame.iloc[[3]] + 0.5]))
    assert "each time must occur once, but does not in 1 bar, first 2020-01-06" in message


def test_one_percent_of_rows_with_empty_cells_is_dropped_with_a_note() -> None:
    checked, warnings = validate(broken("close", np.nan, 2))
    assert len(checked) == 198
    assert warnings == (
        "bars with empty cells were dropped: 2 bars, first 2020-01-08 of 200 (in close)",
    )


def test_several_bars_a_day_are_legitimate() -> None:
    frame = bars().set_axis(pd.date_range("2024-01-02 09:30", periods=200, freq="5min"))
    checked, warnings = validate(frame)
    assert len(checked) == 200
    assert warnings == ()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_in_microseconds(unit: str) -> None:
    checked, _ = validate(bars().set_axis(pd.DatetimeIndex(bars().index).as_unit(unit)))
    assert str(checked.index.dtype) == "datetime64[us]"
    assert list(checked.index) == list(bars().index)


def test_adjusted_close_that_overflows_is_refused() -> None:
    close = bars(10)["close"].to_numpy()
    frame = bars(10, open=close * 2, adj_close=np.where(close > 101, 1.7e308, 1.6e308))
    assert refused(frame).startswith("prices, adjusted: open must be finite, but is not in")


def test_order_of_prices_is_checked_up_to_rounding() -> None:
    frame = bars(high=bars()["close"].to_numpy() * (1 - 5e-7))
    assert len(validate(frame)[0]) == 200
    assert "must hold, but is not in 200 bars" in refused(frame.assign(high=frame["close"] * 0.99))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_a_time_zone_is_dropped_and_never_converted(zone: str) -> None:
    checked, warnings = validate(bars().tz_localize(zone))
    assert list(checked.index) == list(bars().index)
    assert warnings == ("time zone dropped, clock times kept",)


def test_index_of_mixed_offsets_keeps_local_times() -> None:
    times = [
        pd.Timestamp(f"{day:%Y-%m-%d} 16:00{'-05:00' if at < 50 else '-04:00'}")
        for at, day in enumerate(bars().index)
    ]
    checked, warnings = validate(bars().set_axis(pd.Index(times, dtype=object)))
    assert list(checked.index) == [day + pd.Timedelta(hours=16) for day in bars().index]
    assert warnings == ("time zone dropped, clock times kept",)


def test_bars_of_a_repeated_hour_stay_distinct_and_in_order() -> None:
    index = pd.date_range("2023-10-28", periods=72, freq="h", tz="Europe/Berlin")
    close = 100.0 + np.arange(72) % 7
    frame = pd.DataFrame({"close": close}, index=index)
    for bars_ in (frame, frame[::-1], frame.set_axis(pd.Index(list(index), dtype=object))):
        checked, warnings = validate(bars_)
        np.testing.assert_array_equal(checked["close"], close)
        assert list(checked.index) == list(pd.date_range("2023-10-27 22:00", periods=72, freq="h"))
        assert "the clock is set back within the bars, so their times are in UTC" in warnings


def jump(by: float) -> pd.DataFrame:
    return bars().mul(np.where(np.arange(200) < 100, 1.0, by), axis=0)


def flat(length: int) -> pd.DataFrame:
    frame = bars(400)
    frame.iloc[50 : 50 + length] = 90.0
    return frame


def gap(days: int) -> pd.DataFrame:
    frame = bars(10)
    later = frame.index[-2] + pd.Timedelta(days=days)
    return frame.set_axis([*frame.index[:-1], later])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (jump(0.45), "close moves by more than 50% in 1 bar, first 2020-05-20 (-54.6%)"),
        (jump(3.0), "first 2020-05-20 (+203.0%)"),
        (flat(20), "close stays the same for 20 bars from 2020-03-11"),
        (gap(16), "gaps of more than 15 days: 1, the longest of 16 days before 2020-01-29"),
        (
            bars().set_axis(pd.date_range("2020-01-01", periods=200)),
            "bars on a weekend: 57 bars, first 2020-01-04",
        ),
        (
            bars().assign(close=np.arange(200) // 2 + 100.0),
            "50% of the returns are zero",
        ),
    ],
)
def test_suspicious_but_legitimate_bars_give_a_warning(frame: pd.DataFrame, words: str) -> None:
    _, warnings = validate(frame)
    assert len(warnings) == 1
    assert words in warnings[0]


@pytest.mark.parametrize("frame", [jump(1.4), flat(19), gap(15)])
def test_just_below_the_limits_there_is_no_warning(frame: pd.DataFrame) -> None:
    assert validate(frame)[1] == ()


def test_adjusting_needs_an_adjusted_close() -> None:
    frame = bars()
    assert adjust(frame) is frame
    assert list(adjust(frame.assign(adj_close=1.0)).columns) == ["close"]


CELLS = st.floats(1.0, 1.0000001) | st.sampled_from([2.0, 0.5, 1e308, 1e-308, np.nan, 0.0, np.inf])


@given(data=st.data(), rows=st.integers(1, 8))
def test_validated_bars_obey_the_rules_and_validate_again(data: st.DataObject, rows: int) -> None:
    others = st.sampled_from(["open", "high", "low", "volume", "adj_close", "spare"])
    names = ["close", *data.draw(st.lists(others, max_size=2, unique=True))]
    row = st.tuples(st.dates(), *[CELLS] * len(names))
    table = data.draw(st.lists(row, min_size=rows, max_size=rows))
    days = pd.DatetimeIndex([day for day, *_ in table])
    frame = pd.DataFrame([cells for _, *cells in table], columns=names, index=days)
    try:
        checked, _ = validate(frame)
    except DataError:
        return
    assert np.isfinite(checked.to_numpy()).all()
    assert (checked.drop(columns="volume", errors="ignore") > 0).to_numpy().all()
    assert checked.index.is_monotonic_increasing
    assert checked.index.is_unique
    pd.testing.assert_frame_equal(validate(checked)[0], checked, check_exact=True)
