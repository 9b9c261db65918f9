"""Which column of a table is which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from puffin.models.features import COLUMN
from puffin.studies.prices.csv_header import ALIASES, Header, is_index, plain, shown
from puffin.studies.prices.csv_times import TimeError, are_clocks, are_days, read_times
from puffin.studies.prices.validation import KNOWN, DataError

# Names of a close that need no word; whatever else is read as one is said.
_EVIDENT = frozenset({"close", "closelast", "closeprice", "closingprice"})
# Names of a column that tells which symbol a row is of.
SYMBOLS = frozenset({"ticker", "symbol", "name", "instrument", "code", "tic", "stock", "isin"})
# Keys of `Wanted.columns`.
NAMES = ("date", "time", *KNOWN)


@dataclass(frozen=True, eq=False)
class RequestedColumns:
    """What is wanted of a file.

    Attributes
    ----------
    columns : mapping
        What the user says: one of `NAMES` to a name in the file.
    reads : mapping
        Bars that a study reads, to who reads them, in words.
    alone : str or None
        A column that is read as close, and no other.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    alone: str | None = None


@dataclass(frozen=True, eq=False)
class ColumnPlaces:
    """Numbers of the columns of a table.

    Attributes
    ----------
    date : int
    clock : int or None, of a time of day that stands apart
    numbers : dict, of each column of numbers, by its name in a frame of bars
    notes : list of str, what was guessed
    """

    date: int
    clock: int | None
    numbers: dict[str, int]
    notes: list[str]


def find_places(
    header: Header, body: Sequence[Sequence[str]], wanted: RequestedColumns, where: str
) -> ColumnPlaces:
    """Find the columns that are wanted.

    Parameters
    ----------
    header : Header
    body : sequence of sequence of str, (row, column)
    wanted : RequestedColumns
    where : str
        Names the file in errors.

    Raises
    ------
    DataError
        If a column is not there, or is there twice.
    """
    names = header.names
    said = {
        key: place(names, name, f"data.columns.{key}", where)
        for key, name in wanted.columns.items()
    }
    date, clock = _find_dates(names, body, said, where)
    notes: list[str] = []
    if wanted.alone is not None:
        values = {"close": place(names, wanted.alone, "data.extra", where)}
        return ColumnPlaces(date, clock, values, notes)
    taken = {date, clock, *said.values()}
    values = {}
    for name in KNOWN:
        found = said[name] if name in said else _find(name, names, taken, wanted, where, notes)
        if found is None and name == "close":
            found = _only_other(names, body, taken, where, notes)
        if found is not None:
            values[name] = found
    for name, who in wanted.reads.items():
        if name.startswith(COLUMN):
            values[name] = place(names, name.removeprefix(COLUMN), who, where)
    return ColumnPlaces(date, clock, values, notes)


def place(names: Sequence[str], name: str, who: str, where: str) -> int:
    """Return the number of the column with a name of the user's.

    Raises
    ------
    DataError
        If there is none, or there are two.
    """
    if names.count(name) == 1:
        return names.index(name)
    # As it is called in a snapshot too, so that the prices of an export can be read again.
    known = [own.lower().removeprefix("extra:").removeprefix(COLUMN) for own in names]
    if known.count(name.lower()) != 1:
        raise DataError(
            f"{where} must have one column {name}, for {who}, but has {shown(names)}: "
            "rename the right one"
        )
    return known.index(name.lower())


def _find_dates(
    names: Sequence[str], body: Sequence[Sequence[str]], said: Mapping[str, int], where: str
) -> tuple[int, int | None]:
    """Return the numbers of the columns with the date and with a time of day apart."""
    if "date" in said:
        return said["date"], said.get("time")
    plains = [plain(name) for name in names]
    aliases = [alias for alias in ALIASES["date"] if alias != "year" or "month" not in plains]
    found = [at for alias in aliases for at, name in enumerate(plains) if name == alias]
    known = [plains[at] for at in found]
    if len(set(known)) < len(known):
        raise DataError(
            f"{where} must have one date column, but has {shown([names[at] for at in found])}: "
            f"keep one, or {_in_study_file('date', [names[found[0]]])}"
        )
    if not found:
        if is_index(names[0]) and not _counts_rows(body):
            return 0, said.get("time")
        if len(names) == 1:
            raise DataError(
                f"{where} must have a date column and others, but has one column, "
                f"{names[0][:40]!r}: separate columns by commas, semicolons, tabs or |"
            )
        counted = ", and the first only counts rows" if is_index(names[0]) else ""
        raise DataError(
            f"{where} must have a date column, but has {shown(names)}{counted}: rename the right "
            f"one, or {_in_study_file('date', _unknown(names))}"
        )
    if "time" in said:
        return found[0], said["time"]
    clocks = [at for at in found[1:] if are_clocks([row[at] for row in body])]
    if clocks and are_days(row[found[0]] for row in body):
        return found[0], clocks[0]
    # A file may have days beside times, and Unix times beside both.
    single = (at for at in found if len({row[at] for row in body}) == len(body))
    return next(single, found[0]), None


def _counts_rows(body: Sequence[Sequence[str]]) -> bool:
    cells = [row[0].strip() for row in body]
    if not all(cell.isdigit() for cell in cells):
        return False
    try:
        read_times(cells, is_named=False)
    except TimeError:
        return True
    return False


def _find(
    name: str,
    names: Sequence[str],
    taken: set[int | None],
    wanted: RequestedColumns,
    where: str,
    notes: list[str],
) -> int | None:
    """Return the number of the column that is called like one of ours; None if none is."""
    free = [(at, plain(own)) for at, own in enumerate(names) if at not in taken]
    for alias in ALIASES[name]:
        found = [at for at, own in free if own == alias]
        if len(found) == 1 and name == "close" and alias not in _EVIDENT:
            notes.append(f"close is read from the column {names[found[0]]}")
        if len(found) == 1:
            return found[0]
        if found:
            _refuse_several(name, [names[at] for at in found], wanted, where)
            return None
    others = [at for at, own in free if name == "volume" and own.startswith("volume")]
    if len(others) > 1:
        _refuse_several(name, [names[at] for at in others], wanted, where)
    return others[0] if len(others) == 1 else None


def _refuse_several(name: str, candidates: list[str], wanted: RequestedColumns, where: str) -> None:
    """Refuse a column that could be one of several, if it is read."""
    if name in {"close", "adj_close", *wanted.reads}:
        raise DataError(
            f"{where} must have one {name} column, but has {shown(candidates)}: keep one, or "
            f"{_in_study_file(name, candidates)}"
        )


def _in_study_file(name: str, candidates: Sequence[str]) -> str:
    """Say how a column is named in the study file, with the first candidate that has a name."""
    example = next(filter(None, candidates), "its name")
    return f'name it in the study file: columns = {{ {name} = "{example}" }}'


def _unknown(names: Sequence[str]) -> list[str]:
    """Return the names that are none of ours."""
    known = {alias for aliases in ALIASES.values() for alias in aliases} | SYMBOLS
    return [name for name in names if plain(name) not in known and not is_index(name)]


def _only_other(
    names: Sequence[str],
    body: Sequence[Sequence[str]],
    taken: set[int | None],
    where: str,
    notes: list[str],
) -> int:
    """Return the number of the one column that can be the close where none is called so."""
    free = [(at, name) for at, name in enumerate(names) if at not in taken]
    others = [at for at, name in free if _unknown([name])]
    if len(others) == 1 and len(names) <= 3 and body:
        notes.append(f"close is read from {names[others[0]]}, the only other column")
        return others[0]
    raise DataError(
        f"{where} must have a close column, but has {shown(names)}: rename the right one, or "
        f"{_in_study_file('close', _unknown([name for _, name in free]))}"
    )
