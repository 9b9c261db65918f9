"""An export derived again from its own files: trained anew, and every score held against it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.metrics import skill
from models.training import FoldTraining, build_networks, forecast, refit
from studies.export import refit_winner
from studies.exported import Exported
from studies.rivals import judge
from studies.stamp import machine_type
from studies.workload import Workload

Floats = NDArray[np.float64]

# On another kind of machine the same training rounds otherwise, and early stopping may end it at
# another epoch: a loss may differ by this share of itself, an accuracy by this much, a weight by
# this much of the largest.
LOSS_BOUND, ACCURACY_BOUND, WEIGHT_BOUND = 0.02, 0.03, 0.5
# What needs no training is the same everywhere, but for the rounding of sums and logarithms.
PLAIN_BOUND = 1e-6


@dataclass(frozen=True)
class Check:
    """A figure of an export, and what came of deriving it again.

    Attributes
    ----------
    name : where it stands in config.toml
    exported, found : float; for all weights together 0 and the largest difference
    bound : how far `found` may be from `exported`; 0 asks for the same bits
    """

    name: str
    exported: float
    found: float
    bound: float

    @property
    def difference(self) -> float:
        """How far the two are apart; NaN equals NaN."""
        if math.isnan(self.exported) and math.isnan(self.found):
            return 0.0
        return abs(self.found - self.exported)

    @property
    def holds(self) -> bool:
        """Whether it is within the bound; a figure that is no number is within none."""
        return self.difference <= self.bound


def reproduce(exported: Exported) -> Iterator[Check]:
    """Train an export again and compare each of its figures, one part after the other.

    The same bits are asked for where the processor or GPU and torch are of the kind that the
    figures come from, otherwise a difference within the bounds of this module.
    """
    record = exported.record
    folds = Workload.build(exported.spec, exported.search)
    yield from _baselines(record, folds)
    yield from _search(exported, folds)
    yield from _weights(exported, folds)
    if "holdout" in record:
        yield from _holdout(exported, folds)


def device_for(machine: dict[str, str]) -> torch.device:
    """Give the device most like the one that a figure was made on."""
    return torch.device("cuda" if "gpu" in machine and torch.cuda.is_available() else "cpu")


def _compare(
    name: str, exported: float, found: float, bound: float, machine: dict[str, str]
) -> Check:
    """Compare a figure that training on a kind of machine gave."""
    same = machine == machine_type(device_for(machine))
    return Check(name, exported, found, 0.0 if same else bound)


def _plain(name: str, exported: float, found: float) -> Check:
    return Check(name, exported, found, PLAIN_BOUND * max(abs(exported), 1.0))


def _baselines(record: dict[str, Any], folds: Workload) -> Iterator[Check]:
    scores = record["scores"]
    found = {
        "persistence_loss": float(np.mean(folds.persistence_losses)),
        "mean_loss": float(np.mean(folds.mean_losses)),
        "mean_direction_accuracy": folds.mean_direction.accuracy,
    }
    for key, value in found.items():
        yield _plain(f"scores.{key}", scores[key], value)


def _search(exported: Exported, folds: Workload) -> Iterator[Check]:
    """Train all folds in step again, as the winning trial did."""
    record, spec = exported.record, exported.spec
    scores, machine = record["scores"], record["machine"]["trial"]
    device, config, seed = device_for(machine), exported.config, spec.search.seed
    tensors = folds.tensors(config.lookback, device)
    inputs = folds.series.features.shape[1]
    networks = build_networks(config, inputs, len(tensors), device, seed)
    training = FoldTraining(networks, tensors, config, spec.training_config, seed)
    for _ in training:
        pass
    best = training.best
    found = float("nan") if best is None else best.valid_loss
    loss_bound = LOSS_BOUND * scores["loss"]
    yield _compare("scores.loss", scores["loss"], found, loss_bound, machine)
    if best is None:
        return
    for i, (own, other) in enumerate(zip(scores["fold_losses"], best.fold_losses, strict=True)):
        yield _compare(f"scores.fold_losses[{i}]", own, other, LOSS_BOUND * own, machine)
    persistence = float(np.mean(folds.persistence_losses))
    skill_bound = loss_bound / persistence if persistence > 0 else 0.0
    found_skill = skill(found, persistence)
    yield _compare("scores.skill", scores["skill"], found_skill, skill_bound, machine)
    moves = folds.direction(folds.unscaled(best.forecasts))
    own_accuracy = scores["direction_accuracy"]
    name = "scores.direction_accuracy"
    yield _compare(name, own_accuracy, moves.accuracy, ACCURACY_BOUND, machine)
    yield _compare("epochs", record["epochs"], best.number, math.inf, machine)


def _weights(exported: Exported, folds: Workload) -> Iterator[Check]:
    record = exported.record
    everything = record["refit"]["data"] == "all"
    workload = Workload.build(exported.spec, exported.prices) if everything else folds
    network, _, _ = refit_winner(workload, exported.config, record)
    machine = record["machine"]["refit"]
    trained, own = network.state_dict(), exported.weights
    apart = max(float((trained[name] - values).abs().max()) for name, values in own.items())
    largest = max(float(values.abs().max()) for values in own.values())
    yield _compare("weights", 0.0, apart, WEIGHT_BOUND * largest, machine)


def _holdout(exported: Exported, folds: Workload) -> Iterator[Check]:
    """Train the fit that was judged again, and judge it beside the baselines."""
    record, spec, config = exported.record, exported.spec, exported.config
    told, machine = record["holdout"], record["machine"]["holdout"]
    if exported.holdout is None:
        return
    opened = Workload.opened(spec, exported.search, exported.holdout)
    (fold,) = opened.tensors(config.lookback, device_for(machine))
    windows, targets = fold.train_windows, fold.train_targets
    given = (config, spec.training.loss, record["epochs"], spec.search.seed)
    network, steps = refit(windows, targets, *given)
    for _ in steps:
        pass
    (forecasts,) = opened.unscaled(forecast(network, fold.valid_windows).T)
    found = judge(folds, opened, config.lookback, forecasts)
    persistence, own = opened.persistence_losses[0], told["loss"]
    bound = LOSS_BOUND * own
    yield _compare("holdout.loss", own, found.loss, bound, machine)
    own_skill, skill_bound = told["skill"], bound / persistence if persistence > 0 else 0.0
    found_skill = skill(found.loss, persistence)
    yield _compare("holdout.skill", own_skill, found_skill, skill_bound, machine)
    accuracy = opened.direction([forecasts]).accuracy
    name = "holdout.direction_accuracy"
    yield _compare(name, told["direction_accuracy"], accuracy, ACCURACY_BOUND, machine)
    again = {rival.name: rival for rival in found.rivals}
    for baseline in told["baselines"]:
        name, rival = f"holdout.baselines.{baseline['name']}", again[baseline["name"]]
        yield _plain(f"{name}.search_loss", baseline["search_loss"], rival.search_loss)
        yield _plain(f"{name}.holdout_loss", baseline["holdout_loss"], rival.holdout_loss)
