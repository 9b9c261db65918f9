"""Time to quality: how long ours takes to hold a configuration as good as a plain script's best.

The plain script (benchmarks/plain.py: TPE, a median pruner, folds one after the other) has its
whole budget of trials. Ours searches the same space with the preset `volatility`, one worker a
core. The two find their losses by different rules, so what they held is scored again by one: the
lowest value of the common curve of the folds, as a mean over seeds that neither has used, and the
loss on the sealed holdout beside it. Times count from the start of each command.

    python benchmarks/quality.py --seeds 0 1 2 3 4 --trials 40
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from models.config import Config
from models.training import FoldTraining, Training, build_networks
from studies import tickets
from studies.prices import load_prices
from studies.spec import load_spec
from studies.storage import open_storage
from studies.study import load
from studies.workload import Workload, cut_holdout

HERE = Path(__file__).parent
TUNER = Path(sys.executable).with_name("tuner")
PRESET, CPU = "volatility", torch.device("cpu")
# Seeds of the re-scoring, apart from those of the searches.
JUDGES = (101, 102, 103)


@dataclass(frozen=True)
class Held:
    """A configuration that was the best so far, from this second on."""

    seconds: float
    loss: float
    config: dict[str, Any]


@dataclass(frozen=True)
class Score:
    """What a configuration is worth by the common rule: means over seeds."""

    search: float
    error: float
    holdout: float


def own_environment() -> dict[str, str]:
    """Leave the number of threads to each program."""
    return {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}


def plain(folder: Path, trials: int, seed: int) -> tuple[float, list[Held]]:
    """Run the plain script; give its whole time and what it held."""
    out = folder / "plain.json"
    started = time.perf_counter()
    command: list[str | Path] = [sys.executable, HERE / "plain.py", "--out", out]
    command += [f"--trials={trials}", f"--seed={seed}"]
    subprocess.run(command, env=own_environment(), check=True, capture_output=True)  # noqa: S603
    took = time.perf_counter() - started
    *log, end = json.loads(out.read_text())
    # Its own clock begins after the imports.
    late = took - end["seconds"]
    return took, incumbents([Held(t["seconds"] + late, t["loss"], t["config"]) for t in log])


def ours(folder: Path, trials: int, seed: int) -> tuple[float, list[Held]]:
    """Run our search; give its whole time and what it held."""
    begin, started = datetime.now(), time.perf_counter()  # noqa: DTZ005  # as Optuna notes it
    changes = [f"--set=search.trials={trials}", f"--set=search.seed={seed}"]
    subprocess.run(  # noqa: S603
        [TUNER, "run", PRESET, *changes],
        cwd=folder,
        env=own_environment(),
        check=True,
        capture_output=True,
    )
    took = time.perf_counter() - started
    handle = load(open_storage(f"sqlite:///{folder / 'tuner.db'}"), PRESET)
    return took, incumbents(
        [
            Held(
                (t.datetime_complete - begin).total_seconds(), t.value, t.user_attrs[tickets.CONFIG]
            )
            for t in handle.trials()
            if t.value is not None and t.datetime_complete is not None
        ]
    )


def incumbents(found: list[Held]) -> list[Held]:
    """Keep what was the best when it came."""
    kept: list[Held] = []
    for held in sorted(found, key=lambda h: h.seconds):
        if not kept or held.loss < kept[-1].loss:
            kept.append(held)
    return kept


def judge(config: dict[str, Any], seed: int) -> tuple[float, float]:
    """Train a configuration; give its loss on the search folds and on the holdout."""
    torch.set_num_threads(1)
    spec = load_spec(PRESET)
    frame = load_prices("sample", spec.data.symbol).frame
    search, sealed = cut_holdout(frame, spec)
    chosen = Config(**{key: config[key] for key in Config().to_dict() if key in config})
    best = train(Workload.build(spec, search), chosen, spec.training_config, seed).best
    if best is None:
        return float("nan"), float("nan")
    opened = Workload.opened(spec, search, sealed)
    refit = train(opened, chosen, Training(best.number, best.number), seed)
    return best.valid_loss, refit.curve[-1]


def train(workload: Workload, config: Config, training: Training, seed: int) -> FoldTraining:
    """Train to the end."""
    folds = workload.tensors(config.lookback, CPU)
    inputs = workload.series.features.shape[1]
    networks = build_networks(config, inputs, len(folds), CPU, seed)
    made = FoldTraining(networks, folds, config, training, seed)
    for _ in made:
        pass
    return made


def score(pool: ProcessPoolExecutor, config: dict[str, Any]) -> Score:
    """Score a configuration by the common rule."""
    losses = list(pool.map(judge, [config] * len(JUDGES), JUDGES))
    searched, sealed = (list(column) for column in zip(*losses, strict=True))
    error = statistics.stdev(searched) / len(searched) ** 0.5
    return Score(statistics.mean(searched), error, statistics.mean(sealed))


def compare(trials: int, seed: int) -> dict[str, Any]:
    """Search by both and score what they held."""
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
    ):
        theirs_took, theirs = plain(Path(name), trials, seed)
        ours_took, held = ours(Path(name), trials, seed)
        bar = score(pool, theirs[-1].config)
        scores = [score(pool, one.config) for one in held]
    reached = [one.seconds for one, s in zip(held, scores, strict=True) if s.search <= bar.search]
    return {
        "seed": seed,
        "plain": {"seconds": theirs_took, "best_at": theirs[-1].seconds, "loss": theirs[-1].loss},
        "plain_score": bar.__dict__,
        "ours": {"seconds": ours_took, "held": [h.seconds for h in held]},
        "our_scores": [s.__dict__ for s in scores],
        "reached": min(reached, default=None),
    }


def main() -> None:
    """Print a line for each seed, and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        row = compare(given.trials, seed)
        rows.append(row)
        mine = min(row["our_scores"], key=lambda s: s["search"])
        at = "never" if row["reached"] is None else f"at {row['reached']:.0f} s"
        plain_, bar = row["plain"], row["plain_score"]
        print(
            f"seed {seed}: plain {plain_['seconds']:.0f} s, best at {plain_['best_at']:.0f} s, says"
            f" {plain_['loss']:.4f}, is {bar['search']:.4f} (holdout {bar['holdout']:.4f}); ours "
            f"{row['ours']['seconds']:.0f} s, as good {at}, best {mine['search']:.4f} (holdout "
            f"{mine['holdout']:.4f})",
            flush=True,
        )
        if given.out is not None:
            given.out.write_text(json.dumps(rows, indent=1))
    shares = [r["reached"] / r["plain"]["seconds"] for r in rows if r["reached"] is not None]
    if shares:
        share = statistics.median(shares)
        print(f"as good in {len(shares)} of {len(rows)}, at a median {share:.3f} of the plain time")


if __name__ == "__main__":
    main()
