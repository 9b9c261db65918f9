"""Price of one training step: ours against neuralforecast's LSTM and GRU, at equal shapes.

Equal are the windows of a step, the bars of a window, the series that it sees, and width and number
of layers; neuralforecast has one width for all layers, and a head of one linear layer is asked for.
Its step is the difference of a long and a short fit, so that setting up is left out. One thread and
a process for each, ours as a worker sets itself up, theirs as a script finds it; both run in turn,
and the ratio of each round counts. With `--symbols N` one network learns from N series, and a step
has windows of all of them. Needs the extra `peers`.

    pip install --editable '.[peers]' && python benchmarks/peers.py
    python benchmarks/peers.py --symbols 20
"""

import argparse
import logging
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import torch

from puffin.models.config import Config
from puffin.models.folds import Span
from puffin.models.losses import LOSSES
from puffin.models.networks.rnn import build_network
from puffin.models.training.trainer import Trainer, loss_function
from puffin.models.windows import Windows
from puffin.tuner.worker.process import setup_torch

BARS = 2000
# batch, lookback, widths
SHAPES = [
    (32, 20, (16,)),
    (64, 20, (32,)),
    (64, 20, (64, 64)),
    (64, 30, (128, 128, 128)),
    (128, 20, (128, 128)),
    (128, 60, (64, 64)),
]


def table(symbols: int) -> pd.DataFrame:
    """Make series, each with two more that are known up to the present."""
    rng, days = np.random.default_rng(0), pd.date_range("2000-01-01", periods=BARS)
    frames = [
        pd.DataFrame(rng.normal(size=(BARS, 3)).astype("float32"), columns=["y", "a", "b"]).assign(
            unique_id=f"S{number}", ds=days
        )
        for number in range(symbols)
    ]
    return pd.concat(frames)


def their_seconds(config: Config, frame: pd.DataFrame, steps: int) -> float:
    """Time a fit of so many steps."""
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import GRU, LSTM

    kind: Any = LSTM if config.cell == "lstm" else GRU
    model = kind(
        h=1,
        input_size=config.lookback,
        hist_exog_list=["a", "b"],
        encoder_n_layers=len(config.hidden_dims),
        encoder_hidden_size=config.hidden_dims[0],
        decoder_layers=1,
        loss=MSE(),
        max_steps=steps,
        windows_batch_size=config.batch_size,
        scaler_type=None,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    forecaster = NeuralForecast([model], freq="D")
    started = time.perf_counter()
    forecaster.fit(frame)
    return time.perf_counter() - started


def their_step(config: Config, frame: pd.DataFrame, steps: int) -> float:
    """Return the seconds of a step."""
    short = steps // 5
    return (their_seconds(config, frame, steps) - their_seconds(config, frame, short)) / (
        steps - short
    )


def our_step(config: Config, symbols: int, steps: int) -> float:
    """Return the seconds of a step, of as many epochs as make so many."""
    torch.manual_seed(0)
    count = BARS - config.lookback + 1
    spans = tuple(Span(n * BARS, n * BARS + count) for n in range(symbols))
    rows, targets = torch.randn(symbols * BARS, 3), torch.randn(symbols * BARS, 1)
    windows = Windows(rows, targets, spans, config.lookback)
    network = build_network(config, 3)
    trainer = Trainer(network, windows, config, loss_function(LOSSES["mse"]), seed=0)
    trainer.run_epoch()
    each = -(-len(windows) // config.batch_size)
    epochs = max(round(steps / each), 1)
    started = time.perf_counter()
    for _ in range(epochs):
        trainer.run_epoch()
    return (time.perf_counter() - started) / (epochs * each)


def be_theirs() -> None:
    """Set a process up for theirs."""
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--symbols", type=int, default=1)
    given = parser.parse_args()
    frame, medians, spawn = table(given.symbols), [], get_context("spawn")
    own_process = ProcessPoolExecutor(1, spawn, setup_torch, ("cpu", 1.0))
    their_process = ProcessPoolExecutor(1, spawn, be_theirs)
    print("cell  batch lookback widths            ours ms  theirs ms  ratio (min, max)")
    for cell in ("lstm", "gru"):
        for batch, lookback, widths in SHAPES:
            config = Config(
                cell=cell, hidden_dims=widths, lookback=lookback, batch_size=batch, dropout=0.0
            )
            rounds = [
                (
                    own_process.submit(our_step, config, given.symbols, given.steps).result(),
                    their_process.submit(their_step, config, frame, given.steps).result(),
                )
                for _ in range(given.rounds)
            ]
            own, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratios = sorted(b / a for a, b in rounds)
            medians.append(statistics.median(ratios))
            print(
                f"{cell:5} {batch:5} {lookback:8} {widths!s:16} {own * 1e3:8.2f} "
                f"{theirs * 1e3:10.2f}  {medians[-1]:.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})",
                flush=True,
            )
    print(f"median of all shapes: {statistics.median(medians):.2f}")


if __name__ == "__main__":
    main()
