"""The last walk of a study, kept in the database: the verdict, and the page for browsers."""

from puffin.studies.records import WalkRecord
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import store_page
from puffin.studies.storage.database import transaction
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
    with transaction(study.storage) as connection:
        registry.require(connection, study.creation_id, exclusive=True)
        known = WalkRecord.read(study.optuna_study)
        earlier = None if known is None else known.page
        key = store_page(connection, study.creation_id, study.optuna_study, _FILE, page, earlier)
        WalkRecord(walk.outcome, tuple(sentences(walk)), key).write(study.optuna_study)
