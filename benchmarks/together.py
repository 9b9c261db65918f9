"""Epochs of five networks in step, against one after the other.

`in step` is what `FoldTraining` does with GRUs on a CPU that are not too wide for their batches,
`apart` lets every network take its epoch alone. Both train from the same seeds, and a row ends with
the largest relative difference of a validation loss after the epochs. Without options one
configuration after the other trains on folds that grow as those of the preset `daily` do, in step
also where it is too wide. With `--search` it is what a search does: the same epochs of
configurations that a random search draws, on the folds of the preset.

    OMP_NUM_THREADS=1 python benchmarks/together.py
    OMP_NUM_THREADS=1 python benchmarks/together.py --search daily --trials 16 --rounds 3
    ... --search daily --set 'space.cell=["gru"]' --set 'space.hidden_dim={low = 8, high = 32}'
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any
from unittest.mock import patch

import optuna
import torch

import puffin.models.training.together
from puffin.models.cells import CELLS
from puffin.models.config import Config, TrainingConfig
from puffin.models.folds import Span
from puffin.models.training.fold_training import Epoch, FoldTraining
from puffin.models.windows import FoldTensors, Windows
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.space import suggest
from puffin.studies.spec import load_spec
from puffin.tuner.worker.process import setup_torch

FOLDS, FEATURES, FIRST, VALID = 5, 3, 2359, 120
CPU = torch.device("cpu")
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


def training(config: Config, folds: Sequence[FoldTensors]) -> Iterator[Epoch]:
    """Return the training of a configuration, which does not end early."""
    return iter(FoldTraining(folds, config, TrainingConfig(99, 99), seed=0))


def switched(*, on: bool) -> AbstractContextManager[Any]:
    """Return a context in which all networks step together, or none."""
    return patch.multiple(
        puffin.models.training.together,
        _can_step_together=lambda _: on,
        _groups=lambda trainers: [trainers],
    )


def measure(
    work: Sequence[tuple[Config, Sequence[FoldTensors]]],
    rounds: int,
    in_step: Callable[[], AbstractContextManager[Any]],
) -> tuple[list[float], list[float], float]:
    """Return seconds of an epoch of all, in step and apart, and the largest difference of a loss.

    A first epoch is not counted.
    """
    pairs = [(training(*each), training(*each)) for each in work]
    sums: list[list[float]] = []
    off = 0.0
    for _ in range(rounds + 1):
        took = [0.0, 0.0]
        for pair in pairs:
            losses = []
            for i, (epochs, context) in enumerate(
                zip(pair, (in_step(), switched(on=False)), strict=True)
            ):
                with context:
                    started = time.process_time()
                    (epoch,) = islice(epochs, 1)
                    took[i] += time.process_time() - started
                losses.append(epoch.fold_losses)
            off = max(off, *(abs(a / b - 1) for a, b in zip(*losses, strict=True)))
        sums.append(took)
    return [a for a, _ in sums[1:]], [b for _, b in sums[1:]], off


def drawn(preset: str, settings: Sequence[str], trials: int) -> list[tuple[Config, Any]]:
    """Return configurations of a random search, and the folds of each."""
    spec = load_spec(preset, settings)
    frame = load_prices("sample", PriceRequest("AAPL", None, spec.data.start)).frame
    dataset = Dataset.build(spec, cut_holdout({"AAPL": frame}, spec)[0])
    study = optuna.create_study(sampler=SAMPLERS["random"].make(spec.search.seed))
    configs = [suggest(study.ask(), spec.parsed_space) for _ in range(trials)]
    return [(config, dataset.tensors(config.lookback, CPU)) for config in configs]


def row(in_step: list[float], apart: list[float], off: float) -> str:
    """Return the end of a row."""
    ratios = sorted(a / b for a, b in zip(in_step, apart, strict=True))
    return (
        f"{1e3 * statistics.median(apart):9.0f}{1e3 * statistics.median(in_step):12.0f}"
        f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})  {off:.0e}"
    )


def _sums(columns: Sequence[list[float]]) -> list[float]:
    return [sum(values) for values in zip(*columns, strict=True)]


def main() -> None:
    """Print a row for each shape, or for each cell of a search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--search", metavar="PRESET")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--trials", type=int, default=16)
    given = parser.parse_args()
    setup_torch("cpu", 1.0)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = " apart ms  in step ms  ratio (min, max)  losses differ by"
    if given.search:
        print(f"trials    {columns}")
        work = drawn(given.search, given.set, given.trials)
        cells = {cell: [each for each in work if each[0].cell == cell] for cell in CELLS}
        parts = {cell: measure(of, given.rounds, nullcontext) for cell, of in cells.items() if of}
        for cell, part in parts.items():
            print(f"{len(cells[cell]):3} {cell:6}{row(*part)}")
        in_step, apart, off = zip(*parts.values(), strict=True)
        print(f"{len(work):3} all   {row(_sums(in_step), _sums(apart), max(off))}")
        return
    print(f"batch lookback widths      {columns}")
    for batch, lookback, widths, dropout in SHAPES:
        config = Config("gru", widths, dropout, lookback, lr=0.003, batch_size=batch)
        folds = [fold(lookback, number) for number in range(FOLDS)]
        found = measure([(config, folds)], given.rounds, lambda: switched(on=True))
        print(f"{batch:5}{lookback:9} {widths!s:12}{row(*found)}", flush=True)


if __name__ == "__main__":
    main()
