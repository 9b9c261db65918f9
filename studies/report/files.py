"""The files of a report: the page as Markdown and HTML, all figures as JSON and SVG."""

import json
from pathlib import Path

from puffin.studies.report.build import Report
from puffin.studies.report.figures.registry import FIGURES, draw_figures
from puffin.studies.report.folder import PICTURES, PageFolder
from puffin.studies.report.html_page import to_html
from puffin.studies.report.markdown import to_markdown
from puffin.studies.report.page import report_page
from puffin.studies.report.verdict import to_json
from puffin.studies.study import StoredStudy

# Every picture that a report may have; version 0.1 drew them as PNG.
_PICTURES = frozenset({*FIGURES, *(f"{Path(name).stem}.png" for name in FIGURES)})
PAGES = PageFolder(Path(), "report", _PICTURES).pages
FILES = {*PAGES, *(f"{PICTURES}/{name}" for name in _PICTURES)}


def report_folder(folder: Path) -> PageFolder:
    """Return the folder of a report's pages."""
    return PageFolder(folder, "report", _PICTURES)


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
        **{f"{PICTURES}/{name}": figure.svg for name, figure in drawn.items()},
        "report.md": to_markdown(page).encode(),
        "report.json": (json.dumps(to_json(report), indent=2) + "\n").encode(),
        "report.html": to_html(page, {n: figure.svg for n, figure in drawn.items()}).encode(),
    }
