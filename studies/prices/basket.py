"""The prices of a basket: all symbols of a study, or an error that names those that have none.

>>> basket = load_basket("sample", PriceRequest(), ["AAPL", "IBM"])
>>> {symbol: len(frame) for symbol, frame in basket.frames.items()}
{'AAPL': 3270, 'IBM': 3270}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import pandas as pd

from puffin.studies.prices.load import Prices, ValidatedBars, join, load_bars, load_others
from puffin.studies.prices.market import with_market
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest, Reader
from puffin.studies.prices.sources import SOURCES, members
from puffin.studies.text import in_words

# Symbols that cannot be used whose cause is stated.
_MOST_CAUSES = 10
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, eq=False)
class Basket:
    """Prices of each symbol of a study.

    Attributes
    ----------
    members : mapping of str to Prices
        At least one, in the order of the study file.
    source : str
        Where they are from, in words; a basket of one has the origin of its prices instead.
    """

    members: Mapping[str, Prices]
    source: str = "prices"

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The bars of each symbol, as `Prices` describes them."""
        return {symbol: prices.frame for symbol, prices in self.members.items()}

    @property
    def origin(self) -> str:
        """The source in words: "sample AAPL", "sample: AAPL, IBM and MSFT"."""
        if len(self.members) == 1:
            return next(iter(self.members.values())).origin
        return f"{self.source}: {in_words(list(self.members))}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was cleaned or guessed; each begins with its symbols if there are several."""
        return self._lines(lambda prices: prices.warnings)

    @property
    def fetch_notes(self) -> tuple[str, ...]:
        """How the bars were obtained this time."""
        return self._lines(lambda prices: prices.fetch_notes)

    def _lines(self, of: Callable[[Prices], tuple[str, ...]]) -> tuple[str, ...]:
        if len(self.members) == 1:
            return of(next(iter(self.members.values())))
        found: dict[str, list[str]] = {}
        for symbol, prices in self.members.items():
            for line in of(prices):
                found.setdefault(line, []).append(symbol)
        return tuple(f"{in_words(symbols)}: {line}" for line, symbols in found.items())


def load_basket(source: str, request: PriceRequest, symbols: Sequence[str] = ()) -> Basket:
    """Load the prices of several symbols as `load_prices` loads those of one.

    Parameters
    ----------
    source : str
    request : PriceRequest
        Its symbol is ignored.
    symbols : sequence of str
        Empty for all symbols of a file or a folder.

    Raises
    ------
    DataError
        If a symbol cannot be read or used: all such symbols, with their causes.
    """
    readers = members(source, request, symbols)
    words = source if request.path is None else f"{source} {request.path.name}"
    return read_basket(source, readers, request, words)


def read_basket(
    source: str, readers: Mapping[str, Reader], request: PriceRequest, words: str
) -> Basket:
    """Read a basket with the reader of each symbol; `words` name the source.

    Raises
    ------
    DataError
        As `load_basket` does.
    """
    request = replace(request, basket=len(readers))
    bars = _each(
        readers,
        lambda symbol, read: load_bars(source, read, replace(request, symbol=symbol)),
        is_live=SOURCES[source].is_live,
    )
    bars = with_market(bars, request.needs)
    others = _others(source, readers, request)
    return Basket(_each(bars, lambda symbol, own: join(own, others[symbol])), words)


def _others(
    source: str, readers: Mapping[str, Reader], request: PriceRequest
) -> Mapping[str, dict[str, ValidatedBars]]:
    """Read the extra series: columns of the file of each symbol, or the same for all symbols."""
    if SOURCES[source].needs_path:
        return _each(readers, lambda _, read: load_others(source, read, request))
    shared = load_others(source, SOURCES[source].load, request)
    return dict.fromkeys(readers, shared)


def _each(
    items: Mapping[str, _In], load: Callable[[str, _In], _Out], *, is_live: bool = False
) -> dict[str, _Out]:
    """Load each symbol, and raise with all that cannot be loaded."""
    found: dict[str, _Out] = {}
    causes: dict[str, str] = {}
    for symbol, item in items.items():
        try:
            found[symbol] = load(symbol, item)
        except DataError as error:
            if len(items) == 1:
                raise
            causes[symbol] = str(error)
    if causes:
        raise DataError(_refusal(causes, len(items), is_live=is_live))
    return found


def _refusal(causes: Mapping[str, str], count: int, *, is_live: bool) -> str:
    stated = list(causes)[:_MOST_CAUSES]
    rest = list(causes)[_MOST_CAUSES:]
    lines = [f"{symbol}: {causes[symbol]}" for symbol in stated]
    if rest:
        lines.append(f"and {len(rest)} more: {', '.join(rest)}")
    head = (
        f"{len(causes)} of {count} symbols cannot be used; correct them, or take them out of "
        "data.symbols"
    )
    if is_live and len(causes) < count:
        head += "; the others are in the cache, so a second try requests only these"
    return "\n- ".join([head, *lines])
