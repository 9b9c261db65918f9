"""Estimate of the time that the rest of a study takes, from its trials so far."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import Floats
from puffin.studies.records import TrainingRun, TrialRecord, is_finished
from puffin.studies.storage.queue import count_finished

# One or two trials are too few: the first is never pruned, and may be the slowest of all.
_LEAST_TRIALS = 3
# Weight of the prior, in trials: successive halving lets about every second trial that reaches an
# epoch train to twice that epoch.
_PRIOR_TRIALS = 8
# The measured speed of a running trial is limited to this factor of the median, because it comes
# from two clocks, which may be on two machines.
_MOST_TIMES = 10.0


@dataclass(frozen=True)
class Pace:
    """Seconds per epoch and epochs per trial, as measured.

    Attributes
    ----------
    seconds : median seconds per epoch
    survival : array, (max_epochs + 1,), share of trials that train for more than this many epochs
    """

    seconds: float
    survival: Floats

    def epochs_after(self, epochs: int) -> float:
        """Return the mean number of epochs still to come for a trial that has trained some."""
        survived = self.survival[epochs] if epochs < len(self.survival) else 0.0
        return float(self.survival[epochs:].sum() / survived) if survived > 0 else 0.0


def seconds_per_epoch(trial: FrozenTrial) -> float | None:
    """Return the seconds per epoch of a finished trial, or None if nothing was measured.

    Epochs before a checkpoint do not count, because another process trained them.
    """
    run = TrialRecord.read(trial).run
    epochs = run.epochs - (run.resumed_after or 0) if run else 0
    return run.seconds / epochs if run and epochs > 0 else None


def pace(trials: Iterable[FrozenTrial], max_epochs: int, *, pruned: bool) -> Pace | None:
    """Measure the pace of a study, or return None before three trials have ended.

    The number of epochs that a trial trains is estimated by the product limit over finished and
    running trials. The mean of the finished ones is too low, because with several workers the first
    to end are the pruned ones, while the long ones still run.

    Parameters
    ----------
    trials : iterable of FrozenTrial
    max_epochs : int
        Most epochs of a trial.
    pruned : bool
        Whether a pruner stops trials.

    References
    ----------
    Kaplan and Meier (1958), "Nonparametric estimation from incomplete observations", Journal of
    the American Statistical Association 53(282).
    """
    known = list(trials)
    ended = [t for t in known if is_finished(t) and seconds_per_epoch(t) is not None]
    if len(ended) < _LEAST_TRIALS:
        return None
    running = [t for t in known if t.state == TrialState.RUNNING]
    ends = _count([TrainingRun.read(t).epochs for t in ended], max_epochs)
    if pruned:
        ends[1:] -= _PRIOR_TRIALS * np.diff(survival_of_halving(max_epochs))
    left = ends + _count([len(t.intermediate_values) for t in running], max_epochs)
    at_risk = left[::-1].cumsum()[::-1]
    hazard = np.divide(ends, at_risk, out=np.zeros_like(ends), where=at_risk > 0)
    survival = np.cumprod(1 - hazard)
    survival[-1] = 0.0
    return Pace(float(np.median([seconds_per_epoch(t) for t in ended])), survival)


def _count(epochs: list[int], max_epochs: int) -> Floats:
    clipped = np.clip(np.array(epochs, dtype=np.int64), 0, max_epochs)
    return np.bincount(clipped, minlength=max_epochs + 1).astype(np.float64)


def survival_of_halving(max_epochs: int) -> Floats:
    """Return the survival under successive halving: each rung costs as much as the one before."""
    epochs = np.arange(max_epochs + 1)
    survival = np.minimum(1.0, 2.0 / np.maximum(epochs, 1))
    survival[-1] = 0.0
    return survival


def seconds_left(
    trials: Iterable[FrozenTrial],
    budget: int,
    max_epochs: int,
    workers: int,
    *,
    pruned: bool,
    now: datetime | None = None,
) -> float | None:
    """Estimate the time until a study is done.

    Parameters
    ----------
    trials : iterable of FrozenTrial
        All trials of the study.
    budget : int
        Number of tickets.
    max_epochs : int
        Most epochs of a trial.
    workers : int
        Workers that train trials of the study at the same time; 0 counts as one.
    pruned : bool
        Whether a pruner stops trials.
    now : datetime, optional
        Local time without a zone, as Optuna stores it.

    Returns
    -------
    float or None
        Seconds; None while fewer than three trials have ended.
    """
    known = list(trials)
    measured = pace(known, max_epochs, pruned=pruned)
    if measured is None:
        return None
    running = [t for t in known if t.state == TrialState.RUNNING]
    rest = [_rest(t, measured, now or datetime.now()) for t in running]  # noqa: DTZ005  # as trials
    to_start = max(budget - count_finished(known) - len(running), 0)
    trial = measured.epochs_after(0) * measured.seconds
    at_once = max(min(workers, to_start + len(running)), 1)
    longest = max([*rest, trial if to_start else 0.0])
    return max((sum(rest) + to_start * trial) / at_once, longest)


def _rest(trial: FrozenTrial, measured: Pace, now: datetime) -> float:
    """Estimate the remaining seconds of a running trial at its speed so far."""
    done, seconds = len(trial.intermediate_values), measured.seconds
    if done and trial.datetime_start is not None:
        speed = (now - trial.datetime_start).total_seconds() / done
        seconds = min(max(speed, seconds / _MOST_TIMES), seconds * _MOST_TIMES)
    return measured.epochs_after(done) * seconds
