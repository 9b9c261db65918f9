"""The verdict on a study for scripts and notebooks."""

from collections.abc import Callable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from puffin.studies.report import build as reports
from puffin.studies.report.files import report_files, report_folder
from puffin.studies.report.stored import store_report
from puffin.studies.report.verdict import sentences, to_json
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.study import StoredStudy


class Report:
    """The verdict on the best trial of a study. Use `Study.report` to get one.

    Attributes
    ----------
    result : puffin.studies.report.build.Report, all figures with their types
    """

    def __init__(self, study: StoredStudy, result: reports.Report) -> None:
        self._study = study
        self.result = result

    @property
    def sentences(self) -> list[str]:
        """The verdict in words, the outcome first."""
        return sentences(self.result)

    @property
    def values(self) -> dict[str, Any]:
        """All figures, as in ``report.json``."""
        return to_json(self.result)

    @cached_property
    def html(self) -> str:
        """The report as one self-contained page."""
        return report_files(self._study, self.result)["report.html"].decode()

    def save(self, folder: str | Path) -> None:
        """Write the pages, figures and values into a folder.

        Raises
        ------
        PagesError
            If the folder cannot be written, or holds something else.
        """
        place = report_folder(Path(folder))
        place.check(self._study.name)
        place.write(self._study.name, report_files(self._study, self.result))

    def __repr__(self) -> str:
        return f"<Report on {self._study.name}: {self.sentences[0]}>"

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        style = "width:100%;height:40em;border:1px solid #b5b5b5"
        return f'<iframe srcdoc="{escape(self.html)}" style="{style}"></iframe>'


def judge(study: StoredStudy, work: Callable[[StoredStudy], None], top: int) -> Report:
    """Train the best of a study again, open its holdout, and return the verdict.

    Parameters
    ----------
    study : StoredStudy
    work : callable
        Trains all trials of a study.
    top : int
        Best configurations that are trained with several seeds.
    """
    work(retrain_with_seeds(study, top))
    work(open_seal(study, top))
    report = Report(study, reports.build(study))
    store_report(study, report.result, report.html.encode())
    return report
