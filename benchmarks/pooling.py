"""One network for all symbols against one for each, at equal architecture, folds and rules.

Both are trained on the folds of the search part; each symbol counts the same. The best epoch is
then trained again on the search part and scored on the holdout. `--planted N` makes N symbols whose
returns share a non-linear factor that no linear model sees: the product of their last two returns,
which explains 3 % of the variance.

    python benchmarks/pooling.py --targets range volatility return --seeds 3
    python benchmarks/pooling.py --planted 20 100 --seeds 3
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from puffin.models.config import Config, TrainingConfig
from puffin.models.training.fold_training import FoldTraining, build_networks, validate
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import loss_function
from puffin.studies.dataset import Dataset, Frames, cut_holdout
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import Spec, parse_spec
from puffin.tuner.worker.process import setup_torch

CPU = torch.device("cpu")
SAMPLE = ("AAPL", "IBM", "MSFT")
TRAINING = TrainingConfig(max_epochs=30, patience=6)
# Targets of a batch: a step of the pooled network has those of a few symbols.
BATCH, POOLED_BATCH = 64, 64
BARS, SHARE = 1500, 0.1


@dataclass(frozen=True)
class Result:
    """Mean losses over symbols, on the search folds and on the holdout, and processor seconds."""

    search: float
    holdout: float
    seconds: float


def spec_of(target: str, features: Sequence[str], bars: int) -> Spec:
    """Return a study file; its symbols are of no matter."""
    walk = {"folds": 3, "valid_bars": 120, "holdout_bars": min(250, bars // 6)}
    values = {
        "name": "pooling",
        "data": {"symbol": "X", "features": list(features), "target": target},
        "walk_forward": walk,
        "space": {"lookback": [10, 20]},
    }
    return parse_spec(values, "pooling")


def train(spec: Spec, frames: Frames, batch: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return the losses of each symbol on the folds and on the holdout, of one network a fold."""
    config = Config("gru", (32,), dropout=0.0, lookback=20, lr=0.002, batch_size=batch)
    search, sealed = cut_holdout(frames, spec)
    folds = Dataset.build(spec, search)
    networks = build_networks(config, folds.inputs, len(folds.folds), CPU, seed)
    tensors = folds.tensors(config.lookback, CPU)
    training = FoldTraining(networks, tensors, config, TRAINING, seed)
    for _ in training:
        pass
    best = training.best
    if best is None:
        raise RuntimeError("the training diverged in its first epoch: lower the learning rate")
    searched = folds.symbol_losses(folds.in_target_units(best.forecasts))
    opened = Dataset.for_holdout(spec, search, sealed)
    (fold,) = opened.tensors(config.lookback, CPU)
    network = Refit(fold.train, config, "mse", best.number, seed).train()
    losses, _ = validate(network, fold.valid, loss_function("mse"))
    symbols = [part.member.symbol for part in opened.parts[0]]
    held = dict(zip(symbols, losses.tolist(), strict=True))
    return {symbol: (searched[symbol], held[symbol]) for symbol in searched}


def compare(spec: Spec, frames: Frames, seed: int) -> tuple[Result, Result]:
    """Return the results of one network for all symbols, and of one for each."""
    started = time.process_time()
    pooled = train(spec, frames, POOLED_BATCH, seed)
    middle = time.process_time()
    each: dict[str, tuple[float, float]] = {}
    for symbol, frame in frames.items():
        each |= train(spec, {symbol: frame}, BATCH, seed)
    ended = time.process_time()
    return _mean(pooled, middle - started), _mean(each, ended - middle)


def _mean(losses: Mapping[str, tuple[float, float]], seconds: float) -> Result:
    search, holdout = np.mean(list(losses.values()), axis=0).tolist()
    return Result(search, holdout, seconds)


def planted(symbols: int, seed: int) -> dict[str, pd.DataFrame]:
    """Return prices whose next return follows from the product of the last two, in all symbols."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((BARS, symbols))
    moves = noise.copy()
    for bar in range(2, BARS):
        moves[bar] += np.sqrt(SHARE) * np.tanh(moves[bar - 1] * moves[bar - 2])
    closes = 100 * np.exp(0.01 * np.cumsum(moves, axis=0))
    days = pd.bdate_range("2000-01-03", periods=BARS, name="date").as_unit("us")
    return {f"S{i:03}": pd.DataFrame({"close": closes[:, i]}, index=days) for i in range(symbols)}


def main() -> None:
    """Print a row for each target or number of symbols, and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="*", default=[])
    parser.add_argument("--planted", nargs="*", type=int, default=[])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    setup_torch("cpu", 1.0)
    cases: dict[str, tuple[Spec, dict[str, pd.DataFrame] | int]] = {}
    for target in given.targets:
        frames = load_basket("sample", PriceRequest(), SAMPLE).frames
        spec = spec_of(target, ("return", "range", "volume"), len(frames["AAPL"]))
        cases[f"three stocks, {target}"] = spec, frames
    for count in given.planted:
        cases[f"{count} planted"] = spec_of("return", ("return",), BARS), count
    print("case                     seed   all: search holdout   s   each: search holdout   s")
    for name, (spec, source) in cases.items():
        for seed in range(given.seeds):
            frames = planted(source, seed) if isinstance(source, int) else source
            pooled, each = compare(spec, frames, seed)
            print(
                f"{name:25}{seed:4}      {pooled.search:8.4f}{pooled.holdout:8.4f}"
                f"{pooled.seconds:5.0f}       {each.search:8.4f}{each.holdout:8.4f}"
                f"{each.seconds:5.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
