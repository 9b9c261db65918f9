"""The files of a report: the page as Markdown and HTML, all figures as JSON and SVG."""

import base64
import json
import tempfile
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from puffin.models.errors import PuffinError
from puffin.studies.files import write_files
from puffin.studies.report import page
from puffin.studies.report.build import Report
from puffin.studies.report.figures.registry import FIGURES, draw_figures
from puffin.studies.report.verdict import to_json
from puffin.studies.study import StoredStudy

PAGES = ("report.md", "report.json", "report.html")
# The page that names the study of the report.
_OWNER = "report.json"
_FOLDER = "pictures"
# Every file that a report may have; version 0.1 drew figures as PNG.
FILES = {
    *PAGES,
    *(f"{_FOLDER}/{name}" for name in FIGURES),
    *(f"{_FOLDER}/{Path(name).stem}.png" for name in FIGURES),
}
_HTML = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""
_STYLE = """\
:root { --ink: #1c1c1c; --soft: #5c5c5c; --line: #d9d9d9; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --soft: #a8a8a8; --line: #444; --paper: #17191c; }
}
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 0.6rem; }
h1 { margin-top: 1rem; }
h1 + p { font-size: 1.15rem; font-weight: 600; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: 0.2rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0;
  font-variant-numeric: tabular-nums; font-size: 0.95rem; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { text-align: left; color: var(--soft); font-weight: 600; }
img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; }
img + em { color: var(--soft); font-size: 0.9rem; font-style: normal; }
@media (max-width: 40rem) {
  p:has(> img) { overflow-x: auto; }
  img { min-width: 36rem; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  img, tr { break-inside: avoid; }
}"""


class PagesError(PuffinError):
    """A report cannot be written to a folder."""


def report_files(study: StoredStudy, report: Report) -> dict[str, bytes]:
    """Return the files of a report.

    Returns
    -------
    dict
        Content by name: ``report.md``, ``report.html``, ``report.json`` and ``pictures/NAME.svg``.
        The pages refer to no other file, and the HTML page is self-contained.
    """
    pictures = draw_figures(study, report)
    text = page.write(study, report, pictures)
    return {
        **{f"{_FOLDER}/{name}": body for name, body in pictures.items()},
        "report.md": text.encode(),
        "report.json": (json.dumps(to_json(report), indent=2) + "\n").encode(),
        "report.html": to_html(text, f"Report on {report.study}", pictures).encode(),
    }


def to_html(page: str, title: str, pictures: dict[str, bytes]) -> str:
    """Return a page of Markdown as one self-contained HTML file.

    Parameters
    ----------
    page : str
        Figures in it are ``pictures/NAME.svg``; HTML in it is shown as text.
    title : str
    pictures : dict
        SVG files by name.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(page)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image":
                _embed(child, pictures)
    # A no-break space keeps a number and its unit on one line.
    body = parser.renderer.render(tokens, parser.options, {}).replace(" %", "\u00a0%")
    return _HTML.format(title=escape(title), style=_STYLE, body=body)


def _embed(image: Token, pictures: dict[str, bytes]) -> None:
    name = str(image.attrs["src"]).removeprefix(f"{_FOLDER}/")
    data = base64.b64encode(pictures[name]).decode()
    image.attrs["src"] = f"data:image/svg+xml;base64,{data}"


def write_pages(folder: Path, study: StoredStudy, report: Report) -> int:
    """Write a report to a folder and return the number of its figures.

    An earlier report of the same study is replaced once all files are written.

    Raises
    ------
    PagesError
        If the folder holds the report of another study, or cannot be written.
    """
    check_folder(folder, report.study)
    files = report_files(study, report)
    stale = FILES - set(files)
    try:
        # First the file that names the study: without it a later report would be refused.
        write_files(folder, {_OWNER: files[_OWNER], **files}, stale)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return len(files) - len(PAGES)


def check_folder(folder: Path, study: str) -> None:
    """Raise if a report cannot be written to a folder; leave nothing behind.

    Raises
    ------
    PagesError
        If the folder holds the report of another study, or cannot be written.
    """
    try:
        for place in (folder, folder / _FOLDER):
            _probe_writable(place)
        owner = _owner(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if owner not in (None, study):
        msg = f"{folder} holds the report of {owner}, and a folder can hold one report; {_FIX}"
        raise PagesError(msg)


def _probe_writable(place: Path) -> None:
    """Write a file to the folder `place`, or to its closest parent that exists."""
    while not place.exists():
        place = place.parent
    with tempfile.TemporaryFile(dir=place):
        pass


def _owner(folder: Path) -> str | None:
    """Return the study whose report a folder holds; None if it holds none."""
    if not any((folder / name).exists() for name in PAGES):
        return None
    try:
        values = json.loads((folder / _OWNER).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return "something else"
    return str(values.get("study")) if isinstance(values, dict) else "something else"


_FIX = "choose another folder (--out DIR)"


def _unwritable(folder: Path, error: OSError) -> PagesError:
    msg = f"cannot write the report to {folder}: {error.strerror}; {_FIX}"
    return PagesError(msg)
