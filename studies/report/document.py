"""A report as typed blocks: `markdown` and `html_page` write the same ones and say the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Heading:
    """The heading of a part of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar[str] = "items"
    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Facts by name."""

    kind: ClassVar[str] = "facts"
    facts: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and whose others are numbers."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    name : file name of the figure
    title : what it shows in this report
    alt : alternative text, for readers who cannot see it
    caption : how to read it
    """

    kind: ClassVar[str] = "picture"
    name: str
    title: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Command:
    """A command to copy, and what it is for."""

    kind: ClassVar[str] = "command"
    purpose: str
    command: str


Block = Text | Heading | Items | Facts | Table | Picture | Command


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Name of the section in links, as GitHub derives it from the heading."""
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True)
class Card:
    """What one look at the report should say.

    Attributes
    ----------
    outcome : ``better``, ``undecided``, ``no better`` or ``worse``
    headline : how large the error is beside that of the best simple model
    facts : of what, on which bars, how sure, what it would have earned
    """

    outcome: str
    headline: str
    facts: Facts


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes
    ----------
    study : name of the study
    title : the question that the report answers
    card : the answer
    sections : the details
    """

    study: str
    title: str
    card: Card
    sections: Sequence[Section]
