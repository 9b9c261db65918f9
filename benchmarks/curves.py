"""Tables of learning curves, from which the first point of a search and its pruner were chosen.

`usual` trains 18 small networks on returns and ranges of IBM and MSFT; AAPL, on which searches are
compared, is left out. `random` trains points of the space of the preset `volatility` on ranges of
IBM, or their returns. Nothing is pruned. Each line of the output is a network: its loss after each
epoch, and the processor time until then.

    python benchmarks/curves.py usual --out usual.jsonl
    python benchmarks/curves.py random --count 40 --out random.jsonl
"""

import argparse
import itertools
import json
import math
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality import PRESETS
from puffin.models.config import Config
from puffin.models.training.fold_training import FoldTraining, build_networks
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import load_spec
from puffin.tuner.worker.process import setup_torch

SINCE, SEED = "2005-01-01", 0
# Of a slow network the table has no more, and says that it is cut.
MOST_SECONDS = 150.0


@dataclass(frozen=True)
class Job:
    """One network on one series."""

    symbol: str
    target: str
    config: Config


@cache
def workload(symbol: str, target: str) -> Dataset:
    """Prepare a series, once in each process."""
    setup_torch("cpu", 1.0)
    spec = load_spec(PRESETS[target], [f"data.symbol={symbol}", f"data.start={SINCE}"])
    frame = load_prices("sample", PriceRequest(symbol, None, spec.data.start)).frame
    return Dataset.build(spec, cut_holdout({symbol: frame}, spec)[0])


def curve(job: Job) -> dict[str, Any]:
    """Train to the end."""
    made = workload(job.symbol, job.target)
    folds = made.tensors(job.config.lookback, torch.device("cpu"))
    networks = build_networks(job.config, made.inputs, len(folds), torch.device("cpu"), SEED)
    training = FoldTraining(networks, folds, job.config, made.spec.training_config, SEED)
    started, seconds = time.process_time(), []
    for _ in training:
        seconds.append(round(time.process_time() - started, 3))
        if seconds[-1] > MOST_SECONDS:
            break
    return {
        "symbol": job.symbol,
        "target": job.target,
        "config": job.config.to_dict(),
        "curve": training.curve,
        "seconds": seconds,
        "cut": seconds[-1] > MOST_SECONDS,
    }


def usual() -> Iterator[Job]:
    """Return the small networks, on every series."""
    for symbol, target in itertools.product(("IBM", "MSFT"), PRESETS):
        for cell, widths, lr in itertools.product(
            ("lstm", "gru"), ((32,), (64,), (32, 32)), (1e-3, 3e-3, 1e-2)
        ):
            yield Job(symbol, target, Config(cell, widths, 0.1, 20, lr, 1e-5, 64))


def points(count: int, target: str) -> Iterator[Job]:
    """Return random points of the preset's space."""
    draw = random.Random(5)  # noqa: S311  # no secret

    def log_uniform(low: float, high: float) -> float:
        return math.exp(draw.uniform(math.log(low), math.log(high)))

    for _ in range(count):
        layers = draw.randint(1, 3)
        config = Config(
            cell=draw.choice(["lstm", "gru"]),
            hidden_dims=tuple(round(log_uniform(16, 128)) for _ in range(layers)),
            dropout=draw.uniform(0.0, 0.5),
            lookback=draw.choice(range(10, 61, 5)),
            lr=log_uniform(1e-4, 1e-2),
            weight_decay=log_uniform(1e-6, 1e-2),
            batch_size=draw.choice([32, 64, 128]),
        )
        yield Job("IBM", target, config)


def rank(rows: list[dict[str, Any]]) -> None:
    """Print how far each network is from the best of its series, on average."""
    best: dict[tuple[str, str], float] = defaultdict(lambda: math.inf)
    for row in rows:
        series = row["symbol"], row["target"]
        best[series] = min(best[series], *row["curve"])
    found = defaultdict(list)
    for row in rows:
        c = row["config"]
        excess = min(row["curve"]) / best[row["symbol"], row["target"]] - 1
        found[c["cell"], tuple(c["hidden_dims"]), c["lr"]].append((excess, row["seconds"][-1]))
    print("cell  widths    lr      above the best  seconds (means over series)")
    means = {k: [statistics.mean(c) for c in zip(*runs, strict=True)] for k, runs in found.items()}
    for (cell, widths, lr), (excess, seconds) in sorted(means.items(), key=lambda item: item[1]):
        print(f"{cell:5} {widths!s:9} {lr:<7} {excess:13.2%} {seconds:9.1f}")


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["usual", "random"])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--target", choices=PRESETS, default="range")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    jobs = usual() if given.which == "usual" else points(given.count, given.target)
    rows = []
    with (
        ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool,
        given.out.open("w") as file,
    ):
        for row in pool.map(curve, jobs):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    if given.which == "usual":
        rank(rows)


if __name__ == "__main__":
    main()
