"""The last report of a study, kept in its database: the verdict, and the page for browsers."""

from puffin.studies.records import VerdictRecord
from puffin.studies.report.build import Report
from puffin.studies.report.verdict import sentences
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import store_page
from puffin.studies.storage.database import transaction
from puffin.studies.study import StoredStudy

_FILE = "report.html"


def store_report(study: StoredStudy, report: Report, page: bytes) -> None:
    """Store the verdict of a report and its HTML page; an earlier page is replaced.

    Raises
    ------
    StudyGoneError
        If the study was deleted meanwhile.
    """
    with transaction(study.storage) as connection:
        registry.require(connection, study.creation_id, exclusive=True)
        known = VerdictRecord.read(study.optuna_study)
        earlier = None if known is None else known.page
        key = store_page(connection, study.creation_id, study.optuna_study, _FILE, page, earlier)
        outcome = report.comparison.outcome
        verdict = VerdictRecord(report.winner, outcome, tuple(sentences(report)), key)
        verdict.write(study.optuna_study)
