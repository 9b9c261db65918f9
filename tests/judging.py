"""Judging the winner of a search in this process."""

from puffin.studies.report import build
from puffin.studies.report.build import Report
from puffin.studies.retraining import (
    open_seal,
    retrain_with_seeds,
)
from puffin.studies.study import (
    StoredStudy,
)
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt


def judge(searched: StoredStudy, url: str, top: int) -> Report:
    """Retrain the best with other seeds and for the holdout, and return the report."""
    for again in (retrain_with_seeds(searched, top), open_seal(searched, top)):
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu"))
    return build.build(searched)
