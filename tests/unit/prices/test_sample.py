"""The embedded sample: its rows, adjustments and checksums."""

import gzip
import hashlib
import importlib.util
from pathlib import Path

import pandas as pd
import pytest

import puffin.studies.prices.sources as module
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import COLUMNS, DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import sha256

SAMPLE = Path(module.__file__).parents[1] / "sample"


UPSTREAM = "5abadf99b2d394f920120a27de6f0df129859d71d4cfb0bf661bcc99446ab1fd"


def raw(symbol: str) -> pd.DataFrame:
    return pd.read_csv(SAMPLE / f"{symbol}.csv.gz", index_col="date", parse_dates=True)


@pytest.mark.parametrize(
    ("symbol", "last_close"),
    [("AAPL", 56.137353095488), ("IBM", 175.27118333217), ("MSFT", 24.684342419163)],
)
def test_sample_has_3270_days_and_the_known_last_close(symbol: str, last_close: float) -> None:
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
def test_vendored_prices_are_raw_with_splits_on_the_known_days(
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


def test_adjusting_scales_open_high_low_and_keeps_volume() -> None:
    day = load_prices("sample", PriceRequest("AAPL")).frame.loc["2013-03-01"]
    factor = 56.137353095488 / 430.47
    assert day.to_list() == pytest.approx(
        [438.0 * factor, 438.1799 * factor, 429.98 * factor, 56.137353095488, 19730300.0]
    )


def test_sample_warns_only_of_the_real_fall_of_aapl() -> None:
    (warning,) = load_prices("sample", PriceRequest("AAPL")).warnings
    assert "2000-09-29 (-51.9%)" in warning
    assert load_prices("sample", PriceRequest("IBM")).warnings == ()
    assert load_prices("sample", PriceRequest("MSFT")).warnings == ()


def test_vendored_files_are_those_of_checksums_and_notice() -> None:
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
