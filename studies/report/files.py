"""A report as files: a page to read, the same for a browser, its figures, its pictures."""

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
# The page that says whose report it is.
_OWNER = "report.json"
_FOLDER = "pictures"
# Every file that a report may be; version 0.1 drew its pictures as PNG.
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
    """A folder that a report cannot be written to."""


def report_files(study: StoredStudy, report: Report) -> dict[str, bytes]:
    """Write a report, in memory.

    Returns
    -------
    dict
        ``report.md``, ``report.html``, ``report.json`` and ``pictures/NAME.svg``. The pages name
        no file that is not among these, and the HTML page needs none of them.
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
    """Render a page of Markdown into one file that needs no other.

    Parameters
    ----------
    page : str
        Its pictures are ``pictures/NAME.svg``. HTML in it is shown as text.
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
    # No line ends between a number and its unit.
    body = parser.renderer.render(tokens, parser.options, {}).replace(" %", "\u00a0%")
    return _HTML.format(title=escape(title), style=_STYLE, body=body)


def _embed(image: Token, pictures: dict[str, bytes]) -> None:
    name = str(image.attrs["src"]).removeprefix(f"{_FOLDER}/")
    data = base64.b64encode(pictures[name]).decode()
    image.attrs["src"] = f"data:image/svg+xml;base64,{data}"


def write_pages(folder: Path, study: StoredStudy, report: Report) -> int:
    """Write a report into a folder; return the number of its pictures.

    Every file is whole before the first takes its place. An earlier report of the same study is
    replaced.

    Raises
    ------
    PagesError
        If the folder holds another study's report, or cannot be written.
    """
    check_folder(folder, report.study)
    files = report_files(study, report)
    stale = FILES - set(files)
    try:
        # First the file that says whose report it is: without it a later one would be refused.
        write_files(folder, {_OWNER: files[_OWNER], **files}, stale)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return len(files) - len(PAGES)


def check_folder(folder: Path, study: str) -> None:
    """Find out whether a report could be written to a folder; leave nothing behind.

    Raises
    ------
    PagesError
        If it could not.
    """
    try:
        for place in (folder, folder / _FOLDER):
            _probe_writable(place)
        owner = _owner(folder)
    except OSError as error:
        raise _unwritable(folder, error) from None
    if owner not in (None, study):
        msg = f"{folder} holds the report of {owner}, and one folder is for one report; {_FIX}"
        raise PagesError(msg)


def _probe_writable(place: Path) -> None:
    """Write a file where `place` is, or where it would be made."""
    while not place.exists():
        place = place.parent
    with tempfile.TemporaryFile(dir=place):
        pass


def _owner(folder: Path) -> str | None:
    """Return the study whose report a folder holds; None where it holds none."""
    if not any((folder / name).exists() for name in PAGES):
        return None
    try:
        values = json.loads((folder / _OWNER).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return "something else"
    return str(values.get("study")) if isinstance(values, dict) else "something else"


_FIX = "give another one (--out DIR)"


def _unwritable(folder: Path, error: OSError) -> PagesError:
    msg = f"a report is files in a folder, but {folder} cannot be written: {error.strerror}; {_FIX}"
    return PagesError(msg)
