"""Price of the training loop: our step against the bare torch step, at equal shapes.

The bare step is forward, loss, backward and torch's Adam, with torch's layers, on one batch that
lies ready; ours also shuffles, gathers windows and sums losses. Both run in turn, epoch by epoch,
and the ratio of each pair counts. `--symbols N` has the batches of a basket, from windows of N
symbols. `--as-is` leaves the C library as a script finds it, which keeps less memory between steps.

    python benchmarks/step.py --device cpu
    OMP_NUM_THREADS=1 python benchmarks/step.py --symbols 20 --pairs 5
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from puffin.models.config import Config
from puffin.models.folds import Span
from puffin.models.losses import LOSSES
from puffin.models.networks.dropout import Dropout
from puffin.models.networks.gru import GRU
from puffin.models.networks.rnn import build_network
from puffin.models.training.trainer import Trainer, loss_function
from puffin.models.windows import Windows
from puffin.tuner.worker.process import setup_torch

FEATURES, BARS = 3, 2000
# batch, lookback, widths
SHAPES = [
    (32, 20, (16,)),
    (64, 20, (32,)),
    (64, 20, (64, 32)),
    (64, 30, (128, 64, 32)),
    (64, 20, (128, 128)),
    (128, 60, (64, 32)),
]
BASKET_SHAPES = [
    (256, 20, (32,)),
    (512, 20, (32,)),
    (512, 20, (64, 32)),
    (1024, 20, (32,)),
    (1024, 20, (128, 128)),
    (1024, 40, (64,)),
]


def seconds_per_step(epoch: Callable[[], object], steps: int, device: torch.device) -> float:
    """Time one epoch."""
    started = time.perf_counter()
    epoch()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def bare_epoch(
    network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int
) -> Callable[[], None]:
    """Make an epoch of nothing but steps."""
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    network.train()

    def epoch() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(network(x), y)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
            optimizer.step()

    return epoch


def stock(network: torch.nn.Module) -> torch.nn.Module:
    """Have a network run on torch's GRU and dropout instead of ours."""
    for layer in network.modules():
        if isinstance(layer, GRU):
            layer.__class__ = torch.nn.GRU  # type: ignore[assignment]
        if isinstance(layer, Dropout):
            layer.__class__ = torch.nn.Dropout  # type: ignore[assignment]
    return network


def windows_of(config: Config, symbols: int, bars: int, device: torch.device) -> Windows:
    """Return windows of noise of as many symbols, whole batches only, as the bare step has."""
    rows, targets = (torch.randn(symbols * bars, n, device=device) for n in (FEATURES, 1))
    each = bars - config.lookback + 1
    # The last symbol has fewer windows, so that all together are whole batches.
    last = each - symbols * each % config.batch_size
    counts = [each] * (symbols - 1) + [last]
    spans = [Span(place * bars, place * bars + count) for place, count in enumerate(counts)]
    return Windows(rows, targets, tuple(spans), config.lookback)


def measure(
    config: Config, pairs: int, device: torch.device, bars: int = BARS, symbols: int = 1
) -> tuple[float, float, list[float]]:
    """Return median milliseconds of both steps and the ratio of each pair."""
    windows = windows_of(config, symbols, bars, device)
    steps = len(windows) // config.batch_size
    network = build_network(config, FEATURES).to(device)
    ours = Trainer(network, windows, config, loss_function(LOSSES["mse"]), seed=0).run_epoch
    size = config.batch_size
    batch = windows.view()[:size].contiguous(), windows.targets[:size]
    bare = bare_epoch(stock(build_network(config, FEATURES)).to(device), *batch, steps)
    for epoch in (ours, bare):
        epoch()
    times = [
        (seconds_per_step(ours, steps, device), seconds_per_step(bare, steps, device))
        for _ in range(pairs)
    ]
    own, plain = (statistics.median(t) * 1e3 for t in zip(*times, strict=True))
    return own, plain, sorted(a / b for a, b in times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--symbols", type=int, default=1)
    parser.add_argument("--as-is", action="store_true")
    options = parser.parse_args()
    device = torch.device(options.device) if options.as_is else setup_torch(options.device, 1.0)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("cell  batch lookback widths          ours ms  bare ms  ratio (min, max)")
    medians = []
    for cell in ("lstm", "gru"):
        for batch, lookback, widths in SHAPES if options.symbols == 1 else BASKET_SHAPES:
            config = Config(cell=cell, hidden_dims=widths, lookback=lookback, batch_size=batch)
            own, plain, ratios = measure(config, options.pairs, device, symbols=options.symbols)
            medians.append(statistics.median(ratios))
            print(
                f"{cell:5} {batch:5} {lookback:8} {widths!s:14} {own:8.2f} {plain:8.2f}"
                f"  {medians[-1]:.3f} ({ratios[0]:.3f}, {ratios[-1]:.3f})",
                flush=True,
            )
    print(f"median of all shapes: {statistics.median(medians):.3f}")


if __name__ == "__main__":
    main()
