"""Parsing of numbers with thousands separators, currencies, decimal commas and units as "1.2M"."""

import re
from collections.abc import Sequence

import numpy as np

# Marks of a missing value in lower case: those of pandas, then those of other programs (dashes,
# dots, "no data" in a few languages).
_MISSING = frozenset(
    (
        *("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan", "-nan"),
        *("<na>", "n/a", "na", "nan", "none", "null"),
        *("-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "\u2026"),
        *("nd", "n.d.", "n/d", "n.a.", "n.a", "n.v.", "k.a.", "#value!", "#div/0!", "#ref!"),
    )
)
_SIGNS = str.maketrans({"\u2212": "-"} | dict.fromkeys("$€£¥₹₽₩₿", ""))
# Spaces of all widths, and Swiss apostrophes.
_THOUSANDS = re.compile(r"(?<=\d)[\s'\u2019](?=\d{3}(?!\d))")
_CURRENCY = re.compile(r"^[A-Z]{3}\s*(?=[-+\d.])|(?<=\d)\s*[A-Z]{3}$")
_POWERS = {"": "", "K": "e3", "M": "e6", "B": "e9", "T": "e12"}
# The last group of thousands has three digits; the groups before it have two in India.
_FORMS = {
    ".": re.compile(
        r"([-+]?(?:\d{1,3}(?:,\d{2,3})*,\d{3}|\d*)(?:\.\d*)?)(?:([KMBT])|%)?", re.IGNORECASE
    ),
    ",": re.compile(r"([-+]?(?:\d{1,3}(?:\.\d{3})+|\d*)(?:,\d*)?)(?:([KMBT])|%)?", re.IGNORECASE),
}


def number(cell: str, mark: str = ".") -> float | None:
    """Return the number in a cell, NaN if it is missing, or None if it is not a number.

    Parameters
    ----------
    cell : str
    mark : {".", ","}
        The decimal mark; the other one may separate thousands.
    """
    if mark == ".":
        try:
            return float(cell)
        except ValueError:
            pass
    text = cell.strip()
    if text.lower() in _MISSING:
        return float("nan")
    if text.startswith("(") and text.endswith(")"):  # accountants' notation of a negative number
        text = f"-{text[1:-1]}"
    text = _CURRENCY.sub("", text.translate(_SIGNS).strip())
    text = _THOUSANDS.sub("", text)
    found = _FORMS[mark].fullmatch(text)
    if found is None or not any(map(str.isdigit, text)):
        return None
    digits = found[1].replace("," if mark == "." else ".", "").replace(",", ".")
    return float(digits + _POWERS[(found[2] or "").upper()])


def decimal_marks(columns: Sequence[Sequence[str]]) -> set[str]:
    """Return the decimal marks with which every cell of the columns is a number.

    If all cells are numbers without a comma, the mark is a point.
    """
    cells = {cell for column in columns for cell in column}
    unusual = [cell for cell in cells if not _is_plain(cell)]
    if not unusual:
        return {"."}
    return {
        mark
        for mark in _FORMS
        if all(number(cell, mark) is not None for cell in (cells if mark == "," else unusual))
    }


def _is_plain(cell: str) -> bool:
    return number(cell) is not None and "," not in cell


def differing(columns: Sequence[Sequence[str]]) -> tuple[str, float, float]:
    """Return a cell that the two decimal marks read as different numbers, and both numbers."""
    for column in columns:
        for cell in column:
            point, comma = number(cell), number(cell, ",")
            if point != comma and point is not None and comma is not None and not np.isnan(point):
                return cell, point, comma
    raise ValueError("all cells are the same number with both decimal marks")
