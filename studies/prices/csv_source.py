"""The source "csv": a file of one series, one file for each symbol, or a long file of several."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import TypeVar

from puffin.studies.prices.csv_bytes import decode, read_bytes
from puffin.studies.prices.csv_columns import RequestedColumns
from puffin.studies.prices.csv_file import (
    Table,
    parse_csv,
    parse_table,
    read_table,
    split_symbols,
)
from puffin.studies.prices.csv_header import shown
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import MOST_SYMBOLS, PriceRequest, RawPrices, Reader
from puffin.studies.text import is_name

# Files of a folder that are read.
_FILE = re.compile(r"[^.].*\.csv(\.(gz|zip|bz2|xz))?", re.IGNORECASE)
_SUFFIXES = re.compile(r"(\.(csv|txt|tsv))?(\.(gz|zip|bz2|xz))?$", re.IGNORECASE)
_Member = TypeVar("_Member")


def load(request: PriceRequest) -> RawPrices:
    """Return the bars of a file of one series."""
    path = _path(request)
    text, notes = decode(read_bytes(path), path)
    found = _of_text(text, path.name, str(path), request)
    return found if request.column else found._replace(notes=(*notes, *found.notes))


def find_members(request: PriceRequest, symbols: Sequence[str]) -> dict[str, Reader]:
    """Return a reader for each symbol: those of `symbols`, or all there are, sorted.

    The path is a file, or a folder or a glob of one file for each symbol. A file of one series is
    of the symbol that is given, or of that in its name.

    Raises
    ------
    DataError
        If there is no such file, or a symbol is missing.
    """
    path = _path(request)
    if (files := _files(path)) is not None:
        chosen = _chosen(_by_symbol(files, path), symbols, str(path))
        return {symbol: partial(_load_file, file) for symbol, file in chosen.items()}
    text, notes = decode(read_bytes(path), path)
    return members_of_text(text, path.name, str(path), request, symbols, notes)


def members_of_text(
    text: str,
    name: str,
    where: str,
    request: PriceRequest,
    symbols: Sequence[str],
    notes: tuple[str, ...] = (),
) -> dict[str, Reader]:
    """Return a reader for each symbol of CSV text; `where` is its origin in errors.

    Raises
    ------
    DataError
        If it has no table, or a symbol is missing.
    """
    wanted = _columns(request)
    table = read_table(text, where, wanted)
    if tables := split_symbols(table, symbols, where, wanted):
        chosen = _chosen(tables, symbols, where)
        return {s: partial(_of_table, own, f"{name} {s}", where) for s, own in chosen.items()}
    if len(symbols) > 1:
        raise DataError(
            f"{where} has one series, but symbols names {len(symbols)} ({shown(symbols, 5)}): give "
            "path = a folder of one file for each, or add a column named symbol"
        )
    symbol = symbols[0] if symbols else _symbol_of(Path(name))

    def read(request: PriceRequest) -> RawPrices:
        if request.column:
            return _of_text(text, name, where, request)
        found = _of_table(table, name, where, request)
        return found._replace(notes=(*notes, *found.notes))

    return {symbol: read}


def _path(request: PriceRequest) -> Path:
    if request.path is None:
        raise DataError(
            'source "csv" needs a path: add path = "prices.csv" or choose source "sample"'
        )
    return request.path


def _load_file(file: Path, request: PriceRequest) -> RawPrices:
    return load(replace(request, path=file))


def _files(path: Path) -> list[Path] | None:
    """Return the files of a folder or a glob; None if the path is that of one file."""
    try:
        whole = path.expanduser()
        if whole.is_dir():
            return [file for file in whole.iterdir() if _FILE.fullmatch(file.name)]
        if has_magic(whole.name) and not whole.exists():
            found = whole.parent.glob(whole.name)
            return [file for file in found if file.is_file() and not file.name.startswith(".")]
    except (OSError, ValueError, RuntimeError):
        pass  # `read_bytes` says what is wrong with the path
    return None


def _symbol_of(file: Path) -> str:
    return _SUFFIXES.sub("", file.name) or file.name


def _by_symbol(files: Sequence[Path], path: Path) -> dict[str, Path]:
    """Return the file of each symbol, sorted by symbol."""
    found: dict[str, Path] = {}
    for file in sorted(files):
        if (first := found.setdefault(_symbol_of(file), file)) != file:
            raise DataError(
                f"{path} must have one file for each symbol, but has {first.name} and {file.name}: "
                "keep one"
            )
    if not found:
        raise DataError(
            f"{path} must have CSV files, one for each symbol, but has none: files of a folder end "
            "in .csv, or in .csv.gz"
        )
    return dict(sorted(found.items()))


def _chosen(
    members: Mapping[str, _Member], symbols: Sequence[str], where: str
) -> dict[str, _Member]:
    """Return the members that are named, in this order, or all."""
    names = list(symbols) or list(members)
    if missing := [name for name in names if name not in members]:
        raise DataError(
            f"{where} must have all of symbols, but lacks {shown(missing)}; it has "
            f"{shown(list(members))}: correct data.symbols, or add the prices"
        )
    if wrong := [name for name in names if not is_name(name)]:
        raise DataError(
            f"{where}: symbols must not contain commas or start or end with a space, but "
            f"{wrong[0]!r} does: rename it"
        )
    if len(names) > MOST_SYMBOLS:
        raise DataError(
            f"{where} must have at most {MOST_SYMBOLS} symbols, but has {len(names)}: choose some "
            "with data.symbols"
        )
    return {name: members[name] for name in names}


def _of_text(text: str, name: str, where: str, request: PriceRequest) -> RawPrices:
    frame, notes = parse_csv(text, where, _columns(request), request.extra)
    return RawPrices(frame, _origin(name, request), notes)


def _of_table(table: Table, name: str, where: str, request: PriceRequest) -> RawPrices:
    frame, notes = parse_table(table, where, _columns(request), request.extra)
    return RawPrices(frame, _origin(name, request), notes)


def _columns(request: PriceRequest) -> RequestedColumns:
    return RequestedColumns(request.columns, request.needs.reads, request.column)


def _origin(name: str, request: PriceRequest) -> str:
    return " ".join(["csv", name, *filter(None, [request.column])])
