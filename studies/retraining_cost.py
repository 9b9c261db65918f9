"""What `tuner report` still has to train, and an estimate of the time."""

from collections.abc import Iterable
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from puffin.studies.estimate import seconds_per_epoch
from puffin.studies.records import RetrainingJob, TrainingRun, TrialRecord, is_finished
from puffin.studies.retraining import (
    TOP,
    jobs_for_holdout,
    jobs_for_seeds,
)
from puffin.studies.storage import registry
from puffin.studies.study import HOLDOUT_SUFFIX, SEEDS_SUFFIX, StoredStudy, load

# Time for two starts of workers, the statistics and the figures.
_OTHER_SECONDS = 15.0


@dataclass(frozen=True)
class Cost:
    """Trainings that a report still needs.

    Attributes
    ----------
    seeds : number of trainings on the search folds, with other seeds
    holdout : number of trainings on all search data, scored on the holdout
    worker_seconds : time of one worker for all of them; None if the search has measured nothing
    """

    seeds: int
    holdout: int
    worker_seconds: float | None

    @property
    def trainings(self) -> int:
        """Number of trainings."""
        return self.seeds + self.holdout

    def seconds(self, workers: int) -> float | None:
        """Return the seconds that the whole report takes with a number of workers."""
        if self.worker_seconds is None:
            return None
        return self.worker_seconds / workers + _OTHER_SECONDS


def retraining_cost(study: StoredStudy, top: int = TOP, winner: FrozenTrial | None = None) -> Cost:
    """Estimate the cost of a report of a finished search from the times of its trials.

    A training on the folds takes about as many epochs as the trial of the same configuration. A
    training for the holdout trains one network on more targets, for the best number of epochs; a
    narrow GRU takes longer alone than its share of those that step together, which is not counted.
    """
    on_folds = _remaining(study, SEEDS_SUFFIX, jobs_for_seeds(study, top))
    winner = winner or study.best()
    on_all = _remaining(study, HOLDOUT_SUFFIX, jobs_for_holdout(study, top, winner))
    trials = {job.trial for job in (*on_folds, *on_all)}
    speeds, epochs = {}, {}
    for trial in study.trials():
        if trial.number in trials and (speed := seconds_per_epoch(trial)) is not None:
            speeds[trial.number], epochs[trial.number] = speed, TrainingRun.read(trial).epochs
    if trials - set(speeds):
        return Cost(len(on_folds), len(on_all), None)
    share = _share_of_targets(study)
    seconds = sum(speeds[job.trial] * epochs[job.trial] for job in on_folds)
    seconds += sum(speeds[job.trial] * job.epochs * share for job in on_all)
    return Cost(len(on_folds), len(on_all), seconds)


def _remaining(
    study: StoredStudy, suffix: str, jobs: Iterable[RetrainingJob]
) -> list[RetrainingJob]:
    """Return the jobs that have not been trained yet."""
    name = study.name + suffix
    if name not in registry.budgets(study.storage):
        return list(jobs)
    ended = [TrialRecord.read(t) for t in load(study.storage, name).trials() if is_finished(t)]
    done = {(record.retrained_trial, record.seed) for record in ended}
    return [job for job in jobs if (job.trial, job.seed) not in done]


def _share_of_targets(study: StoredStudy) -> float:
    """Return the number of targets of a refit divided by that of all folds of a trial."""
    dataset = study.dataset
    of_folds = sum(len(part.fold.train) for found in dataset.parts for part in found)
    return sum(len(part.fold.train) for part in dataset.refit_parts()) / of_folds
