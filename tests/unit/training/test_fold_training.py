"""The training of folds, compared with curves that can be worked out."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import puffin.models.training.fold_training as module
from puffin.models.cells import CELLS
from puffin.models.config import Config, TrainingConfig
from puffin.models.losses import LOSSES
from puffin.models.networks.rnn import StackedLSTM, network_class
from puffin.models.training.fold_training import (
    Epoch,
    FoldTraining,
    build_networks,
    targets_per_sequence,
)
from puffin.models.windows import FoldTensors, Windows
from tests.folds import LOOKBACK, fold_of, random_folds
from tests.recorder import Recorder

CPU = torch.device("cpu")
NAN, INF = math.nan, math.inf
TINY = Config(hidden_dims=(4, 3), dropout=0.0, lookback=3, lr=0.02, batch_size=8)


def constant_folds(train: float, valid: float) -> list[FoldTensors]:
    """Return two folds with different training and validation targets, on windows of zeros."""
    return [
        fold_of(
            Windows.of(torch.zeros(10, 2), torch.full((8, 1), train), 3),
            Windows.of(torch.zeros(6, 2), torch.full((4, 1), valid), 3),
        )
        for _ in range(2)
    ]


def train(
    folds: list[FoldTensors],
    config: Config = TINY,
    training: TrainingConfig | None = None,
    seed: int = 0,
) -> tuple[nn.ModuleList, list[Epoch]]:
    made = FoldTraining(folds, config, training or TrainingConfig(max_epochs=4), seed)
    return made.networks, list(made)


def curve(epochs: list[Epoch]) -> list[tuple[float, ...]]:
    return [(e.train_loss, *e.fold_losses) for e in epochs]


def judge(networks: nn.ModuleList, folds: list[FoldTensors]) -> float:
    """Return the mean squared error of the networks, as the mean over folds."""
    networks.eval()
    with torch.no_grad():
        losses = [
            ((network(fold.valid.inputs) - fold.valid.outputs) ** 2).mean().item()
            for network, fold in zip(networks, folds, strict=True)
        ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("cell", CELLS)
def test_equal_seeds_return_equal_curves_bit_for_bit(
    cell: str,
) -> None:
    config = Config(cell=cell, hidden_dims=(4, 3), dropout=0.3, batch_size=8, lr=0.02, noise=0.1)
    first = train(random_folds(), config)[1]
    second = train(random_folds(), config)[1]
    assert curve(first) == curve(second)
    pairs = zip(first, second, strict=True)
    assert all(all(map(torch.equal, a.forecasts, b.forecasts)) for a, b in pairs)
    assert curve(first) != curve(train(random_folds(), config, seed=1)[1])


def test_the_seed_decides_the_first_weights() -> None:
    def weights(seed: int) -> Tensor:
        return nn.utils.parameters_to_vector(build_networks(TINY, 2, 2, CPU, seed).parameters())

    assert torch.equal(weights(7), weights(7))
    assert not torch.equal(weights(7), weights(8))


def test_the_seed_of_the_training_decides_the_order_of_the_windows() -> None:
    def run(seed: int) -> list[tuple[float, ...]]:
        training = FoldTraining(random_folds(), TINY, TrainingConfig(2), seed)
        training.networks.load_state_dict(build_networks(TINY, 2, 2, CPU, 0).state_dict())
        return curve(list(training))

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_epochs_are_numbered_from_one_to_the_last_allowed() -> None:
    epochs = train(random_folds(), training=TrainingConfig(max_epochs=5, patience=10))[1]
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5]


def test_an_epoch_carries_the_losses_of_its_folds_and_their_forecasts() -> None:
    folds = random_folds(count=3)
    for epoch in train(folds)[1]:
        assert [each.shape for each in epoch.forecasts] == [(6,)] * 3
        for row, loss, fold in zip(epoch.forecasts, epoch.fold_losses, folds, strict=True):
            errors = row.double().numpy() - fold.valid.outputs[:, 0].double().numpy()
            assert loss == pytest.approx(float(np.mean(errors**2)), rel=1e-6)
        assert epoch.valid_loss == pytest.approx(sum(epoch.fold_losses) / 3, rel=1e-12)


def test_the_improved_epochs_are_those_below_all_before_them() -> None:
    config = Config(hidden_dims=(8,), batch_size=4, lr=0.1)
    epochs = train(random_folds(), config, TrainingConfig(max_epochs=12, patience=20))[1]
    losses = [epoch.valid_loss for epoch in epochs]
    expected = [all(loss < earlier for earlier in losses[:i]) for i, loss in enumerate(losses)]
    assert {True, False} == set(expected)
    assert [epoch.improved for epoch in epochs] == expected


def plain_curve(cell: str, folds: list[FoldTensors], epochs: int, seed: int) -> list[list[float]]:
    """Return the losses of each fold trained separately, by a plain loop."""
    torch.manual_seed(seed)
    networks = [network_class(cell)(2, [4, 3], dropout=0.0) for _ in folds]
    curves = []
    for i, (network, fold) in enumerate(zip(networks, folds, strict=True)):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02, weight_decay=0.1)
        draw = torch.Generator().manual_seed(seed + i)
        bars = torch.cat([fold.train.inputs[0], fold.train.inputs[1:, -1]])
        last, losses = len(fold.train.outputs) - 4, []
        for _ in range(epochs):
            order = 4 * torch.randperm(math.ceil((last + 7) / 4), generator=draw)
            order -= torch.randint(4, (1,), generator=draw)
            firsts = [min(max(first, 0), last) for first in order.tolist()]
            for start in range(0, len(firsts), 2):
                pair = firsts[start : start + 2]
                optimizer.zero_grad()
                # A target sees the window of the first of its sequence, and the bars from there on.
                seen = [(first, first + i) for first in pair for i in range(4)]
                out = torch.cat([network(bars[None, first : n + LOOKBACK]) for first, n in seen])
                functional.mse_loss(out, fold.train.outputs[[n for _, n in seen]]).backward()
                optimizer.step()
            losses.append(judge(nn.ModuleList([network]), [fold]))
        curves.append(losses)
    return [list(row) for row in zip(*curves, strict=True)]


@pytest.mark.parametrize("cell", CELLS)
def test_the_folds_in_step_have_the_losses_of_each_fold_trained_alone(cell: str) -> None:
    config = Config(cell, (4, 3), dropout=0.0, lr=0.02, weight_decay=0.1, batch_size=8)
    epochs = train(random_folds(), config, TrainingConfig(5, patience=10), seed=11)[1]
    expected = plain_curve(cell, random_folds(), 5, seed=11)
    for epoch, losses in zip(epochs, expected, strict=True):
        assert list(epoch.fold_losses) == pytest.approx(losses, rel=1e-4)


def test_forecasts_of_the_best_epoch_stay_where_each_epoch_writes_to_the_same_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A GPU replays a validation, so its results are the same tensors with new values."""

    class Replayed:
        def __init__(self, function: Callable[[], tuple[Tensor, ...]], *_: object) -> None:
            self.function, self.kept = function, tuple[Tensor, ...]()

        def __call__(self) -> tuple[Tensor, ...]:
            new = self.function()
            self.kept = self.kept or tuple(map(torch.empty_like, new))
            for old, value in zip(self.kept, new, strict=True):
                old.copy_(value)
            return self.kept

    monkeypatch.setattr(module, "GraphedCall", Replayed)
    folds, config = best_on_the_way()
    training = FoldTraining(folds, config, TrainingConfig(max_epochs=20, patience=50), seed=0)
    epochs = list(training)
    best = training.best
    assert best is not None
    assert best.number < len(epochs)
    for epoch in (best, epochs[-1]):
        errors = [
            f - fold.valid.outputs[:, 0] for f, fold in zip(epoch.forecasts, folds, strict=True)
        ]
        losses = [(each**2).mean().item() for each in errors]
        assert losses == pytest.approx(list(epoch.fold_losses), rel=1e-6)


def test_dropout_acts_in_training_and_not_in_validation() -> None:
    folds = random_folds()
    config = Config(hidden_dims=(8, 8), dropout=0.5, lr=0.0, batch_size=8)
    networks, epochs = train(folds, config)
    losses = [epoch.train_loss for epoch in epochs]
    assert max(losses) > 1.001 * min(losses)
    assert [epoch.valid_loss for epoch in epochs] == [pytest.approx(judge(networks, folds))] * 4


@pytest.mark.parametrize("patience", [0, 2])
def test_training_stops_patience_plus_one_epochs_after_the_best(
    patience: int,
) -> None:
    # Forecasts rise from about 0 to 1 and are compared with -1, so the first epoch is the best.
    folds = constant_folds(train=1.0, valid=-1.0)
    networks, epochs = train(folds, training=TrainingConfig(max_epochs=50, patience=patience))
    assert len(epochs) == 1 + patience + 1
    assert epochs[0].valid_loss == min(epoch.valid_loss for epoch in epochs)
    assert judge(networks, folds) == pytest.approx(epochs[0].valid_loss, rel=1e-6)


def best_on_the_way() -> tuple[list[FoldTensors], Config]:
    """Return folds whose forecasts rise from 0 to 1 and pass the validation targets, 0.4."""
    return constant_folds(train=1.0, valid=0.4), Config(hidden_dims=(4,), batch_size=8, lr=0.05)


def test_training_stopped_early_restores_the_best_weights() -> None:
    folds, config = best_on_the_way()
    networks, epochs = train(folds, config, TrainingConfig(max_epochs=50, patience=3))
    losses = [epoch.valid_loss for epoch in epochs]
    best = losses.index(min(losses)) + 1
    assert best > 1
    assert len(epochs) == best + 3 + 1
    assert judge(networks, folds) == pytest.approx(min(losses), rel=1e-6)
    assert losses[-1] > 2 * min(losses)


def test_training_to_its_last_epoch_restores_the_best_weights() -> None:
    folds, config = best_on_the_way()
    networks, epochs = train(folds, config, TrainingConfig(max_epochs=20, patience=50))
    losses = [epoch.valid_loss for epoch in epochs]
    assert len(epochs) == 20
    assert 0 < losses.index(min(losses)) < 19
    assert judge(networks, folds) == pytest.approx(min(losses), rel=1e-6)
    assert losses[-1] > 2 * min(losses)


def test_a_diverging_configuration_ends_with_an_epoch_that_is_not_finite() -> None:
    config = Config(hidden_dims=(4,), batch_size=8, lr=1e30)
    epochs = train(random_folds(), config, TrainingConfig(max_epochs=20, patience=50))[1]
    assert len(epochs) < 20
    assert not math.isfinite(epochs[-1].valid_loss)
    assert not epochs[-1].improved
    assert all(math.isfinite(epoch.valid_loss) for epoch in epochs[:-1])


@pytest.mark.parametrize("weight", [NAN, INF])
def test_one_diverging_fold_ends_training_and_best_weights_are_restored(
    weight: float,
) -> None:
    folds = random_folds()
    training = FoldTraining(folds, TINY, TrainingConfig(10, patience=20), seed=0)
    networks, epochs = training.networks, []
    for epoch in training:
        epochs.append(epoch)
        if epoch.number == 3:
            with torch.no_grad():
                networks[1].get_parameter("fc.bias").fill_(weight)
    losses = [epoch.valid_loss for epoch in epochs]
    assert [math.isfinite(loss) for loss in losses] == [True, True, True, False]
    assert math.isfinite(epochs[-1].fold_losses[0])
    assert judge(networks, folds) == pytest.approx(min(losses[:3]), rel=1e-6)


def test_the_training_loss_is_the_mean_over_windows_of_unequal_batches() -> None:
    # 9 and 10 windows in batches of 7 and 2 or 3, with one target far off: the mean of the batches'
    # means is at least a sixth off. At a learning rate of 0 the order does not matter, and a batch
    # of 7 has sequences of one target.
    folds = random_folds(count=2, train=9)
    for fold in folds:
        fold.train.targets[0] = 50.0
    config = Config(hidden_dims=(4,), lr=0.0, batch_size=7)
    networks, epochs = train(folds, config)
    with torch.no_grad():
        full = [
            ((network(fold.train.inputs) - fold.train.outputs) ** 2).mean().item()
            for network, fold in zip(networks, folds, strict=True)
        ]
    assert [len(fold.train.outputs) for fold in folds] == [9, 10]
    assert epochs[0].train_loss == pytest.approx(sum(full) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_minimised_and_reported(loss: str) -> None:
    folds = random_folds()
    networks, epochs = train(folds, training=TrainingConfig(max_epochs=8, patience=20, loss=loss))
    for epoch in epochs:
        expected = [
            LOSSES[loss].per_bar((fold.valid.outputs - row.view(len(row), -1)).numpy()).mean()
            for row, fold in zip(epoch.forecasts, folds, strict=True)
        ]
        assert list(epoch.fold_losses) == pytest.approx(expected, rel=1e-6)
    assert epochs[-1].train_loss < epochs[0].train_loss
    # A batch of 53 has sequences of one target.
    still = Config(hidden_dims=(4, 3), dropout=0.0, lr=0.0, batch_size=53)
    networks, (epoch,) = train(folds, still, TrainingConfig(1, loss=loss))
    with torch.no_grad():
        expected = [
            LOSSES[loss].per_bar((fold.train.outputs - network(fold.train.inputs)).numpy()).mean()
            for network, fold in zip(networks, folds, strict=True)
        ]
    assert epoch.train_loss == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_noise_changes_the_curve() -> None:
    def run(noise: float) -> list[tuple[float, ...]]:
        config = Config(hidden_dims=(4,), batch_size=8, lr=0.02, noise=noise)
        return curve(train(random_folds(), config)[1])

    assert run(0.5) == run(0.5)
    assert len({tuple(run(noise)) for noise in (0.0, 0.1, 0.5)}) == 3


def test_forecasts_have_no_dropout_and_no_gradients() -> None:
    draw = torch.Generator().manual_seed(3)
    network = StackedLSTM(2, [8, 8], dropout=0.5).train()
    x = torch.randn(6, 3, 2, generator=draw)
    out = module.forecast_windows(network, x)
    assert not network.training
    assert not out.requires_grad
    assert out.shape == (6, 1)
    assert torch.allclose(out, network(x), atol=1e-6)


@pytest.mark.parametrize(
    ("count", "blocks"), [(10, [4, 4, 2]), (8, [4, 4]), (4, [4]), (1, [1]), (0, [0])]
)
def test_forecasts_come_in_order_from_blocks_of_windows(
    count: int, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PREDICTION_BATCH", 4)
    network, number = Recorder(), torch.arange(float(count))
    out = module.forecast_windows(network, number[:, None, None].repeat(1, 3, 1))
    assert [len(block) for block in network.seen] == blocks
    assert out.tolist() == [[value] for value in number.tolist()]


@pytest.mark.parametrize(("lookback", "expected"), [(1, 1), (4, 1), (5, 4), (60, 4)])
def test_short_windows_are_trained_with_one_target_per_sequence(
    lookback: int, expected: int
) -> None:
    assert targets_per_sequence(lookback) == expected
