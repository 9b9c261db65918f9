"""Tables of learning curves, from which initial points of a search and its pruner were chosen.

`usual` trains networks of one layer on returns and ranges of AAPL, IBM and MSFT until 2007; the
bars on which searches are compared are left out. `random` trains points of the space of the preset
`volatility` on ranges of IBM, or their returns. Nothing is pruned. Each line of the output is a
network: its loss after each epoch, and the processor time until then.

    python -m benchmarks.curves usual --out usual.jsonl
    python -m benchmarks.curves random --count 40 --out random.jsonl
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

from benchmarks.quality import PRESETS, SAMPLE
from puffin.models.config import Config
from puffin.models.training.fold_training import FoldTraining
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.spec import load_spec
from puffin.tuner.worker.process import setup_torch

SEED = 0
SINCE = "data.start=2005-01-01"
# The prices of benchmarks/quality.py begin a day later.
UNTIL = "data.end=2007-12-31"
# Of a slow network the table has no more, and says that it is cut.
MOST_SECONDS = 150.0
FACTORS = {
    "width": (32, 64),
    "lr": (1e-3, 3e-3),
    "weight_decay": (1e-5, 1e-3),
    "lookback": (20, 40),
    "batch_size": (32, 64),
}
Network = tuple[str, tuple[float, ...]]
FIRST: Network = ("gru", (32, 1e-3, 1e-5, 20, 64))


@dataclass(frozen=True)
class Job:
    """One network on one series; the period is a setting of the study file."""

    symbol: str
    target: str
    period: str
    config: Config


@cache
def workload(symbol: str, target: str, period: str) -> Dataset:
    """Prepare a series, once in each process."""
    setup_torch("cpu", 1.0)
    spec = load_spec(PRESETS[target], [f"data.symbol={symbol}", period])
    frames = load_basket("sample", spec.data.request(), [symbol]).frames
    return Dataset.build(spec, cut_holdout(frames, spec)[0])


def curve(job: Job) -> dict[str, Any]:
    """Train to the end."""
    made = workload(job.symbol, job.target, job.period)
    folds = made.tensors(job.config.lookback, torch.device("cpu"))
    training = FoldTraining(folds, job.config, made.spec.training_config, SEED)
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
    """Return the usual networks, on every series."""
    for cell, values in itertools.product(("gru", "lstm"), itertools.product(*FACTORS.values())):
        width, lr, weight_decay, lookback, batch_size = values
        config = Config(cell, (int(width),), 0.1, int(lookback), lr, weight_decay, int(batch_size))
        for symbol, target in itertools.product(SAMPLE, PRESETS):
            yield Job(symbol, target, UNTIL, config)


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
        yield Job("IBM", target, SINCE, config)


def rank(rows: list[dict[str, Any]]) -> None:
    """Print how far networks are from the best of their series.

    By value of a factor, each by itself, and the better one of each and the first initial network.
    """
    best: dict[tuple[str, str], float] = defaultdict(lambda: math.inf)
    for row in rows:
        series = row["symbol"], row["target"]
        best[series] = min(best[series], *row["curve"])
    by_network, by_value = defaultdict(list), defaultdict(list)
    by_series: dict[Network, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in rows:
        c = row["config"]
        values = (c["hidden_dims"][0], *(c[name] for name in list(FACTORS)[1:]))
        excess = min(row["curve"]) / best[row["symbol"], row["target"]] - 1
        found = (excess, row["seconds"][-1])
        by_network[c["cell"], values].append(found)
        by_series[c["cell"], values][row["symbol"], row["target"]] = excess
        for name, value in zip(FACTORS, values, strict=True):
            by_value[c["cell"], name, value].append((row["target"], *found))
    print(f"{'factor':30}{'above the best: ' + ', '.join(PRESETS):>36}  seconds (means)")
    order = list(FACTORS)
    for (cell, name, value), runs in sorted(
        by_value.items(), key=lambda item: (item[0][0], order.index(item[0][1]), item[0][2])
    ):
        of_each = [statistics.mean(r[1] for r in runs if r[0] == target) for target in PRESETS]
        shares = "".join(f"{excess:10.2%}" for excess in of_each)
        label = f"{cell} {name} {value}"
        print(f"{label:30}{shares:>36}{statistics.mean(r[2] for r in runs):9.1f}")
    print(f"cell  {', '.join(FACTORS):50}above the best  seconds (means over series)")
    means = {
        key: [statistics.mean(column) for column in zip(*runs, strict=True)]
        for key, runs in by_network.items()
    }
    for (cell, values), (excess, seconds) in sorted(means.items(), key=lambda item: item[1]):
        print(f"{cell:5} {values!s:50} {excess:13.2%} {seconds:9.1f}")
    first = by_series[FIRST]
    pairs = {
        key: statistics.mean(min(first[series], excess) for series, excess in found.items())
        for key, found in by_series.items()
    }
    print(f"the better one of {FIRST} and")
    for (cell, values), excess in sorted(pairs.items(), key=lambda item: item[1])[:5]:
        print(f"{cell:5} {values!s:50} {excess:13.2%}")


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
