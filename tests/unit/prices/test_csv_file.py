"""Files that people bring: what is read of each, and what is said of it."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from puffin.models.features import needs_of
from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest

CLOSE = needs_of(["return"], "return")
BARS = needs_of(["return", "range", "volume"], "return")


def read(text: str | bytes, folder: Path, **options: object) -> Prices:
    path = folder / "prices.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    options = {"needs": CLOSE} | options
    return load_prices("csv", PriceRequest(path=path, **options))


def refused(text: str | bytes, folder: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        read(text, folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "")


SORTED = "bars were not in order of time and were sorted"
NO_ZONE = "time zone dropped, clock times kept"
SECONDS = "times are read as Unix seconds, in UTC"


class File(NamedTuple):
    """A file of two bars, and what is read of it; no volumes where there are none."""

    text: str | bytes
    times: str
    closes: list[float]
    volumes: list[float] | None
    notes: list[str]


FORMATS: dict[str, File] = {
    "yfinance to_csv": File(
        "Price,Close,High,Low,Open,Volume\nTicker,XYZ,XYZ,XYZ,XYZ,XYZ\nDate,,,,,\n"
        "2024-01-30,10.5,12,9,10,100\n2024-01-31,11.5,13,10,11,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [],
    ),
    "yfinance to_csv, tickers above prices": File(
        "Ticker,XYZ,XYZ,XYZ,XYZ,XYZ\nPrice,Open,High,Low,Close,Volume\nDatetime,,,,,\n"
        "2024-01-30 14:30:00+00:00,10,12,9,10.5,100\n2024-01-30 15:30:00+00:00,11,13,10,11.5,200\n",
        "2024-01-30T14:30 2024-01-30T15:30",
        [10.5, 11.5],
        [100, 200],
        [NO_ZONE],
    ),
    "yfinance to_csv, levels without names, adjusted": File(
        ",Adj Close,Close,High,Low,Open,Volume\n,XYZ,XYZ,XYZ,XYZ,XYZ,XYZ\nDate,,,,,,\n"
        "2024-01-30,5.25,10.5,12,9,10,100\n2024-01-31,11.5,11.5,13,10,11,200\n",
        "2024-01-30 2024-01-31",
        [5.25, 11.5],
        [100, 200],
        ["close moves by more than 50% in 1 bar, first 2024-01-31 (+119.0%): possibly an unadj"],
    ),
    "yfinance to_csv, index reset": File(
        "Date,Close,High\n,XYZ,XYZ\n2024-01-30,10.5,11\n2024-01-31,11.5,12\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        ["a second header line is left out: 'XYZ' ..."],
    ),
    "Yahoo, a holiday": File(
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-29,null,null,null,null,null,null\n"
        "2024-01-30,10,12,9,10.5,10.5,100\n2024-01-31,11,13,10,11.5,11.5,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        ["rows without any price were left out: 1 bar, first 2024-01-29"],
    ),
    "Alpha Vantage": File(
        "timestamp,1. open,2. high,3. low,4. close,5. volume\n"
        "2024-01-31,11,13,10,11.5,200\n2024-01-30,10,12,9,10.5,100\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [SORTED],
    ),
    "Alpha Vantage, crypto": File(
        "timestamp,open (USD),high (USD),low (USD),close (USD),volume\n"
        "2024-01-30,10,12,9,10.5,100\n2024-01-31,11,13,10,11.5,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [],
    ),
    "Investing.com": File(
        '\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
        '"Feb 02, 2024","1,796.20","1,790.0","1,800.1","1,780.0","5.51M","0.10%"\n'
        '"Jan 31, 2024","1,781.40","1,790.0","1,800.1","1,780.0","1.2K","-0.10%"\n',
        "2024-01-31 2024-02-02",
        [1781.4, 1796.2],
        [1200, 5510000],
        ["close is read from the column Price", "columns that are not used: Change %", SORTED],
    ),
    "Investing.com, German": File(
        '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"\n'
        '"30.01.2024","1.781,40","1.790,0","1.800,1","1.780,0","5,51M","0,10%"\n'
        '"31.01.2024","1.796,20","1.790,0","1.800,1","1.780,0","-","0,10%"\n',
        "2024-01-30 2024-01-31",
        [1781.4, 1796.2],
        None,
        ["close is read from the column Zuletzt", "columns that are not used: +/- %"],
    ),
    "Stooq": File(
        "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n"
        "2024-01-30,10,12,9,10.5,100\n2024-01-31,11,13,10,11.5,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        ["close is read from the column Zamkniecie"],
    ),
    "Stooq, bulk": File(
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        "XYZ.US,60,20240130,93000,10,12,9,10.5,100,0\n"
        "XYZ.US,60,20240130,103000,11,13,10,11.5,200,0\n",
        "2024-01-30T09:30 2024-01-30T10:30",
        [10.5, 11.5],
        [100, 200],
        ["columns that are not used: <TICKER>, <PER>, <OPENINT>"],
    ),
    "MetaTrader 5": File(
        (
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
            "2024.01.30\t00:00:00\t10\t12\t9\t10.5\t7\t100\t1\n"
            "2024.01.30\t01:00:00\t11\t13\t10\t11.5\t8\t200\t1\n"
        ).encode("utf-16"),
        "2024-01-30T00:00 2024-01-30T01:00",
        [10.5, 11.5],
        [100, 200],
        ["columns that are not used: <TICKVOL>, <SPREAD>"],
    ),
    "MetaTrader 4": File(
        "2024.01.30,00:00,10,12,9,10.5,100\n2024.01.30,01:00,11,13,10,11.5,200\n",
        "2024-01-30T00:00 2024-01-30T01:00",
        [10.5, 11.5],
        [100, 200],
        ["no header line: columns are taken as date, time, open, high, low, close, volume"],
    ),
    "HistData": File(
        "20240130 000000;10;12;9;10.5;100\n20240130 000100;11;13;10;11.5;200\n",
        "2024-01-30T00:00 2024-01-30T00:01",
        [10.5, 11.5],
        [100, 200],
        ["no header line: columns are taken as date, open, high, low, close, volume"],
    ),
    "TradingView": File(
        "time,open,high,low,close,Volume,Volume MA\n"
        "1706572800,10,12,9,10.5,100,\n1706659200,11,13,10,11.5,200,\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [SECONDS, "columns that are not used: Volume MA"],
    ),
    "CoinGecko": File(
        "snapped_at,price,market_cap,total_volume\n"
        "2024-01-30 00:00:00 UTC,10.5,1,100\n2024-01-31 00:00:00 UTC,11.5,1,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [
            "close is read from the column price",
            NO_ZONE,
            "columns that are not used: market_cap",
        ],
    ),
    "nasdaq.com": File(
        "Date,Close/Last,Volume,Open,High,Low\n"
        '01/31/2024,$11.5,"1,200",$11,$13,$10\n01/30/2024,$10.5,100,$10,$12,$9\n',
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 1200],
        [SORTED],
    ),
    "Wall Street Journal": File(
        "Date, Open, High, Low, Close\n01/31/24, 11, 13, 10, 11.5\n01/30/24, 10, 12, 9, 10.5\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        ["years of two digits are read as 2024 to 2024", SORTED],
    ),
    "GOOGLEFINANCE": File(
        "Date,Close\n1/30/2024 16:00:00,10.5\n1/31/2024 16:00:00,11.5\n",
        "2024-01-30T16:00 2024-01-31T16:00",
        [10.5, 11.5],
        None,
        [],
    ),
    "GOOGLEFINANCE, unformatted": File(
        "Date,Close\n45321.66667,10.5\n45322.66667,11.5\n",
        "2024-01-30T16:00 2024-01-31T16:00",
        [10.5, 11.5],
        None,
        ["days are read as a spreadsheet counts them, from 1899-12-30"],
    ),
    "FRED": File(
        "DATE,DGS10\n2024-01-29,.\n2024-01-30,10.5\n2024-01-31,11.5\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [
            "close is read from DGS10, the only other column",
            "rows without any price were left out: 1 bar, first 2024-01-29",
        ],
    ),
    "FRED, new": File(
        "observation_date,DGS10\n2024-01-30,10.5\n2024-01-31,11.5\n2024-02-01,\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [
            "close is read from DGS10, the only other column",
            "rows without any price were left out: 1 bar, first 2024-02-01",
        ],
    ),
    "ECB": File(
        '"DATE","TIME PERIOD","US dollar/Euro (EXR.D.USD.EUR.SP00.A)"\n'
        '"2024-01-30","30 Jan 2024","10.5"\n"2024-01-31","31 Jan 2024","11.5"\n',
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [
            "close is read from US dollar/Euro (EXR.D.USD.EUR.SP00.A), the only other column",
            "columns that are not used: TIME PERIOD",
        ],
    ),
    "Quandl, futures": File(
        "Date,Open,High,Low,Last,Change,Settle,Volume\n"
        "2024-01-30,10,12,9,1,0,10.5,100\n2024-01-31,11,13,10,2,0,11.5,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        ["close is read from the column Settle", "columns that are not used: Last, Change"],
    ),
    "Quandl, adjusted": File(
        "Date,Open,High,Low,Close,Volume,Adj. Open,Adj. Close\n"
        "2024-01-30,10,12,9,10,100,5,5\n2024-01-31,10,12,9,11,200,5,5.5\n",
        "2024-01-30 2024-01-31",
        [5, 5.5],
        [100, 200],
        ["columns that are not used: Adj. Open"],
    ),
    "Binance": File(
        "1706572800000,10,12,9,10.5,100,1706659199999,1,5,1,1,0\n"
        "1735689600000000,11,13,10,11.5,200,1735775999999999,1,5,1,1,0\n",
        "2024-01-30 2025-01-01",
        [10.5, 11.5],
        [100, 200],
        [
            "no header line: columns are taken as date, open, high, low, close, volume",
            "times are read as Unix microseconds and milliseconds, in UTC",
            f"columns that are not used: {', '.join(['(no name)'] * 6)}",
        ],
    ),
    "Kraken": File(
        "1706572800,10,12,9,10.5,100,5\n1706659200,11,13,10,11.5,200,5\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [
            "no header line: columns are taken as date, open, high, low, close, volume",
            SECONDS,
            "columns that are not used: (no name)",
        ],
    ),
    "CryptoDataDownload": File(
        "https://www.CryptoDataDownload.com\n"
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        "1706659200000,2024-01-31 00:00:00,BTC/USD,11,13,10,11.5,1,2\n"
        "1706572800000,2024-01-30 00:00:00,BTC/USD,10,12,9,10.5,1,2\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [
            "lines before the header are left out: 1, the first 'https://www.CryptoDataDownlo",
            "columns that are not used: unix, symbol, Volume BTC, Volume USD",
            SORTED,
        ],
    ),
    "Bitstamp, minutes without a trade": File(
        "Timestamp,Open,High,Low,Close,Volume_(BTC)\n1706572800,10,12,9,10.5,100\n"
        "1706572860,NaN,NaN,NaN,NaN,NaN\n1706572920,11,13,10,11.5,200\n",
        "2024-01-30T00:00 2024-01-30T00:02",
        [10.5, 11.5],
        [100, 200],
        [SECONDS, "rows without any price were left out: 1 bar, first 2024-01-30 00:01:00"],
    ),
    "Dukascopy": File(
        "Gmt time,Open,High,Low,Close,Volume\n"
        "30.01.2024 00:00:00.000,10,12,9,10.5,100\n30.01.2024 01:00:00.000,11,13,10,11.5,200\n",
        "2024-01-30T00:00 2024-01-30T01:00",
        [10.5, 11.5],
        [100, 200],
        [],
    ),
    "Interactive Brokers": File(
        "date,open,high,low,close,volume,barCount\n"
        "20240130 09:30:00 US/Eastern,10,12,9,10.5,100,1\n"
        "20240130 09:31:00 US/Eastern,11,13,10,11.5,200,1\n",
        "2024-01-30T09:30 2024-01-30T09:31",
        [10.5, 11.5],
        [100, 200],
        [NO_ZONE, "columns that are not used: barCount"],
    ),
    "Bloomberg": File(
        "Security,XYZ US\n\nDate,PX_LAST,PX_VOLUME\n1/30/2024,10.5,100\n1/31/2024,11.5,200\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        [100, 200],
        [
            "lines before the header are left out: 1, the first 'Security,XYZ US'",
            "close is read from the column PX_LAST",
        ],
    ),
    "Excel in Europe, Windows-1252": File(
        (
            "Datum;Eröffnung;Schlusskurs\n30.01.2024;1.795,5;1.781,4\n31.01.2024;1.795,5;1.796,2\n"
        ).encode("cp1252"),
        "2024-01-30 2024-01-31",
        [1781.4, 1796.2],
        None,
        [
            "the file is not UTF-8 and is read as Windows-1252",
            "close is read from the column Schlusskurs",
        ],
    ),
    "sep=": File(
        "sep=;\nDate;Close\n2024-01-30;10,5\n2024-01-31;11,5\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [],
    ),
    "comments, a header in the middle and a remark below": File(
        "# XYZ\n# by hand\n#date|close\n2024-01-30|10.5\n# halted\n#date|close\n2024-01-31|11.5\n"
        "Source: somebody\n\x1a",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [
            "lines before the header are left out: 2, the first '# XYZ'",
            "lines that are not rows are left out: 3, the first in line 5: '# halted'",
        ],
    ),
    "row numbers": File(
        ",Time,Close\n1000,2024-01-30,10.5\n1001,2024-01-31,11.5\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        ["columns that are not used: (no name)"],
    ),
    "separators at line ends": File(
        "Date,Close,\n2024-01-30,10.5\n2024-01-31,11.5,,\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        [],
    ),
    "days beside times": File(
        "date,timestamp,close\n2024-01-30,2024-01-30 09:30,10.5\n"
        "2024-01-30,2024-01-30 10:30,11.5\n",
        "2024-01-30T09:30 2024-01-30T10:30",
        [10.5, 11.5],
        None,
        ["columns that are not used: date"],
    ),
    "times beside their clocks": File(
        "Datetime,Time,Close\n2024-01-30 09:30,09:30,10.5\n2024-01-30 10:30,10:30,11.5\n",
        "2024-01-30T09:30 2024-01-30T10:30",
        [10.5, 11.5],
        None,
        ["columns that are not used: Time"],
    ),
    "thousands alone": File(
        'Date,Close\n2024-01-30,"1,234"\n2024-01-31,"1,235"\n',
        "2024-01-30 2024-01-31",
        [1234, 1235],
        None,
        ["commas in numbers separate thousands: 1,234 is 1234"],
    ),
    "a volume decides what commas are": File(
        "Date;Close;Volume\n2024-01-30;1,234;1.234.567\n2024-01-31;1,235;1.234.567\n",
        "2024-01-30 2024-01-31",
        [1.234, 1.235],
        [1234567, 1234567],
        [],
    ),
    "codes of contracts": File(
        "date,symbol,close\n2024-01-30,CLF,10.5\n2024-01-31,CLG,11.5\n",
        "2024-01-30 2024-01-31",
        [10.5, 11.5],
        None,
        ["columns that are not used: symbol", "rows are of several values of symbol: CLF, CLG"],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_file_of_each_known_program_is_read(name: str, tmp_path: Path) -> None:
    text, times, closes, volumes, notes = FORMATS[name]
    found = read(text, tmp_path)
    assert list(found.frame.index) == [pd.Timestamp(time) for time in times.split()]
    assert found.frame["close"].tolist() == closes
    kept = found.frame["volume"].tolist() if volumes else None
    assert kept == volumes
    assert len(found.warnings) == len(notes), found.warnings
    for said, note in zip(found.warnings, notes, strict=True):
        assert said.startswith(note)


GOOD = b"date,close\n2024-01-30,10.5\n2024-01-31,11.5\n"


def zipped(*names: str) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, GOOD)
        return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(GOOD),
        bz2.compress(GOOD),
        lzma.compress(GOOD),
        zipped("a.csv", "README.md", "__MACOSX/._a.csv"),
        zipped("prices"),
    ],
    ids=["gzip", "bzip2", "xz", "zip with other files", "zip"],
)
def test_compressed_file_is_decompressed(data: bytes, tmp_path: Path) -> None:
    assert read(data, tmp_path).frame["close"].tolist() == [10.5, 11.5]


COLUMNS = {"close": "JPM", "date": "day"}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("day,AAPL,JPM\n2024-01-30,1,10.5\n2024-01-31,2,11.5\n", COLUMNS),
        ("day,Close,jpm\n2024-01-30,1,10.5\n2024-01-31,2,11.5\n", COLUMNS),
        (
            "d,t,Close,close\n20240130,0900,1,10.5\n20240131,0900,2,11.5\n",
            {"date": "d", "close": "close"},
        ),
        (
            "banner\nday;at;JPM\n30.1.2024;9:00;10,5\n31.1.2024;9:00;11,5\n",
            COLUMNS | {"time": "at"},
        ),
    ],
)
def test_study_file_names_columns(text: str, columns: dict[str, str], tmp_path: Path) -> None:
    found = read(text, tmp_path, columns=columns)
    assert found.frame["close"].tolist() == [10.5, 11.5]
    assert {str(day.date()) for day in found.frame.index} == {"2024-01-30", "2024-01-31"}


MANY = "date,Name,close\n2024-01-30,AAA,1\n2024-01-30,BBB,2\n2024-01-31,AAA,3\n"
REFUSED: list[tuple[str, str | bytes, list[str]]] = [
    (
        "several tickers in rows",
        MANY,
        ["has 2 symbols (AAA, BBB)", "such as AAA, to a separate file"],
    ),
    (
        "several tickers in columns",
        "Price,Close,Close\nTicker,AAA,BBB\nDate,,\n2024-01-30,1,2\n2024-01-31,2,3\n",
        ["2 symbols (AAA, BBB, in the header)", "one file for each symbol"],
    ),
    (
        "a column for each ticker",
        "Date,AAPL,JPM\n2024-01-30,1,2\n2024-01-31,2,3\n",
        ["close column", "Date, AAPL, JPM", 'columns = { close = "AAPL" }'],
    ),
    (
        "no date",
        "when,close\n2024-01-30,1\n",
        ["date column", "when, close", 'columns = { date = "when" }'],
    ),
    (
        "an index that counts",
        ",close\n0,1\n1,2\n",
        ["date column", "the first only numbers the rows"],
    ),
    (
        "spaces between columns",
        "Date Close\n2024-01-30 1\n2024-01-31 2\n",
        ["has one column, 'Date Close': separate columns by commas, semicolons, tabs or |"],
    ),
    ("years without days", "year,month,close\n2024,1,1\n", ["date column", "year, month, close"]),
    (
        "unclear days",
        "date;close\n12.01.2024;1\n02.03.2024;2\n",
        [
            "line 2: '12.01.2024' can be read as month/day or as day/month",
            "2024-12-01 or 2024-01-12",
        ],
    ),
    (
        "unclear thousands",
        "date;close\n2024-01-30;1,234\n2024-01-31;1,235\n",
        ["'1,234' can be 1234 or 1.234", "no other number decides"],
    ),
    (
        "two marks",
        "date;close\n2024-01-30;1,5\n2024-01-31;1,6\n2024-02-01;1.5\n",
        ["line 4: close must be a number, but got '1.5'"],
    ),
    (
        "a line behind sep=",
        "\nsep=;\nDate;Close\n2024-01-30;x\n",
        ["line 4: Close must be a number, but got 'x'"],
    ),
    (
        "decimal commas between commas",
        "date,close\n2024-01-30,10,5\n",
        ["line 2 must have 2 fields", "has 3", "decimal commas need quotes"],
    ),
    (
        "no header, another order",
        "2024-01-30,10,11,12,9\n2024-01-31,10,11,12,9\n",
        ["no header line", "not date, open, high, low, close", "add a first line with their names"],
    ),
    ("no header, two numbers", "2024-01-30,10,11\n2024-01-31,10,12\n", ["no header line"]),
    (
        "a time twice",
        "date,close\n2024-01-30,1\n2024-01-30,2\n2024-01-31,3\n",
        ["each time must occur once", "1 bar, first 2024-01-30 (closes 1 and 2)", "time of day"],
    ),
    ("a web page", "\n<!DOCTYPE html>\n<html>", ["is a web page: save the table as CSV"]),
    ("JSON", '{"chart": {}}', ["is JSON: save the table as CSV"]),
    ("a workbook", zipped("xl/workbook.xml"), ["is an Excel", "save the sheet as CSV"]),
    ("Parquet", b"PAR1\x15\x04", ["is a Parquet file"]),
    ("two packed files", zipped("a.csv", "b.csv"), ["2 files packed (a.csv, b.csv)", "unpack"]),
    ("a cut zip", zipped("a.csv")[:-9], ["its zip data cannot be unpacked", "copy it again"]),
    ("an empty close", "date,close\n2024-01-30,.\n2024-01-31,-\n", ["close must have values"]),
]


@pytest.mark.parametrize(
    ("text", "words"), [(t, w) for _, t, w in REFUSED], ids=[n for n, _, _ in REFUSED]
)
def test_ambiguous_file_is_refused_with_the_fix(
    text: str | bytes, words: list[str], tmp_path: Path
) -> None:
    message = refused(text, tmp_path)
    assert [word for word in words if word not in message] == []
    assert "delete" not in message


def test_ambiguous_columns_matter_only_if_they_are_read(tmp_path: Path) -> None:
    text = "date,close,high,low,Volume BTC,Volume USD\n2024-01-30,1,2,1,5,6\n2024-01-31,2,2,1,5,7\n"
    assert "volume" not in read(text, tmp_path).frame
    message = refused(text, tmp_path, needs=BARS)
    assert "one volume column, but has Volume BTC, Volume USD" in message
    found = read(text, tmp_path, needs=BARS, columns={"volume": "Volume USD"})
    assert found.frame["volume"].tolist() == [6, 7]


def test_text_in_an_unread_column_is_accepted(tmp_path: Path) -> None:
    text = "date,close,high,low,volume\n2024-01-30,1,2,1,soon\n2024-01-31,2,2,1,5\n"
    assert len(read(text, tmp_path).frame) == 2
    assert "line 2: volume must be a number, but got 'soon'" in refused(text, tmp_path, needs=BARS)
