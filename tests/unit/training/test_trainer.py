"""The batches of one network: order, sequences of targets, noise."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from puffin.models.config import Config
from puffin.models.networks.rnn import StackedLSTM
from puffin.models.training.trainer import Trainer
from puffin.models.windows import Windows
from tests.folds import basket_windows
from tests.recorder import Recorder


def recorded(
    windows: Windows, *, noise: float = 0.0, batch_size: int = 4
) -> Callable[[], tuple[list[Tensor], float]]:
    """Return a function that runs an epoch at a learning rate of 0: batches and loss."""
    network = Recorder()
    config = Config(lr=0.0, batch_size=batch_size, noise=noise)
    trainer = Trainer(network, windows, config, functional.mse_loss, seed=0)

    def epoch() -> tuple[list[Tensor], float]:
        network.seen.clear()
        loss = trainer.run_epoch().item()
        return list(network.seen), loss

    return epoch


def test_an_epoch_has_every_window_once_in_a_new_order() -> None:
    # 150 windows in batches of 4 are more than one block of 32 batches; the last batch is of 2.
    number = torch.arange(150.0)
    # The number of a window is its last bar.
    epoch = recorded(Windows.of(torch.arange(-2.0, 150.0)[:, None], number[:, None], 3))
    (first, loss), (second, _) = epoch(), epoch()
    assert [len(batch) for batch in first] == [4] * 37 + [2]
    orders = [torch.cat(batches)[:, -1, 0].tolist() for batches in (first, second)]
    assert [sorted(order) for order in orders] == [number.tolist()] * 2
    assert orders[0] != orders[1]
    assert number.tolist() not in orders
    # Every forecast is its own window's number: with any other target the loss would not be 0.
    assert loss == 0.0


class SequenceRecorder(nn.Module):
    """A network that records its input, and forecasts its last values times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, *, last: int = 1) -> Tensor:
        self.seen.append(x.clone())
        return x[:, -last:, :1].flatten(0, 1) * self.weight


@pytest.mark.parametrize("count", [4, 5, 150, 151])
def test_sequences_cover_each_target_and_shift_in_each_epoch(
    count: int,
) -> None:
    # The number of a target is the last bar of its window.
    bars = torch.arange(-2.0, count)[:, None]
    network, config = SequenceRecorder(), Config(lr=0.0, batch_size=8)
    windows = Windows.of(bars, torch.arange(float(count))[:, None], 3)
    trainer = Trainer(network, windows, config, functional.mse_loss, seed=0, targets_per_sequence=4)
    offsets = set()
    for _ in range(20):
        network.seen.clear()
        assert trainer.run_epoch().item() == 0.0  # each forecast has its target
        assert {len(batch) for batch in network.seen[:-1]} <= {2}
        sequences = torch.cat(network.seen)[..., 0]
        assert torch.equal(sequences.diff(), torch.ones(len(sequences), 5))
        covered = sorted(n for sequence in sequences[:, -4:].tolist() for n in sequence)
        assert set(covered) == set(range(count))
        middle = [n for n in covered if 4 <= n < count - 4]
        assert len(middle) == len(set(middle))
        offsets.add(tuple(covered))
        with torch.no_grad():
            network.weight.fill_(2.0)  # each forecast is off by its own target
        network.seen.clear()
        loss = trainer.run_epoch().item()
        twice = torch.cat(network.seen)[:, -4:, 0]
        assert loss == pytest.approx(float((twice**2).mean()), rel=1e-6)
        with torch.no_grad():
            network.weight.fill_(1.0)
    # With few targets both sequences are at an end.
    assert len(offsets) == (4 if count > 5 else 1)


def test_sequences_of_two_targets_shift_too() -> None:
    network, rows = SequenceRecorder(), torch.arange(13.0)[:, None]
    trainer = Trainer(
        network,
        Windows.of(rows, torch.zeros(11, 1), 3),
        Config(lr=0.0, batch_size=2),
        functional.mse_loss,
        seed=0,
        targets_per_sequence=2,
    )
    firsts = [{int(start) % 2 for start in trainer._order() if 0 < start < 9} for _ in range(20)]
    assert {tuple(parity) for parity in firsts} == {(0,), (1,)}


@pytest.mark.parametrize(
    ("batch_size", "count", "expected"),
    [(32, 100, 4), (6, 100, 3), (10, 100, 2), (7, 100, 1), (1, 100, 1), (32, 3, 2), (32, 1, 1)],
)
def test_targets_per_sequence_divide_the_batch_size_and_the_targets(
    batch_size: int, count: int, expected: int
) -> None:
    windows = Windows.of(torch.zeros(count + 2, 1), torch.zeros(count, 1), 3)
    config = Config(batch_size=batch_size)
    trainer = Trainer(
        SequenceRecorder(),
        windows,
        config,
        functional.mse_loss,
        seed=0,
        targets_per_sequence=4,
    )
    assert trainer.targets_per_sequence == expected
    trainer.run_epoch()
    assert len(trainer.network.seen[0]) == min(batch_size // expected, len(trainer._order()))


@pytest.mark.parametrize("noise", [0.1, 2.0])
def test_noise_is_gaussian_and_new_for_every_value_and_epoch(
    noise: float,
) -> None:
    epoch = recorded(Windows.of(torch.zeros(503, 5), torch.zeros(500, 1), 4), noise=noise)
    drawn = [torch.cat(epoch()[0]) for _ in range(2)]
    for values in drawn:
        assert len(torch.unique(values)) > 9900  # of 10,000
        # Three standard errors of a mean, a deviation and a kurtosis of 10,000 draws.
        assert abs(values.mean().item()) < 0.03 * noise
        assert values.std().item() == pytest.approx(noise, rel=0.022)
        assert ((values / noise) ** 4).mean().item() == pytest.approx(3, abs=0.3)
    assert not torch.equal(*drawn)


def test_noise_does_not_change_the_windows() -> None:
    windows = Windows.of(torch.zeros(12, 1), torch.zeros(10, 1), 3)
    recorded(windows, noise=1.0)()
    assert not windows.rows.any()


@pytest.mark.parametrize(("count", "targets_per_sequence"), [(40, 1), (41, 1), (41, 4), (3, 1)])
def test_steps_that_find_their_batch_by_themselves_train_as_the_others(
    count: int, targets_per_sequence: int
) -> None:
    """Hold what a GPU replays to what a CPU does."""
    generator = torch.Generator().manual_seed(0)
    bars = torch.randn(count + 2, 2, generator=generator)
    targets = torch.randn(count, 1, generator=generator)
    config = Config(hidden_dims=(4,), lookback=3, batch_size=8, dropout=0.0)

    def trainer() -> Trainer:
        torch.manual_seed(0)
        network, loss = StackedLSTM(2, (4,), dropout=0.0), functional.mse_loss
        windows = Windows.of(bars, targets, 3)
        return Trainer(network, windows, config, loss, 0, targets_per_sequence)

    plain, graphed = trainer(), trainer()
    epoch = graphed._make_graphed_epoch()
    for _ in range(3):
        expected = plain.run_epoch()
        assert epoch.run(graphed._order()).item() == pytest.approx(expected.item(), rel=1e-6)
    for one, other in zip(plain.network.parameters(), graphed.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("per_sequence", [1, 4])
def test_sequences_of_several_symbols_cover_each_target_and_cross_no_border(
    per_sequence: int,
) -> None:
    windows = basket_windows([9, 30, 5], 3, torch.Generator().manual_seed(0))
    rows = torch.full((len(windows.rows), 1), torch.nan)
    for span in windows.spans:
        rows[span.start : span.stop + 2, 0] = torch.arange(span.start, span.stop + 2.0)
    numbered = Windows(rows, torch.arange(2.0, 2 + len(rows))[:, None], windows.spans, 3)
    network, config = SequenceRecorder(), Config(lr=0.0, batch_size=8)
    trainer = Trainer(network, numbered, config, functional.mse_loss, 0, per_sequence)
    for _ in range(5):
        network.seen.clear()
        # A forecast of another window's target, or one that has seen a NaN between two symbols,
        # would not have a loss of 0.
        assert trainer.run_epoch().item() == 0.0
        covered = torch.cat([x[:, -per_sequence:, 0].flatten() for x in network.seen])
        assert set(covered.tolist()) == {
            row + 2.0 for span in windows.spans for row in range(span.start, span.stop)
        }


def test_a_short_symbol_limits_the_targets_per_sequence() -> None:
    windows = basket_windows([20, 3], 3, torch.Generator().manual_seed(0))
    config = Config(batch_size=32)
    trainer = Trainer(SequenceRecorder(), windows, config, functional.mse_loss, 0, 4)
    assert trainer.targets_per_sequence == 2
