"""The sources of prices; a new source is one entry of `SOURCES`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest, RawPrices, Reader

_SAMPLE = Path(__file__).parent.with_name("sample")


@dataclass(frozen=True)
class Source:
    """Where prices come from, and which keys of ``[data]`` go with it.

    Attributes
    ----------
    load : Reader
    needs_path : bool
        Whether it reads files of the user's, named by ``path``; other sources need ``symbols``.
    has_periods : bool
        Whether ``period`` and ``interval`` can be chosen.
    is_live : bool
        Whether it is a service on the network: its bars change, and the user cannot correct them.
    """

    load: Reader
    needs_path: bool = False
    has_periods: bool = False
    is_live: bool = False

    def key(self, symbol: str) -> str:
        """Return what two names of one symbol have in common: a service ignores the case."""
        return symbol if self.needs_path else symbol.upper()


# What a source needs is imported when it loads, because a study file is checked without pandas.


def _sample(request: PriceRequest) -> RawPrices:
    from puffin.studies.prices.csv_bytes import decode, read_bytes
    from puffin.studies.prices.csv_file import parse_csv
    from puffin.studies.prices.snapshot import sha256

    lines = (_SAMPLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name.removesuffix(".csv.gz"): digest for digest, name in map(str.split, lines)}
    symbol = request.ticker
    if symbol not in sums:
        raise DataError(
            f"symbol of the sample must be one of {', '.join(sums)}, but got {request.symbol!r}"
        )
    file = _SAMPLE / f"{symbol}.csv.gz"
    data = read_bytes(file)
    if sha256(data) != sums[symbol]:
        raise DataError(
            f"sample {symbol} must have the sha256 {sums[symbol]}, but has {sha256(data)}: "
            "the file was changed, install puffin-tuner again"
        )
    return RawPrices(parse_csv(decode(data, file)[0], str(file))[0], f"sample {symbol}")


def members(source: str, request: PriceRequest, symbols: Sequence[str]) -> dict[str, Reader]:
    """Return what reads each symbol of a basket, given a request with that symbol.

    Raises
    ------
    DataError
        If the source is unknown or has no periods, or files lack a symbol.
    """
    if source not in SOURCES:
        raise DataError(f"source must be one of {', '.join(SOURCES)}, but got {source!r}")
    if not SOURCES[source].has_periods and (
        request.period or request.period is not None or request.interval != "1d"
    ):
        raise DataError(
            f"period and interval go with source {sources_with('has_periods')}, not with "
            f'"{source}"; use start and end'
        )
    if SOURCES[source].needs_path:
        from puffin.studies.prices import csv_source

        return csv_source.find_members(request, symbols)
    return dict.fromkeys(symbols, SOURCES[source].load)


def _csv(request: PriceRequest) -> RawPrices:
    from puffin.studies.prices import csv_source

    return csv_source.load(request)


def _yfinance(request: PriceRequest) -> RawPrices:
    from puffin.studies.prices import yahoo

    if not request.symbol:
        raise DataError('source "yfinance" needs a symbol: add symbol = "AAPL"')
    if request.period is None and request.start is None and request.end is None:
        request = replace(request, period="max")
    fetched, fetch_notes = yahoo.load(request)
    bars = fetched.frame.drop(columns="dividends", errors="ignore")
    origin = f"yfinance {request.ticker}, {yahoo.describe(fetched)}"
    return RawPrices(bars, origin, market=fetched.market, fetch_notes=fetch_notes)


SOURCES: dict[str, Source] = {
    "sample": Source(_sample),
    "csv": Source(_csv, needs_path=True),
    "yfinance": Source(_yfinance, has_periods=True, is_live=True),
}


def sources_with(trait: str) -> str:
    """Name the sources that have a trait of `Source`, for a message: ``"csv"``."""
    return " or ".join(f'"{name}"' for name, source in SOURCES.items() if getattr(source, trait))
