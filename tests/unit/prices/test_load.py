"""Prices: the sample's known facts, CSV files good and bad, the rules, and the snapshot."""

import gzip
import hashlib
import importlib.util
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import puffin.studies.prices.sources as module
from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.features import needs_of
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import from_csv, sha256, to_csv
from puffin.studies.prices.sources import SOURCES
from puffin.studies.prices.validation import COLUMNS, DataError, Remedies, adjust, validate

SAMPLE = Path(module.__file__).parents[1] / "sample"
UPSTREAM = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"
GOOD = "date,close\n2024-01-02,10\n2024-01-03,11\n2024-01-04,12\n"


def bars(rows: int = 200, **columns: object) -> pd.DataFrame:
    """Weekdays from 2020-01-01 (a Wednesday) with a close that always moves a little."""
    close = 100 + np.arange(rows) % 7 + np.arange(rows) / 10
    index = pd.bdate_range("2020-01-01", periods=rows)
    return pd.DataFrame({"close": close, **columns}, index=index)


def csv_file(folder: Path, data: str | bytes, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refused(frame: pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        validate(frame)
    return str(caught.value)


# The sample


def raw(symbol: str) -> pd.DataFrame:
    return pd.read_csv(SAMPLE / f"{symbol}.csv.gz", index_col="date", parse_dates=True)


@pytest.mark.parametrize(
    ("symbol", "last_close"),
    [("AAPL", 56.137353095488), ("IBM", 175.27118333217), ("MSFT", 24.684342419163)],
)
def test_the_sample_holds_3270_days_and_ends_on_the_adjusted_close(
    symbol: str, last_close: float
) -> None:
    prices = load_prices("sample", PriceRequest(symbol))
    assert prices.frame.shape == (3270, 5)
    assert tuple(prices.frame.columns) == COLUMNS
    assert prices.frame.index.name == "date"
    assert prices.frame.index[0] == pd.Timestamp("2000-03-01")
    assert prices.frame.index[-1] == pd.Timestamp("2013-03-01")
    assert prices.frame["close"].iloc[-1] == last_close
    assert prices.origin == f"sample {symbol}"


@pytest.mark.parametrize(
    ("symbol", "splits"),
    [("AAPL", ["2000-06-21", "2005-02-28"]), ("IBM", []), ("MSFT", ["2003-02-18"])],
)
def test_the_vendored_prices_are_raw_and_split_two_for_one_on_the_known_days(
    symbol: str, splits: list[str]
) -> None:
    frame = raw(symbol)
    step = (frame["adj_close"] / frame["close"]).pct_change() + 1
    large = step[step > 1.2]
    assert [f"{day:%Y-%m-%d}" for day in large.index] == splits
    assert large.to_list() == pytest.approx([2.0] * len(splits), abs=1e-6)


def test_a_split_leaves_no_jump_after_adjusting() -> None:
    close = load_prices("sample", PriceRequest("AAPL")).frame["close"]
    # 88.99 -> 44.86 as traded, two for one: +0.82 %
    assert close["2005-02-28"] / close["2005-02-25"] == pytest.approx(2 * 44.86 / 88.99, rel=1e-6)


def test_open_high_and_low_are_scaled_like_the_close_and_volume_is_left() -> None:
    day = load_prices("sample", PriceRequest("AAPL")).frame.loc["2013-03-01"]
    factor = 56.137353095488 / 430.47
    assert day.to_list() == pytest.approx(
        [438.0 * factor, 438.1799 * factor, 429.98 * factor, 56.137353095488, 19730300.0]
    )


def test_the_sample_warns_of_the_real_fall_of_aapl_and_of_nothing_else() -> None:
    (warning,) = load_prices("sample", PriceRequest("AAPL")).warnings
    assert "2000-09-29 (-51.9%)" in warning
    assert load_prices("sample", PriceRequest("IBM")).warnings == ()
    assert load_prices("sample", PriceRequest("MSFT")).warnings == ()


def test_the_vendored_files_are_the_ones_that_checksums_and_notice_name() -> None:
    sums = (SAMPLE / "SHA256SUMS").read_text()
    notice = (SAMPLE / "NOTICE").read_text()
    files = sorted(SAMPLE.glob("*.csv.gz"))
    assert [file.name for file in files] == ["AAPL.csv.gz", "IBM.csv.gz", "MSFT.csv.gz"]
    for file in files:
        line = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        assert line in sums
        assert line in notice
    assert UPSTREAM in notice


def upstream() -> Path | None:
    spec = importlib.util.find_spec("bokeh_sampledata")
    return Path(str(spec.origin)).parent / "_data" / "stocks.csv.gz" if spec else None


def test_the_vendored_rows_are_those_of_the_upstream_file() -> None:
    file = upstream()
    if file is None:  # then at least the rows must be the ones that were compared once
        text = "".join(
            gzip.decompress((SAMPLE / f"{symbol}.csv.gz").read_bytes()).decode().split("\n", 1)[1]
            for symbol in ("AAPL", "IBM", "MSFT")
        )
        assert sha256(text.encode()) == ROWS
        return
    assert sha256(file.read_bytes()) == UPSTREAM
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    for symbol in ("AAPL", "IBM", "MSFT"):
        rows = [line.split(",", 1)[1] for line in lines if line.startswith(f"{symbol},")]
        vendored = gzip.decompress((SAMPLE / f"{symbol}.csv.gz").read_bytes()).decode()
        assert vendored.splitlines()[1:] == rows


# Of the rows of AAPL, IBM, MSFT in this order, cut out of the upstream file without its tickers:
# zcat stocks.csv.gz | grep -E '^(AAPL|IBM|MSFT),' | cut -d, -f2- | sha256sum
ROWS = "7ca8d487b03ac6dd3c3eb261e293d2c4ff3231633c23c350559553b0a96baf94"


def test_a_sample_file_that_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "SHA256SUMS").write_text((SAMPLE / "SHA256SUMS").read_text())
    (tmp_path / "IBM.csv.gz").write_bytes((SAMPLE / "MSFT.csv.gz").read_bytes())
    monkeypatch.setattr(module, "_SAMPLE", tmp_path)
    with pytest.raises(DataError, match=r"sample IBM must have the sha256 8945bab.*install"):
        load_prices("sample", PriceRequest("IBM"))


# What was asked for


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"source must be one of sample, csv.*'excel'"):
        load_prices("excel", PriceRequest())
    assert issubclass(DataError, PuffinError)


@pytest.mark.parametrize("symbol", ["TSLA", None, "", "../AAPL"])
def test_an_unknown_symbol_lists_the_known_ones(symbol: str | None) -> None:
    with pytest.raises(DataError, match="one of AAPL, IBM, MSFT, but got"):
        load_prices("sample", PriceRequest(symbol))


# What comes over the network is in tests/integration/test_yahoo.py.
@pytest.mark.parametrize("source", sorted(SOURCES.keys() - {"yfinance"}))
def test_every_source_gives_the_same_kind_of_frame(source: str, tmp_path: Path) -> None:
    frame = load_prices(source, PriceRequest("aapl", csv_file(tmp_path, GOOD))).frame
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    assert (index.name, index.tz, str(index.dtype)) == ("date", None, "datetime64[us]")
    assert index.is_monotonic_increasing
    assert index.is_unique
    assert set(frame.dtypes) == {np.dtype("float64")}
    assert list(frame.columns) == [name for name in COLUMNS if name in frame]


def test_start_and_end_are_both_inclusive() -> None:
    frame = load_prices(
        "sample", PriceRequest("IBM", start=date(2005, 2, 25), end=date(2005, 2, 28))
    ).frame
    assert [f"{day:%Y-%m-%d}" for day in frame.index] == ["2005-02-25", "2005-02-28"]


def test_the_whole_last_day_of_an_intraday_series_is_kept(tmp_path: Path) -> None:
    frame = bars(72).set_axis(pd.date_range("2024-01-02", periods=72, freq="h"))
    path = csv_file(tmp_path, to_csv(frame))
    day = date(2024, 1, 3)
    cut = load_prices("csv", PriceRequest(path=path, start=day, end=day)).frame
    assert [str(time) for time in cut.index[[0, -1]]] == [
        "2024-01-03 00:00:00",
        "2024-01-03 23:00:00",
    ]


def test_only_the_part_between_start_and_end_is_checked(tmp_path: Path) -> None:
    path = csv_file(tmp_path, GOOD + "2024-01-05,-1\n")
    with pytest.raises(DataError, match="close must be positive"):
        load_prices("csv", PriceRequest(path=path))
    assert len(load_prices("csv", PriceRequest(path=path, end=date(2024, 1, 4))).frame) == 3


def test_a_range_without_bars_names_the_range_that_has_some() -> None:
    with pytest.raises(DataError, match=r"no bars from 2020-01-01 .* 2000-03-01 to 2013-03-01"):
        load_prices("sample", PriceRequest("IBM", start=date(2020, 1, 1)))


def test_a_start_after_the_end_is_refused() -> None:
    with pytest.raises(DataError, match=r"start must not be after end.*2010-01-02 and 2010-01-01"):
        load_prices("sample", PriceRequest("IBM", start=date(2010, 1, 2), end=date(2010, 1, 1)))


# CSV files


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close,Adj Close,Volume",
        "date,open,high,low,close,adj_close,volume",
        "DATETIME, Open ,HIGH,low,Close,AdjClose,VOLUME",
        "timestamp,open,high,low,close,Adj. Close,volume",
        ",open,high,low,close,Adjusted_Close,volume",
        "Unnamed: 0,open,high,low,close,adj close,volume",
    ],
)
def test_column_names_are_known_in_any_writing_and_adjusted(header: str, tmp_path: Path) -> None:
    rows = "2024-01-02,10,12,8,10,5,100\n2024-01-03,10,12,8,11,11,200\n"
    prices = load_prices("csv", PriceRequest(path=csv_file(tmp_path, f"{header}\n{rows}")))
    assert prices.frame.to_numpy().tolist() == [[5, 6, 4, 5, 100], [10, 12, 8, 11, 200]]
    assert prices.origin == "csv prices.csv"


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace(",", ";").encode(),
        GOOD.replace(",", "\t").encode(),
        b'"date", "close"\n"2024-01-02", "10"\n2024-01-03, 11\n2024-01-04, "12"\n',
        b"\xef\xbb\xbf" + GOOD.encode(),
        b"\n\n" + GOOD.encode() + b",\n\n",
        gzip.compress(GOOD.encode(), mtime=0),
        b'"date","close"\n"20240102","10"\n"2024-01-03"," 11 "\n"2024-01-04","1.2e1"',
    ],
)
def test_a_close_alone_is_enough_in_any_usual_dress(data: bytes, tmp_path: Path) -> None:
    prices = load_prices("csv", PriceRequest(path=csv_file(tmp_path, data)))
    assert prices.frame["close"].to_list() == [10, 11, 12]
    assert [f"{day:%m-%d}" for day in prices.frame.index] == ["01-02", "01-03", "01-04"]
    assert prices.warnings == ()


@pytest.mark.parametrize("dates", [("01/30/2024", "01/31/2024"), ("30/01/2024", "31/01/2024")])
def test_dates_with_slashes_are_read_when_only_one_reading_fits(
    dates: tuple[str, str], tmp_path: Path
) -> None:
    path = csv_file(tmp_path, f"date,close\n{dates[0]},1\n{dates[1]},1.1\n")
    index = load_prices("csv", PriceRequest(path=path)).frame.index
    assert [f"{day:%Y-%m-%d}" for day in index] == ["2024-01-30", "2024-01-31"]


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    data = "date,close,Dividends,Stock Splits\n2024-01-02,1,none,x\n2024-01-03,1.1,,\n"
    prices = load_prices("csv", PriceRequest(path=csv_file(tmp_path, data)))
    assert prices.warnings == ("columns that are not used: Dividends, Stock Splits",)


def test_clock_times_survive_a_change_of_the_offset(tmp_path: Path) -> None:
    data = (
        "date,close\n2024-03-08 09:30:00-05:00,1\n2024-03-11 09:30:00-04:00,1.1\n"
        "2024-03-12T09:30Z,1.2\n"
    )
    prices = load_prices("csv", PriceRequest(path=csv_file(tmp_path, data)))
    assert {str(time.time()) for time in prices.frame.index} == {"09:30:00"}
    assert prices.warnings == ("time zone dropped, clock times kept",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", ["prices.csv", "empty", "export"]),
        (" \n\n", ["empty"]),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", ["binary and not UTF-8", "save it as CSV in UTF-8"]),
        ("date,close\n2024-01-02,1é\n".encode("latin-1"), ["line 2", "must be a number", "'1é'"]),
        ("date,close\n2024-01-02,\x001\n", ["binary"]),
        (
            gzip.compress(GOOD.encode(), mtime=0)[:-9],
            ["gzip", "cannot be unpacked", "copy it again"],
        ),
        (b"\x1f\x8bnonsense", ["gzip", "cannot be unpacked"]),
        ("date,close\n", ["has no rows"]),
        ("date,open,high\n2024-01-02,1,2\n", ["close column", "date, open, high", "rename"]),
        ("day,close\n2024-01-02,1\n", ["date column", "day, close"]),
        ("hello world\nnothing here\n", ["date column", "hello world"]),
        ("date,Close,close\n2024-01-02,1,2\n", ["one close column", "Close, close", "keep one"]),
        ("date,close,Adj Close,adj_close\n2024-01-02,1,2,3\n", ["Adj Close, adj_close"]),
        ("date,Date,close\n2024-01-02,1,2\n", ["one date column", "date, Date"]),
        ("date,close\n2024-01-02,1\nsoon,2\n", ["line 3", "'soon'", "2024-01-31"]),
        ("date,close\n2024-01-02,1\n,2\n", ["line 3", "date", "''"]),
        (f"date,close\n2024-01-02,1\n{'x' * 1000},2\n", ["line 3", f"'{'x' * 40}'"]),
        ("date,close\n2024-02-30,1\n2024-03-01,2\n", ["line 2", "'2024-02-30'"]),
        ("date,close\n17041536,1\n17042400,2\n", ["line 2", "'17041536'"]),
        ("date,close\n03/04/2024,1\n04/05/2024,2\n", ["month/day or as day/month", "03/04/2024"]),
        ("date,close\n01/30/2024,1\n13/13/2024,2\n", ["line 3", "'13/13/2024'"]),
        (
            "date,close\n\n2024-01-02,1\n2024-01-03,2x\n",
            ["line 4", "close", "'2x'", "plain numbers"],
        ),
        ('date,Adj Close,close\n2024-01-02,"1,5,5",1\n', ["line 2", "Adj Close", "'1,5,5'"]),
        ("date,close\n2024-01-02,1,9\n", ["line 2", "2 fields", "has 3"]),
        ("date,close,volume\n2024-01-02,1,9\n2024-01-03,1\n", ["line 3", "3 fields", "has 2"]),
        ('date,close\n2024-01-02,"1\n2024-01-03,2\n', ["line 3", "not valid CSV", "quoting"]),
        (f"date,close\n2024-01-02,{'1' * 200_000}\n", ["line 2", "not valid CSV", "limit"]),
        (f"date,close\n2024-01-02,{'x' * 1000}\n", ["line 2", f"'{'x' * 40}'"]),
    ],
)
def test_a_bad_csv_is_one_line_with_cause_and_fix(
    data: str | bytes, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load_prices("csv", PriceRequest(path=csv_file(tmp_path, data)))
    message = str(caught.value)
    assert str(tmp_path / "prices.csv") in message
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert len(message) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.csv", "none.csv must be a CSV file, but does not exist"),
        (lambda folder: folder, "is a directory: name the CSV file in it"),
        (lambda folder: folder / "a\0b", "cannot be read"),
        (lambda folder: folder / ("x" * 300), "cannot be read"),
        (lambda _: None, 'source "csv" needs a path'),
    ],
)
def test_a_path_that_is_no_file_says_so(
    make: Callable[[Path], Path | None], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words):
        load_prices("csv", PriceRequest(path=make(tmp_path)))


DATES = "2024-01-02 2024-01-03 2024-01-04T09:30 2024-01-05T09:30+05:00 20240108 01/31/2024 - Z"
DATES += " 1706659200 1706659200000 45322 2024 31-Jan-24 Jan-2024 202401311600"
NUMBERS = "1 2 2.5 3.75 4 1e308 1e-308 nan inf - é $2 5M (3) 1.234.567 1'234 ² . %"
NOISE = st.lists(st.sampled_from([",", ";", "\t", '"', "\r", "\u2028", " ", "T", "0"]), max_size=2)
LINE = st.tuples(
    st.sampled_from(DATES.split()), st.sampled_from(NUMBERS.split()), st.none() | NOISE
).map(lambda parts: f"{parts[0]},{parts[1]}{''.join(parts[2] or [])}\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(lines=st.lists(LINE, max_size=4), noise=st.just(b"") | st.binary(max_size=4))
def test_any_bytes_give_prices_or_a_data_error(
    lines: list[str], noise: bytes, tmp_path: Path
) -> None:
    path = csv_file(tmp_path, b"date,close\n2024-01-01,3\n" + "".join(lines).encode() + noise)
    try:
        prices = load_prices("csv", PriceRequest(path=path))
    except DataError:
        return
    assert np.isfinite(prices.frame.to_numpy()).all()


# The rules


def test_good_bars_pass_unchanged_and_without_a_word() -> None:
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
def test_a_broken_rule_is_told_with_the_count_and_the_first_bar(
    frame: pd.DataFrame, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        validate(frame)


def test_all_broken_rules_are_told_at_once() -> None:
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
def test_a_column_that_is_not_read_is_neither_judged_nor_cleaned(column: str, value: float) -> None:
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
def test_a_column_that_is_read_is_judged_with_rule_value_row_and_what_helps(
    column: str, value: float, words: str, *, live: bool
) -> None:
    frame = broken(column, value, 1).drop(columns="adj_close")
    with pytest.raises(DataError) as caught:
        validate(frame, "prices", RANGE, Remedies(live=live))
    assert words in str(caught.value)
    assert "delete" not in str(caught.value)
    assert ("correct" in str(caught.value)) is not live


def test_prices_may_be_negative_where_no_logarithm_is_taken() -> None:
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


def test_rows_without_any_price_are_left_out_whatever_their_number() -> None:
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


def test_a_column_of_the_user_may_be_negative_and_begins_with_its_first_value() -> None:
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
def test_a_column_of_the_user_with_holes_is_refused_in_words(mood: Floats, words: str) -> None:
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
def test_a_column_that_never_changes_is_told(columns: dict[str, object], words: str) -> None:
    needs = needs_of(["return", "column:mood", "volume"], "return")
    _, (warning,) = validate(bars(**columns), "prices", needs)
    assert words in warning


def test_rows_in_disorder_are_sorted_and_told() -> None:
    checked, warnings = validate(bars()[::-1])
    np.testing.assert_array_equal(checked["close"], bars()["close"])
    assert warnings == ("bars were not in order of time and were sorted",)


def test_exact_repeats_are_dropped_but_differing_ones_are_refused() -> None:
    frame = bars()
    checked, warnings = validate(pd.concat([frame, frame.iloc[[3, 4]]]))
    np.testing.assert_array_equal(checked["close"], frame["close"])
    assert "exact duplicates of bars were dropped: 2 bars, first 2020-01-06" in warnings
    message = refused(pd.concat([frame, frame.iloc[[3]] + 0.5]))
    assert "each time must occur once, but does not in 1 bar, first 2020-01-06" in message


def test_two_of_200_rows_with_an_empty_cell_are_dropped_and_told() -> None:
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
def test_times_come_out_in_microseconds_whatever_their_unit(unit: str) -> None:
    checked, _ = validate(bars().set_axis(pd.DatetimeIndex(bars().index).as_unit(unit)))
    assert str(checked.index.dtype) == "datetime64[us]"
    assert list(checked.index) == list(bars().index)


def test_an_adjusted_close_that_makes_the_prices_overflow_is_refused() -> None:
    close = bars(10)["close"].to_numpy()
    frame = bars(10, open=close * 2, adj_close=np.where(close > 101, 1.7e308, 1.6e308))
    assert refused(frame).startswith("prices, adjusted: open must be finite, but is not in")


def test_rounding_may_break_the_order_by_a_millionth_at_most() -> None:
    frame = bars(high=bars()["close"].to_numpy() * (1 - 5e-7))
    assert len(validate(frame)[0]) == 200
    assert "must hold, but is not in 200 bars" in refused(frame.assign(high=frame["close"] * 0.99))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_a_time_zone_is_dropped_and_never_converted(zone: str) -> None:
    checked, warnings = validate(bars().tz_localize(zone))
    assert list(checked.index) == list(bars().index)
    assert warnings == ("time zone dropped, clock times kept",)


def test_an_index_of_mixed_offsets_keeps_its_clock_times() -> None:
    times = [
        pd.Timestamp(f"{day:%Y-%m-%d} 16:00{'-05:00' if at < 50 else '-04:00'}")
        for at, day in enumerate(bars().index)
    ]
    checked, warnings = validate(bars().set_axis(pd.Index(times, dtype=object)))
    assert list(checked.index) == [day + pd.Timedelta(hours=16) for day in bars().index]
    assert warnings == ("time zone dropped, clock times kept",)


def test_bars_of_the_hour_that_comes_twice_are_kept_apart_and_in_order() -> None:
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
def test_what_is_odd_but_legitimate_is_a_warning(frame: pd.DataFrame, words: str) -> None:
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
def test_what_passes_obeys_the_rules_and_passes_again(data: st.DataObject, rows: int) -> None:
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


# The snapshot


def test_the_snapshot_is_plain_csv_with_the_shortest_exact_floats() -> None:
    frame = pd.DataFrame({"close": [0.1, 1e300], "volume": [3.0, -0.0]}, index=bars(2).index)
    assert to_csv(frame) == b"date,close,volume\n2020-01-01,0.1,3.0\n2020-01-02,1e+300,-0.0\n"


@pytest.mark.parametrize(
    ("clock", "written"),
    [
        ("2024-01-02", b"\n2024-01-02,"),
        ("2024-01-02 09:30", b"\n2024-01-02T09:30:00,"),
        ("2024-01-02 09:30:00.5", b"\n2024-01-02T09:30:00.500000,"),
    ],
)
def test_times_are_written_only_as_fine_as_they_are(clock: str, written: bytes) -> None:
    frame = bars(2).set_axis(pd.DatetimeIndex([clock, "2025-01-02"], name="date"))
    assert written in to_csv(frame)
    assert list(from_csv(to_csv(frame)).index) == list(frame.index)


FLOATS = st.floats(allow_nan=False)
TIMES = st.one_of(st.dates(), st.datetimes())


@given(data=st.data(), names=st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True))
def test_the_snapshot_keeps_every_bit(data: st.DataObject, names: list[str]) -> None:
    row = st.tuples(*[FLOATS] * len(names))
    table = data.draw(st.dictionaries(TIMES.map(np.datetime64), row, max_size=8))
    index = pd.DatetimeIndex(np.array(sorted(table), dtype="M8[us]"), name="date")
    values = np.array([table[time] for time in sorted(table)]).reshape(-1, len(names))
    frame = pd.DataFrame(values, index=index, columns=names)
    written = to_csv(frame)
    back = from_csv(written)
    pd.testing.assert_index_equal(back.index, index, exact=True)
    assert list(back.columns) == names
    assert back.to_numpy().tobytes() == values.tobytes()
    assert to_csv(back) == written


def test_the_sample_survives_the_snapshot_with_the_same_sha256() -> None:
    frame = load_prices("sample", PriceRequest("MSFT")).frame
    data = to_csv(frame)
    pd.testing.assert_frame_equal(from_csv(data), frame, check_exact=True, check_freq=False)
    assert sha256(to_csv(from_csv(data))) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"time,close\n2024-01-02,1.0\n",
        b"date,close\n2024-01-02\n",
        b"date,close\n2024-01-02,1.0\n2024-01-03,1.0,2.0\n",
        b"date,close\nsoon,1.0\n",
        b"date,close\n2024-01-02,x\n",
    ],
)
def test_bytes_that_are_no_snapshot_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="the snapshot of the prices must be CSV as written"):
        from_csv(data)


def test_splits_show_where_prices_become_adjusted_whichever_way_a_file_runs(tmp_path: Path) -> None:
    rows = [
        "2024-01-02,200,99",
        "2024-01-03,210,104",
        "2024-01-04,106,105",
        "2024-01-05,108,107",
    ]
    for order in (rows, rows[::-1]):
        path = csv_file(tmp_path, "\n".join(["date,close,adj_close", *order]))
        found = load_prices("csv", PriceRequest(path=path)).splits
        assert found.to_dict() == {pd.Timestamp("2024-01-04"): 2.0}


@pytest.mark.parametrize("source", ["sample", "csv"])
@pytest.mark.parametrize("asked", [{"period": "2y"}, {"interval": "1h"}])
def test_a_source_without_periods_does_not_pass_over_one_that_is_asked_for(
    source: str, asked: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match='period and interval go with source "yfinance"'):
        load_prices(source, PriceRequest("AAPL", csv_file(tmp_path, GOOD), **asked))
