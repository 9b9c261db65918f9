"""What `tuner report` has to train, and about how long that takes."""

from collections.abc import Iterable
from dataclasses import dataclass

from puffin.studies.estimate import seconds_per_epoch
from puffin.studies.records import RetrainingJob, TrainingRun, TrialRecord, is_finished
from puffin.studies.retraining import (
    SEEDS,
    TOP,
    jobs_for_holdout,
    jobs_for_seeds,
)
from puffin.studies.storage import registry
from puffin.studies.study import HOLDOUT_SUFFIX, SEEDS_SUFFIX, StoredStudy, load

# Of two starts of workers, the statistics and the pictures.
_OTHER_SECONDS = 15.0


@dataclass(frozen=True)
class Cost:
    """Trainings that a report still needs.

    Attributes
    ----------
    seeds : on the search folds, with other seeds
    holdout : on all search data, to be judged on the holdout
    worker_seconds : of one worker for all of them, None where the search has measured nothing
    """

    seeds: int
    holdout: int
    worker_seconds: float | None

    @property
    def trainings(self) -> int:
        """Number of trainings."""
        return self.seeds + self.holdout

    def seconds(self, workers: int) -> float | None:
        """Return how long the whole report takes with so many workers."""
        if self.worker_seconds is None:
            return None
        return self.worker_seconds / workers + _OTHER_SECONDS


def retraining_cost(study: StoredStudy, top: int = TOP, seeds: int = SEEDS) -> Cost:
    """Estimate what a report of a finished search costs, from what its trials took.

    A training on the folds takes as many epochs as the trial that found the configuration, about.
    One for the holdout trains a single network on more targets, for the best number of epochs.
    """
    on_folds = _open(study, SEEDS_SUFFIX, jobs_for_seeds(study, top, seeds))
    on_all = _open(study, HOLDOUT_SUFFIX, jobs_for_holdout(study, top, seeds))
    wanted = {rerun.trial for rerun in (*on_folds, *on_all)}
    speeds, epochs = {}, {}
    for trial in study.trials():
        if trial.number in wanted and (speed := seconds_per_epoch(trial)) is not None:
            speeds[trial.number], epochs[trial.number] = speed, TrainingRun.read(trial).epochs
    if wanted - set(speeds):
        return Cost(len(on_folds), len(on_all), None)
    share = _share_of_targets(study)
    seconds = sum(speeds[rerun.trial] * epochs[rerun.trial] for rerun in on_folds)
    seconds += sum(speeds[rerun.trial] * rerun.epochs * share for rerun in on_all)
    return Cost(len(on_folds), len(on_all), seconds)


def _open(study: StoredStudy, suffix: str, wanted: Iterable[RetrainingJob]) -> list[RetrainingJob]:
    """Return what is wanted and has not been trained yet."""
    name = study.name + suffix
    if name not in registry.budgets(study.storage):
        return list(wanted)
    ended = [TrialRecord.read(t) for t in load(study.storage, name).trials() if is_finished(t)]
    done = {(record.retrained_trial, record.seed) for record in ended}
    return [rerun for rerun in wanted if (rerun.trial, rerun.seed) not in done]


def _share_of_targets(study: StoredStudy) -> float:
    """Return the targets of a refit as a share of those of all folds, which a trial trains."""
    dataset = study.dataset
    return len(dataset.refit_span()) / sum(len(fold.train) for fold in dataset.folds)
