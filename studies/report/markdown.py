"""Markdown: escaped text, tables and figures."""

import re
from collections.abc import Iterable, Sequence

# Characters that are markup anywhere in a line; an underscore only at the edge of a word.
_MARKUP = re.compile(r"([\\`*\[\]<&|]|(?<![^\W_])_|_(?![^\W_]))")


def plain(text: object) -> str:
    """Return text on one line, with everything escaped that would be markup."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def sentence(text: str) -> str:
    """Return an escaped sentence: a capital letter first and a full stop at the end."""
    return plain(text[:1].upper() + text[1:] + ".")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose first column is left-aligned and whose others are right-aligned."""
    marks = ["---", *["---:"] * (len(header) - 1)]
    first, *others = [[plain(cell) for cell in row] for row in (header, *rows)]
    lines = [first, marks, *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(name: str, alt: str, caption: str) -> str:
    """Return a figure with its caption below."""
    return f"![{plain(alt)}](pictures/{name})\n*{plain(caption)}*"


def join(parts: Iterable[str]) -> str:
    """Join paragraphs, leaving out empty ones."""
    return "\n\n".join(part for part in parts if part)
