"""Epochs of five networks in step, against one after the other.

The folds grow as those of the preset `daily` do. `in step` is what `FoldTraining` does with GRUs on
a CPU that are not too wide for their batches (here all do it), `apart` lets every network take its
epoch alone. Both train from the same seeds, and the table ends with the largest relative difference
of a validation loss after the epochs.

    OMP_NUM_THREADS=1 python benchmarks/together.py
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from unittest.mock import patch

import torch

import puffin.models.training.together
from puffin.models.config import Config, TrainingConfig
from puffin.models.folds import Span
from puffin.models.training.fold_training import Epoch, FoldTraining, build_networks
from puffin.models.windows import FoldTensors, Windows
from puffin.tuner.worker.process import setup_torch

FOLDS, FEATURES, FIRST, VALID = 5, 3, 2359, 120
# batch, lookback, widths, dropout
SHAPES = [
    (64, 20, (8,), 0.0),
    (64, 20, (16,), 0.0),
    (64, 20, (32,), 0.0),
    (64, 20, (64,), 0.0),
    (64, 20, (128,), 0.0),
    (32, 30, (24, 16), 0.2),
    (64, 40, (32, 32), 0.2),
    (64, 30, (64, 32), 0.2),
    (128, 60, (128, 128), 0.2),
    (512, 20, (64, 32), 0.2),
    (1024, 20, (32,), 0.0),
    (1024, 20, (64, 32), 0.2),
    (1024, 20, (128, 128), 0.2),
]


def fold(lookback: int, number: int) -> FoldTensors:
    """Return a fold of random numbers."""
    count = FIRST + VALID * (number + 1)
    generator = torch.Generator().manual_seed(number)
    rows = torch.randn(count + lookback, FEATURES, generator=generator)
    targets = torch.randn(count + lookback, 1, generator=generator)
    train, valid = Span(0, count - VALID), Span(count - VALID, count)
    return FoldTensors(
        Windows(rows, targets, (train,), lookback), Windows(rows, targets, (valid,), lookback), ()
    )


def training(config: Config) -> Iterator[Epoch]:
    """Return the training of five folds."""
    folds = [fold(config.lookback, number) for number in range(FOLDS)]
    networks = build_networks(config, FEATURES, FOLDS, torch.device("cpu"), seed=0)
    return iter(FoldTraining(networks, folds, config, TrainingConfig(99, 99), seed=0))


def measure(config: Config, rounds: int) -> tuple[list[float], list[float], float]:
    """Return seconds of an epoch in step and apart, and the largest difference of a loss."""
    ways = {True: training(config), False: training(config)}
    took: dict[bool, list[float]] = {True: [], False: []}
    losses: dict[bool, tuple[float, ...]] = {}
    for _ in range(rounds + 1):
        for in_step, epochs in ways.items():
            with patch.object(
                puffin.models.training.together, "_can_step_together", return_value=in_step
            ):
                started = time.process_time()
                (epoch,) = islice(epochs, 1)
                took[in_step].append(time.process_time() - started)
            losses[in_step] = epoch.fold_losses
    off = max(abs(a / b - 1) for a, b in zip(losses[True], losses[False], strict=True))
    return took[True][1:], took[False][1:], off


def main() -> None:
    """Print a row for each shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    setup_torch("cpu", 1.0)
    print("batch lookback widths       apart ms  in step ms  ratio (min, max)  losses differ by")
    for batch, lookback, widths, dropout in SHAPES:
        config = Config("gru", widths, dropout, lookback, lr=0.003, batch_size=batch)
        in_step, apart, off = measure(config, given.rounds)
        ratios = sorted(a / b for a, b in zip(in_step, apart, strict=True))
        print(
            f"{batch:5}{lookback:9} {widths!s:12}"
            f"{1e3 * statistics.median(apart):9.0f}{1e3 * statistics.median(in_step):12.0f}"
            f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})  {off:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
