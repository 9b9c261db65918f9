"""A refit trains as `Trainer` and `FoldTraining` do, for a fixed number of epochs."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from puffin.models.cells import CELLS
from puffin.models.config import Config, TrainingConfig
from puffin.models.losses import LOSSES
from puffin.models.training.fold_training import FoldTraining, build_networks, targets_per_sequence
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import Trainer
from tests.folds import random_folds

CPU = torch.device("cpu")
REFIT = Config(hidden_dims=(4, 3), dropout=0.3, lr=0.02, batch_size=8, noise=0.1)


def vector(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def test_a_refit_equals_as_many_epochs_of_a_trainer() -> None:
    (fold,) = random_folds(count=1)
    windows = fold.train
    (network,) = build_networks(REFIT, 2, 1, CPU, 5)
    per_sequence = targets_per_sequence(windows.lookback)
    trainer = Trainer(network, windows, REFIT, functional.l1_loss, 5, per_sequence)
    for _ in range(3):
        trainer.run_epoch()
    (refitted,) = Refit(windows, REFIT, LOSSES["mae"], epochs=3, seeds=[5]).train()
    assert torch.equal(vector(refitted), vector(network))
    assert not refitted.training


def test_a_refit_equals_as_many_epochs_of_fold_training() -> None:
    (fold,) = random_folds(count=1)
    training = FoldTraining([fold], REFIT, TrainingConfig(9, patience=9), seed=5)
    *_, last = itertools.islice(training, 3)
    assert last.number == 3
    (refitted,) = Refit(fold.train, REFIT, LOSSES["mse"], 3, seeds=[5]).train()
    assert torch.equal(vector(refitted), vector(training.networks))


@pytest.mark.parametrize("cell", CELLS)
def test_seeds_refitted_together_are_those_refitted_alone(cell: str) -> None:
    (fold,) = random_folds(count=1)
    config, seeds = replace(REFIT, cell=cell), [5, 6, 7]
    together = Refit(fold.train, config, LOSSES["mse"], 3, seeds).train()
    assert not any(network.training for network in together)
    for seed, network in zip(seeds, together, strict=True):
        (alone,) = Refit(fold.train, config, LOSSES["mse"], 3, [seed]).train()
        torch.testing.assert_close(vector(network), vector(alone), rtol=1e-4, atol=1e-6)


def test_a_refit_is_repeatable_and_depends_on_seed_epochs_and_loss() -> None:
    (fold,) = random_folds(count=1)

    def refit(loss: str, epochs: int, seed: int) -> tuple[float, ...]:
        (network,) = Refit(fold.train, REFIT, LOSSES[loss], epochs, [seed]).train()
        return tuple(vector(network).tolist())

    assert refit("mse", 2, 0) == refit("mse", 2, 0)
    others = [("mse", 2, 0), ("mse", 2, 1), ("mse", 3, 0), ("mae", 2, 0)]
    assert len({refit(*other) for other in others}) == 4
