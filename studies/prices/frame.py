"""Prices in DataFrames, read as CSV files of the same columns would be."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from puffin.studies.prices.basket import Basket, read_basket
from puffin.studies.prices.csv_bytes import decode
from puffin.studies.prices.csv_header import ALIASES, normalised
from puffin.studies.prices.csv_source import members_of_text
from puffin.studies.prices.load import Prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest, Reader

# In place of the path of a file.
NAME = "DataFrame"
# In errors.
_WHERE = "the DataFrame"

Frames = pd.DataFrame | Mapping[str, pd.DataFrame]


def basket_of_frames(prices: Frames, request: PriceRequest) -> Basket:
    """Validate and adjust the prices of DataFrames.

    Parameters
    ----------
    prices : DataFrame, (bar, column), or mapping from each symbol to one
        The times are the index, or a column with one of the names that a file may use. The columns
        have the names that a file may have; one DataFrame may have the symbol of each row in a
        column. Numbers keep every bit.
    request : PriceRequest
        Its path and its symbol are ignored.

    Raises
    ------
    DataError
        If the bars of a symbol cannot be used.
    """
    if not isinstance(prices, Mapping):
        readers = _readers(prices, request, ())
    else:
        readers = {}
        for symbol, frame in prices.items():
            readers |= _readers(frame, request, (symbol,))
    if not readers:
        raise DataError("prices must have at least one symbol, but the dictionary is empty")
    return read_basket("csv", readers, request, NAME)


def prices_of_frame(frame: Frames, request: PriceRequest) -> Prices:
    """Validate and adjust the prices of a DataFrame of one symbol, as `basket_of_frames` does.

    Raises
    ------
    DataError
        If the bars cannot be used, or are of several symbols.
    """
    basket = basket_of_frames(frame, request)
    if len(basket.members) > 1:
        raise DataError(
            f"{_WHERE} must have the prices of one symbol here, but is of {basket.origin}: pass "
            "the rows of one"
        )
    return next(iter(basket.members.values()))


def _readers(
    frame: pd.DataFrame, request: PriceRequest, symbols: tuple[str, ...]
) -> dict[str, Reader]:
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "prices must be a DataFrame, or a dictionary of one for each symbol, but "
            f"{symbols[0] if symbols else 'the argument'} is {type(frame).__name__}: convert it"
        )
    if frame.index.nlevels > 1:
        frame = frame.reset_index()
    has_times = not _only_counts(frame)
    text = frame.to_csv(index=has_times, index_label="date" if has_times else None)
    decoded, _ = decode(text.encode(), Path(_WHERE))
    return members_of_text(decoded, NAME, _WHERE, request, symbols)


def _only_counts(frame: pd.DataFrame) -> bool:
    """Return whether the index numbers the rows, as that of a part of another frame may do."""
    if isinstance(frame.index, pd.RangeIndex):
        return True
    dates = set(ALIASES["date"]) & {normalised(str(name)) for name in frame.columns}
    return pd.api.types.is_integer_dtype(frame.index.dtype) and bool(dates)
