"""Early stopping by table; the training of folds against curves that can be worked out."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import puffin.models.training.fold_training as module
from puffin.models.config import LOSS_NAMES, Config, TrainingConfig
from puffin.models.evaluation.metrics import point_losses
from puffin.models.networks.rnn import CELLS
from puffin.models.training.early_stopping import EarlyStopping
from puffin.models.training.fold_training import (
    LOSSES,
    TARGETS_PER_SEQUENCE,
    Epoch,
    FoldTraining,
    build_networks,
    targets_per_sequence,
)
from puffin.models.training.refit import train_epochs
from puffin.models.training.trainer import Trainer
from puffin.models.windows import FoldTensors, make_windows

CPU = torch.device("cpu")
NAN, INF = math.nan, math.inf
TINY = Config(hidden_dims=(4, 3), dropout=0.0, lookback=3, lr=0.02, batch_size=8)


# Early stopping


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "stops_at", "best", "counter"),
    [
        ([1.0, 0.9, 0.8], 2, 0.0, None, 0.8, 0),
        ([1.0, 1.1, 1.2], 2, 0.0, None, 1.0, 2),
        ([1.0, 1.1, 1.2, 1.3], 2, 0.0, 3, 1.0, 3),
        ([1.0, 1.1, 1.2, 0.9, 1.3, 1.4], 2, 0.0, None, 0.9, 2),
        ([1.0, 1.1, 0.9, 1.3, 1.4, 1.5], 2, 0.0, 5, 0.9, 3),
        # No bad call is tolerated, and an equal loss is a bad one.
        ([1.0, 0.5], 0, 0.0, None, 0.5, 0),
        ([1.0, 1.0], 0, 0.0, 1, 1.0, 1),
        ([1.0, 1.0], 1, 0.0, None, 1.0, 1),
        # A loss that is not finite is never the best, not even as the first one.
        ([NAN, 1.0, 0.5, 0.6], 1, 0.0, None, 0.5, 1),
        ([NAN, 1.0], 1, 0.0, None, 1.0, 0),
        ([NAN, NAN], 1, 0.0, 1, None, 2),
        ([NAN], 0, 0.0, 0, None, 1),
        ([1.0, NAN, 0.9, NAN, NAN], 1, 0.0, 4, 0.9, 2),
        ([INF, 2.0], 1, 0.0, None, 2.0, 0),
        ([1.0, INF, INF], 1, 0.0, 2, 1.0, 2),
        ([1.0, -INF], 1, 0.0, None, 1.0, 1),
        # An improvement is more than min_delta below the best.
        ([1.0, 0.75], 0, 0.25, 1, 1.0, 1),
        ([1.0, 0.7499], 0, 0.25, None, 0.7499, 0),
        # Small steps are measured from the best, so they add up.
        ([1.0, 0.9, 0.8, 0.7], 2, 0.25, None, 0.7, 0),
        ([1.0, 0.9, 0.8, 0.76], 2, 0.25, 3, 1.0, 3),
        ([0.0, -1.0], 0, 0.0, None, -1.0, 0),
    ],
)
def test_early_stopping_stops_where_the_table_says(
    losses: list[float],
    patience: int,
    min_delta: float,
    stops_at: int | None,
    best: float | None,
    counter: int,
) -> None:
    stopping = EarlyStopping(patience, min_delta, verbose=False)
    model = nn.Linear(1, 1)
    answers = [stopping(loss, model) for loss in losses]
    assert answers == [i == stops_at for i in range(len(losses))]
    assert stopping.best_loss == best
    assert stopping.counter == counter
    assert stopping.should_stop is (stops_at is not None)


def test_a_fresh_early_stopping_has_the_published_defaults() -> None:
    stopping = EarlyStopping()
    assert (stopping.patience, stopping.min_delta) == (10, 0.0)
    assert (stopping.restore_best_weights, stopping.verbose) == (True, True)
    assert (stopping.counter, stopping.best_loss, stopping.best_weights) == (0, None, None)
    assert stopping.should_stop is False


def feed(stopping: EarlyStopping, losses: list[float]) -> nn.Linear:
    """Call it with losses and a model whose weight is the number of the call, from 0."""
    model = nn.Linear(1, 1)
    for i, loss in enumerate(losses):
        with torch.no_grad():
            model.weight.fill_(float(i))
        stopping(loss, model)
    return model


@pytest.mark.parametrize(
    ("restore", "losses", "weight"),
    [
        (True, [1.0, 0.9, 1.1, 1.2], 1.0),  # the best weights, those of call 1
        (False, [1.0, 0.9, 1.1, 1.2], 3.0),  # as they were at the last call
        (True, [1.0, 0.9, 1.1], 2.0),  # not stopped: nothing is restored
        (True, [NAN, NAN], 1.0),  # there is no best
    ],
)
def test_the_best_weights_come_back_on_stopping_and_only_if_asked_for(
    restore: bool,  # noqa: FBT001  # a parameter of the table
    losses: list[float],
    weight: float,
) -> None:
    stopping = EarlyStopping(1, restore_best_weights=restore, verbose=False)
    assert feed(stopping, losses).weight.item() == weight


def test_no_weights_are_copied_if_none_are_to_be_restored() -> None:
    stopping = EarlyStopping(1, restore_best_weights=False, verbose=False)
    feed(stopping, [1.0, 0.9])
    assert stopping.best_weights is None


def test_early_stopping_prints_its_counter_and_the_restoring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed(EarlyStopping(1), [1.0, 0.9, 1.1, 1.2])
    assert capsys.readouterr().out == (
        "EarlyStopping counter: 1/1\n"
        "EarlyStopping counter: 2/1\n"
        "Restoring best weights (val_loss=0.900000)\n"
    )


def test_a_silent_early_stopping_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    feed(EarlyStopping(1, verbose=False), [1.0, 0.9, 1.1, 1.2])
    assert capsys.readouterr().out == ""


def test_what_does_not_restore_says_nothing_of_restoring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    feed(EarlyStopping(0, restore_best_weights=False), [1.0, 1.1])
    assert capsys.readouterr().out == "EarlyStopping counter: 1/0\n"


def test_a_reset_forgets_what_was_seen_and_keeps_the_settings() -> None:
    stopping = EarlyStopping(1, 0.25, verbose=False)
    feed(stopping, [1.0, 0.5, 0.6, 0.7])
    assert stopping.should_stop
    stopping.reset()
    assert (stopping.counter, stopping.best_loss, stopping.best_weights) == (0, None, None)
    assert stopping.should_stop is False
    assert (stopping.patience, stopping.min_delta) == (1, 0.25)
    assert (stopping.restore_best_weights, stopping.verbose) == (True, False)


def test_after_a_reset_a_loss_above_the_old_best_is_the_best_and_its_weights_come_back() -> None:
    stopping = EarlyStopping(0, verbose=False)
    feed(stopping, [0.5, 0.6])
    stopping.reset()
    # Call 1 is the best of this training, though worse than all of the one before.
    assert feed(stopping, [9.0, 8.0, 8.5]).weight.item() == 1.0
    assert stopping.best_loss == 8.0


def test_a_loss_may_come_as_a_tensor_and_is_kept_as_a_number() -> None:
    stopping = EarlyStopping(0, verbose=False)
    model = nn.Linear(1, 1)
    losses = [torch.tensor(1.0), torch.tensor(0.5), torch.tensor(0.75)]
    assert [stopping(loss, model) for loss in losses] == [False, False, True]
    assert (stopping.best_loss, type(stopping.best_loss)) == (0.5, float)


# Losses


@pytest.mark.parametrize(
    ("loss", "expected"),
    # Errors 0, 0.5 and 3; Huber's delta is 1: 0, 0.5 * 0.25 and 3 - 0.5.
    [("mse", 9.25 / 3), ("mae", 3.5 / 3), ("huber", 2.625 / 3)],
)
def test_a_loss_is_what_is_worked_out_by_hand(loss: str, expected: float) -> None:
    value = LOSSES[loss](torch.tensor([[1.0], [2.5], [0.0]]), torch.tensor([[1.0], [2.0], [3.0]]))
    assert value.item() == pytest.approx(expected)
    assert point_losses(np.array([0.0, 0.5, -3.0]), loss).mean() == pytest.approx(expected)


def test_the_losses_go_by_the_names_that_a_study_file_may_have() -> None:
    assert tuple(LOSSES) == LOSS_NAMES


# Training


# Long enough that training sequences hold several targets.
LOOKBACK = 5


def random_folds(count: int = 2, train: int = 20, valid: int = 6) -> list[FoldTensors]:
    draw = torch.Generator().manual_seed(3)
    return [
        FoldTensors(
            train_windows=make_windows(
                torch.randn(train + i + LOOKBACK - 1, 2, generator=draw), LOOKBACK
            ),
            train_targets=torch.randn(train + i, 1, generator=draw),
            valid_windows=torch.randn(valid, LOOKBACK, 2, generator=draw),
            valid_targets=torch.randn(valid, 1, generator=draw),
            valid_times=np.arange(valid),
        )
        for i in range(count)
    ]


def constant_folds(train: float, valid: float) -> list[FoldTensors]:
    """Two folds that teach one number and are judged by another, on windows of zeros."""
    return [
        FoldTensors(
            train_windows=torch.zeros(8, 3, 2),
            train_targets=torch.full((8, 1), train),
            valid_windows=torch.zeros(4, 3, 2),
            valid_targets=torch.full((4, 1), valid),
            valid_times=np.arange(4),
        )
        for _ in range(2)
    ]


def train(
    folds: list[FoldTensors],
    config: Config = TINY,
    training: TrainingConfig | None = None,
    seed: int = 0,
) -> tuple[nn.ModuleList, list[Epoch]]:
    networks = build_networks(config, 2, len(folds), CPU, seed)
    training = training or TrainingConfig(max_epochs=4)
    return networks, list(FoldTraining(networks, folds, config, training, seed))


def curve(epochs: list[Epoch]) -> list[tuple[float, ...]]:
    return [(e.train_loss, *e.fold_losses) for e in epochs]


def judge(networks: nn.ModuleList, folds: list[FoldTensors]) -> float:
    """Mean squared error of the networks as they stand, the mean over folds."""
    networks.eval()
    with torch.no_grad():
        losses = [
            ((network(fold.valid_windows) - fold.valid_targets) ** 2).mean().item()
            for network, fold in zip(networks, folds, strict=True)
        ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_seed_gives_the_same_curve_bit_for_bit_and_another_seed_another(
    cell: str,
) -> None:
    config = Config(cell=cell, hidden_dims=(4, 3), dropout=0.3, batch_size=8, lr=0.02, noise=0.1)
    first = train(random_folds(), config)[1]
    second = train(random_folds(), config)[1]
    assert curve(first) == curve(second)
    pairs = zip(first, second, strict=True)
    assert all(torch.equal(a.forecasts, b.forecasts) for a, b in pairs)
    assert curve(first) != curve(train(random_folds(), config, seed=1)[1])


def test_the_seed_decides_the_first_weights() -> None:
    def weights(seed: int) -> Tensor:
        return nn.utils.parameters_to_vector(build_networks(TINY, 2, 2, CPU, seed).parameters())

    assert torch.equal(weights(7), weights(7))
    assert not torch.equal(weights(7), weights(8))


def test_the_seed_of_the_training_decides_the_order_of_the_windows() -> None:
    def run(seed: int) -> list[tuple[float, ...]]:
        networks = build_networks(TINY, 2, 2, CPU, 0)
        return curve(list(FoldTraining(networks, random_folds(), TINY, TrainingConfig(2), seed)))

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_epochs_are_numbered_from_one_to_the_last_allowed() -> None:
    epochs = train(random_folds(), training=TrainingConfig(max_epochs=5, patience=10))[1]
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5]


def test_an_epoch_carries_the_losses_of_its_folds_and_their_forecasts() -> None:
    folds = random_folds(count=3)
    for epoch in train(folds)[1]:
        assert epoch.forecasts.shape == (3, 6)
        for row, loss, fold in zip(epoch.forecasts, epoch.fold_losses, folds, strict=True):
            errors = row.double().numpy() - fold.valid_targets[:, 0].double().numpy()
            assert loss == pytest.approx(float(np.mean(errors**2)), rel=1e-6)
        assert epoch.valid_loss == pytest.approx(sum(epoch.fold_losses) / 3, rel=1e-12)


def test_the_improved_epochs_are_those_below_all_before_them() -> None:
    config = Config(hidden_dims=(8,), batch_size=4, lr=0.1)
    epochs = train(random_folds(), config, TrainingConfig(max_epochs=12, patience=20))[1]
    losses = [epoch.valid_loss for epoch in epochs]
    expected = [all(loss < earlier for earlier in losses[:i]) for i, loss in enumerate(losses)]
    assert {True, False} == set(expected)
    assert [epoch.improved for epoch in epochs] == expected


def plain_curve(folds: list[FoldTensors], epochs: int, seed: int) -> list[list[float]]:
    """Train each fold on its own, by a loop as one would write it first."""
    torch.manual_seed(seed)
    networks = [CELLS["lstm"](2, [4, 3], dropout=0.0) for _ in folds]
    curves = []
    for i, (network, fold) in enumerate(zip(networks, folds, strict=True)):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02, weight_decay=0.1)
        draw = torch.Generator().manual_seed(seed + i)
        bars = torch.cat([fold.train_windows[0], fold.train_windows[1:, -1]])
        last, losses = len(fold.train_targets) - 4, []
        for _ in range(epochs):
            order = 4 * torch.randperm(math.ceil((last + 7) / 4), generator=draw)
            order -= torch.randint(4, (1,), generator=draw)
            firsts = [min(max(first, 0), last) for first in order.tolist()]
            for start in range(0, len(firsts), 2):
                pair = firsts[start : start + 2]
                optimizer.zero_grad()
                # A target sees the window of the first of its run, and the bars from there on.
                seen = [(first, first + i) for first in pair for i in range(4)]
                out = torch.cat([network(bars[None, first : n + LOOKBACK]) for first, n in seen])
                functional.mse_loss(out, fold.train_targets[[n for _, n in seen]]).backward()
                optimizer.step()
            losses.append(judge(nn.ModuleList([network]), [fold]))
        curves.append(losses)
    return [list(row) for row in zip(*curves, strict=True)]


def test_the_folds_in_step_have_the_losses_of_each_fold_trained_alone() -> None:
    config = Config(hidden_dims=(4, 3), dropout=0.0, lr=0.02, weight_decay=0.1, batch_size=8)
    epochs = train(random_folds(), config, TrainingConfig(5, patience=10), seed=11)[1]
    expected = plain_curve(random_folds(), 5, seed=11)
    for epoch, losses in zip(epochs, expected, strict=True):
        assert list(epoch.fold_losses) == pytest.approx(losses, rel=1e-4)


def test_dropout_acts_while_training_and_not_while_judging() -> None:
    folds = random_folds()
    config = Config(hidden_dims=(8, 8), dropout=0.5, lr=0.0, batch_size=8)
    networks, epochs = train(folds, config)
    losses = [epoch.train_loss for epoch in epochs]
    assert max(losses) > 1.001 * min(losses)
    assert [epoch.valid_loss for epoch in epochs] == [pytest.approx(judge(networks, folds))] * 4


@pytest.mark.parametrize("patience", [0, 2])
def test_training_stops_patience_and_one_epochs_after_the_best_with_its_weights(
    patience: int,
) -> None:
    # From about 0 the forecasts climb to 1, and are judged by -1: the first epoch is the best.
    folds = constant_folds(train=1.0, valid=-1.0)
    networks, epochs = train(folds, training=TrainingConfig(max_epochs=50, patience=patience))
    assert len(epochs) == 1 + patience + 1
    assert epochs[0].valid_loss == min(epoch.valid_loss for epoch in epochs)
    assert judge(networks, folds) == pytest.approx(epochs[0].valid_loss, rel=1e-6)


def best_on_the_way() -> tuple[list[FoldTensors], Config]:
    """Forecasts climb from about 0 to 1, are judged by 0.4, and pass it on their way."""
    return constant_folds(train=1.0, valid=0.4), Config(hidden_dims=(4,), batch_size=8, lr=0.05)


def test_training_stopped_early_ends_with_the_weights_of_the_best_epoch() -> None:
    folds, config = best_on_the_way()
    networks, epochs = train(folds, config, TrainingConfig(max_epochs=50, patience=3))
    losses = [epoch.valid_loss for epoch in epochs]
    best = losses.index(min(losses)) + 1
    assert best > 1
    assert len(epochs) == best + 3 + 1
    assert judge(networks, folds) == pytest.approx(min(losses), rel=1e-6)
    assert losses[-1] > 2 * min(losses)


def test_training_that_runs_to_its_last_epoch_ends_with_the_weights_of_the_best_epoch() -> None:
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
def test_one_fold_that_diverges_late_ends_the_training_and_the_best_weights_come_back(
    weight: float,
) -> None:
    folds = random_folds()
    networks = build_networks(TINY, 2, 2, CPU, 0)
    epochs = []
    for epoch in FoldTraining(networks, folds, TINY, TrainingConfig(10, patience=20), 0):
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
    # means is at least a sixth off. At a learning rate of 0 the order does not matter, and of 7
    # targets there are no runs.
    folds = random_folds(count=2, train=9)
    for fold in folds:
        fold.train_targets[0] = 50.0
    config = Config(hidden_dims=(4,), lr=0.0, batch_size=7)
    networks, epochs = train(folds, config)
    with torch.no_grad():
        full = [
            ((network(fold.train_windows) - fold.train_targets) ** 2).mean().item()
            for network, fold in zip(networks, folds, strict=True)
        ]
    assert [len(fold.train_targets) for fold in folds] == [9, 10]
    assert epochs[0].train_loss == pytest.approx(sum(full) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_judges_and_teaches(loss: str) -> None:
    folds = random_folds()
    networks, epochs = train(folds, training=TrainingConfig(max_epochs=8, patience=20, loss=loss))
    for epoch in epochs:
        expected = [
            float(LOSSES[loss](row[:, None], fold.valid_targets))
            for row, fold in zip(epoch.forecasts, folds, strict=True)
        ]
        assert list(epoch.fold_losses) == pytest.approx(expected, rel=1e-6)
    assert epochs[-1].train_loss < epochs[0].train_loss
    # No run but of one divides the batch size.
    still = Config(hidden_dims=(4, 3), dropout=0.0, lr=0.0, batch_size=53)
    networks, (epoch,) = train(folds, still, TrainingConfig(1, loss=loss))
    with torch.no_grad():
        expected = [
            float(LOSSES[loss](network(fold.train_windows), fold.train_targets))
            for network, fold in zip(networks, folds, strict=True)
        ]
    assert epoch.train_loss == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_noise_changes_the_curve() -> None:
    def run(noise: float) -> list[tuple[float, ...]]:
        config = Config(hidden_dims=(4,), batch_size=8, lr=0.02, noise=noise)
        return curve(train(random_folds(), config)[1])

    assert run(0.5) == run(0.5)
    assert len({tuple(run(noise)) for noise in (0.0, 0.1, 0.5)}) == 3


# One learner


class Recorder(nn.Module):
    """A network that forecasts the last value of its window times a weight, and keeps its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return x[:, -1, :1] * self.weight


def recorded(
    windows: Tensor, targets: Tensor, *, noise: float = 0.0, batch_size: int = 4
) -> Callable[[], tuple[list[Tensor], float]]:
    """Make a learner of no learning rate; each call runs an epoch: the batches seen, the loss."""
    network = Recorder()
    config = Config(lr=0.0, batch_size=batch_size, noise=noise)
    trainer = Trainer(network, windows, targets, config, LOSSES["mse"], seed=0)

    def epoch() -> tuple[list[Tensor], float]:
        network.seen.clear()
        loss = trainer.run_epoch().item()
        return list(network.seen), loss

    return epoch


def test_an_epoch_sees_every_window_once_with_its_own_target_in_a_new_order() -> None:
    # 150 windows in batches of 4 are more than one block of 32 batches; the last batch is of 2.
    number = torch.arange(150.0)
    epoch = recorded(number[:, None, None].repeat(1, 3, 1), number[:, None])
    (first, loss), (second, _) = epoch(), epoch()
    assert [len(batch) for batch in first] == [4] * 37 + [2]
    orders = [torch.cat(batches)[:, -1, 0].tolist() for batches in (first, second)]
    assert [sorted(order) for order in orders] == [number.tolist()] * 2
    assert orders[0] != orders[1]
    assert number.tolist() not in orders
    # Every forecast is its own window's number: with any other target the loss would not be 0.
    assert loss == 0.0


class RunRecorder(nn.Module):
    """A network that keeps its input, and forecasts the last values of it times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, *, last: int = 1) -> Tensor:
        self.seen.append(x.clone())
        return x[:, -last:, :1].flatten(0, 1) * self.weight


@pytest.mark.parametrize("count", [4, 5, 150, 151])
def test_runs_have_each_target_once_but_for_some_at_the_ends_and_lie_elsewhere_in_each_epoch(
    count: int,
) -> None:
    # The number of a target is the last bar of its window.
    bars = torch.arange(-2.0, count)[:, None]
    network, config = RunRecorder(), Config(lr=0.0, batch_size=8)
    windows, targets = make_windows(bars, 3), torch.arange(float(count))[:, None]
    trainer = Trainer(
        network, windows, targets, config, LOSSES["mse"], seed=0, targets_per_sequence=4
    )
    offsets = set()
    for _ in range(20):
        network.seen.clear()
        assert trainer.run_epoch().item() == 0.0  # to each forecast its own target
        assert {len(batch) for batch in network.seen[:-1]} <= {2}
        sequences = torch.cat(network.seen)[..., 0]
        assert torch.equal(sequences.diff(), torch.ones(len(sequences), 5))
        held = sorted(n for run in sequences[:, -4:].tolist() for n in run)
        assert set(held) == set(range(count))
        middle = [n for n in held if 4 <= n < count - 4]
        assert len(middle) == len(set(middle))
        offsets.add(tuple(held))
        with torch.no_grad():
            network.weight.fill_(2.0)  # each forecast is off by its own target
        network.seen.clear()
        loss = trainer.run_epoch().item()
        twice = torch.cat(network.seen)[:, -4:, 0]
        assert loss == pytest.approx(float((twice**2).mean()), rel=1e-6)
        with torch.no_grad():
            network.weight.fill_(1.0)
    # Of few targets both runs are at an end.
    assert len(offsets) == (4 if count > 5 else 1)


@pytest.mark.parametrize(
    ("batch_size", "count", "run"),
    [(32, 100, 4), (6, 100, 3), (10, 100, 2), (7, 100, 1), (1, 100, 1), (32, 3, 2), (32, 1, 1)],
)
def test_a_run_is_the_longest_that_divides_the_batch_and_is_there(
    batch_size: int, count: int, run: int
) -> None:
    windows, targets = make_windows(torch.zeros(count + 2, 1), 3), torch.zeros(count, 1)
    config = Config(batch_size=batch_size)
    trainer = Trainer(
        RunRecorder(), windows, targets, config, LOSSES["mse"], seed=0, targets_per_sequence=4
    )
    assert trainer.targets_per_sequence == run
    trainer.run_epoch()
    assert len(trainer.network.seen[0]) == min(batch_size // run, len(trainer._order()))


@pytest.mark.parametrize("noise", [0.1, 2.0])
def test_noise_is_gaussian_of_its_size_and_drawn_anew_for_every_value_and_epoch(
    noise: float,
) -> None:
    epoch = recorded(torch.zeros(500, 4, 5), torch.zeros(500, 1), noise=noise)
    drawn = [torch.cat(epoch()[0]) for _ in range(2)]
    for values in drawn:
        assert len(torch.unique(values)) > 9900  # of 10,000
        # Three standard errors of a mean, a deviation and a kurtosis of 10,000 draws.
        assert abs(values.mean().item()) < 0.03 * noise
        assert values.std().item() == pytest.approx(noise, rel=0.022)
        assert ((values / noise) ** 4).mean().item() == pytest.approx(3, abs=0.3)
    assert not torch.equal(*drawn)


def test_noise_leaves_the_windows_themselves_alone() -> None:
    windows = torch.zeros(10, 3, 1)
    recorded(windows, torch.zeros(10, 1), noise=1.0)()
    assert not windows.any()


# Forecasts


def test_a_forecast_is_what_the_network_says_without_dropout_and_without_gradients() -> None:
    draw = torch.Generator().manual_seed(3)
    network = CELLS["lstm"](2, [8, 8], dropout=0.5).train()
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


# The refit


REFIT = Config(hidden_dims=(4, 3), dropout=0.3, lr=0.02, batch_size=8, noise=0.1)


def vector(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def test_a_refit_equals_as_many_epochs_of_one_learner_and_is_ready_to_forecast() -> None:
    (fold,) = random_folds(count=1)
    x, y = fold.train_windows, fold.train_targets
    (network,) = build_networks(REFIT, 2, 1, CPU, 5)
    trainer = Trainer(network, x, y, REFIT, LOSSES["mae"], 5, targets_per_sequence(x.shape[1]))
    for _ in range(3):
        trainer.run_epoch()
    refitted = train_epochs(x, y, REFIT, "mae", epochs=3, seed=5)
    assert torch.equal(vector(refitted), vector(network))
    assert not refitted.training


def test_a_refit_has_the_weights_that_its_fold_had_after_as_many_epochs() -> None:
    (fold,) = random_folds(count=1)
    networks = build_networks(REFIT, 2, 1, CPU, 5)
    epochs = FoldTraining(networks, [fold], REFIT, TrainingConfig(9, patience=9), 5)
    *_, last = itertools.islice(epochs, 3)
    assert last.number == 3
    refitted = train_epochs(fold.train_windows, fold.train_targets, REFIT, "mse", epochs=3, seed=5)
    assert torch.equal(vector(refitted), vector(networks))


def test_a_refit_can_be_repeated_and_depends_on_seed_epochs_and_loss() -> None:
    (fold,) = random_folds(count=1)

    def refit(loss: str, epochs: int, seed: int) -> tuple[float, ...]:
        x, y = fold.train_windows, fold.train_targets
        return tuple(vector(train_epochs(x, y, REFIT, loss, epochs, seed)).tolist())

    assert refit("mse", 2, 0) == refit("mse", 2, 0)
    others = [("mse", 2, 0), ("mse", 2, 1), ("mse", 3, 0), ("mae", 2, 0)]
    assert len({refit(*other) for other in others}) == 4


@pytest.mark.parametrize(("lookback", "expected"), [(1, 1), (4, 1), (5, 4), (60, 4)])
def test_windows_that_are_too_short_to_share_bars_are_trained_one_by_one(
    lookback: int, expected: int
) -> None:
    assert targets_per_sequence(lookback) == expected
    assert expected in (1, TARGETS_PER_SEQUENCE)
