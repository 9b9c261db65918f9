"""Networks that step together learn as each alone."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import puffin.models.training.together
from puffin.models.config import Config
from puffin.models.networks.rnn import build_network
from puffin.models.training.together import enqueue_epochs
from puffin.models.training.trainer import Trainer
from puffin.models.windows import Windows
from tests.folds import LOOKBACK, random_windows

CONFIG = Config(
    "gru",
    (6, 5),
    dropout=0.3,
    lookback=LOOKBACK,
    lr=0.01,
    batch_size=8,
    noise=0.1,
    weight_decay=0.1,
)
LENGTHS = (21, 33, 33, 50)


def trainers(
    lengths: Sequence[int] = LENGTHS, config: Config = CONFIG, per_sequence: int = 4
) -> list[Trainer]:
    torch.manual_seed(5)
    draw = torch.Generator().manual_seed(6)
    found = [random_windows(length, LOOKBACK, draw) for length in lengths]
    return [
        Trainer(build_network(config, 2), windows, config, functional.mse_loss, seed, per_sequence)
        for seed, windows in enumerate(found)
    ]


def weights(trainer: Trainer) -> Tensor:
    return nn.utils.parameters_to_vector(trainer.network.parameters()).detach()


def group_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record how many networks each step has."""
    sizes = list[int]()
    step = puffin.models.training.together._step_together

    def recorded(batches: Any) -> Any:
        sizes.append(len(batches))
        return step(batches)

    monkeypatch.setattr(puffin.models.training.together, "_step_together", recorded)
    return sizes


@pytest.mark.parametrize("per_sequence", [1, 4])
@pytest.mark.parametrize("order", [1, -1], ids=["growing", "shrinking"])
def test_together_each_learns_what_it_learns_alone(per_sequence: int, order: int) -> None:
    lengths = LENGTHS[::order]
    together, alone = (trainers(lengths, per_sequence=per_sequence) for _ in range(2))
    for _ in range(3):
        losses = enqueue_epochs(together)
        expected = [trainer.run_epoch() for trainer in alone]
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=0)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-6)
        assert torch.equal(one.generator.get_state(), other.generator.get_state())
        state = other.optimizer.state()
        for name, value in one.optimizer.state().items():
            torch.testing.assert_close(value, state[name], rtol=1e-4, atol=1e-6)


def test_those_with_full_batches_step_together_and_last_smaller_ones_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = group_sizes(monkeypatch)
    enqueue_epochs(trainers((16, 16, 26, 36), per_sequence=1))
    # Batches of 8, 8 / 8, 8 / 8, 8, 8, 2 / 8, 8, 8, 8, 4.
    assert sizes == [4, 4, 2, 1, 1, 1]


@pytest.mark.parametrize(
    ("networks", "most", "groups"),
    [(4, 4, [4]), (5, 4, [3, 2]), (9, 4, [3, 3, 3])],
)
def test_more_than_fit_step_in_groups_of_a_size_and_learn_the_same(
    networks: int, most: int, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two sequences of four targets at a width of six are 12 numbers of state.
    monkeypatch.setattr(puffin.models.training.together, "_LARGEST_STATES", 12 * most + 11)
    sizes, lengths = group_sizes(monkeypatch), [33] * networks
    made = trainers(lengths)
    losses = enqueue_epochs(made)
    steps = len(sizes) // len(groups)
    assert [set(sizes[i * steps : (i + 1) * steps]) for i in range(len(groups))] == [
        {size} for size in groups
    ]
    for trainer, loss, alone in zip(made, losses, trainers(lengths), strict=True):
        torch.testing.assert_close(loss, alone.run_epoch(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(weights(trainer), weights(alone), rtol=1e-4, atol=1e-5)


def test_equal_lengths_step_together_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = group_sizes(monkeypatch)
    enqueue_epochs(trainers((30, 30, 30), per_sequence=1))
    assert sizes == [3] * math.ceil(30 / 8)


@pytest.mark.parametrize(
    ("lengths", "config"),
    [
        ((30,), CONFIG),
        ((30, 30), replace(CONFIG, cell="lstm")),
        ((30, 30), replace(CONFIG, hidden_dims=(5, 64), batch_size=1024)),
    ],
    ids=["one network", "lstm", "wide for its batches"],
)
def test_networks_that_would_not_gain_train_one_after_the_other(
    lengths: tuple[int, ...], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = group_sizes(monkeypatch)
    together, alone = (trainers(lengths, config) for _ in range(2))
    losses = enqueue_epochs(together)
    assert not sizes
    assert losses == [trainer.run_epoch() for trainer in alone]


def test_networks_with_sequences_of_different_lengths_learn_apart() -> None:
    lengths = (3, 30)  # three targets are fewer than the four of a sequence
    together, alone = (trainers(lengths) for _ in range(2))
    assert [trainer.targets_per_sequence for trainer in together] == [2, 4]
    enqueue_epochs(together)
    for one, other in zip(together, alone, strict=True):
        other.run_epoch()
        torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-6)


def test_a_network_that_diverges_does_not_reach_the_others() -> None:
    together, alone = (trainers() for _ in range(2))
    rows = together[1].windows
    broken = Windows.of(torch.full((33 + LOOKBACK - 1, 2), torch.nan), torch.ones(33, 1), LOOKBACK)
    together[1].windows = broken.view(4)
    assert together[1].windows.shape == rows.shape
    losses = enqueue_epochs(together)
    assert [bool(loss.isfinite()) for loss in losses] == [True, False, True, True]
    for i in (0, 2, 3):
        alone[i].run_epoch()
        torch.testing.assert_close(weights(together[i]), weights(alone[i]), rtol=1e-4, atol=1e-6)
