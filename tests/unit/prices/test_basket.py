"""Baskets: the prices of several symbols, from every kind of source, and none without a word."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from puffin.studies.prices.basket import Basket, load_basket
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest, RawPrices
from puffin.studies.prices.snapshot import to_csv
from puffin.studies.prices.sources import SOURCES, Source

CLOSES = {"AAA": [10.0, 11.0, 12.0], "BBB": [30.0, 20.0, 25.0], "c.d": [5.0, 6.0, 7.0]}
DAYS = pd.date_range("2024-01-02", periods=3, name="date")


def write(folder: Path, name: str, closes: Sequence[float], days: pd.DatetimeIndex = DAYS) -> None:
    data = pd.DataFrame({"close": closes}, index=days).to_csv().encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file for each symbol, beside others that are none."""
    for symbol, suffix in zip(CLOSES, (".csv", ".csv.gz", ".csv"), strict=True):
        write(tmp_path, symbol + suffix, CLOSES[symbol])
    (tmp_path / "README.txt").write_text("not prices")
    (tmp_path / ".hidden.csv").write_text("not prices")
    return tmp_path


def long_file(folder: Path, column: str = "symbol", names: Mapping[str, str] | None = None) -> Path:
    """All symbols in one file, day after day."""
    rows = [
        {"date": day, column: symbol, "close": values[at]}
        for at, day in enumerate(DAYS)
        for symbol, values in CLOSES.items()
    ]
    table = pd.DataFrame(rows).rename(columns=names or {})
    table.to_csv(folder / "long.txt", index=False)
    return folder / "long.txt"


def closes(basket: Basket) -> dict[str, list[float]]:
    return {symbol: frame["close"].tolist() for symbol, frame in basket.frames.items()}


def test_a_basket_of_one_is_the_prices_of_its_symbol() -> None:
    one, alone = load_basket("sample", PriceRequest(), ["AAPL"]), PriceRequest("AAPL")
    expected = load_prices("sample", alone)
    pd.testing.assert_frame_equal(one.frames["AAPL"], expected.frame, check_exact=True)
    assert (one.origin, one.warnings) == (expected.origin, expected.warnings)
    assert one.warnings, "or the comparison says nothing"


def test_a_basket_has_each_symbol_in_the_order_of_the_study_file() -> None:
    symbols, start = ["MSFT", "AAPL", "IBM"], date(2000, 6, 1)
    basket = load_basket("sample", PriceRequest(start=start), symbols)
    assert list(basket.frames) == symbols
    for symbol, frame in basket.frames.items():
        expected = load_prices("sample", PriceRequest(symbol, start=start)).frame
        pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    assert basket.origin == "sample: MSFT, AAPL and IBM"
    assert [line.partition(": ")[0] for line in basket.warnings] == ["AAPL"]


def test_all_symbols_that_cannot_be_used_are_named_with_their_causes() -> None:
    with pytest.raises(DataError) as caught:
        load_basket("sample", PriceRequest(), ["TSLA", "IBM", "F"])
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("2 of 3 symbols cannot be used; correct them, or take them out")
    assert [line[:8] for line in lines] == ["- TSLA: ", "- F: sym"]
    assert all("must be one of AAPL, IBM, MSFT" in line for line in lines)


def test_causes_of_many_symbols_are_not_all_stated() -> None:
    with pytest.raises(DataError) as caught:
        load_basket("sample", PriceRequest(), [f"X{n}" for n in range(13)])
    assert str(caught.value).splitlines()[-1] == "- and 3 more: X10, X11, X12"


def test_extra_series_of_symbols_are_read_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str | None] = []

    def load(request: PriceRequest) -> RawPrices:
        read.append(request.symbol)
        return sample(request)

    sample = SOURCES["sample"].load
    monkeypatch.setitem(SOURCES, "sample", Source(load))
    basket = load_basket("sample", PriceRequest(extra=("IBM",)), ["AAPL", "MSFT"])
    assert read == ["AAPL", "MSFT", "IBM"]
    ibm = load_prices("sample", PriceRequest("IBM")).frame["close"].tolist()
    assert all(frame["extra:IBM"].tolist() == ibm for frame in basket.frames.values())


# Files


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (lambda folder: folder, ["AAA", "BBB", "c.d"]),
        (lambda folder: folder / "*.csv", ["AAA", "c.d"]),
        (lambda folder: folder / "[AB]*.csv*", ["AAA", "BBB"]),
        (lambda folder: folder / "BBB.csv.gz", ["BBB"]),
    ],
)
def test_files_are_symbols_by_the_stem_of_their_name(
    path: Callable[[Path], Path], expected: list[str], folder: Path
) -> None:
    basket = load_basket("csv", PriceRequest(path=path(folder)))
    assert closes(basket) == {symbol: CLOSES[symbol] for symbol in expected}
    assert list(basket.frames) == expected


def test_symbols_choose_among_the_files_of_a_folder(folder: Path) -> None:
    basket = load_basket("csv", PriceRequest(path=folder), ["c.d", "AAA"])
    assert list(basket.frames) == ["c.d", "AAA"]
    assert basket.origin == f"csv {folder.name}: c.d and AAA"
    with pytest.raises(DataError, match=r"lacks X, Y; it has AAA, BBB, c\.d: correct data\.sym"):
        load_basket("csv", PriceRequest(path=folder), ["AAA", "X", "Y"])


def test_a_file_of_one_series_has_the_symbol_that_is_given_for_it(folder: Path) -> None:
    path = folder / "AAA.csv"
    assert list(load_basket("csv", PriceRequest(path=path), ["Apple"]).frames) == ["Apple"]
    with pytest.raises(DataError, match=r"AAA\.csv has one series, but symbols names 2 \(A, B\)"):
        load_basket("csv", PriceRequest(path=path), ["A", "B"])


def test_a_folder_without_files_and_two_files_of_one_symbol_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="must have CSV files, one for each symbol, but has none"):
        load_basket("csv", PriceRequest(path=folder / "*.xls"))
    write(folder, "AAA.csv.gz", CLOSES["AAA"])
    with pytest.raises(DataError, match=r"has AAA\.csv and AAA\.csv\.gz: keep one"):
        load_basket("csv", PriceRequest(path=folder))


def test_a_bad_file_of_a_folder_is_named_by_its_symbol(folder: Path) -> None:
    write(folder, "bad.csv", [1.0, -1.0, 1.0])
    with pytest.raises(DataError, match=r"1 of 4 symbols cannot be used.*\n- bad: csv bad\.csv: "):
        load_basket("csv", PriceRequest(path=folder))


@pytest.mark.parametrize("column", ["symbol", "Ticker", "UNIQUE_ID", "tic"])
def test_a_long_file_has_a_symbol_in_each_row(column: str, tmp_path: Path) -> None:
    basket = load_basket("csv", PriceRequest(path=long_file(tmp_path, column)))
    assert closes(basket) == CLOSES
    assert basket.warnings == ()
    assert basket.origin == "csv long.txt: AAA, BBB and c.d"


def test_a_frame_of_nixtla_is_read_as_it_is(tmp_path: Path) -> None:
    path = long_file(tmp_path, "unique_id", {"date": "ds", "close": "y"})
    assert path.read_text().startswith("ds,unique_id,y\n")
    basket = load_basket("csv", PriceRequest(path=path))
    assert closes(basket) == CLOSES
    assert basket.warnings == ("AAA, BBB and c.d: close is read from the column y",), (
        "a line that several symbols share is there once"
    )


def test_symbols_choose_among_those_of_a_long_file(tmp_path: Path) -> None:
    path = long_file(tmp_path)
    basket = load_basket("csv", PriceRequest(path=path), ["BBB", "AAA"])
    assert list(basket.frames) == ["BBB", "AAA"]
    assert basket.members["BBB"].origin == "csv long.txt BBB"
    with pytest.raises(DataError, match=r"long\.txt must have all of symbols, but lacks bbb; it"):
        load_basket("csv", PriceRequest(path=path), ["bbb"])


def test_an_error_in_a_long_file_has_its_line(tmp_path: Path) -> None:
    path = long_file(tmp_path)
    path.write_text(path.read_text().replace("20.0", "twenty"))
    with pytest.raises(DataError, match=r"- BBB: .*long\.txt line 6: close must be a number"):
        load_basket("csv", PriceRequest(path=path))
    path.write_text(path.read_text().replace("c.d", "", 1))
    with pytest.raises(DataError, match=r"line 4: the column symbol must have the symbol of each"):
        load_basket("csv", PriceRequest(path=path))


@pytest.mark.parametrize("symbols", [[], ["FB"]])
def test_a_series_whose_symbol_changes_is_one_series(symbols: list[str], tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text("date,symbol,close\n2022-06-07,FB,1\n2022-06-08,FB,2\n2022-06-09,META,3\n")
    basket = load_basket("csv", PriceRequest(path=path), symbols)
    expected = {"meta": [1.0, 2.0, 3.0]} if not symbols else {"FB": [1.0, 2.0]}
    assert closes(basket) == expected


def test_extra_columns_of_a_long_file_belong_to_each_symbol(tmp_path: Path) -> None:
    path = long_file(tmp_path)
    head, *rows = path.read_text().splitlines()
    table = [f"{head},vix", *(f"{row},{number + 1}" for number, row in enumerate(rows))]
    path.write_text("\n".join(table))
    basket = load_basket("csv", PriceRequest(path=path, extra=("vix",)))
    assert basket.frames["BBB"]["extra:vix"].tolist() == [2.0, 5.0, 8.0]


def test_a_repeated_date_without_a_column_of_symbols_says_so(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("date,close\n2024-01-02,10\n2024-01-02,11\n2024-01-03,12\n")
    with pytest.raises(DataError, match="rows of several symbols need a column named symbol"):
        load_basket("csv", PriceRequest(path=path))


def test_one_file_and_one_symbol_of_a_long_file_read_the_same_bits(tmp_path: Path) -> None:
    frame = load_prices("sample", PriceRequest("IBM", start=date(2013, 1, 1))).frame
    (tmp_path / "IBM.csv").write_bytes(to_csv(frame))
    text = (tmp_path / "IBM.csv").read_text().splitlines()
    rows = [f"{row},{symbol}" for row in text[1:] for symbol in ("IBM", "Z")]
    (tmp_path / "long.csv").write_text("\n".join([f"{text[0]},symbol", *rows]))
    for name in ("IBM.csv", "long.csv"):
        read = load_basket("csv", PriceRequest(path=tmp_path / name)).frames["IBM"]
        pd.testing.assert_frame_equal(read, frame, check_exact=True)
