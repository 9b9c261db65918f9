"""Training that is saved after any epoch and resumed equals an uninterrupted one."""

import pytest
import torch
from torch import nn

from puffin.models.cells import CELLS
from puffin.models.config import Config, TrainingConfig
from puffin.models.training.fold_training import Epoch, FoldTraining
from puffin.models.windows import FoldTensors
from tests.folds import random_folds

TRAINING = TrainingConfig(max_epochs=9, patience=1)


def folds() -> list[FoldTensors]:
    return random_folds(train=40, lookback=3)


def begin(
    config: Config, training: TrainingConfig = TRAINING
) -> tuple[nn.ModuleList, FoldTraining]:
    made = FoldTraining(folds(), config, training, seed=4)
    return made.networks, made


def facts(epoch: Epoch) -> tuple[object, ...]:
    return (
        epoch.number,
        epoch.valid_loss,
        epoch.fold_losses,
        epoch.train_loss,
        epoch.improved,
        [each.tolist() for each in epoch.forecasts],
    )


def weights(networks: nn.ModuleList) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in networks.state_dict().items()}


CONFIGS = [
    Config(cell=cell, hidden_dims=(5, 4), dropout=0.4, lookback=3, lr=0.05, batch_size=8, noise=0.2)
    for cell in CELLS
]


@pytest.mark.parametrize("config", CONFIGS, ids=list(CELLS))
def test_training_resumed_after_any_epoch_is_bit_for_bit_identical(config: Config) -> None:
    networks, whole = begin(config)
    undisturbed = [facts(epoch) for epoch in whole]
    assert 3 <= len(undisturbed) < 9, "the test must include early stopping"
    for stop in range(1, len(undisturbed) + 1):
        _, first = begin(config)
        epochs = iter(first)
        seen = [facts(next(epochs)) for _ in range(stop)]
        body = first.state()
        torch.manual_seed(999)  # the generator of another process
        again, second = begin(config)
        second.load_state(body)
        assert second.curve == first.curve
        seen += [facts(epoch) for epoch in second]
        assert seen == undisturbed
        assert weights(again) == weights(networks)
        assert second.best is not None
        assert whole.best is not None
        assert facts(second.best) == facts(whole.best)


def test_training_saved_after_its_last_epoch_has_ended() -> None:
    config = CONFIGS[0]
    _, whole = begin(config, TrainingConfig(max_epochs=3, patience=9))
    epochs = iter(whole)
    for _ in range(3):
        next(epochs)
    body = whole.state()
    _, again = begin(config, TrainingConfig(max_epochs=3, patience=9))
    again.load_state(body)
    assert list(again) == []
    assert again.best is not None


def test_a_state_without_an_epoch_can_be_resumed() -> None:
    _, training = begin(CONFIGS[0])
    body = training.state()
    _, again = begin(CONFIGS[0])
    again.load_state(body)
    assert (again.curve, again.best) == ([], None)
    assert next(iter(again)).number == 1
