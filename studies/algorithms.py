"""Samplers and pruners: which configuration is tried next, and which is given up early."""

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

# Resources are epochs, counted from 1, and given as numbers: "auto" would differ per process.
PRUNERS: dict[str, MakePruner] = {
    "asha": lambda max_epochs: SuccessiveHalvingPruner(min_resource=2, reduction_factor=4),
    "hyperband": lambda max_epochs: HyperbandPruner(
        min_resource=2, max_resource=max(max_epochs, 2), reduction_factor=3
    ),
    "median": lambda max_epochs: MedianPruner(n_startup_trials=5, n_warmup_steps=3),
    "none": lambda max_epochs: NopPruner(),
}
