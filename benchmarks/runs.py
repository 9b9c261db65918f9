"""What training on sequences of four targets costs at each lookback.

The same network is trained on the folds of the preset `demo` with single windows and with the
targets per sequence that the search uses, from the same seeds, until its loss stops falling.
The table gives the relative difference of the lowest mean validation loss, its mean over cells and
seeds and its standard error.

    python benchmarks/runs.py --seeds 3
    python benchmarks/runs.py --lookbacks 1 2 3 4 5 --per-sequence 4
"""

import argparse
import statistics
from functools import cache
from unittest.mock import patch

import torch

import puffin.models.training.fold_training
from puffin.models.config import CELL_NAMES, Config
from puffin.models.training.fold_training import (
    TARGETS_PER_SEQUENCE,
    FoldTraining,
    targets_per_sequence,
)
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import load_spec
from puffin.tuner.worker.process import setup_torch

LOOKBACKS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
CPU = torch.device("cpu")


@cache
def workload() -> Dataset:
    """Prepare the folds of the demo, with the bars in front that the longest lookback needs."""
    # Trained until the loss stops falling: with sequences a step is faster, an epoch learns less.
    settings = ["space.lookback={low = 1, high = 60}", "training.max_epochs=200"]
    spec = load_spec("demo", [*settings, "training.patience=10"])
    frame = load_prices("sample", PriceRequest("AAPL", None, spec.data.start)).frame
    return Dataset.build(spec, cut_holdout({"AAPL": frame}, spec)[0])


def lowest_loss(cell: str, lookback: int, per_sequence: int, seed: int, width: int) -> float:
    """Train one network to the end; return its lowest mean validation loss."""
    data = workload()
    config = Config(cell=cell, hidden_dims=(width,), lookback=lookback, lr=0.004)
    folds = data.tensors(lookback, CPU)
    with patch.object(
        puffin.models.training.fold_training, "targets_per_sequence", return_value=per_sequence
    ):
        training = FoldTraining(folds, config, data.spec.training_config, seed)
    return min(epoch.valid_loss for epoch in training)


def difference(
    lookback: int, per_sequence: int, seeds: int, width: int = 24
) -> tuple[float, float]:
    """Return the mean relative difference to single windows, and its standard error."""
    differences = []
    for cell in CELL_NAMES:
        for seed in range(seeds):
            single, runs = (lowest_loss(cell, lookback, n, seed, width) for n in (1, per_sequence))
            differences.append(runs / single - 1)
    return statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def main() -> None:
    """Print a row for each lookback."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lookbacks", type=int, nargs="+", default=LOOKBACKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--per-sequence",
        type=int,
        choices=[1, 2, TARGETS_PER_SEQUENCE],
        help="instead of what the search uses",
    )
    args = parser.parse_args()
    setup_torch("cpu", 1.0)
    print("| lookback | targets per sequence | difference | s.e. |")
    print("|---|---|---|---|")
    for lookback in args.lookbacks:
        per_sequence = args.per_sequence or targets_per_sequence(lookback)
        mean, error = difference(lookback, per_sequence, args.seeds)
        print(f"| {lookback} | {per_sequence} | {mean:+.1%} | {error:.1%} |", flush=True)


if __name__ == "__main__":
    main()
