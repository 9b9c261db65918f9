"""Samplers, which propose the next configuration, and pruners, which stop trials early."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

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

MakePruner = Callable[[int], BasePruner]


@dataclass(frozen=True)
class Sampler:
    """How configurations are proposed.

    Attributes
    ----------
    make : callable
        Returns Optuna's sampler for a seed.
    learns : bool
        Whether it models the results of earlier trials. Such a search starts from default networks
        and avoids networks that were trained before.
    needs_complete_trials : bool
        Whether pruned trials teach it nothing, so that no pruner may run.
    enumerates : bool
        Whether the study runs every point of the space once, instead of proposals.
    """

    make: Callable[[int], BaseSampler]
    learns: bool = False
    needs_complete_trials: bool = False
    enumerates: bool = False


def _tpe(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
        # Layer widths are conditional, and only grouped spaces model them jointly.
        return TPESampler(seed=seed, group=True)


# A ticket of a grid fixes its point, so the sampler has nothing to propose. Optuna's GridSampler
# raises an error for such trials.
SAMPLERS: dict[str, Sampler] = {
    "tpe": Sampler(_tpe, learns=True),
    "gp": Sampler(lambda seed: GPSampler(seed=seed), learns=True, needs_complete_trials=True),
    "random": Sampler(lambda seed: RandomSampler(seed=seed)),
    "grid": Sampler(lambda seed: RandomSampler(seed=seed), enumerates=True),
}


def _lowest_so_far(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of the trial whose last report is the lowest of all.

    The value of a trial is its lowest loss, and curves are noisy: the best trial may have a bad
    epoch at the step where the pruner compares it.
    """
    if trial.last_step is None:
        return trial
    seen = copy.copy(trial)
    lowest = min(trial.intermediate_values.values())
    seen.intermediate_values = {**trial.intermediate_values, trial.last_step: lowest}
    return seen


class _ComparesLowestLoss(BasePruner):
    """Mixin: compare the lowest loss until a rung, instead of the loss at the rung."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether to prune the trial."""
        return super().prune(study, _lowest_so_far(trial))  # type: ignore[safe-super]


class LowestLossHalving(_ComparesLowestLoss, SuccessiveHalvingPruner):
    """Optuna's asynchronous successive halving, on the lowest loss until each rung."""


class LowestLossHyperband(_ComparesLowestLoss, HyperbandPruner):
    """Optuna's Hyperband, on the lowest loss until each rung.

    It must be a `HyperbandPruner`: TPE then learns from each bracket separately.
    """


# Resources are epochs, counted from 1. They are numbers because "auto" would differ per process.
PRUNERS: dict[str, MakePruner] = {
    "asha": lambda max_epochs: LowestLossHalving(min_resource=2, reduction_factor=4),
    "hyperband": lambda max_epochs: LowestLossHyperband(
        min_resource=2, max_resource=max(max_epochs, 2), reduction_factor=3
    ),
    # Compares the lowest loss by itself.
    "median": lambda max_epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    "none": lambda max_epochs: NopPruner(),
}
