"""Which bars are requested from a source, and what the source returns."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from puffin.models.features import Needs
from puffin.studies.prices.names import ALL_COLUMNS

if TYPE_CHECKING:  # the study file is checked without pandas
    import pandas as pd

    from puffin.studies.prices.calendar import Market

# Of a basket, at most.
MOST_SYMBOLS = 1000


@dataclass(frozen=True)
class PriceRequest:
    """The bars requested from a source: the keys of ``[data]`` that select them.

    Attributes
    ----------
    symbol : str or None
        For sources that have symbols.
    path : Path or None
        For sources that read files.
    start, end : date or None
        First and last day, both included.
    period : str or None
        Instead of start and end, for sources that have periods.
    interval : str
        Length of a bar, a key of `puffin.studies.prices.names.INTERVALS`.
    extra : tuple of str
        Other series that are joined to this one.
    columns : mapping
        Names of columns of a file: "close" to the name in the file.
    needs : Needs
        The columns that are read.
    refresh : bool
        Whether to ignore cached bars.
    column : str or None
        The column of a file that is read as its close.
    requested_at : float, seconds of `time.monotonic`
        When the prices were requested; all series of a study share one deadline.
    basket : int
        Number of symbols of the study: the deadline of more is later.
    unanswered : list of str
        The symbols requested last that a service did not answer, shared by all of a study.
    """

    symbol: str | None = None
    path: Path | None = None
    start: date | None = None
    end: date | None = None
    period: str | None = None
    interval: str = "1d"
    extra: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    needs: Needs = ALL_COLUMNS
    refresh: bool = False
    column: str | None = None
    requested_at: float = field(default_factory=time.monotonic)
    basket: int = 1
    unanswered: list[str] = field(default_factory=list)

    @property
    def ticker(self) -> str:
        """The symbol in capitals, as a service knows it."""
        return (self.symbol or "").upper()


class RawPrices(NamedTuple):
    """Bars as a source returns them, neither validated nor adjusted.

    Attributes
    ----------
    frame : DataFrame, (bar, column)
        May have the columns "adj_close" and "splits" beside open, high, low, close and volume.
    origin : str
        The source in words: "sample AAPL".
    notes : tuple of str
        What was guessed or left out.
    market : Market or None
        Determines when each bar is known; without one a bar is known at its time stamp.
    fetch_notes : tuple of str
        How the bars were obtained this time.
    """

    frame: "pd.DataFrame"
    origin: str
    notes: tuple[str, ...] = ()
    market: "Market | None" = None
    fetch_notes: tuple[str, ...] = ()


# Returns the bars of a request, neither validated nor adjusted.
Reader = Callable[[PriceRequest], RawPrices]
