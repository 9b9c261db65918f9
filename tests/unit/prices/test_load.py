"""Loading prices: sources, symbols, start and end, and splits."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from puffin.models.errors import PuffinError
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import COLUMNS, DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import to_csv
from puffin.studies.prices.sources import SOURCES
from tests.prices import bars, csv_file

GOOD = "date,close\n2024-01-02,10\n2024-01-03,11\n2024-01-04,12\n"


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


def test_end_includes_all_bars_of_its_day(tmp_path: Path) -> None:
    frame = bars(72).set_axis(pd.date_range("2024-01-02", periods=72, freq="h"))
    path = csv_file(tmp_path, to_csv(frame))
    day = date(2024, 1, 3)
    cut = load_prices("csv", PriceRequest(path=path, start=day, end=day)).frame
    assert [str(time) for time in cut.index[[0, -1]]] == [
        "2024-01-03 00:00:00",
        "2024-01-03 23:00:00",
    ]


def test_only_bars_between_start_and_end_are_validated(tmp_path: Path) -> None:
    path = csv_file(tmp_path, GOOD + "2024-01-05,-1\n")
    with pytest.raises(DataError, match="close must be positive"):
        load_prices("csv", PriceRequest(path=path))
    assert len(load_prices("csv", PriceRequest(path=path, end=date(2024, 1, 4))).frame) == 3


def test_empty_date_range_is_refused_with_the_available_range() -> None:
    with pytest.raises(DataError, match=r"no bars from 2020-01-01 .* 2000-03-01 to 2013-03-01"):
        load_prices("sample", PriceRequest("IBM", start=date(2020, 1, 1)))


def test_a_start_after_the_end_is_refused() -> None:
    with pytest.raises(DataError, match=r"start must not be after end.*2010-01-02 and 2010-01-01"):
        load_prices("sample", PriceRequest("IBM", start=date(2010, 1, 2), end=date(2010, 1, 1)))


def test_splits_are_inferred_from_adjusted_closes_in_either_order(tmp_path: Path) -> None:
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
def test_source_without_periods_refuses_period_and_interval(
    source: str, asked: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match='period and interval go with source "yfinance"'):
        load_prices(source, PriceRequest("AAPL", csv_file(tmp_path, GOOD), **asked))
