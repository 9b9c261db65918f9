"""Targets trained per second by number of symbols, at equal architecture and batch.

One fold of noise; an epoch of N symbols has N times the targets. Rounds alternate between the
numbers of symbols, and the ratio of each round to one symbol counts. One thread. `--start N` times
instead how a worker reads a snapshot of N symbols and builds its dataset, and its peak memory.
`--profile N` says which part of an epoch of N symbols is spent on what.

    python benchmarks/basket.py --symbols 1 3 20 100
    python benchmarks/basket.py --profile 20
    python benchmarks/basket.py --start 100 --bars 5000
"""

import argparse
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from puffin.models.config import Config, TrainingConfig
from puffin.models.folds import Span
from puffin.models.training import fold_training
from puffin.models.training.adam import Adam
from puffin.models.training.fold_training import FoldTraining
from puffin.models.training.trainer import Trainer
from puffin.models.windows import FoldTensors, Windows
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.snapshot import frames_from_csv, frames_to_csv
from puffin.studies.spec import parse_spec
from puffin.tuner.worker.process import setup_torch

CPU = torch.device("cpu")
BARS, VALID, FEATURES, EPOCHS = 1200, 60, 3, 2
# cell, batch, lookback, widths
SHAPES = (
    ("gru", 64, 20, (32,)),
    ("lstm", 64, 20, (32,)),
    ("gru", 256, 20, (32,)),
    ("lstm", 256, 20, (64, 32)),
    ("gru", 1024, 40, (64,)),
)


def fold_of(symbols: int, lookback: int) -> FoldTensors:
    """Return a fold of noise, with as many targets of each symbol."""
    rows = torch.randn(symbols * BARS, FEATURES)
    targets = torch.randn(symbols * BARS, 1)
    first, last = BARS - lookback + 1 - VALID, BARS - lookback + 1
    bases = [number * BARS for number in range(symbols)]
    train = tuple(Span(base, base + first) for base in bases)
    valid = tuple(Span(base + first, base + last) for base in bases)
    bars = tuple(np.arange(VALID) for _ in bases)
    return FoldTensors(
        Windows(rows, targets, train, lookback), Windows(rows, targets, valid, lookback), bars
    )


def targets_per_second(config: Config, symbols: int) -> float:
    """Return the training targets per second of processor time, validation included."""
    fold = fold_of(symbols, config.lookback)
    limits = TrainingConfig(EPOCHS + 1, EPOCHS + 1)
    epochs = iter(FoldTraining([fold], config, limits, seed=0))
    next(epochs)  # the first one is slower
    started = time.process_time()
    for _ in epochs:
        pass
    return EPOCHS * len(fold.train) / (time.process_time() - started)


def profile(config: Config, symbols: int) -> dict[str, float]:
    """Return the share of an epoch of one fold by what it is spent on."""
    fold = fold_of(symbols, config.lookback)
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = function(*args, **options)
            spent[name] += time.perf_counter() - started
            return result

        return call

    with (
        patch.object(Trainer, "_gather", timed("windows", Trainer._gather)),  # noqa: SLF001  # timed
        patch.object(Adam, "step", timed("Adam", Adam.step)),
        patch.object(torch.Tensor, "backward", timed("backward", torch.Tensor.backward)),
        patch.object(fold_training, "validate", timed("validation", fold_training.validate)),
    ):
        epochs = iter(FoldTraining([fold], config, TrainingConfig(3, 3), seed=0))
        next(epochs)  # the first one is slower
        spent.clear()
        started = time.perf_counter()
        next(epochs)
        total = time.perf_counter() - started
    return {name: seconds / total for name, seconds in spent.items()} | {
        "forward and the rest": 1 - sum(spent.values()) / total
    }


def print_profile(symbols: int) -> None:
    """Print the shares of each shape."""
    print("cell  batch lookback widths      windows  backward  Adam  validation  forward and rest")
    for cell, batch, lookback, widths in SHAPES:
        shares = profile(Config(cell, widths, 0.0, lookback, batch_size=batch), symbols)
        columns = ("windows", "backward", "Adam", "validation", "forward and the rest")
        print(
            f"{cell:5} {batch:5} {lookback:8} {widths!s:10} "
            + " ".join(f"{shares[name]:9.1%}" for name in columns),
            flush=True,
        )


def start(symbols: int, bars: int, features: Sequence[str]) -> None:
    """Print the processor seconds of the start of a worker, and its peak memory."""
    rng = np.random.default_rng(0)
    days = pd.bdate_range("2000-01-03", periods=bars, name="date").as_unit("us")
    frames = {}
    for number in range(symbols):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
        spread = 1 + np.abs(rng.normal(0, 0.01, bars))
        columns = {"open": close, "high": close * spread, "low": close / spread, "close": close}
        volume = rng.integers(100_000, 10_000_000, bars).astype(float)
        frames[f"S{number:03}"] = pd.DataFrame(columns | {"volume": volume}, index=days)
    values = {
        "name": "start",
        "data": {"symbol": "X", "features": list(features), "target": "range"},
        "space": {"lookback": {"low": 10, "high": 60}},
    }
    spec = parse_spec(values, "start")
    body = frames_to_csv(cut_holdout(frames, spec)[0], is_basket=symbols > 1)
    del frames
    begun = time.process_time()
    again = frames_from_csv(body, "X")
    read = time.process_time()
    dataset = Dataset.build(spec, again)
    built = time.process_time()
    dataset.tensors(60, CPU)
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{symbols} symbols, {bars} bars, {len(features)} features, {len(body) / 1e6:.1f} MB: read "
        f"{read - begun:.2f} s, dataset {built - read:.2f} s, folds of a trial {ended - built:.2f} "
        f"s; peak {peak:.0f} MiB"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=int)
    parser.add_argument("--bars", type=int, default=5000)
    parser.add_argument("--features", nargs="+", default=["return", "range", "volume"])
    parser.add_argument("--symbols", type=int, nargs="+", default=[1, 3, 20, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=int)
    given = parser.parse_args()
    setup_torch("cpu", 1.0)
    if given.start is not None:
        start(given.start, given.bars, given.features)
        return
    if given.profile is not None:
        print_profile(given.profile)
        return
    print("cell  batch lookback widths     symbols  targets/s  ratio to one (min, max)")
    for cell, batch, lookback, widths in SHAPES:
        config = Config(cell, widths, 0.0, lookback, batch_size=batch)
        rounds = [
            {symbols: targets_per_second(config, symbols) for symbols in given.symbols}
            for _ in range(given.rounds)
        ]
        for symbols in given.symbols:
            ratios = sorted(each[symbols] / each[given.symbols[0]] for each in rounds)
            speed = statistics.median(each[symbols] for each in rounds)
            print(
                f"{cell:5} {batch:5} {lookback:8} {widths!s:10} {symbols:7} {speed:10,.0f}  "
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
