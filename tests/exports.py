"""Small exports with an untrained network and consistent files: of one symbol, and of two."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from puffin.models.config import Config
from puffin.models.networks.rnn import build_network
from puffin.studies.export.card import model_card
from puffin.studies.export.record import ExportRecord
from puffin.studies.prices.snapshot import frames_to_csv, to_csv

LOOKBACK, SEARCH_BARS = 4, 80
RESIDUALS = np.random.default_rng(5).normal(0, 0.02, 60)
SEALED = np.random.default_rng(6).normal(0, 0.02, 20)
FORECASTS = ("forecasts.csv", "forecasts-holdout.csv")
_MIDDLE = {"return": 0.0, "range": -4.0, "volume": 0.0, "price": 100.0, "change": 0.0}
_DAY = "2020-01-20"
_SHARES = {"skill": 0.1, "direction_accuracy": 0.6}


def bars(count: int = 100, first: str = "2020-01-01") -> pd.DataFrame:
    random = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    spread = np.exp(random.normal(-4, 0.3, count))
    values = {
        "high": close * np.exp(spread / 2),
        "low": close * np.exp(-spread / 2),
        "close": close,
        "volume": random.integers(1, 1000, count).astype(float),
    }
    return pd.DataFrame(values, index=pd.bdate_range(first, periods=count, name="date"))


def table(residuals: np.ndarray, stop: int = SEARCH_BARS) -> bytes:
    """Return forecasts of the bars before `stop`."""
    dates = pd.bdate_range(end=bars().index[stop - 1], periods=len(residuals))
    columns = {"date": dates, "fold": 1, "forecast": 1.0, "actual": 1.0 + residuals}
    return pd.DataFrame({**columns, "persistence": 1.0}).to_csv(index=False).encode()


def deviation(frame: pd.DataFrame, horizon: int = 1) -> pd.Series:
    """Return how far the log range deviated of late, from weighted means of pandas."""
    known = (frame["high"] / frame["low"]).map(np.log).map(np.log)[horizon:]
    distance = (known - known.ewm(alpha=0.06).mean().shift(horizon)).abs().dropna()
    return distance.ewm(alpha=0.03).mean()


def scores(residuals: np.ndarray, frame: pd.DataFrame, stop: int, horizon: int = 1) -> np.ndarray:
    """Return residuals of the bars before `stop` over the deviation when they were forecast."""
    last = len(frame) - stop + horizon
    return residuals / deviation(frame, horizon).to_numpy()[-last - len(residuals) : -last]


def record_values(
    features: tuple[str, ...] = ("range",),
    target: str = "range",
    horizon: int = 1,
    *,
    opened: bool = False,
) -> dict[str, Any]:
    """Return the values of config.toml."""
    frame = bars()
    times = [f"{time:%Y-%m-%d}" for time in frame.index]
    parts = {"prices-search.csv": frame[:SEARCH_BARS], "prices-holdout.csv": frame[SEARCH_BARS:]}
    fold = dict.fromkeys(("train_first", "train_last", "valid_first", "valid_last"), _DAY)
    machine = {"processor": "some", "torch": "2.13.0"}
    values: dict[str, Any] = {
        "study": "own",
        "trial": 7,
        "epochs": 3,
        "targets_sha256": "0" * 64,
        "config": Config(hidden_dims=(3,), lookback=LOOKBACK).to_dict(),
        "scores": {
            "loss": 0.9,
            "fold_losses": [0.8, 0.9, 1.0],
            "persistence_loss": 1.0,
            "mean_loss": 1.1,
            **_SHARES,
            "direction_interval": [0.5, 0.7],
            "mean_direction_accuracy": 0.5,
        },
        "input": {
            "features": list(features),
            "target": target,
            "horizon": horizon,
            "feature_mean": [_MIDDLE.get(name, 0.0) for name in features],
            "feature_std": [0.3] * len(features),
            "target_mean": _MIDDLE[target] + 0.1,
            "target_std": 0.02 if target == "return" else 0.4,
        },
        "data": {
            "origin": "sample AAPL",
            "bars": len(frame),
            "first": times[0],
            "last": times[-1],
            "search_last": times[SEARCH_BARS - 1],
            "sha256": {k: hashlib.sha256(to_csv(v)).hexdigest() for k, v in parts.items()},
        },
        "made_with": {"puffin-tuner": "0.2.0", "torch": "2.13.0"},
        "machine": {"trial": machine, "refit": machine},
        "folds": [fold] * 3,
        "spec": {
            "name": "own",
            "data": {
                "symbol": "AAPL",
                "features": list(features),
                "target": target,
                "horizon": horizon,
            },
            "walk_forward": {"folds": 3, "valid_bars": 20},
            "space": {"layers": 1, "hidden_dim": [3, 4], "lookback": [3, LOOKBACK]},
        },
        "refit": {
            "data": "search",
            "targets": 30,
            "last": times[SEARCH_BARS - 1],
            "seeds": [0],
            "loss": "mse",
        },
    }
    return values | (_judged(values, times) if opened else {"unjudged": "it is sealed"})


def _judged(values: dict[str, Any], times: list[str]) -> dict[str, Any]:
    losses = {"search_loss": 1.0, "holdout_loss": 1.0}
    return {
        "machine": values["machine"] | {"holdout": values["machine"]["trial"]},
        "seal": {"openings": [{"time": "2026-11-26T16:36:40+00:00", "trial": 7}]},
        "holdout": {
            "first": times[SEARCH_BARS],
            "last": times[-1],
            "bars": 20,
            "loss": 0.9,
            **_SHARES,
            "outcome": "undecided",
            "sentences": ["Who knows.", "There is no backtest."],
            "baselines": [{"name": "persistence", "label": "persistence", **losses}],
        },
    }


def export_files(
    values: dict[str, Any], residuals: np.ndarray = RESIDUALS, sealed: np.ndarray = SEALED
) -> dict[str, bytes]:
    """Return every file of an export except its checksums."""
    record = ExportRecord.of(values)
    torch.manual_seed(1)
    network = build_network(record.config, len(record.input.features))
    files = {
        "config.toml": record.to_toml(),
        "README.md": model_card(record).encode(),
        "model.safetensors": save(
            {f"members.0.{name}": w for name, w in network.state_dict().items()}
        ),
        "prices-search.csv": to_csv(bars().iloc[:SEARCH_BARS]),
        "forecasts.csv": table(residuals),
    }
    if record.holdout is not None:
        files["prices-holdout.csv"] = to_csv(bars().iloc[SEARCH_BARS:])
        files["forecasts-holdout.csv"] = table(sealed, stop=100)
    return files


def two_symbols() -> dict[str, pd.DataFrame]:
    """Return the bars of NA, whose name is also that of nothing, and of B, which starts later."""
    return {"NA": bars(), "B": bars(90, "2020-01-15") * 2}


SCALERS = ("feature_mean", "feature_std", "target_mean", "target_std")
# Errors of NA, and those of B in each part.
OF_B = np.random.default_rng(8).normal(0, 0.04, 60), np.random.default_rng(9).normal(0, 0.04, 20)


def basket_values(
    features: tuple[str, ...] = ("range",),
    target: str = "range",
    horizon: int = 1,
    *,
    opened: bool = False,
) -> dict[str, Any]:
    """Return the values of config.toml of two symbols, the second of which is scaled wider."""
    values = record_values(features, target, horizon, opened=opened)
    inputs, scores, data = values["input"], values["scores"], values["data"]
    one = {key: inputs.pop(key) for key in SCALERS}
    inputs["scalers"] = {"NA": one, "B": one | {"target_std": 2 * one["target_std"]}}
    losses = {"NA": 0.8, "B": 1.0}
    scores |= {"symbol_losses": losses, "symbol_persistence": dict.fromkeys(losses, 1.0)}
    values["spec"]["data"] |= {"symbol": None, "symbols": list(losses)}
    if opened:
        values["holdout"]["bars"] = 2 * len(SEALED)
    parts = basket_parts()
    data["sha256"] = {k: hashlib.sha256(v).hexdigest() for k, v in parts.items()}
    data["bars"] = sum(map(len, two_symbols().values()))
    return values


def basket_parts() -> dict[str, bytes]:
    """Return the two files of prices of two symbols, cut on one day."""
    cut, frames = bars().index[SEARCH_BARS], two_symbols()
    search = {symbol: frame[frame.index < cut] for symbol, frame in frames.items()}
    sealed = {symbol: frame[frame.index >= cut] for symbol, frame in frames.items()}
    return {
        "prices-search.csv": frames_to_csv(search, is_basket=True),
        "prices-holdout.csv": frames_to_csv(sealed, is_basket=True),
    }


def basket_files(values: dict[str, Any]) -> dict[str, bytes]:
    """Return every file of an export of two symbols except its checksums."""
    files = export_files(values)
    for name, body in basket_parts().items():
        files |= {name: body} if name in files else {}
    stops = (SEARCH_BARS, len(bars()))
    for name, own, other, stop in zip(FORECASTS, (RESIDUALS, SEALED), OF_B, stops, strict=True):
        files |= {name: basket_table({"NA": own, "B": other}, stop)} if name in files else {}
    return files


def basket_table(residuals: dict[str, np.ndarray], stop: int = SEARCH_BARS) -> bytes:
    rows = [pd.read_csv(io.BytesIO(table(errors, stop))) for errors in residuals.values()]
    frames = [frame.assign(symbol=name) for name, frame in zip(residuals, rows, strict=True)]
    columns = ["date", "fold", "symbol", "forecast", "actual", "persistence"]
    return pd.concat(frames)[columns].to_csv(index=False).encode()


def write_export(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files with valid checksums, also if they were altered."""
    lines = [f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items()]
    for name, body in {**files, "SHA256SUMS": "".join(lines).encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder
