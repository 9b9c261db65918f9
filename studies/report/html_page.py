"""A report as one self-contained HTML page."""

import re
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from puffin.studies.report.document import Page
from puffin.studies.report.figures.style import PALETTE

_ENVIRONMENT = Environment(
    loader=PackageLoader("puffin.studies.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# What is removed from a figure that stands inside a page: the prologue, metadata, and a style sheet
# that would apply to the whole page.
_OUTSIDE = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b")
# Names of elements, and references to them.
_NAME = re.compile(r'(\bid="|href="#|url\(#)')


def to_html(page: Page, pictures: Mapping[str, bytes]) -> str:
    """Return a report as one HTML file that refers to no other file.

    Parameters
    ----------
    page : Page
    pictures : mapping
        SVG files by name.
    """
    figures = {name: inline(name, body.decode()) for name, body in pictures.items()}
    text = _ENVIRONMENT.get_template("report.html").render(page=page, figures=figures)
    # A no-break space keeps a number and its unit on one line.
    return text.replace(" %", "\u00a0%")


def dated(text: str) -> Markup:
    """Return text with its dates as elements, which the style sheet keeps on one line."""
    return Markup(_DATE.sub(r"<time>\g<0></time>", str(escape(text))))  # noqa: S704  # escaped


_ENVIRONMENT.filters["dated"] = dated


def inline(name: str, svg: str) -> Markup:
    """Return a figure as part of a page, with the colours of the page's theme.

    Names of elements get the figure's name in front: two figures may use the same.
    """
    body = _OUTSIDE.sub("", svg)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true"', body, count=1)
    body = _NAME.sub(rf"\g<1>{name.partition('.')[0]}-", body)
    for colour, variable in PALETTE.items():
        body = body.replace(colour, f"var(--{variable})")
    return Markup(body)  # noqa: S704  # our own
