"""How cost grows: an epoch with bars, folds, features and lookback; a worker's start and memory.

The first table fits `seconds = a * size ** exponent` to the processor time of an epoch, all else
being equal. The second starts workers on a study, and gives the time from the start of a process to
that of its first trial, and the memory that it then has to itself.

    python benchmarks/scale.py --rounds 3 --workers 2
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from puffin.models.config import Config, TrainingConfig
from puffin.models.folds import Span
from puffin.models.training.fold_training import FoldTraining
from puffin.models.windows import FoldTensors, Windows
from puffin.studies.records import TrialRecord
from puffin.studies.study import StoredStudy
from puffin.tuner.submit import open_study
from puffin.tuner.worker.process import setup_torch

TUNER = Path(sys.executable).with_name("tuner")
CPU = torch.device("cpu")
BASE = {"bars": 1000, "folds": 3, "features": 4, "lookback": 20}
SIZES = {
    "bars": (500, 1000, 2000, 4000),
    "folds": (2, 4, 8),
    "features": (2, 4, 8, 16),
    "lookback": (10, 20, 40, 80),
}
VALID, EPOCHS, WAIT = 60, 2, 60.0


def tensors(bars: int, features: int, lookback: int) -> FoldTensors:
    """Make a fold of noise with so many training targets."""
    rows = torch.randn(bars + VALID + lookback - 1, features)
    targets = torch.randn(bars + VALID, 1)
    train, valid = (
        Windows(rows, targets, (span,), lookback)
        for span in (Span(0, bars), Span(bars, bars + VALID))
    )
    return FoldTensors(train, valid, (np.arange(bars, bars + VALID),))


def epoch_seconds(cell: str, bars: int, folds: int, features: int, lookback: int) -> float:
    """Return the processor time of an epoch of all folds."""
    config = Config(cell=cell, hidden_dims=(32,), lookback=lookback, batch_size=64)
    parts = [tensors(bars, features, lookback) for _ in range(folds)]
    limits = TrainingConfig(EPOCHS + 1, EPOCHS + 1)
    epochs = iter(FoldTraining(parts, config, limits, seed=0))
    next(epochs)
    started = time.process_time()
    for _ in epochs:
        pass
    return (time.process_time() - started) / EPOCHS


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Return the slope of the logarithms, by least squares."""
    fit = statistics.linear_regression([math.log(s) for s in sizes], [math.log(s) for s in seconds])
    return fit.slope


def growth(rounds: int) -> None:
    """Print the first table."""
    print("cell  with      ms an epoch                          exponent (min, max)")
    for cell in ("lstm", "gru"):
        for name, sizes in SIZES.items():
            runs = [
                [epoch_seconds(cell, **(BASE | {name: size})) for size in sizes]
                for _ in range(rounds)
            ]
            medians = [statistics.median(column) for column in zip(*runs, strict=True)]
            slopes = sorted(exponent(sizes, run) for run in runs)
            pairs = " ".join(f"{n}:{s * 1e3:.0f}" for n, s in zip(sizes, medians, strict=True))
            print(
                f"{cell:5} {name:9} {pairs:36} {exponent(sizes, medians):.2f}"
                f" ({slopes[0]:.2f}, {slopes[-1]:.2f})",
                flush=True,
            )


def memory(pid: int) -> tuple[int, int]:
    """Return what a process has to itself, and all that it uses, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) // 1000 for line in lines}
    return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Rss"]


def first_starts(study: StoredStudy, begin: datetime, workers: int) -> list[float]:
    """Wait until every worker has begun a trial; return the seconds that each took."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        begun: dict[str, float] = {}
        for trial in study.trials():
            worker = TrialRecord.read(trial).worker
            if worker is not None and trial.datetime_start is not None:
                seconds = (trial.datetime_start - begin).total_seconds()
                begun.setdefault(worker, seconds)
        if len(begun) == workers:
            return sorted(begun.values())
        time.sleep(0.1)
    raise SystemExit(f"not all of {workers} workers began a trial within {WAIT:.0f} s")


def starts(workers: int, rounds: int) -> None:
    """Print the second table."""
    print("workers  first trial begins after s  own MB  with what is shared MB")
    env = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/tuner.db"
            study = open_study("volatility", ["search.pruner=none"], url)
            begin = datetime.now()  # noqa: DTZ005  # as Optuna notes it
            command = [str(TUNER), "worker", "--study", study.name, "--storage", url]
            processes = [
                subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)  # noqa: S603
                for _ in range(workers)
            ]
            try:
                seconds = first_starts(study, begin, workers)
                time.sleep(5)
                used = [memory(process.pid) for process in processes]
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.wait(60)
        print(
            f"{workers:7}  {', '.join(f'{s:.1f}' for s in seconds):26}"
            f"  {', '.join(str(own) for own, _ in used):6}  {', '.join(str(a) for _, a in used)}"
            f"   (round {number + 1})",
            flush=True,
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    setup_torch("cpu", 1.0)
    growth(given.rounds)
    starts(given.workers, given.rounds)


if __name__ == "__main__":
    main()
