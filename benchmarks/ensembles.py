"""What a mean of networks is worth on bars that chose none of them.

Each study is searched, and its best configurations are trained again on all search data with five
seeds each, as `tuner report` does. Their forecasts of the holdout are averaged in several ways, and
the loss of each mean is compared with that of one network of the winner: the mean loss over its
seeds. "greedy K" are K draws with replacement, each the configuration that lowers the loss of the
mean on the search folds most (Caruana, Niculescu-Mizil, Crew and Ksikes 2004, section 2.1). "best
K" are the K configurations with the lowest search losses, with equal weights.

    python benchmarks/ensembles.py --trials 16 --out ensembles.json
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import TrialState

from puffin.models.arrays import Floats
from puffin.studies.dataset import Dataset
from puffin.studies.records import TrialRecord
from puffin.studies.report.build import read_forecasts, trials_with_forecasts
from puffin.studies.retraining import open_seal
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load
from puffin.tuner.pool import run_workers_until_done

SYMBOLS, TARGETS = ("AAPL", "IBM", "MSFT"), ("range", "volatility", "return")
# Ends of the prices: each has a holdout of two years, one of them that of 2008.
ENDS = ("2005-12-31", "2009-12-31", "2013-12-31")
BEST, SEEDS, DRAWS = 6, 5, (3, 5, 10)
STUDY = """
name = "averaged"
[data]
source = "sample"
symbol = "{symbol}"
end = {end}
features = ["return", "range", "volume"]
target = "{target}"
[walk_forward]
folds = 3
valid_bars = 120
holdout_bars = 500
[training]
max_epochs = 12
patience = 4
[space]
hidden_dim = {{ low = 16, high = 48, log = true }}
batch_size = [64, 128, 256]
[final]
seeds = 5
[search]
trials = {trials}
pruner = "none"
"""
Means = dict[str, float]


def search(folder: Path, **settings: Any) -> StoredStudy:
    """Search a study, train its best configurations again, and return it."""
    (folder / "study.toml").write_text(STUDY.format(**settings))
    command = (str(Path(sys.executable).with_name("tuner")), "run", "study.toml")
    subprocess.run(  # noqa: S603  # our own command
        (*command, "--workers", "1", "--quiet"), cwd=folder, check=True, capture_output=True
    )
    url = f"sqlite:///{folder / 'tuner.db'}"
    study = load(open_storage(url), "averaged")
    run_workers_until_done(open_seal(study, BEST), url, ("cpu",), quiet=True)
    return study


def greedy(loss: Callable[[Floats], float], forecasts: Sequence[Floats], draws: int) -> list[int]:
    """Return the positions that are drawn, with replacement, the best forecast first."""
    drawn: list[int] = []
    for _ in range(draws):
        so_far = sum((forecasts[i] for i in drawn), np.zeros_like(forecasts[0]))
        means = [loss((so_far + each) / (len(drawn) + 1)) for each in forecasts]
        drawn.append(int(np.argmin(means)))
    return drawn


def on_folds(folds: Dataset) -> Callable[[Floats], float]:
    """Return the search loss of forecasts of all folds, one behind the other."""
    ends = np.cumsum([len(actual) for actual in folds.actuals])[:-1]
    return lambda values: float(np.mean(folds.losses(np.split(values, ends))))


def judge(study: StoredStudy) -> Means:
    """Return the holdout loss of each mean of networks."""
    holdout_study, judged = load(study.storage, "averaged.holdout"), study.holdout_dataset
    runs: dict[int, dict[int, Floats]] = {}
    for trial in holdout_study.trials():
        record = TrialRecord.read(trial)
        if trial.state == TrialState.COMPLETE and record.retrained_trial is not None:
            (values,) = read_forecasts(holdout_study, trial)
            runs.setdefault(record.retrained_trial, {})[record.seed or 0] = values
    found = {
        trial.number: np.concatenate(values)
        for trial, values in trials_with_forecasts(study)
        if len(runs.get(trial.number, {})) == SEEDS
    }
    numbers, loss = list(found), on_folds(study.dataset)
    numbers.sort(key=lambda number: loss(found[number]))

    def held(values: Floats) -> float:
        return float(judged.losses_by_date([values]).mean())

    def of(drawn: Sequence[int], seeds: Sequence[int]) -> float:
        return held(np.mean([runs[number][seed] for number in drawn for seed in seeds], axis=0))

    everything = range(SEEDS)
    best = numbers[0]
    means: Means = {
        "one network": float(np.mean([of([best], [s]) for s in everything])),
        "its own seed": of([best], [0]),
        "5 seeds": of([best], everything),
    }
    for draws in DRAWS:
        drawn = [numbers[i] for i in greedy(loss, [found[n] for n in numbers], draws)]
        means[f"greedy {draws}, 1 seed"] = float(np.mean([of(drawn, [s]) for s in everything]))
        means[f"greedy {draws}, 5 seeds"] = of(drawn, everything)
    for count in (3, BEST):
        means[f"best {count}, 1 seed"] = float(
            np.mean([of(numbers[:count], [s]) for s in everything])
        )
        means[f"best {count}, 5 seeds"] = of(numbers[:count], everything)
    return means


def main() -> None:
    """Print a row for each study, and the mean gain of each mean with its standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--ends", nargs="+", default=ENDS)
    parser.add_argument("--out", type=Path, default=Path("ensembles.json"))
    given = parser.parse_args()
    rows: list[tuple[str, Means]] = []
    for end, target, symbol in product(given.ends, TARGETS, SYMBOLS):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as name:
            settings = {"symbol": symbol, "target": target, "end": end, "trials": given.trials}
            means = judge(search(Path(name), **settings))
        rows.append((f"{target} {symbol} {end[:4]}", means))
        one = means["one network"]
        gains = "  ".join(f"{name} {1 - value / one:+.2%}" for name, value in means.items())
        print(f"{rows[-1][0]} ({time.perf_counter() - started:.0f} s): {gains}", flush=True)
        given.out.write_text(json.dumps(rows, indent=1))
    for target in (*TARGETS, ""):
        print(f"\n{target or 'all'}: mean gain on one network of the winner, standard error")
        of = [means for label, means in rows if label.startswith(target)]
        for name in of[0]:
            gained = np.array([1 - means[name] / means["one network"] for means in of])
            error = gained.std(ddof=1) / np.sqrt(len(gained)) if len(gained) > 1 else np.nan
            print(f"  {name:22}{gained.mean():+8.2%} {error:7.2%}")


if __name__ == "__main__":
    main()
