"""Samplers and pruners: which configuration is tried next, and which is given up early."""

import copy
import warnings
from collections.abc import Callable

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

MakeSampler = Callable[[int], BaseSampler]
MakePruner = Callable[[int], BasePruner]


def _tpe(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
        # Layer widths are conditional: only grouped spaces keep them in the joint model.
        return TPESampler(seed=seed, group=True)


# `grid` samples nothing: its tickets carry their points (Optuna's GridSampler refuses those).
SAMPLERS: dict[str, MakeSampler] = {
    "tpe": _tpe,
    "gp": lambda seed: GPSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "grid": lambda seed: RandomSampler(seed=seed),
}

# Those that a good first point helps; `random` is random, and `grid` has its own points.
LEARNING = ("tpe", "gp")


def _lowest_so_far(trial: FrozenTrial) -> FrozenTrial:
    """Give the trial as if its last report were its lowest.

    A trial is worth its lowest loss, and curves are rough: one that is ahead of all others may have
    a bad epoch where it is judged.
    """
    if trial.last_step is None:
        return trial
    seen = copy.copy(trial)
    lowest = min(trial.intermediate_values.values())
    seen.intermediate_values = {**trial.intermediate_values, trial.last_step: lowest}
    return seen


class Halving(SuccessiveHalvingPruner):
    """Optuna's, of the lowest loss until a rung instead of the loss there."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Say whether to give the trial up."""
        return super().prune(study, _lowest_so_far(trial))


class Brackets(HyperbandPruner):
    """Optuna's, of the lowest loss until a rung instead of the loss there.

    TPE asks whether a pruner is a HyperbandPruner: then it learns from each bracket by itself.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Say whether to give the trial up."""
        return super().prune(study, _lowest_so_far(trial))


# Resources are epochs, counted from 1, and given as numbers: "auto" would differ per process.
PRUNERS: dict[str, MakePruner] = {
    "asha": lambda max_epochs: Halving(min_resource=2, reduction_factor=4),
    "hyperband": lambda max_epochs: Brackets(
        min_resource=2, max_resource=max(max_epochs, 2), reduction_factor=3
    ),
    # Judges the lowest loss of its own accord.
    "median": lambda max_epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    "none": lambda max_epochs: NopPruner(),
}
