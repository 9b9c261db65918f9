"""How soon two workers hold a good network under each pruner, by replaying recorded curves.

Reads the table that benchmarks/curves.py wrote. Random search goes once through a random half of
it; time goes on as the recorded training did, and the pruners see each epoch when it ends. Networks
whose curve was cut are left out. What counts is the best complete trial after so many seconds, over
the best of that half, and when the half was used up: a search goes on with new networks then, and
what is above the best in the end is what the pruner cut by mistake.

    python benchmarks/pruners.py random.jsonl
"""

import argparse
import heapq
import itertools
import json
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from puffin.studies.algorithms import LowestLossHalving, LowestLossHyperband

MARKS = (15, 30, 60, 120, 240)
WORKERS, BETWEEN_TRIALS = 2, 0.1
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "none": NopPruner,
    **{
        f"median of {n}, after {w}": lambda n=n, w=w: MedianPruner(n, w)  # type: ignore[misc]
        for n, w in ((5, 3), (3, 1))
    },
    **{
        f"asha from {m} by {f}": lambda m=m, f=f: LowestLossHalving(  # type: ignore[misc]
            min_resource=m, reduction_factor=f
        )
        for m, f in itertools.product((1, 2, 3, 4), (2, 3, 4))
    },
    "the same 2, 4, Optuna's": lambda: SuccessiveHalvingPruner(2, 4),
    "hyperband from 2 by 3": lambda: LowestLossHyperband(2, 50, 3),
}


def replay(rows: list[dict[str, Any]], pruner: BasePruner, seed: int) -> list[float]:
    """Return how far the best is above the half's at each mark and at the end, and when that is."""
    draw = random.Random(seed)  # noqa: S311  # no secret
    half = draw.sample(rows, len(rows) // 2)
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(study_name=f"replay {seed}", sampler=sampler, pruner=pruner)
    held: list[tuple[float, float]] = []
    queue: list[tuple[float, int]] = []
    at_work: dict[int, Iterator[float]] = {}

    def work(row: dict[str, Any], begin: float) -> Iterator[float]:
        """Return the end of each epoch before it is looked at."""
        trial = study.ask()
        for epoch, (seconds, loss) in enumerate(zip(row["seconds"], row["curve"], strict=True), 1):
            yield begin + seconds
            trial.report(loss, epoch)
            if trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return
        study.tell(trial, min(row["curve"]))
        held.append((begin + row["seconds"][-1], min(row["curve"])))

    stream = iter(half)
    for worker in range(WORKERS):
        heapq.heappush(queue, (0.0, worker))
    now = 0.0
    while queue:
        now, worker = heapq.heappop(queue)
        then = next(at_work[worker], None) if worker in at_work else None
        if then is None and (row := next(stream, None)) is not None:
            at_work[worker] = work(row, now + BETWEEN_TRIALS)
            then = next(at_work[worker])
        if then is not None:
            heapq.heappush(queue, (then, worker))
    ends = [min(row["curve"]) for row in half]
    # Nothing is as bad as the worst.
    bests = [
        min([loss for t, loss in held if t <= mark], default=max(ends)) for mark in (*MARKS, now)
    ]
    return [*(loss / min(ends) - 1 for loss in bests), now]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--repeats", type=int, default=150)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = [json.loads(line) for line in given.table.read_text().splitlines()]
    rows = [row for row in table if not row["cut"]]
    print(f"{len(rows)} networks; {len(table) - len(rows)} whose curve was cut are left out")
    print(f"{'pruner':22} above the best of the half after {MARKS} s, at its end    at s")
    for name, make in PRUNERS.items():
        runs = [replay(rows, make(), seed) for seed in range(given.repeats)]
        *bests, end = (statistics.mean(column) for column in zip(*runs, strict=True))
        print(f"{name:22} {' '.join(f'{m:7.2%}' for m in bests)} {end:10.0f}", flush=True)


if __name__ == "__main__":
    main()
