"""Markdown by hand: text that is taken as it stands, tables, pictures."""

import re
from collections.abc import Iterable, Sequence

# What is markup wherever it stands in a line; a _ is none inside a word.
_MARKUP = re.compile(r"([\\`*\[\]<&|]|(?<![^\W_])_|_(?![^\W_]))")


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
