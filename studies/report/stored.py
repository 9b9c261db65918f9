"""The last report of a study, kept in its database: the verdict, and the page for browsers."""

from collections.abc import Callable
from typing import TypeVar

from puffin.studies.records import VerdictRecord, WalkRecord
from puffin.studies.report.build import Report
from puffin.studies.report.verdict import sentences
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import store_page
from puffin.studies.storage.database import transaction
from puffin.studies.study import StoredStudy

_FILE = "report.html"
_Record = TypeVar("_Record", VerdictRecord, WalkRecord)


def store_report(study: StoredStudy, report: Report, page: bytes) -> None:
    """Store the verdict of a report and its HTML page; an earlier page is replaced.

    Raises
    ------
    StudyGoneError
        If the study was deleted meanwhile.
    """
    outcome = report.comparison.outcome
    said = tuple(sentences(report))
    keep(
        study,
        VerdictRecord,
        _FILE,
        page,
        lambda key: VerdictRecord(report.winner, outcome, said, key),
    )


def keep(
    study: StoredStudy,
    kind: type[_Record],
    filename: str,
    page: bytes,
    record: Callable[[str], _Record],
) -> None:
    """Store a page and its record with a study; an earlier page of its kind is replaced.

    Parameters
    ----------
    study : StoredStudy
    kind : type
        Of the record.
    filename : str
    page : bytes
    record : callable
        Returns the record, given the id of the page.

    Raises
    ------
    StudyGoneError
        If the study was deleted meanwhile.
    """
    with transaction(study.storage) as connection:
        registry.require(connection, study.creation_id, exclusive=True)
        known = kind.read(study.optuna_study)
        earlier = None if known is None else known.page
        key = store_page(connection, study.creation_id, study.optuna_study, filename, page, earlier)
        record(key).write(study.optuna_study)
