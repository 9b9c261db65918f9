"""One network for all symbols against one for each, at equal architecture, folds and rules.

Both are trained on the folds of the search part; each symbol counts the same. The best epoch is
then trained again on the search part and scored on the holdout. Ridge regressions stand beside
them, one for all symbols and one for each. `--planted N` makes N symbols whose
returns share a non-linear factor that no linear model sees: the product of their last two returns,
which explains 3 % of the variance.

    python benchmarks/pooling.py --targets range volatility return --seeds 3
    python benchmarks/pooling.py --planted 20 100 --seeds 3
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from puffin.models.config import Config, TrainingConfig
from puffin.models.evaluation.baseline import Baseline
from puffin.models.evaluation.baselines import fit_each, ridge
from puffin.models.evaluation.pooled_baselines import ridge_of_all
from puffin.models.features import needs_of
from puffin.models.losses import LOSSES
from puffin.models.panel import Part
from puffin.models.training.fold_training import FoldTraining, validate
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import loss_function
from puffin.studies.bars import Frames, cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import Spec, parse_spec
from puffin.tuner.worker.process import setup_torch

CPU = torch.device("cpu")
SAMPLE = ("AAPL", "IBM", "MSFT")
TRAINING = TrainingConfig(max_epochs=30, patience=6)
BATCH, LOOKBACK = 64, 20
BARS, SHARE = 1500, 0.1


@dataclass(frozen=True)
class Result:
    """Mean losses over symbols, on the search folds and on the holdout, and processor seconds."""

    search: float
    holdout: float
    seconds: float = 0.0

    def __str__(self) -> str:
        """Write the figures in columns."""
        return f"{self.search:8.4f}{self.holdout:8.4f}{self.seconds:5.0f}"


def spec_of(target: str, features: Sequence[str], bars: int) -> Spec:
    """Return a study file; its symbols are of no matter."""
    walk = {"folds": 3, "valid_bars": 120, "holdout_bars": min(250, bars // 6)}
    values = {
        "name": "pooling",
        "data": {"symbol": "X", "features": list(features), "target": target},
        "walk_forward": walk,
        "space": {"lookback": [10, LOOKBACK]},
    }
    return parse_spec(values, "pooling")


def train(spec: Spec, frames: Frames, seed: int) -> Result:
    """Train one network on the symbols, and return its losses."""
    started = time.process_time()
    config = Config("gru", (32,), dropout=0.0, lookback=LOOKBACK, lr=0.002, batch_size=BATCH)
    search, sealed = cut_holdout(frames, spec)
    folds, opened = Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed)
    training = FoldTraining(folds.tensors(LOOKBACK, CPU), config, TRAINING, seed)
    for _ in training:
        pass
    best = training.best
    if best is None:
        raise RuntimeError("the training diverged in its first epoch: lower the learning rate")
    (fold,) = opened.tensors(LOOKBACK, CPU)
    (network,) = Refit(fold.train, config, LOSSES["mse"], best.number, [seed]).train()
    losses, _ = validate(network, fold.valid, loss_function(LOSSES["mse"]))
    return Result(best.valid_loss, float(losses.mean()), time.process_time() - started)


def train_each(spec: Spec, frames: Frames, seed: int) -> Result:
    """Train a network on each symbol, and return the mean losses."""
    found = [train(spec, {symbol: frame}, seed) for symbol, frame in frames.items()]
    means = np.mean([(each.search, each.holdout) for each in found], axis=0).tolist()
    return Result(means[0], means[1], sum(each.seconds for each in found))


def ridges(spec: Spec, frames: Frames) -> tuple[Result, Result]:
    """Return the losses of one ridge regression for all symbols, and of one for each."""
    search, sealed = cut_holdout(frames, spec)
    folds, opened = Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed)

    def result(fit: Callable[[Sequence[Part]], Baseline]) -> Result:
        searched = folds.losses([fit(found).forecasts for found in folds.parts])
        (held,) = opened.losses([fit(opened.parts[0]).forecasts])
        return Result(float(np.mean(searched)), held)

    return (
        result(lambda found: ridge_of_all(found, LOOKBACK)),
        result(lambda found: fit_each(ridge, found, LOOKBACK)),
    )


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
    parser.add_argument("--features", nargs="+", default=["return", "range", "volume"])
    parser.add_argument("--planted", nargs="*", type=int, default=[])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    setup_torch("cpu", 1.0)
    print(
        "search and holdout loss, seconds      network: all             each     ridge: all  each"
    )
    for target in given.targets:
        request = PriceRequest(needs=needs_of(given.features, target))
        frames = load_basket("sample", request, SAMPLE).frames
        spec = spec_of(target, given.features, len(frames["AAPL"]))
        for seed in range(given.seeds):
            report(f"three stocks, {target}", spec, frames, seed)
    for count in given.planted:
        spec = spec_of("return", ("return",), BARS)
        for seed in range(given.seeds):
            report(f"{count} planted", spec, planted(count, seed), seed)


def report(name: str, spec: Spec, frames: Frames, seed: int) -> None:
    """Print a row."""
    linear = "".join(f"{each.search:8.4f}{each.holdout:8.4f}" for each in ridges(spec, frames))
    networks = f"{train(spec, frames, seed)} {train_each(spec, frames, seed)}"
    print(f"{name:26}{seed:3} {networks} {linear}", flush=True)


if __name__ == "__main__":
    main()
