"""The script that a competent person writes: Optuna, torch, a loop over folds, and nothing else.

It forecasts the log range of the next day, or its return, from return, range and volume of a
stock's bars, as the presets `volatility` and `daily` do, over the same folds and the same search
space: TPE, a median pruner that hears of each fold as it ends, a DataLoader, early stopping per
fold, torch's default threads. Given several stocks it trains one network for all, on the features
and in the space of the preset `basket`. It shares no code with the product but the reading of the
embedded bars.

    python benchmarks/plain.py --trials 40 --seed 0 --target range --out plain.json
    python benchmarks/plain.py --symbols AAPL IBM MSFT --trials 40 --out plain.json
    python benchmarks/plain.py --configs configs.json --epochs 3 --out plain.json
"""

import argparse
import copy
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest

FOLDS, VALID, HOLDOUT = 5, 120, 250
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
Parts = tuple[TensorDataset, TensorDataset]


@dataclass(frozen=True)
class Space:
    """What is searched, and for how long one configuration trains."""

    layers: int
    widest: int
    dropout: float
    longest: int
    slowest: float
    batch_sizes: tuple[int, ...]
    epochs: int
    patience: int


ONE = Space(3, 128, 0.5, 60, 1e-4, (32, 64, 128), 50, 8)
SEVERAL = Space(2, 64, 0.4, 40, 3e-4, (128, 256, 512, 1024), 30, 6)


def series(target: str = "range", since: date | None = None, symbol: str = "AAPL") -> Arrays:
    """Return features, (bars, 3), and the target that stands in the next row, (bars,)."""
    bars = load_prices("sample", PriceRequest(symbol, None, since)).frame.iloc[:-HOLDOUT]
    close, high, low, volume = (bars[c].to_numpy() for c in ("close", "high", "low", "volume"))
    log_range = np.log(np.maximum(np.log(high / low), 1e-4))[1:]
    log_return = np.diff(np.log(close))
    columns = np.column_stack([log_return, log_range, np.diff(np.log1p(volume))])
    y = log_range if target == "range" else log_return
    return columns.astype("float32"), y.astype("float32")


def basket(target: str, since: date | None, symbols: Sequence[str]) -> list[Arrays]:
    """Return the arrays of each symbol; of several, features end with two means over them.

    They are the means of the returns and of the logarithms of their sizes, (bars, 5) in all. The
    embedded stocks have the same dates.
    """
    every = [series(target, since, symbol) for symbol in symbols]
    if len(every) == 1:
        return every
    returns = np.stack([features[:, 0] for features, _ in every])
    sizes = np.log(np.maximum(np.abs(returns), 1e-4))
    market = np.column_stack([returns.mean(axis=0), sizes.mean(axis=0)])
    return [(np.column_stack([features, market]), y) for features, y in every]


def pooled_fold(number: int, lookback: int, arrays: Sequence[Arrays], longest: int) -> Parts:
    """Cut one fold of every symbol, and put their windows one behind the other."""
    parts = [fold(number, lookback, own, longest) for own in arrays]

    def join(which: int) -> TensorDataset:
        tensors = zip(*(own[which].tensors for own in parts), strict=True)
        return TensorDataset(*(torch.cat(of_all) for of_all in tensors))

    return join(0), join(1)


def fold(number: int, lookback: int, arrays: Arrays, longest: int) -> Parts:
    """Cut one fold of a symbol into windows, standardised by its training part."""
    features, target = arrays
    stop = len(target) - (FOLDS - number) * VALID
    mean, std = features[: stop - 1].mean(axis=0), features[: stop - 1].std(axis=0)
    rows = (features - mean) / std
    level, spread = target[longest:stop].mean(), target[longest:stop].std()

    def windows(first: int, last: int) -> TensorDataset:
        x = np.stack([rows[t - lookback : t] for t in range(first, last)])
        y = (target[first:last, None] - level) / spread
        return TensorDataset(torch.tensor(x), torch.tensor(y))

    return windows(longest, stop), windows(stop, stop + VALID)


class Network(nn.Module):
    """Recurrent layers of these widths and a head on the last step."""

    def __init__(self, config: dict[str, Any], inputs: int) -> None:
        super().__init__()
        widths = [inputs, *config["hidden_dims"]]
        kind = nn.LSTM if config["cell"] == "lstm" else nn.GRU
        self.layers = nn.ModuleList(
            kind(a, b, batch_first=True) for a, b in itertools.pairwise(widths)
        )
        self.dropout = nn.Dropout(config["dropout"])
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Forecast from windows (n, lookback, 3); (n, 1)."""
        for i, layer in enumerate(self.layers):
            x, _ = layer(x)
            if i < len(self.layers) - 1:
                x = self.dropout(x)
        return torch.as_tensor(self.head(x[:, -1]))


def train_fold(
    config: dict[str, Any], parts: Parts, epochs: int, patience: int, device: str = "cpu"
) -> list[float]:
    """Train a network on one fold; return its validation loss after each epoch."""
    train, valid = parts
    loader = DataLoader(train, batch_size=config["batch_size"], shuffle=True)
    inputs = train.tensors[0].shape[-1]
    network, measure = Network(config, inputs).to(device), nn.MSELoss()
    optimizer = torch.optim.Adam(
        network.parameters(), lr=config["lr"], weight_decay=config["weight_decay"]
    )
    best, bad, weights, curve = float("inf"), 0, None, []
    for _ in range(epochs):
        network.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = measure(network(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            x, y = valid.tensors
            now = measure(network(x.to(device)), y.to(device)).item()
        curve.append(now)
        if now < best:
            best, bad, weights = now, 0, copy.deepcopy(network.state_dict())
        elif (bad := bad + 1) > patience:
            break
    if weights is not None:
        network.load_state_dict(weights)
    return curve


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Sample from the space of the preset."""
    layers = trial.suggest_int("layers", 1, space.layers)
    widest = space.widest
    return {
        "cell": trial.suggest_categorical("cell", ["lstm", "gru"]),
        "hidden_dims": [
            trial.suggest_int(f"hidden_{i}", 16, widest, log=True) for i in range(layers)
        ],
        "dropout": trial.suggest_float("dropout", 0.0, space.dropout),
        "lookback": trial.suggest_int("lookback", 10, space.longest, step=5),
        "lr": trial.suggest_float("lr", space.slowest, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", space.batch_sizes),
    }


def search(arrays: Sequence[Arrays], space: Space, trials: int, seed: int) -> list[dict[str, Any]]:
    """Search as the script's author would; return each trial with the time at which it ended."""
    begin, log = time.perf_counter(), []

    def objective(trial: optuna.Trial) -> float:
        config, losses = suggest(trial, space), []
        for number in range(FOLDS):
            parts = pooled_fold(number, config["lookback"], arrays, space.longest)
            losses.append(min(train_fold(config, parts, space.epochs, space.patience)))
            trial.report(float(np.mean(losses)), number)
            if trial.should_prune():
                raise optuna.TrialPruned
        loss = float(np.mean(losses))
        log.append({"seconds": time.perf_counter() - begin, "loss": loss, "config": config})
        return loss

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner()
    )
    torch.manual_seed(seed)
    study.optimize(objective, n_trials=trials)
    log.append({"seconds": time.perf_counter() - begin, "loss": None, "config": None})
    return log


def work(
    arrays: Sequence[Arrays],
    space: Space,
    configs: list[dict[str, Any]],
    epochs: int,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Train configurations on every fold for so many epochs."""
    begin, log = time.perf_counter(), []
    for config in configs:
        curves = [
            train_fold(
                config,
                pooled_fold(n, config["lookback"], arrays, space.longest),
                epochs,
                epochs,
                device,
            )
            for n in range(FOLDS)
        ]
        # By the product's rule, so that the two can be compared: one best epoch for all folds.
        loss = float(np.mean(curves, axis=0).min())
        log.append({"seconds": time.perf_counter() - begin, "loss": loss, "config": config})
    return log


def main() -> None:
    """Search, or train what is given, and write what came when."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=["range", "return"], default="range")
    parser.add_argument("--since", type=date.fromisoformat)
    parser.add_argument("--symbols", nargs="+", default=["AAPL"])
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="of --configs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arrays = basket(given.target, given.since, given.symbols)
    space = ONE if len(arrays) == 1 else SEVERAL
    if given.configs is None:
        log = search(arrays, space, given.trials, given.seed)
    else:
        configs = json.loads(given.configs.read_text())
        log = work(arrays, space, configs, given.epochs, given.device)
    given.out.write_text(json.dumps(log, indent=1))


if __name__ == "__main__":
    main()
