"""What each sampler finds with a budget of trials, from which the default was chosen.

Searches of a preset in one process, as a worker makes them: the same first points, seeds, folds and
pruner. What is best after each budget is trained again with seeds that no search has used
(benchmarks/quality.py), because the lowest of many losses flatters more the more there are. Seconds
are the processor's until the end of that trial.

    python -m benchmarks.samplers --samplers tpe random --seeds 0 1 --budgets 30 100 300
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState

from benchmarks.quality import PRESETS, Score, Task, score
from puffin.models.training.fold_training import FoldTraining
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.space import initial_points, suggest
from puffin.studies.spec import load_spec
from puffin.tuner.worker.process import setup_torch

CPU = torch.device("cpu")
# TPE from points of its own choice, to see what the usual networks are worth.
BARE = "tpe, bare"
NAMES = (*(name for name, sampler in SAMPLERS.items() if not sampler.enumerates), BARE)


@dataclasses.dataclass(frozen=True)
class Best:
    """What a search holds after `budget` trials."""

    sampler: str
    seed: int
    budget: int
    seconds: float
    complete: int
    lstms: int
    says: float
    config: dict[str, Any]


def search(task: Task, name: str, seed: int, budgets: list[int]) -> list[Best]:
    """Search with the last budget; return what is best after each."""
    setup_torch("cpu", 1.0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = "tpe" if name == BARE else name
    pruner = "none" if SAMPLERS[sampler].needs_complete_trials else "asha"
    settings = [f"search.sampler={sampler}", f"search.pruner={pruner}", f"search.seed={seed}"]
    spec = load_spec(task.preset, [*task.settings, *settings])
    frame = load_prices("sample", PriceRequest(spec.data.symbols[0], None, spec.data.start)).frame
    dataset = Dataset.build(spec, cut_holdout({spec.data.only_symbol: frame}, spec)[0])
    first = initial_points(spec.parsed_space) if name != BARE and SAMPLERS[name].learns else []
    study = optuna.create_study(pruner=PRUNERS[pruner](spec.training.max_epochs))
    for point in first:
        study.enqueue_trial(point)
    best: tuple[float, dict[str, Any]] | None = None
    cells, found = Counter[str](), []
    started = time.process_time()
    for number in range(budgets[-1]):
        entropy = np.random.SeedSequence((seed, number))
        study.sampler = SAMPLERS[sampler].make(int(entropy.generate_state(1)[0]))
        trial = study.ask()
        config = suggest(trial, spec.parsed_space)
        cells[config.cell] += 1
        folds = dataset.tensors(config.lookback, CPU)
        training = FoldTraining(folds, config, spec.training_config, seed)
        state = TrialState.COMPLETE
        for epoch in training:
            trial.report(epoch.valid_loss, epoch.number)
            if trial.should_prune():
                state = TrialState.PRUNED
                break
        loss = min(training.curve)
        study.tell(trial, loss if state == TrialState.COMPLETE else None, state)
        if state == TrialState.COMPLETE and (best is None or loss < best[0]):
            best = loss, config.to_dict()
        if number + 1 in budgets and best is not None:
            complete = sum(t.state == TrialState.COMPLETE for t in study.trials)
            seconds = time.process_time() - started
            counts = complete, cells["lstm"]
            found.append(Best(name, seed, number + 1, seconds, *counts, *best))
    return found


def main() -> None:
    """Print what was found, and the means of each sampler and budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samplers", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budgets", type=int, nargs="+", default=[30, 100, 300])
    parser.add_argument("--target", choices=PRESETS, default="range")
    parser.add_argument("--since", default="2008-01-01")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    task = Task(given.target, given.since, given.budgets[-1])
    jobs = [(name, seed) for seed in given.seeds for name in given.samplers]
    scores: dict[str, Score] = {}
    rows = []
    print("sampler    seed  trials  seconds  complete  LSTMs   says     is   holdout", flush=True)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        waiting = [pool.submit(search, task, *job, sorted(given.budgets)) for job in jobs]
        for job in waiting:
            for held in job.result():
                key = json.dumps(held.config, sort_keys=True)
                if key not in scores:
                    scores[key] = score(pool, held.config, task)
                judged = scores[key]
                rows.append((held, judged.search, judged.holdout))
                print(
                    f"{held.sampler:10} {held.seed:4} {held.budget:7} {held.seconds:8.0f} "
                    f"{held.complete:9} {held.lstms:6} {held.says:.4f} {judged.search:.4f} "
                    f"{judged.holdout:8.4f}",
                    flush=True,
                )
    print("means over seeds")
    for budget in sorted(given.budgets):
        for name in given.samplers:
            of = [r for r in rows if (r[0].sampler, r[0].budget) == (name, budget)]
            seconds, says, is_, sealed = (
                statistics.mean(column)
                for column in zip(*((h.seconds, h.says, s, o) for h, s, o in of), strict=True)
            )
            print(
                f"{name:10} {len(of):4} {budget:7} {seconds:8.0f} {'':9} {'':6} {says:.4f} "
                f"{is_:.4f} {sealed:8.4f}"
            )
    if given.out is not None:
        made = [dataclasses.asdict(h) | {"is": s, "holdout": o} for h, s, o in rows]
        given.out.write_text(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
