"""The files of a walk: the page as Markdown and HTML, all figures as JSON and SVG."""

import json
from pathlib import Path

from puffin.studies.report.figures.style import svg
from puffin.studies.report.folder import PICTURES, PageFolder
from puffin.studies.report.html_page import to_html
from puffin.studies.report.markdown import to_markdown
from puffin.studies.walk.figures import FIGURES, draw_figures
from puffin.studies.walk.page import walk_page
from puffin.studies.walk.verdict import Walk
from puffin.studies.walk.words import to_json


def walk_folder(folder: Path) -> PageFolder:
    """Return the folder of a walk's pages."""
    return PageFolder(folder, "walk", frozenset(FIGURES))


def walk_files(walk: Walk) -> dict[str, bytes]:
    """Return the files of a walk: ``walk.md``, ``walk.html``, ``walk.json`` and its pictures."""
    drawn = draw_figures(walk)
    page = walk_page(walk, drawn)
    pictures = {name: svg(drawing.figure) for name, drawing in drawn.items()}
    return {
        **{f"{PICTURES}/{name}": body for name, body in pictures.items()},
        "walk.md": to_markdown(page).encode(),
        "walk.json": (json.dumps(to_json(walk), indent=2) + "\n").encode(),
        "walk.html": to_html(page, pictures).encode(),
    }
