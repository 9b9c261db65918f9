"""Loaders: the split, the order and the batches."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.models.estimators.loops import (
    Loader,
    create_dataloaders,
    set_seed,
)

NAN = math.nan
CPU = torch.device("cpu")


def numbered(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples (n, 3, 1) whose number is in every value, and their numbers."""
    number = np.arange(float(count))
    return np.repeat(number, 3).reshape(count, 3, 1), number


def targets(loader: Loader) -> list[float]:
    """Run a loader once; the targets as they come, each with its own sample."""
    seen = []
    for x, y in loader:
        assert torch.equal(x[:, 0, 0], y[:, 0])
        seen += y[:, 0].tolist()
    return seen


@pytest.mark.parametrize(
    ("count", "val_split", "train"),
    # The number for validation is rounded down.
    [(10, 0.2, 8), (9, 0.25, 7), (100, 0.5, 50), (5, 0.2, 4), (2, 0.5, 1), (10, 0.99, 1)],
)
def test_validation_takes_the_last_samples_and_training_all_before_them(
    count: int, val_split: float, train: int
) -> None:
    # Defect 8: both parts were drawn at random, and what was trained on came after what was judged.
    loaders = create_dataloaders(*numbered(count), val_split=val_split)
    first, last = (targets(loader) for loader in loaders)
    assert sorted(first) == list(range(train))
    assert last == list(range(train, count))


def test_a_random_split_follows_the_seed() -> None:
    def split(seed: int) -> tuple[list[float], list[float]]:
        loaders = create_dataloaders(*numbered(50), random_seed=seed, chronological=False)
        first, last = (targets(loader) for loader in loaders)
        assert sorted(first + last) == list(range(50))
        assert len(last) == 10
        return first, last

    assert split(1) == split(1)
    assert set(split(1)[1]) != set(split(2)[1])
    assert set(range(40, 50)) not in (set(split(1)[1]), set(split(2)[1]))


def test_only_training_samples_are_shuffled_in_each_epoch() -> None:
    train, valid = create_dataloaders(*numbered(50), batch_size=7)
    first, second = targets(train), targets(train)
    assert sorted(first) == sorted(second) == list(range(40))
    assert list(range(40)) not in (first, second)
    assert first != second
    assert targets(valid) == targets(valid) == list(range(40, 50))


def test_without_shuffling_training_samples_come_in_the_order_of_time() -> None:
    train, _ = create_dataloaders(*numbered(50), batch_size=7, shuffle=False)
    assert targets(train) == targets(train) == list(range(40))


def test_the_order_follows_the_seed() -> None:
    def order(seed: int | None) -> list[float]:
        return targets(create_dataloaders(*numbered(50), random_seed=seed)[0])

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(None) != order(None)


def test_without_a_seed_the_order_follows_set_seed() -> None:
    def order(seed: int) -> list[float]:
        set_seed(seed)
        return targets(create_dataloaders(*numbered(50))[0])

    assert order(1) != order(2)
    assert order(1) == order(1)


def test_batches_are_in_single_precision_and_targets_have_two_dimensions() -> None:
    x, y = numbered(200)
    train, valid = create_dataloaders(x, y.astype(int))
    sizes = [[tuple(part.shape) for part in batch] for batch in train]
    assert sizes == [[(64, 3, 1), (64, 1)]] * 2 + [[(32, 3, 1), (32, 1)]]
    assert [[part.dtype for part in batch] for batch in valid] == [[torch.float32] * 2]


def test_targets_of_many_outputs_keep_their_shape() -> None:
    train, _ = create_dataloaders(np.zeros((10, 4)), np.zeros((10, 3)), batch_size=8)
    assert [[tuple(part.shape) for part in batch] for batch in train] == [[(8, 4), (8, 3)]]


@pytest.mark.parametrize("kind", [list, pd.Series, torch.tensor])
def test_lists_series_and_tensors_are_loaded(kind: Callable[[Any], Any]) -> None:
    x, y = numbered(10)
    _, valid = create_dataloaders(torch.tensor(x), kind(y))
    assert targets(valid) == [8, 9]


def test_what_was_loaded_is_a_copy() -> None:
    x, y = np.zeros((10, 1), dtype=np.float32), np.zeros(10, dtype=np.float32)
    train, valid = create_dataloaders(x, y)
    x[:], y[:] = 9, 9
    for loader in (train, valid):
        assert [part.any().item() for batch in loader for part in batch] == [False, False]


def test_without_a_validation_split_every_sample_trains() -> None:
    train, valid = create_dataloaders(*numbered(10), val_split=0)
    assert sorted(targets(train)) == list(range(10))
    assert targets(valid) == []


@pytest.mark.parametrize(
    ("x", "y", "val_split", "message"),
    [
        (3, 4, 0.2, "X and y must be of one length, but have 3 and 4"),
        (9, 9, 1.0, "val_split must be at least 0 and below 1, but is 1.0"),
        (9, 9, -0.1, "val_split must be at least 0 and below 1, but is -0.1"),
        (9, 9, NAN, "val_split must be at least 0 and below 1, but is nan"),
        (4, 4, 0.2, "val_split = 0.2 of 4 leaves 4 to train on and 0 to validate on"),
        (1, 1, 0.5, "val_split = 0.5 of 1 leaves 1 to train on and 0 to validate on"),
        (0, 0, 0.2, "leaves 0 to train on and 0 to validate on"),
        (0, 0, 0, "leaves 0 to train on and 0 to validate on"),
    ],
)
def test_a_split_with_an_empty_part_is_refused(
    x: int, y: int, val_split: float, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        create_dataloaders(np.zeros((x, 3, 1)), np.zeros(y), val_split=val_split)
