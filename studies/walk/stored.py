"""The last walk of a study, kept in the database: the verdict, and the page for browsers."""

from puffin.studies.records import WalkRecord
from puffin.studies.report.stored import keep
from puffin.studies.study import StoredStudy
from puffin.studies.walk.verdict import Walk
from puffin.studies.walk.words import sentences

_FILE = "walk.html"


def store_walk(study: StoredStudy, walk: Walk, page: bytes) -> None:
    """Store the verdict of a walk and its HTML page with a study; an earlier page is replaced.

    Raises
    ------
    StudyGoneError
        If the study was deleted meanwhile.
    """
    said = tuple(sentences(walk))
    keep(study, WalkRecord, _FILE, page, lambda key: WalkRecord(walk.outcome, said, key))
