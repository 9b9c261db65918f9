"""Markdown by hand: text that is taken as it stands, figures, tables, pictures."""

import math
import re
from collections.abc import Iterable, Sequence

# What is markup wherever it stands in a line; a _ is none inside a word.
_MARKUP = re.compile(r"([\\`*\[\]<&|]|(?<![^\W_])_|_(?![^\W_]))")

# A smaller p would be written as 0.
LEAST_P = 0.001


def plain(text: object) -> str:
    """Escape what would be markup, on one line that begins with a word."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a table whose first column is text, and whose others are figures."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    first, *others = [[plain(cell) for cell in row] for row in (header, *rows)]
    lines = [first, marks, *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(name: str, alt: str, caption: str) -> str:
    """Show a picture with a line below it."""
    return f"![{plain(alt)}](pictures/{name})\n*{plain(caption)}*"


def join(parts: Iterable[str]) -> str:
    """Put paragraphs one after the other, leaving out empty ones."""
    return "\n\n".join(part for part in parts if part)


def loss(value: float) -> str:
    """Write a loss; one without end is of a training that diverged."""
    return f"{value:.4f}" if math.isfinite(value) else "diverged"


def p_value(value: float) -> str:
    """Write a p-value."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.3f}" if value >= LEAST_P else f"below {LEAST_P}"


def counted(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
