"""One training step of all folds: what we do, and what a GPU might do better.

`loop` is ours: layer by layer, one fold after the other. `stacked` gives every tensor a leading
fold axis, and loops over time with batched products. On CUDA `streams` is the loop with a stream
for each fold, each of the three is also captured in a CUDA graph, and `graph per fold` replays one
graph for each fold on a stream of its own. All take the same step from the same weights
(tests/unit/training/test_fold_step.py holds `stacked` to `loop`).

    python benchmarks/fold_step.py --device cuda
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from puffin.models.config import Config
from puffin.models.training.adam import Adam
from puffin.models.training.fold_training import build_networks
from puffin.tuner.worker.process import setup_torch

FOLDS, FEATURES, RATE = 5, 3, 1e-3
# batch, lookback, widths
SHAPES = [
    (32, 20, (16,)),
    (64, 20, (64, 32)),
    (64, 30, (128, 64, 32)),
    (128, 60, (128, 128)),
    (512, 20, (64, 32)),
    (1024, 20, (64, 32)),
    (1024, 20, (128, 128)),
]
Step = Callable[[], None]


class Stacked(nn.Module):
    """Networks of one shape as one, with a leading fold axis; without dropout.

    Parameters
    ----------
    networks : sequence of StackedLSTM or StackedGRU
        Whose weights are copied.
    cell : str
        A key of ``puffin.models.cells.CELLS``.
    """

    def __init__(self, networks: Sequence[nn.Module], cell: str) -> None:
        super().__init__()
        self.gated = _lstm if cell == "lstm" else _gru
        named = [dict(network.named_parameters()) for network in networks]
        stacked = {name: torch.stack([one[name].detach() for one in named]) for name in named[0]}
        self.weights = nn.ParameterList(
            nn.Parameter(value.transpose(1, 2).contiguous() if value.ndim == 3 else value[:, None])
            for value in stacked.values()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (fold, batch, lookback, feature) to forecasts (fold, batch, output)."""
        *layers, weight, bias = self.weights
        folds, batch, lookback, _ = x.shape
        for start in range(0, len(layers), 4):
            w_x, w_h, b_x, b_h = layers[start : start + 4]
            inputs = torch.baddbmm(b_x, x.flatten(1, 2), w_x).view(folds, batch, lookback, -1)
            x = self.gated(inputs, w_h, b_h)
        return torch.baddbmm(bias, x[:, :, -1], weight)


def _lstm(inputs: Tensor, w_h: Tensor, b_h: Tensor) -> Tensor:
    """Run one layer over time; inputs (fold, batch, lookback, 4 width), out (..., width)."""
    h = c = inputs.new_zeros(*inputs.shape[:2], w_h.shape[1])
    out = []
    for now in inputs.unbind(2):
        i, f, g, o = (now + torch.baddbmm(b_h, h, w_h)).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        out.append(h)
    return torch.stack(out, dim=2)


def _gru(inputs: Tensor, w_h: Tensor, b_h: Tensor) -> Tensor:
    """Run one layer over time; inputs (fold, batch, lookback, 3 width), out (..., width)."""
    h = inputs.new_zeros(*inputs.shape[:2], w_h.shape[1])
    out = []
    for now in inputs.unbind(2):
        r_x, z_x, n_x = now.chunk(3, dim=-1)
        r_h, z_h, n_h = torch.baddbmm(b_h, h, w_h).chunk(3, dim=-1)
        n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        h = torch.lerp(n, h, torch.sigmoid(z_x + z_h))
        out.append(h)
    return torch.stack(out, dim=2)


def loop(networks: nn.ModuleList, x: Tensor, y: Tensor) -> Step:
    """Return a step of one fold after the other."""
    optimizers = [Adam(network.parameters(), RATE) for network in networks]

    def step() -> None:
        for i, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            _learn(optimizer, network, x[i], y[i])

    return step


def streams(networks: nn.ModuleList, x: Tensor, y: Tensor) -> Step:
    """Return a step of each fold on a CUDA stream of its own."""
    optimizers = [Adam(network.parameters(), RATE) for network in networks]
    own = [torch.cuda.Stream() for _ in networks]  # type: ignore[no-untyped-call]  # torch's own

    def step() -> None:
        main = torch.cuda.current_stream()
        for i, (network, optimizer) in enumerate(zip(networks, optimizers, strict=True)):
            own[i].wait_stream(main)
            with torch.cuda.stream(own[i]):
                _learn(optimizer, network, x[i], y[i])
        for stream in own:
            main.wait_stream(stream)

    return step


def graph_per_fold(networks: nn.ModuleList, x: Tensor, y: Tensor) -> Step:
    """Return a step of each fold as a CUDA graph of its own, all at once."""
    graphs = [captured(loop(nn.ModuleList([n]), x[[i]], y[[i]])) for i, n in enumerate(networks)]
    own = [torch.cuda.Stream() for _ in networks]  # type: ignore[no-untyped-call]  # torch's own

    def step() -> None:
        for stream, replay in zip(own, graphs, strict=True):
            with torch.cuda.stream(stream):
                replay()

    return step


def stacked(network: Stacked, x: Tensor, y: Tensor) -> Step:
    """Return a step of all folds in one."""
    optimizer = Adam(network.parameters(), RATE)
    # The sum of each fold's mean, so that no fold's gradient is a share of its own.
    return lambda: _learn(optimizer, network, x, y, len(x))


def _learn(optimizer: Adam, network: nn.Module, x: Tensor, y: Tensor, parts: int = 1) -> None:
    optimizer.zero_grad()
    (parts * functional.mse_loss(network(x), y)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def captured(step: Step) -> Step:
    """Return a step as one CUDA graph."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def candidates(config: Config, device: torch.device) -> dict[str, Step]:
    """Return a step of each kind, for networks of their own."""

    def made() -> tuple[nn.ModuleList, Tensor, Tensor]:
        networks = build_networks(config, FEATURES, FOLDS, device, seed=0)
        x = torch.randn(FOLDS, config.batch_size, config.lookback, FEATURES, device=device)
        return networks, x, torch.randn(FOLDS, config.batch_size, 1, device=device)

    def all_in_one() -> Step:
        networks, x, y = made()
        return stacked(Stacked(list(networks), config.cell).to(device), x, y)

    steps = {"loop": loop(*made()), "stacked": all_in_one()}
    if device.type == "cuda":
        steps["streams"] = streams(*made())
        graphs = {"loop": loop(*made()), "stacked": all_in_one(), "streams": streams(*made())}
        steps |= {f"{name}, graph": captured(step) for name, step in graphs.items()}
        steps["graph per fold"] = graph_per_fold(*made())
    return steps


def milliseconds(step: Step, count: int, device: torch.device) -> float:
    """Time a step."""
    started = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / count * 1e3


def measure(
    config: Config, rounds: int, count: int, device: torch.device
) -> dict[str, tuple[float, list[float]]]:
    """Return median milliseconds of each candidate, and its ratio to the loop in each round."""
    steps = candidates(config, device)
    for step in steps.values():
        milliseconds(step, 3, device)
    runs = [
        {name: milliseconds(step, count, device) for name, step in steps.items()}
        for _ in range(rounds)
    ]
    return {
        name: (
            statistics.median(run[name] for run in runs),
            sorted(run[name] / run["loop"] for run in runs),
        )
        for name in steps
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    device = setup_torch(given.device, 1.0)
    print(f"ms of a step of {FOLDS} folds, and the ratio to the loop (min, max)")
    for cell, (batch, lookback, widths) in itertools.product(("lstm", "gru"), SHAPES):
        config = Config(cell, widths, dropout=0.0, lookback=lookback, batch_size=batch)
        for name, (took, ratios) in measure(config, given.rounds, given.steps, device).items():
            print(
                f"{cell:5} {batch:4} {lookback:3} {widths!s:14} {name:15}{took:8.2f}"
                f"  {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
