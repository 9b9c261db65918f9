"""The script that a competent person writes: Optuna, torch, a loop over folds, and nothing else.

It forecasts the log range of the next day, or its return, from return, range and volume of a
stock's bars, as the presets `volatility` and `daily` do, over the same folds and the same search
space: TPE, a median pruner that hears of each fold as it ends, a DataLoader, early stopping per
fold, torch's default threads. It shares no code with the product but the reading of the embedded
bars.

    python benchmarks/plain.py --trials 40 --seed 0 --target range --out plain.json
    python benchmarks/plain.py --configs configs.json --epochs 3 --out plain.json
"""

import argparse
import copy
import itertools
import json
import time
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

FOLDS, VALID, HOLDOUT, LONGEST = 5, 120, 250, 60
EPOCHS, PATIENCE = 50, 8
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
Parts = tuple[TensorDataset, TensorDataset]


def series(target: str = "range", since: date | None = None, symbol: str = "AAPL") -> Arrays:
    """Return features, (bars, 3), and the target that stands in the next row, (bars,)."""
    bars = load_prices("sample", PriceRequest(symbol, None, since)).frame.iloc[:-HOLDOUT]
    close, high, low, volume = (bars[c].to_numpy() for c in ("close", "high", "low", "volume"))
    log_range = np.log(np.maximum(np.log(high / low), 1e-4))[1:]
    log_return = np.diff(np.log(close))
    columns = np.column_stack([log_return, log_range, np.diff(np.log1p(volume))])
    y = log_range if target == "range" else log_return
    return columns.astype("float32"), y.astype("float32")


def fold(number: int, lookback: int, arrays: Arrays) -> tuple[TensorDataset, TensorDataset]:
    """Cut one fold into windows, standardised by its training part."""
    features, target = arrays
    stop = len(target) - (FOLDS - number) * VALID
    mean, std = features[: stop - 1].mean(axis=0), features[: stop - 1].std(axis=0)
    rows = (features - mean) / std
    level, spread = target[LONGEST:stop].mean(), target[LONGEST:stop].std()

    def windows(first: int, last: int) -> TensorDataset:
        x = np.stack([rows[t - lookback : t] for t in range(first, last)])
        y = (target[first:last, None] - level) / spread
        return TensorDataset(torch.tensor(x), torch.tensor(y))

    return windows(LONGEST, stop), windows(stop, stop + VALID)


class Network(nn.Module):
    """Recurrent layers of these widths and a head on the last step."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        widths = [3, *config["hidden_dims"]]
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
    network, measure = Network(config).to(device), nn.MSELoss()
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


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Sample from the space of the preset."""
    layers = trial.suggest_int("layers", 1, 3)
    return {
        "cell": trial.suggest_categorical("cell", ["lstm", "gru"]),
        "hidden_dims": [trial.suggest_int(f"hidden_{i}", 16, 128, log=True) for i in range(layers)],
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
        "lookback": trial.suggest_int("lookback", 10, 60, step=5),
        "lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
    }


def search(arrays: Arrays, trials: int, seed: int) -> list[dict[str, Any]]:
    """Search as the script's author would; return each trial with the time at which it ended."""
    begin, log = time.perf_counter(), []

    def objective(trial: optuna.Trial) -> float:
        config, losses = suggest(trial), []
        for number in range(FOLDS):
            parts = fold(number, config["lookback"], arrays)
            losses.append(min(train_fold(config, parts, EPOCHS, PATIENCE)))
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
    arrays: Arrays, configs: list[dict[str, Any]], epochs: int, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Train configurations on every fold for so many epochs."""
    begin, log = time.perf_counter(), []
    for config in configs:
        curves = [
            train_fold(config, fold(n, config["lookback"], arrays), epochs, epochs, device)
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
    parser.add_argument("--symbol", default="AAPL")
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="of --configs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arrays = series(given.target, given.since, given.symbol)
    if given.configs is None:
        log = search(arrays, given.trials, given.seed)
    else:
        log = work(arrays, json.loads(given.configs.read_text()), given.epochs, given.device)
    given.out.write_text(json.dumps(log, indent=1))


if __name__ == "__main__":
    main()
