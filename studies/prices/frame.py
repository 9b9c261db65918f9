"""Prices in a DataFrame, read as a CSV file of the same columns would be."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.validation import DataError

# In place of the path of a file.
NAME = "DataFrame"


def prices_of_frame(frame: pd.DataFrame, request: PriceRequest) -> Prices:
    """Validate and adjust the prices of a DataFrame.

    Parameters
    ----------
    frame : DataFrame, (bar, column)
        The times are the index, or a column with one of the names that a file may use. The columns
        have the names that a file may have. Numbers keep every bit.
    request : PriceRequest
        Its path is ignored.

    Raises
    ------
    DataError
        If the bars cannot be used.
    """
    has_times = not isinstance(frame.index, pd.RangeIndex)
    with TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        frame.to_csv(path, index=has_times, index_label="date" if has_times else None)
        try:
            return load_prices("csv", replace(request, path=path))
        except DataError as error:
            raise DataError(str(error).replace(str(path), "the DataFrame")) from None
