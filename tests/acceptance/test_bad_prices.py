"""A file of prices that cannot be used is refused with the line and the fix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input import RUN, Case, require_refused, study

OWN_PRICES = """\
name = "own"
[data]
source = "csv"
path = "prices.csv"
features = ["return"]
target = "return"
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[space]
cell = ["lstm", "gru"]
lookback = 5
"""
CLOSES = [f"2024-01-{day:02},{100 + day % 7}.5" for day in range(1, 31)]
MIDDLE = 15


def prices(rows: list[str] | str | bytes, header: str = "Date,Close") -> dict[str, str | bytes]:
    """Return a study file and the prices file that it reads."""
    body = "\n".join([header, *rows]) + "\n" if isinstance(rows, list) else rows
    return {"x.toml": OWN_PRICES, "prices.csv": body}


def with_row(row: str) -> list[str]:
    """Return the rows with the middle one replaced."""
    return [*CLOSES[:MIDDLE], row, *CLOSES[MIDDLE + 1 :]]


CASES = [
    Case(
        "csv without a path",
        RUN,
        ('source "csv" needs path',),
        {"x.toml": OWN_PRICES.replace('path = "prices.csv"\n', "")},
    ),
    Case(
        "path with the sample",
        RUN,
        ('path goes with source "csv"',),
        study("horizon = 1", 'path = "prices.csv"'),
    ),
    Case(
        "csv that is not there",
        RUN,
        ("prices.csv must be a CSV file", "does not exist"),
        {"x.toml": OWN_PRICES},
    ),
    Case(
        "folder as csv",
        RUN,
        ("prices.csv must have CSV files", "has none"),
        {"x.toml": OWN_PRICES, "prices.csv/": ""},
    ),
    Case("empty csv", RUN, ("prices.csv must be CSV text", "empty"), prices("")),
    Case("csv of a header only", RUN, ("prices.csv", "has no rows"), prices([])),
    Case("csv that is binary", RUN, ("prices.csv", "not UTF-8"), prices(b"\x89PNG\r\n\x1a\n\xff")),
    Case(
        "csv without a close column",
        RUN,
        ("must have a close column", "Date, Open", "columns = { close = "),
        prices(CLOSES, "Date,Open"),
    ),
    Case(
        "csv without a date column",
        RUN,
        ("must have a date column", "When, Close"),
        prices(CLOSES, "When,Close"),
    ),
    Case(
        "csv with two close columns",
        RUN,
        ("must have one close column", "Close, CLOSE"),
        prices([f"{row},1" for row in CLOSES], "Date,Close,CLOSE"),
    ),
    Case(
        "csv with a short line",
        RUN,
        ("line 17", "must have 2 fields", "has 1"),
        prices(with_row("2024-01-16")),
    ),
    Case(
        "csv with text for a price",
        RUN,
        ("line 17", "Close must be a number", "'12 or so'"),
        prices(with_row("2024-01-16,12 or so")),
    ),
    Case(
        "csv with a wild date",
        RUN,
        ("line 17", "a date must be like 2024-01-31", "'16. Jan'"),
        prices(with_row("16. Jan,12.5")),
    ),
    Case(
        "csv with dates of two readings",
        RUN,
        ("month/day or as day/month",),
        prices([f"0{m}/0{d}/2024,{m}{d}.5" for m in range(1, 7) for d in range(1, 7)]),
    ),
    Case(
        "csv with holes",
        RUN,
        ("at most 1% of the bars", "6 bars, first 2024-01-01"),
        prices(
            [
                row.split(",")[0] + ",,9" if i % 5 == 0 else f"{row},9"
                for i, row in enumerate(CLOSES)
            ],
            "Date,Close,Open",
        ),
    ),
    Case(
        "csv with a negative price",
        RUN,
        ("close must be positive", "1 bar, first 2024-01-16"),
        prices(with_row("2024-01-16,-3.5")),
    ),
    Case(
        "csv with an infinite price",
        RUN,
        ("close must be finite", "1 bar, first 2024-01-16"),
        prices(with_row("2024-01-16,inf")),
    ),
    Case(
        "csv with two prices of one day",
        RUN,
        ("each time must occur once", "first 2024-01-15"),
        prices(with_row("2024-01-15,77.5")),
    ),
    Case(
        "csv of one price only",
        RUN,
        ("close must change", "always 5"),
        prices([f"{row.split(',')[0]},5" for row in CLOSES]),
    ),
    Case(
        "csv with a high below the low",
        RUN,
        ("low <= open, close <= high", "first 2024-01-16 (low 9 is above high 1)", "'range'"),
        prices(
            [f"{row},9,{120 if i != MIDDLE else 1}" for i, row in enumerate(CLOSES)],
            "Date,Close,Low,High",
        )
        | {"x.toml": OWN_PRICES.replace('["return"]', '["return", "range"]')},
    ),
    Case(
        "csv without a column of the user's",
        RUN,
        ("must have one column mood, for feature 'diff:mood' and", "but has Date, Close: rename"),
        prices(CLOSES)
        | {"x.toml": OWN_PRICES.replace('["return"]', '["diff:mood", "column:mood"]')},
    ),
    Case(
        "csv without a column that the study file names",
        RUN,
        ("must have one column JPM, for data.columns.close, but has Date, Close",),
        prices(CLOSES)
        | {"x.toml": OWN_PRICES.replace("features", 'columns = { close = "JPM" }\nfeatures')},
    ),
    Case(
        "path of Windows in double quotes",
        RUN,
        ("not valid TOML", "a backslash in double quotes", "C:/folder/prices.csv", "single quotes"),
        {"x.toml": OWN_PRICES.replace("prices.csv", "C:\\Users\\me\\prices.csv")},
    ),
    Case(
        "path of Windows whose backslashes make a tab and a new line",
        RUN,
        ("data.path = ", "has a control character", "C:/folder/prices.csv"),
        {"x.toml": OWN_PRICES.replace("prices.csv", "C:\\temp\\new.csv")},
    ),
    Case(
        "csv too short", RUN, ("too few bars", "2 folds x 20", "but 10 are there"), prices(CLOSES)
    ),
    Case(
        "features that a close-only csv lacks",
        RUN,
        (
            "data.features 'range' needs high and low",
            "data.features 'volume' needs volume",
            "data.target 'range' needs high and low",
            "the prices have only close",
        ),
        {
            "x.toml": OWN_PRICES.replace('["return"]', '["range", "volume"]').replace(
                'target = "return"', 'target = "range"'
            ),
            "prices.csv": "\n".join(["Date,Close", *CLOSES]),
        },
    ),
    Case(
        "csv with three bad columns",
        RUN,
        ("line 2: a date must be like", "line 3: Mood must be a number", "line 4: Close must be"),
        prices(["soon,1,2", "2024-01-02,one,2", "2024-01-03,1,two"], "Date,Mood,Close")
        | {"x.toml": OWN_PRICES.replace('["return"]', '["return", "column:mood"]')},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_prices_are_refused_and_nothing_is_written(
    case: Case,
    tmp_path: Path,
    tuner: Callable[..., tuple[int, str, str]],
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_refused(case, tmp_path, tuner if case.process else command, monkeypatch)
