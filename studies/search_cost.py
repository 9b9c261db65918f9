"""Estimate of the time that a search takes on this machine, before its first trial."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import optuna

from puffin.models.config import Config
from puffin.models.folds import Span
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.dataset import Dataset
from puffin.studies.estimate import survival_of_halving
from puffin.studies.space import suggest
from puffin.studies.spec import Spec

# Configurations are timed for so long, and at least a few, because their costs differ tenfold.
_BUDGET_SECONDS = 0.5
_LEAST_CONFIGURATIONS = 3
_MOST_CONFIGURATIONS = 30
# Steps of a configuration that are timed. The shortest counts: the first is slower, and another
# process may interrupt one.
_STEPS = 3
# The most targets of a fold that are timed: no more than a batch.
_MOST_TARGETS = 256
# A wider network would take this command seconds to build.
_MOST_WEIGHTS = 2_000_000
# Time from the start of a worker to its first trial.
_START_SECONDS = 3.0


@dataclass(frozen=True)
class SearchCost:
    """Seconds that one worker needs for all trials, from least to most."""

    least: float
    most: float

    def seconds(self, workers: int) -> tuple[float, float]:
        """Return the seconds of a search with a number of workers, from least to most."""
        return self.least / workers + _START_SECONDS, self.most / workers + _START_SECONDS


def search_cost(dataset: Dataset) -> SearchCost | None:
    """Time training steps of configurations as the search draws them, on the CPU.

    Returns
    -------
    SearchCost or None
        None if a network is too large to be tried in passing.
    """
    spec = dataset.spec
    seconds = _seconds_per_target_of(dataset)
    if seconds is None:
        return None
    per_epoch = seconds * _targets(dataset)
    least, most = mean_epochs(spec)
    return SearchCost(spec.tickets * least * per_epoch, spec.tickets * most * per_epoch)


def walk_cost(searches: Sequence[Dataset]) -> SearchCost | None:
    """Time training steps as `search_cost` does, for the searches of a walk.

    Parameters
    ----------
    searches : sequence of Dataset
        The search part of each origin. The trainings of its winner take as many epochs as the
        winner's best, which is at most the longest, and on average taken for half of it.
    """
    seconds = _seconds_per_target_of(searches[-1])
    if seconds is None:
        return None
    spec = searches[-1].spec
    searched = spec.tickets * sum(map(_targets, searches))
    last_folds = sum(len(p.fold.train) + len(p.fold.valid) for d in searches for p in d.parts[-1])
    retrained = spec.final.seeds * spec.training.max_epochs / 2 * last_folds
    least, most = mean_epochs(spec)
    return SearchCost(
        seconds * (searched * least + retrained), seconds * (searched * most + retrained)
    )


def mean_epochs(spec: Spec) -> tuple[float, float]:
    """Return the fewest and the most epochs that the trials of a search train on average.

    With asha the fewest are those of the halving as it is designed, which keeps a quarter at each
    rung. A short search keeps more, because the first trials at a rung have no rivals.
    """
    longest, pruner = spec.training.max_epochs, spec.search.pruner
    if pruner == "none":
        return float(min(spec.training.patience + 1, longest)), float(longest)
    halved = float(survival_of_halving(longest).sum())
    if pruner != "asha":
        return halved, float(longest)
    # Epochs 0 and 1 are before the first rung, 2 to 7 after one, 8 to 31 after two.
    passed = np.ceil(np.log(np.arange(1, longest + 1) / 2) / np.log(4)).clip(0)
    return float((0.25**passed).sum()), halved


def _targets(dataset: Dataset) -> int:
    """Return the targets that an epoch trains or validates, of all folds."""
    folds = [part.fold for found in dataset.parts for part in found]
    return sum(len(fold.train) + len(fold.valid) for fold in folds)


def _seconds_per_target_of(dataset: Dataset) -> float | None:
    """Return the mean seconds per target, over configurations of the space."""
    until, times = time.perf_counter() + _BUDGET_SECONDS, list[float]()
    for config in _configurations(dataset.spec):
        if _weights(config, dataset.inputs) > _MOST_WEIGHTS:
            return None
        if len(times) > _LEAST_CONFIGURATIONS and time.perf_counter() > until:
            break
        times.append(_seconds_per_target(dataset, config))
    return float(np.mean(times[1:]))  # the first is slower: torch starts up


def _configurations(spec: Spec) -> Iterator[Config]:
    """Yield configurations as a random search draws them."""
    study = optuna.create_study(sampler=SAMPLERS["random"].make(spec.search.seed))
    for _ in range(_MOST_CONFIGURATIONS):
        yield suggest(study.ask(), spec.parsed_space)


def _weights(config: Config, inputs: int) -> int:
    """Return about how many weights a network has."""
    widths = (inputs, *config.hidden_dims)
    return sum(4 * width * (before + width) for before, width in pairwise(widths))


def _seconds_per_target(dataset: Dataset, config: Config) -> float:
    """Return the seconds of a step of all folds on the first symbol, divided by its targets."""
    # Imported here so that the commands that manage studies do not load torch.
    import torch

    from puffin.models.networks.rnn import build_network
    from puffin.models.training.fold_training import targets_per_sequence
    from puffin.models.training.together import enqueue_epochs
    from puffin.models.training.trainer import Trainer, loss_function
    from puffin.models.windows import fold_tensors

    first, lookback = dataset.parts[0][:1], config.lookback
    windows = fold_tensors(first, lookback, torch.device("cpu")).train
    loss, k = loss_function(dataset.spec.criterion), targets_per_sequence(lookback)
    levels = dataset.spec.training.quantiles
    # So many that there is one batch of sequences, wherever they begin.
    count = min(max(config.batch_size - k + 1, 1), _MOST_TARGETS, len(windows))
    start = windows.spans[0].start
    few = replace(windows, spans=(Span(start, start + count),))
    trainers = [
        Trainer(build_network(config, dataset.inputs, levels), few, config, loss, seed, k)
        for seed in range(len(dataset.parts))
    ]
    times = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        enqueue_epochs(trainers)
        times.append(time.perf_counter() - started)
    return min(times) / (count * len(trainers))
