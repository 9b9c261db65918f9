"""Tables that fit the terminal: a column is shortened or left out, and no cell is cut."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from puffin.studies.text import printable, shortened
from puffin.tuner.messages import FILE_WIDTH

# The column that is shortened before any is left out, and the least that is worth showing of it.
CONFIGURATION = "configuration"
_LEAST_WIDTH = 32
_GAP = 2


def new_table(*columns: str, edge: bool = True) -> Table:
    """Return an empty table, first column left-aligned, with or without a margin around it."""
    padding = (0, 1) if edge else (0, 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=edge, pad_edge=edge, padding=padding)
    for i, column in enumerate(columns):
        left = not i or column == CONFIGURATION
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def fitted_table(
    out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str]
) -> Table | None:
    """Return a table that is not wider than a console, or None if there is none.

    Parameters
    ----------
    out : Console
    columns : sequence of str
        The first one names a row. The column "configuration" is shortened to what fits.
    rows : sequence of sequence of str
    optional : sequence of str
        Columns to leave out, one after the other, until the table is narrow enough.
    """
    cells = {name: [printable(row[i]) for row in rows] for i, name in enumerate(columns)}
    for dropped in range(len(optional) + 1):
        kept = {name: cells[name] for name in columns if name not in optional[:dropped]}
        if CONFIGURATION in kept:
            others = [_width(n, values) for n, values in kept.items() if n != CONFIGURATION]
            left = out.width - sum(width + _GAP for width in others)
            if left < _LEAST_WIDTH:
                continue
            kept[CONFIGURATION] = [shortened(cell, left) for cell in kept[CONFIGURATION]]
        table = new_table(*kept, edge=False)
        for row in zip(*kept.values(), strict=True):
            table.add_row(*map(Text, row))
        if out.measure(table, options=out.options.update(width=FILE_WIDTH)).maximum <= out.width:
            return table
    return None


def _width(name: str, cells: Sequence[str]) -> int:
    return max(map(len, (name, *cells)))


def print_rows(
    out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str]
) -> None:
    """Print a table as `fitted_table` makes it, or a name with its values below for each row."""
    if (table := fitted_table(out, columns, rows, optional)) is not None:
        out.print(table)
        return
    for row in rows:
        name, *values = map(printable, row)
        out.print(Text(name), soft_wrap=True)
        pairs = zip(columns[1:], values, strict=True)
        details = "; ".join(f"{column} {value}" for column, value in pairs if value != "-")
        out.print(Padding(Text(details), (0, 0, 1, 2)))
