"""The files of a report: the page as Markdown and HTML, all figures as JSON and SVG."""

import json
import tempfile
from pathlib import Path

from puffin.models.errors import PuffinError
from puffin.studies.files import write_files
from puffin.studies.report.build import Report
from puffin.studies.report.figures.registry import FIGURES, draw_figures
from puffin.studies.report.html_page import to_html
from puffin.studies.report.markdown import to_markdown
from puffin.studies.report.page import report_page
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
    drawn = draw_figures(study, report)
    page = report_page(study, report, drawn)
    return {
        **{f"{_FOLDER}/{name}": figure.svg for name, figure in drawn.items()},
        "report.md": to_markdown(page).encode(),
        "report.json": (json.dumps(to_json(report), indent=2) + "\n").encode(),
        "report.html": to_html(page, {n: figure.svg for n, figure in drawn.items()}).encode(),
    }


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
