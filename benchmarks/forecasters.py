"""Price of `TradingLSTM` and of a backtest: against a plain loop, and against a call per bar.

Both sides of a pair run in turn, and the ratio of each pair counts.

    python benchmarks/forecasters.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from puffin.models.arrays import Floats
from puffin.models.estimators.univariate import TradingLSTM
from puffin.models.evaluation.backtest import backtest
from puffin.models.networks.rnn import LSTMNet

LOOKBACK, BATCH, EPOCHS, BARS = 20, 32, 3, 3000


def plain_fit(series: Floats) -> None:
    """Do what `TradingLSTM.fit` does, as a script would: windows, steps, a validation an epoch."""
    count = len(series) - LOOKBACK
    train = int(count * 0.8)
    seen = series[: LOOKBACK + train]
    rows = torch.tensor((series - seen.mean()) / seen.std(), dtype=torch.float32)
    windows = torch.stack([rows[i : i + LOOKBACK] for i in range(count)])[:, :, None]
    targets = rows[LOOKBACK:, None]
    torch.manual_seed(0)
    network = LSTMNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    for _ in range(EPOCHS):
        network.train()
        for start in range(0, train, BATCH):
            stop = min(start + BATCH, train)
            optimizer.zero_grad()
            output = network(windows[start:stop])
            loss = torch.nn.functional.mse_loss(output, targets[start:stop])
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimizer.step()
        network.eval()
        with torch.no_grad():
            torch.nn.functional.mse_loss(network(windows[train:]), targets[train:])


def our_fit(series: Floats) -> TradingLSTM:
    """Fit as the tutorial does, without its prints."""
    forecaster = TradingLSTM(verbose=False)
    forecaster.device = torch.device("cpu")
    forecaster.fit(series, LOOKBACK, EPOCHS, batch_size=BATCH)
    return forecaster


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    steps = np.random.default_rng(0).normal(0.0, 0.01, BARS)
    prices = 100.0 * np.exp(np.cumsum(steps))

    ratios = [
        seconds(lambda: our_fit(prices)) / seconds(lambda: plain_fit(prices)) for _ in range(pairs)
    ]
    print(f"TradingLSTM.fit / plain loop, {BARS} bars, {EPOCHS} epochs: ", end="")
    print(f"median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")

    forecaster = our_fit(prices)

    def a_call_per_bar() -> Floats:
        calls = [forecaster.predict(prices[:t])[0] for t in range(LOOKBACK, BARS)]
        return np.concatenate([np.full(LOOKBACK, np.nan), calls])

    def one_call() -> Floats:
        return forecaster.historical_forecasts(prices)

    largest = np.nanmax(np.abs(a_call_per_bar() - one_call()))
    ratios = [
        seconds(lambda: backtest(prices, a_call_per_bar()))
        / seconds(lambda: backtest(prices, one_call()))
        for _ in range(max(pairs // 3, 1))
    ]
    print(f"backtest, a call per bar / one batched call, {BARS} bars: ", end="")
    print(f"median {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    print(f"largest difference of their forecasts: {largest:.2e} on prices near 100")


if __name__ == "__main__":
    main()
