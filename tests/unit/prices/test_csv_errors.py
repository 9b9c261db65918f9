"""CSV files in common formats are read, and files that cannot be read are refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from tests.prices import csv_file

GOOD = "date,close\n2024-01-02,10\n2024-01-03,11\n2024-01-04,12\n"


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
def test_column_names_are_recognised_in_any_notation(header: str, tmp_path: Path) -> None:
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
def test_date_and_close_are_enough_in_any_encoding(data: bytes, tmp_path: Path) -> None:
    prices = load_prices("csv", PriceRequest(path=csv_file(tmp_path, data)))
    assert prices.frame["close"].to_list() == [10, 11, 12]
    assert [f"{day:%m-%d}" for day in prices.frame.index] == ["01-02", "01-03", "01-04"]
    assert prices.warnings == ()


@pytest.mark.parametrize("dates", [("01/30/2024", "01/31/2024"), ("30/01/2024", "31/01/2024")])
def test_dates_with_slashes_are_read_if_unambiguous(dates: tuple[str, str], tmp_path: Path) -> None:
    path = csv_file(tmp_path, f"date,close\n{dates[0]},1\n{dates[1]},1.1\n")
    index = load_prices("csv", PriceRequest(path=path)).frame.index
    assert [f"{day:%Y-%m-%d}" for day in index] == ["2024-01-30", "2024-01-31"]


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    data = "date,close,Dividends,Stock Splits\n2024-01-02,1,none,x\n2024-01-03,1.1,,\n"
    prices = load_prices("csv", PriceRequest(path=csv_file(tmp_path, data)))
    assert prices.warnings == ("columns that are not used: Dividends, Stock Splits",)


def test_local_times_survive_a_change_of_the_offset(tmp_path: Path) -> None:
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
def test_unreadable_csv_is_refused_in_one_line_with_cause_and_fix(
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
        (lambda folder: folder, "must have CSV files, one for each symbol, but has none"),
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
