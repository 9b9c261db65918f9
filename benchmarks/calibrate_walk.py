"""How often the verdict of `tuner walk` is "better" without a signal, and when a late one is found.

Each run is a whole walk by the steps of the command, in this process and a database of its own:
searches at some origins, their winners trained again, and the verdict on all blocks. Only the
prices are simulated. In the first arm they are random walks, so that "better" is a false positive.
In the second arm the next return follows from the absolute last volume change, as in
`calibrate.py`, but only from the middle of the walk on. The blocks before that are noise; those
after the next origin should be won.

The exit status is 1 if there are more false positives than a 5 % test may have, or the late signal
is not found in the blocks after it.

    python -m benchmarks.calibrate_walk
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd

from benchmarks.calibrate import LEAST_POWER, most_by_chance, rate
from benchmarks.markets import market
from puffin.models.evaluation.metrics import skill
from puffin.models.evaluation.outcome import OUTCOMES
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.walk.files import walk_files
from puffin.studies.walk.origins import origins
from puffin.studies.walk.procedure import Procedure
from puffin.studies.walk.verdict import Walk, judge
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt

ORIGINS, BLOCK = 4, 126
# Share of the variance of the next return that the late signal explains.
LATE = 0.5


def study_file(seed: int) -> Spec:
    """Return a walk of searches with few and tiny networks."""
    values = {
        "name": "calibrate",
        "data": {"symbol": "NONE", "target": "return", "features": ("return", "volume")},
        "walk_forward": {
            "folds": 2,
            "valid_bars": 40,
            "holdout_bars": 20,
            "window": "rolling",  # so that a signal is learned that has just begun
            "train_bars": 150,
        },
        "training": {"max_epochs": 15, "patience": 3},
        "space": {
            "layers": 1,
            "hidden_dim": {"low": 4, "high": 12},
            "lookback": {"low": 1, "high": 4},
            "lr": {"low": 0.01, "high": 0.05, "log": True},
        },
        "walk": {"origins": ORIGINS, "block_bars": BLOCK, "trials": 3},
        "search": {"sampler": "random", "pruner": "none", "seed": seed},
        "final": {"seeds": 2},
    }
    return parse_spec(values, "calibrate")


def walk(prices: pd.DataFrame, seed: int) -> Walk:
    """Walk through prices."""
    spec = study_file(seed)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'walk.db'}"
        storage = open_storage(url, create=True)
        searched = {"NONE": prices.iloc[:-20]}
        procedure = Procedure(storage, spec.name, origins(spec, searched, "made"), warm=False)
        while not procedure.advance().done:
            work(url, Interrupt(), WorkerOptions("calibrate.walk", device="cpu"))
        found = judge(spec.name, procedure.studies)
        storage.engine.dispose()
    return found


def late_signal(seed: int, bars: int) -> pd.DataFrame:
    """Return prices of a random walk that follows the planted signal in its last `bars` bars."""
    noise, planted = market(0.0, seed).frame, market(LATE, seed).frame
    moves = np.diff(np.log(noise["close"]), prepend=np.log(noise["close"].iloc[0]))
    moves[-bars:] = np.diff(np.log(planted["close"]))[-bars:]
    return planted.assign(close=float(noise["close"].iloc[0]) * np.exp(np.cumsum(moves)))


def skills(found: Walk) -> list[float]:
    """Return the skill of each block against its training mean."""
    return [
        skill(float(block.losses.mean()), float(block.baselines["drift"].mean()))
        for block in found.blocks
    ]


def main() -> None:
    """Print both arms, and whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", type=int, default=60)
    parser.add_argument("--late", type=int, default=10)
    parser.add_argument("--out", type=Path, help="folder for the page of the first late signal")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    noise = [walk(market(0.0, seed).frame, seed) for seed in range(given.walks)]
    print(f"random walks: {given.walks} walks of {ORIGINS} blocks of {BLOCK} bars")
    for outcome in OUTCOMES:
        print(f"  {outcome:12}{rate(sum(w.outcome == outcome for w in noise), given.walks)}")
    fluctuated = sum(found.fluctuation.was_better for found in noise)
    print(f"  better in a window{rate(fluctuated, given.walks)}", flush=True)
    half = ORIGINS // 2 * BLOCK
    late = [walk(late_signal(seed, half + 20), seed) for seed in range(given.late)]
    means = np.mean([skills(found) for found in late], axis=0)
    print(f"signal in the last {ORIGINS // 2} blocks, {given.late} walks: mean skill by block")
    print("  " + " ".join(f"{100 * each:+6.1f} %" for each in means))
    # The origin at which it appears has not seen it; the next one has.
    won = sum(min(skills(found)[ORIGINS // 2 + 1 :]) > 0 for found in late)
    found = sum(each.fluctuation.was_better for each in late)
    print(f"  better in a window{rate(found, given.late)}")
    if given.out and late:
        for name, body in walk_files(replace(late[0], study="late signal")).items():
            (given.out / name).parent.mkdir(parents=True, exist_ok=True)
            (given.out / name).write_bytes(body)
    false, most = sum(w.outcome == "better" for w in noise), most_by_chance(given.walks)
    least = LEAST_POWER * given.late
    bounds = {
        f"{false} false positives of {given.walks} walks, at most {most}": false <= most,
        f"every block after the next origin is won in {won} of {given.late} walks": won >= least,
    }
    for bound, holds in bounds.items():
        print(f"{'holds ' if holds else 'BROKEN'}  {bound}")
    sys.exit(not all(bounds.values()))


if __name__ == "__main__":
    main()
