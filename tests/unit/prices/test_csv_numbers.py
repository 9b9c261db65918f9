"""Numbers in cells: decimal marks, thousands, currencies and marks of a missing value."""

from pathlib import Path

import pandas as pd
import pytest

from puffin.models.features import needs_of
from puffin.studies.prices.csv_numbers import number
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from tests.prices import csv_file

# Marks of emptiness: those of pandas' documentation of read_csv, and of other programs.
EMPTY = """
#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null
|-|--|---|.|..|n.a.|ND|n.v.
"""


def test_rows_with_a_mark_of_a_missing_close_are_left_out_and_counted(tmp_path: Path) -> None:
    marks = EMPTY.replace("\n", "").split("|")
    days = pd.bdate_range("2024-01-02", periods=len(marks) + 2)
    cells = [*marks, "2", "3"]
    rows = "".join(f"{day:%Y-%m-%d},{cell}\n" for day, cell in zip(days, cells, strict=True))
    path = csv_file(tmp_path, f"date,close\n{rows}")
    request = PriceRequest(path=path, needs=needs_of(["return"], "return"))
    found = load_prices("csv", request)
    assert found.frame["close"].tolist() == [2, 3]
    assert found.warnings == (
        f"rows without any price were left out: {len(marks)} bars, first 2024-01-02",
    )


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("1796.2", 1796.2, None),
        ("1,796.20", 1796.2, None),
        ("1.796,20", None, 1796.2),
        ("12,34,567.5", 1234567.5, None),
        ("1 796,20", None, 1796.2),
        ("1'796.20", 1796.2, None),
        ("1,234", 1234, 1.234),
        ("100,13", None, 100.13),
        ("1.234.567", None, 1234567),
        ("5.51M", 5510000, None),
        ("1.2k", 1200, None),
        ("3B", 3e9, 3e9),
        ("$1.23", 1.23, None),
        ("-$1.23", -1.23, None),
        ("1.23 €", 1.23, None),
        ("EUR 1,20", None, 1.2),
        ("(1.23)", -1.23, None),
        ("\u22120.5", -0.5, None),
        ("0.10%", 0.1, None),
        ("1e-3", 0.001, None),
        ("1,2,3", None, None),
        ("1.2.3", None, None),
        ("2024-01-30", None, None),
        ("12:30", None, None),
        ("1.5 or so", None, None),
        ("$", None, None),
    ],
)
def test_a_number_is_read_with_either_decimal_mark(
    cell: str, point: float | None, comma: float | None
) -> None:
    assert (number(cell), number(cell, ",")) == (point, comma)
