"""Time to quality: how long ours takes to hold a configuration as good as a plain script's best.

The plain script (benchmarks/plain.py: TPE, a median pruner, folds one after the other) has its
whole budget of trials. Ours gets the time that the script took, and searches the same space with
the preset `volatility` or `daily`, or `basket` for several symbols, one worker a core. The two find
their losses by different rules, so what they held is scored again by one: the lowest value of the
common curve of the folds, as a mean over ten seeds that neither has used, and the loss on the
sealed holdout beside it. What ours held is scored in the order in which it came, until it is as
good, and what it ends with. Times count from the start of each command. Some seeds are lucky for
many configurations, so the difference of two is taken seed by seed.

    python benchmarks/quality.py --seeds 0 1 2 3 4 --trials 30 --target range --since 2005-01-01
    python benchmarks/quality.py --symbols IBM --trials 30 --target return --since 2008-01-01
    python benchmarks/quality.py --symbols AAPL IBM MSFT --trials 20

Runs can be kept and scored later. The script takes as long with one thread as with two, so on two
cores two of its runs can be made side by side:

    python benchmarks/quality.py --symbols IBM --trials 20 --runs runs --threads 1 --only plain
    python benchmarks/quality.py --symbols IBM --trials 20 --runs runs --threads 1 --only ours
    python benchmarks/quality.py --symbols IBM --trials 20 --runs runs --threads 1 --out IBM.json
    python benchmarks/quality.py --read IBM.json MSFT.json
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from puffin.models.arrays import Floats
from puffin.models.config import Config, TrainingConfig
from puffin.models.training.fold_training import FoldTraining
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.records import TrialRecord
from puffin.studies.spec import load_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import load
from puffin.tuner.worker.process import setup_torch

HERE = Path(__file__).parent
TUNER = Path(sys.executable).with_name("tuner")
CPU = torch.device("cpu")
PRESETS = {"range": "volatility", "return": "daily"}
SAMPLE = ("AAPL", "IBM", "MSFT")
# More than ours ends in the time of any script so far.
OUR_TRIALS = 2000
TIMED_OUT = 124  # exit status of a search that reached its time
# Seeds of the re-scoring, apart from those of the searches.
JUDGES = tuple(range(101, 111))

Searcher = Literal["plain", "ours"]


@dataclass(frozen=True)
class Task:
    """What both search for.

    Attributes
    ----------
    target : a key of `PRESETS`
    since : first day, as ISO 8601
    trials : budget of the plain script
    symbols : of the sample
    threads : of the plain script; torch's default if None
    changes : settings of our study, as ``search.sampler=random``
    """

    target: str
    since: str
    trials: int
    symbols: tuple[str, ...] = ("AAPL",)
    threads: int | None = None
    changes: tuple[str, ...] = ()

    @property
    def preset(self) -> str:
        """Name of ours."""
        return PRESETS[self.target] if len(self.symbols) == 1 else "basket"

    @property
    def settings(self) -> list[str]:
        """What of the preset is changed."""
        symbols = json.dumps(self.symbols)
        return [f"data.start={self.since}", f"data.target={self.target}", f"data.symbols={symbols}"]

    def file(self, searcher: Searcher, seed: int) -> str:
        """Name the file in which a run of the script, or of ours, is kept."""
        parts = [*self.symbols, self.target, self.since, f"seed-{seed}"]
        parts += ["plain", f"{self.trials}-trials"]
        if self.threads is not None:
            parts.append(f"{self.threads}-threads")
        if searcher == "ours":
            parts += ["ours", *self.changes]
        return f"{'-'.join(parts)}.json"


@dataclass(frozen=True)
class Held:
    """A configuration that was the best so far, from this second on."""

    seconds: float
    loss: float
    config: dict[str, Any]


@dataclass(frozen=True)
class Score:
    """What a configuration is worth by the common rule, over seeds.

    Attributes
    ----------
    search, holdout : mean loss of one network, on the search folds and on the holdout
    by_seed : the losses whose mean is `search`
    mean_search, mean_holdout : loss of the mean forecast of the networks, as the product forecasts
    """

    search: float
    by_seed: tuple[float, ...]
    holdout: float
    mean_search: float
    mean_holdout: float


@dataclass(frozen=True)
class Judged:
    """A network of a configuration, on the search folds and on the holdout."""

    losses: tuple[float, float]
    forecasts: tuple[list[Floats], list[Floats]]


def own_environment() -> dict[str, str]:
    """Leave the number of threads to each program."""
    return {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}


@dataclass(frozen=True)
class Run:
    """A search.

    Attributes
    ----------
    seconds : from its start to its exit
    held : what was the best when it came
    """

    seconds: float
    held: list[Held]


def plain(folder: Path, task: Task, seed: int) -> Run:
    """Run the plain script."""
    out = folder / "plain.json"
    started = time.perf_counter()
    command: list[str | Path] = [sys.executable, HERE / "plain.py", "--out", out]
    command += [f"--trials={task.trials}", f"--seed={seed}"]
    command += [f"--target={task.target}", f"--since={task.since}", "--symbols", *task.symbols]
    environment = own_environment()
    if task.threads is not None:
        environment["OMP_NUM_THREADS"] = str(task.threads)
    subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603
    took = time.perf_counter() - started
    *log, end = json.loads(out.read_text())
    # Its own clock begins after the imports.
    late = took - end["seconds"]
    held = incumbents([Held(t["seconds"] + late, t["loss"], t["config"]) for t in log])
    return Run(took, held)


def ours(folder: Path, task: Task, seed: int, seconds: float) -> Run:
    """Run our search for so many seconds."""
    begin, started = datetime.now(), time.perf_counter()  # noqa: DTZ005  # as Optuna notes it
    changes = [*task.settings, f"search.trials={OUR_TRIALS}"]
    changes += [f"search.seed={seed}", *task.changes]
    command: list[str | Path] = [TUNER, "run", task.preset, f"--timeout={seconds:.0f}s"]
    command += [f"--set={change}" for change in changes]
    ended = subprocess.run(command, cwd=folder, env=own_environment(), capture_output=True)  # noqa: S603, PLW1510  # checked below
    if ended.returncode != TIMED_OUT:
        ended.check_returncode()
        msg = f"{OUR_TRIALS} trials ended before {seconds:.0f} s; raise OUR_TRIALS"
        raise RuntimeError(msg)
    took = time.perf_counter() - started
    study = load(open_storage(f"sqlite:///{folder / 'tuner.db'}"), task.preset)
    held = incumbents(
        [
            Held((t.datetime_complete - begin).total_seconds(), t.value, TrialRecord.read(t).config)
            for t in study.trials()
            if t.value is not None and t.datetime_complete is not None
        ]
    )
    return Run(took, held)


def plain_run(runs: Path | None, task: Task, seed: int) -> Run:
    """Run the plain script if its run is not kept."""
    path = runs and runs / task.file("plain", seed)
    return kept_run(path, lambda folder: plain(folder, task, seed))


def our_run(runs: Path | None, task: Task, seed: int, seconds: float) -> Run:
    """Run our search if its run is not kept."""
    path = runs and runs / task.file("ours", seed)
    return kept_run(path, lambda folder: ours(folder, task, seed, seconds))


def kept_run(path: Path | None, search: Callable[[Path], Run]) -> Run:
    """Read a run from this file, or make it and keep it there if there is a path."""
    if path is not None and path.exists():
        found = json.loads(path.read_text())
        return Run(found["seconds"], [Held(**held) for held in found["held"]])
    with tempfile.TemporaryDirectory() as folder:
        run = search(Path(folder))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(run)))
    return run


def incumbents(found: list[Held]) -> list[Held]:
    """Keep what was the best when it came."""
    kept: list[Held] = []
    for held in sorted(found, key=lambda h: h.seconds):
        if not kept or held.loss < kept[-1].loss:
            kept.append(held)
    return kept


@cache
def datasets(task: Task) -> tuple[Dataset, Dataset]:
    """Return the search folds and the holdout."""
    spec = load_spec(task.preset, task.settings)
    frames = load_basket(spec.data.source, spec.data.request(), spec.data.symbols).frames
    search, sealed = cut_holdout(frames, spec)
    return Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed)


def judge(config: dict[str, Any], task: Task, seed: int) -> Judged | None:
    """Train a network of a configuration; return nothing if it diverges at once."""
    setup_torch("cpu", 1.0)
    folds, holdout = datasets(task)
    chosen = Config(**{key: config[key] for key in Config().to_dict() if key in config})
    best = train(folds, chosen, folds.spec.training_config, seed).best
    if best is None:
        return None
    epochs = TrainingConfig(best.number, best.number)
    *_, last = FoldTraining(holdout.tensors(chosen.lookback, CPU), chosen, epochs, seed)
    return Judged(
        (best.valid_loss, last.valid_loss),
        (folds.in_target_units(best.forecasts), holdout.in_target_units(last.forecasts)),
    )


def train(dataset: Dataset, config: Config, training: TrainingConfig, seed: int) -> FoldTraining:
    """Train to the end."""
    folds = dataset.tensors(config.lookback, CPU)
    made = FoldTraining(folds, config, training, seed)
    for _ in made:
        pass
    return made


def score(pool: ProcessPoolExecutor, config: dict[str, Any], task: Task) -> Score:
    """Score a configuration by the common rule."""
    count = len(JUDGES)
    found = list(pool.map(judge, [config] * count, [task] * count, JUDGES))
    judged = [each for each in found if each is not None]
    if len(judged) < count:
        return Score(math.nan, (math.nan,) * count, *[math.nan] * 3)
    searched, sealed = zip(*(each.losses for each in judged), strict=True)
    of_means = [
        statistics.mean(dataset.losses([np.mean(fold, axis=0) for fold in zip(*each, strict=True)]))
        for dataset, each in zip(
            datasets(task), zip(*(one.forecasts for one in judged), strict=True), strict=True
        )
    ]
    return Score(statistics.mean(searched), searched, statistics.mean(sealed), *of_means)


def above(score: Score, bar: Score) -> tuple[float, float]:
    """Return by what share a score is above the bar, and the standard error of that."""
    apart = [one / other - 1 for one, other in zip(score.by_seed, bar.by_seed, strict=True)]
    return statistics.mean(apart), statistics.stdev(apart) / len(apart) ** 0.5


def within_noise(score: Score, bar: Score) -> bool:
    """Return whether a score is not above the bar by more than two standard errors."""
    share, error = above(score, bar)
    return share <= 2 * error


def first_as_good(
    held: list[Held], bar: Score, judged: Callable[[Held], Score]
) -> tuple[Held | None, list[Score]]:
    """Return the first that is as good as `bar`, and the scores of those up to it."""
    scores = []
    for one in held:
        scores.append(judged(one))
        if scores[-1].search <= bar.search:
            return one, scores
    return None, scores


def compare(task: Task, seed: int, runs: Path | None) -> dict[str, Any]:
    """Search by both and score what they held."""
    theirs = plain_run(runs, task, seed)
    own = our_run(runs, task, seed, theirs.seconds)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:

        def judged(held: Held) -> Score:
            return score(pool, held.config, task)

        bar = judged(theirs.held[-1])
        # The script too may have held one as good before its last.
        before, _ = first_as_good(theirs.held[:-1], bar, judged)
        reached, scores = first_as_good(own.held, bar, judged)
        is_last = len(scores) == len(own.held)
        end = scores[-1] if is_last else judged(own.held[-1])
    near = (one for one, found in zip(own.held, scores, strict=False) if within_noise(found, bar))
    nearest = next(near, None)
    return {
        "task": asdict(task),
        "seed": seed,
        "plain": asdict(theirs),
        "plain_score": asdict(bar),
        "plain_reached": (before or theirs.held[-1]).seconds,
        "ours": asdict(own),
        "our_scores": [asdict(one) for one in scores],
        "our_end": asdict(end),
        "above": above(end, bar),
        "reached": None if reached is None else reached.seconds,
        "within_noise": None if nearest is None else nearest.seconds,
    }


def main() -> None:
    """Print a line for each seed and what they say as a whole, and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--target", choices=PRESETS, default="range")
    parser.add_argument("--since", default="2005-01-01")
    parser.add_argument("--symbols", choices=SAMPLE, nargs="+", default=["AAPL"])
    parser.add_argument("--runs", type=Path, help="folder that keeps runs, to be scored later")
    parser.add_argument("--threads", type=int, help="of the plain script; torch's default if none")
    parser.add_argument("--set", action="append", default=[], help="a setting of our study")
    parser.add_argument("--only", choices=get_args(Searcher), help="make runs and score none")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", help="make one table of such files")
    given = parser.parse_args()
    task = Task(
        given.target,
        given.since,
        given.trials,
        tuple(given.symbols),
        given.threads,
        tuple(given.set),
    )
    if given.only is not None:
        if given.runs is None:
            parser.error("--only needs --runs FOLDER")
        for seed in given.seeds:
            theirs = plain_run(given.runs, task, seed)
            if given.only == "ours":
                our_run(given.runs, task, seed, theirs.seconds)
        return
    print(HEADER)
    if given.read is not None:
        rows = [row for path in given.read for row in json.loads(path.read_text())]
        print(*map(line, rows), *summary(rows), sep="\n")
        return
    rows = []
    for seed in given.seeds:
        row = compare(task, seed, given.runs)
        rows.append(row)
        print(line(row), flush=True)
        if given.out is not None:
            given.out.write_text(json.dumps(rows, indent=1))
    print(*summary(rows), sep="\n")


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a table says as a whole."""
    theirs, own = ([row[name]["held"][-1]["loss"] for row in rows] for name in get_args(Searcher))
    bars, ends = ([row[name] for row in rows] for name in ("plain_score", "our_end"))
    whole, first = [row["plain"]["seconds"] for row in rows], [row["plain_reached"] for row in rows]
    reached, near = ([row[name] for row in rows] for name in ("reached", "within_noise"))
    sure = [share for share, error in (row["above"] for row in rows) if abs(share) > 2 * error]
    lower = sum(share < 0 for share in sure)
    lines = [
        f"as good {_times(reached, whole)} of the script's whole time",
        f"as good {_times(reached, first)} of the script's time to as good",
        f"not above by two standard errors {_times(near, whole)} of the script's whole time",
        f"above by two standard errors at the end {len(sure) - lower}, below {lower}",
    ]
    for label, key in (
        ("search", "search"),
        ("holdout", "holdout"),
        ("search, as means of networks", "mean_search"),
        ("holdout, as means of networks", "mean_holdout"),
    ):
        apart = _apart([end[key] for end in ends], [bar[key] for bar in bars])
        lines.append(f"ours ends {apart} above the script's: {label}")
    for label, says, scores in (("the script", theirs, bars), ("ours", own, ends)):
        apart = _apart(says, [score["search"] for score in scores])
        lines.append(f"what {label} says is {apart} above what it is")
    return lines


def _times(reached: Sequence[float | None], of: Sequence[float]) -> str:
    # What never gets there takes for ever.
    shares = [
        math.inf if one is None else one / time for one, time in zip(reached, of, strict=True)
    ]
    count = sum(map(math.isfinite, shares))
    return (
        f"in {count} of {len(shares)}, at {statistics.median(shares):.3f} (from {min(shares):.3f})"
    )


def _apart(some: Sequence[float], others: Sequence[float]) -> str:
    shares = [one / other - 1 for one, other in zip(some, others, strict=True)]
    error = statistics.stdev(shares) / len(shares) ** 0.5 if len(shares) > 1 else math.nan
    return (
        f"{statistics.mean(shares):+.2%} (s.e. {error:.2%}, {min(shares):+.2%} to "
        f"{max(shares):+.2%})"
    )


HEADER = """\
             plain script, seconds                  ours, seconds
symbols seed as good  all   says     is holdout     as good  all   says     is holdout  above"""


def line(row: dict[str, Any]) -> str:
    """Return the row of a table: how a pair of searches went."""
    symbols = row["task"]["symbols"]
    share, error = row["above"]
    return (
        f"{symbols[0] if len(symbols) == 1 else 'basket':7} {row['seed']:4} "
        f"{columns(row['plain_reached'], row['plain'], row['plain_score'])}     "
        f"{columns(row['reached'], row['ours'], row['our_end'])} {share:+7.2%} ({error:.2%})"
    )


def columns(reached: float | None, run: dict[str, Any], end: dict[str, Any]) -> str:
    """Return what a table says of one search."""
    return (
        f"{'never' if reached is None else format(reached, '.0f'):>7} {run['seconds']:4.0f} "
        f"{run['held'][-1]['loss']:.4f} {end['search']:.4f}  {end['holdout']:.4f}"
    )


if __name__ == "__main__":
    main()
