"""Finding the columns of a table: date, time, prices, volume and the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from puffin.models.features import COLUMN
from puffin.studies.prices.csv_header import ALIASES, Header, is_index, normalised, shown
from puffin.studies.prices.csv_times import TimeError, are_clocks, are_days, read_times
from puffin.studies.prices.names import KNOWN, DataError

# Evident names of a close; if another column is read as the close, a note says so.
_EVIDENT = frozenset({"close", "closelast", "closeprice", "closingprice"})
# Names of a column that has the symbol of each row; the first that differs between rows is taken.
SYMBOLS = ("uniqueid", "symbol", "ticker", "tic", "instrument", "stock", "code", "isin", "name")


@dataclass(frozen=True, eq=False)
class RequestedColumns:
    """The columns of a file that are read.

    Attributes
    ----------
    columns : mapping
        Names given by the user: one of `names.NAMES` to a name in the file.
    reads : mapping
        Columns that a study reads, to the features and the target that read them, in words.
    only_close : str or None
        The one column that is read, as the close.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    only_close: str | None = None


@dataclass(frozen=True, eq=False)
class ColumnPlaces:
    """Positions of the columns in a table, counted from 0.

    Attributes
    ----------
    date : int
    clock : int or None
        Of a time of day in a column of its own.
    numbers : dict
        Of each column of numbers, by its name in a frame of bars.
    notes : list of str
        What was guessed.
    """

    date: int
    clock: int | None
    numbers: dict[str, int]
    notes: list[str]


def find_places(
    header: Header, body: Sequence[Sequence[str]], wanted: RequestedColumns, where: str
) -> ColumnPlaces:
    """Find the requested columns.

    Parameters
    ----------
    header : Header
    body : sequence of sequence of str, (row, column)
    wanted : RequestedColumns
    where : str
        The file, for error messages.

    Raises
    ------
    DataError
        If a column is missing or occurs twice.
    """
    names = header.names
    named = {
        key: place(names, name, f"data.columns.{key}", where)
        for key, name in wanted.columns.items()
    }
    date, clock = _find_dates(names, body, named, where)
    notes: list[str] = []
    if wanted.only_close is not None:
        values = {"close": place(names, wanted.only_close, "data.extra", where)}
        return ColumnPlaces(date, clock, values, notes)
    taken = {date, clock, *named.values()}
    values = {}
    for name in KNOWN:
        found = named[name] if name in named else _find(name, names, taken, wanted, where, notes)
        if found is None and name == "close":
            found = _only_other(names, body, taken, where, notes)
        if found is not None:
            values[name] = found
    for name, who in wanted.reads.items():
        if name.startswith(COLUMN):
            values[name] = place(names, name.removeprefix(COLUMN), who, where)
    return ColumnPlaces(date, clock, values, notes)


def place(names: Sequence[str], name: str, who: str, where: str) -> int:
    """Return the position of the column with a name given by the user.

    Raises
    ------
    DataError
        If there is none, or there are two.
    """
    if names.count(name) == 1:
        return names.index(name)
    # The names of a snapshot are understood too, so that the prices of an export can be read.
    known = [other.lower().removeprefix("extra:").removeprefix(COLUMN) for other in names]
    if known.count(name.lower()) != 1:
        raise DataError(
            f"{where} must have one column {name}, for {who}, but has {shown(names)}: "
            "rename the right one"
        )
    return known.index(name.lower())


def _find_dates(
    names: Sequence[str], body: Sequence[Sequence[str]], named: Mapping[str, int], where: str
) -> tuple[int, int | None]:
    """Return the positions of the date and of a separate time of day, if there is one."""
    if "date" in named:
        return named["date"], named.get("time")
    normalised_names = [normalised(name) for name in names]
    aliases = [
        alias for alias in ALIASES["date"] if alias != "year" or "month" not in normalised_names
    ]
    found = [at for alias in aliases for at, name in enumerate(normalised_names) if name == alias]
    known = [normalised_names[at] for at in found]
    if len(set(known)) < len(known):
        raise DataError(
            f"{where} must have one date column, but has {shown([names[at] for at in found])}: "
            f"keep one, or {_in_study_file('date', [names[found[0]]])}"
        )
    if not found:
        if is_index(names[0]) and not _counts_rows(body):
            return 0, named.get("time")
        if len(names) == 1:
            raise DataError(
                f"{where} must have a date column and others, but has one column, "
                f"{names[0][:40]!r}: separate columns by commas, semicolons, tabs or |"
            )
        counted = ", and the first only numbers the rows" if is_index(names[0]) else ""
        raise DataError(
            f"{where} must have a date column, but has {shown(names)}{counted}: rename the right "
            f"one, or {_in_study_file('date', _unknown(names))}"
        )
    if "time" in named:
        return found[0], named["time"]
    clocks = [at for at in found[1:] if are_clocks([row[at] for row in body])]
    if clocks and are_days(row[found[0]] for row in body):
        return found[0], clocks[0]
    # A file may have a column of days, one of times and one of Unix times.
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
    """Return the position of the column that has an alias of `name`, or None."""
    free = [(at, normalised(own)) for at, own in enumerate(names) if at not in taken]
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
    """Raise if a column that is read could be one of several."""
    if name in {"close", "adj_close", *wanted.reads}:
        raise DataError(
            f"{where} must have one {name} column, but has {shown(candidates)}: keep one, or "
            f"{_in_study_file(name, candidates)}"
        )


def _in_study_file(name: str, candidates: Sequence[str]) -> str:
    """Return how to name a column in the study file, with the first named candidate as example."""
    example = next(filter(None, candidates), "its name")
    return f'name it in the study file: columns = {{ {name} = "{example}" }}'


def _unknown(names: Sequence[str]) -> list[str]:
    """Return the names that are not in `ALIASES`."""
    known = {alias for aliases in ALIASES.values() for alias in aliases} | {*SYMBOLS}
    return [name for name in names if normalised(name) not in known and not is_index(name)]


def _only_other(
    names: Sequence[str],
    body: Sequence[Sequence[str]],
    taken: set[int | None],
    where: str,
    notes: list[str],
) -> int:
    """Return the position of the only column that can be the close if none has its name."""
    free = [(at, name) for at, name in enumerate(names) if at not in taken]
    others = [at for at, name in free if _unknown([name])]
    if len(others) == 1 and len(names) <= 3 and body:
        notes.append(f"close is read from {names[others[0]]}, the only other column")
        return others[0]
    raise DataError(
        f"{where} must have a close column, but has {shown(names)}: rename the right one, or "
        f"{_in_study_file('close', _unknown([name for _, name in free]))}"
    )
