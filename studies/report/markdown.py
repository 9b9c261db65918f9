"""A report as Markdown, for terminals and git."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from puffin.studies.report.document import (
    Block,
    Card,
    Command,
    Facts,
    Heading,
    Items,
    Page,
    Picture,
    Section,
    Table,
    Text,
)

# Characters that are markup anywhere in a line; an underscore only at the edge of a word.
_MARKUP = re.compile(r"([\\`*\[\]<&|]|(?<![^\W_])_|_(?![^\W_]))")


def to_markdown(page: Page) -> str:
    """Return a report as Markdown; figures are ``pictures/NAME`` beside it."""
    contents = "\n".join(f"* [{plain(s.title)}](#{s.anchor})" for s in page.sections)
    parts = [f"# {plain(page.title)}", *_card(page.card), f"Contents:\n\n{contents}"]
    for section in page.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _card(card: Card) -> Iterator[str]:
    yield f"**{plain(card.outcome.capitalize())}: {plain(card.headline)}**"
    yield _facts(card.facts)


def _section(section: Section) -> Iterator[str]:
    yield f"## {plain(section.title)}"
    for block in section.blocks:
        yield block_to_markdown(block)


def block_to_markdown(block: Block) -> str:
    """Return one block as Markdown."""
    return _WRITERS[type(block)](block)


def plain(text: object) -> str:
    """Return text on one line, with everything escaped that would be markup."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def _items(items: Items) -> str:
    return "\n".join(f"* {plain(item)}" for item in items.items)


def _facts(facts: Facts) -> str:
    return "\n".join(f"* {plain(name)}: {plain(fact)}" for name, fact in facts.facts.items())


def _table(table: Table) -> str:
    marks = ["---", *["---:"] * (len(table.header) - 1)]
    first, *others = [_cells(row) for row in (table.header, *table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [first, marks, *others])


def _cells(row: Iterable[object]) -> list[str]:
    return [plain(cell) for cell in row]


def _picture(picture: Picture) -> str:
    image = f"![{plain(picture.alt)}](pictures/{picture.name})"
    return f"**{plain(picture.title)}**\n\n{image}\n*{plain(picture.caption)}*"


def _command(command: Command) -> str:
    return f"{plain(command.purpose)}\n\n```console\n$ {command.command}\n```"


_WRITERS: dict[type[Block], Callable[[Any], str]] = {
    Text: lambda block: plain(block.text),
    Heading: lambda block: f"### {plain(block.text)}",
    Items: _items,
    Facts: _facts,
    Table: _table,
    Picture: _picture,
    Command: _command,
}
