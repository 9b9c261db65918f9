"""Walks of the sample: what tuning every quarter would have earned, cold and with warm starts.

The command that a user would type, `tuner walk`, on each stock of the sample and on all three as a
basket. A row has the verdict against the simple model that was best before each block, the
detectable skill, the skill of the winners on the folds of their searches, their skill on the
blocks, and the time. With `--holdout` each row is the verdict of one search of as many trials on
its holdout of 250 bars.

    python benchmarks/walk.py --targets range return --seeds 1
    python benchmarks/walk.py --targets range --subjects AAPL IBM MSFT --warm --seeds 2
    python benchmarks/walk.py --targets range return --holdout
    python benchmarks/walk.py --cost --origins 4 --trials 30

With `--cost` a walk is timed beside one search of as many trials on all bars before the holdout,
with all prices and the default epochs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SYMBOLS = ("AAPL", "IBM", "MSFT")
STUDY = """
name = "walked"
[data]
source = "sample"
symbols = {symbols}
start = 2004-01-01
features = ["return", "range", "volume"]
target = "{target}"
[walk_forward]
folds = 3
valid_bars = 120
holdout_bars = 250
[training]
max_epochs = 12
patience = 4
[space]
hidden_dim = {{ low = 16, high = 48, log = true }}
batch_size = [64, 128, 256]
[final]
seeds = 3
[search]
seed = {seed}
[walk]
origins = {origins}
block_bars = 63
trials = {trials}
warm = {warm}
"""


def timed(folder: str, *arguments: str) -> tuple[str, float]:
    """Run a command in a folder; return what it wrote, and the seconds that it took."""
    command = (str(Path(sys.executable).with_name("tuner")), *arguments, "--quiet")
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603  # our own command
        command, cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout, time.perf_counter() - started


def walk(**settings: Any) -> tuple[dict[str, Any], float]:
    """Walk in a database of its own; return the figures, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.toml").write_text(STUDY.format(**settings))
        written, seconds = timed(folder, "walk", "study.toml", "--json")
        return json.loads(written), seconds


def holdout(**settings: Any) -> str:
    """Return the verdict on the holdout of one search."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.toml").write_text(STUDY.format(**settings))
        timed(folder, "run", "study.toml", "--set", f"search.trials={settings['trials']}")
        written, _ = timed(folder, "report", "walked", "--top", "1", "--json")
    found = json.loads(written)
    best = found["baselines"][0]
    return (
        f"{found['verdict']['outcome']:10}{best['skill_of_winner']:+8.1%}"
        f"{best['test']['p_better']:8.3f}{found['holdout']['detectable_skill']:8.1%}"
    )


def cost(**settings: Any) -> None:
    """Print the seconds of a walk beside those of one search of as many trials."""
    with tempfile.TemporaryDirectory() as folder:
        text = STUDY.format(**settings).replace("start = 2004-01-01\n", "")
        for short, default in (
            ("max_epochs = 12", "max_epochs = 50"),
            ("patience = 4", "patience = 8"),
        ):
            text = text.replace(short, default)
        (Path(folder) / "study.toml").write_text(text)
        trials = f"search.trials={settings['trials']}"
        _, one = timed(folder, "run", "study.toml", "--set", trials, "--set", "name=one")
        _, all_of_them = timed(folder, "walk", "study.toml")
    ratio = all_of_them / one
    print(f"search {one:.0f} s, walk {all_of_them:.0f} s: {ratio:.1f} searches", flush=True)


def line(found: dict[str, Any], seconds: float) -> str:
    """Return the verdict as columns."""
    test = found["test"]
    return (
        f"{found['outcome']:10}{found['skill']:+8.1%}{test['p_better']:8.3f}"
        f"{found['detectable_skill']:8.1%}{found['blocks_won']:5} of {len(found['blocks'])}"
        f"{found['promised']:+9.1%}{found['obtained']:+9.1%}{seconds / 60:6.1f}"
    )


def rows(targets: Sequence[str], subjects: Sequence[str], origins: int) -> list[dict[str, Any]]:
    """Return the settings of each walk, but for its seed and start."""
    return [
        {
            "target": target,
            "subject": subject,
            "origins": origins,
            "symbols": json.dumps(list(SYMBOLS if subject == "basket" else [subject])),
        }
        for target in targets
        for subject in subjects
    ]


def main() -> None:
    """Print a row for each target, subject, seed and start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["range", "return"])
    parser.add_argument("--subjects", nargs="+", default=[*SYMBOLS, "basket"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--origins", type=int, default=12)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--warm", action="store_true", help="walk with and without warm starts")
    parser.add_argument("--cost", action="store_true", help="time a walk beside a search")
    parser.add_argument("--holdout", action="store_true", help="judge on the holdout instead")
    given = parser.parse_args()
    if given.holdout:
        print("target  subject  outcome      skill   p   detectable")
        for settings in rows(given.targets, given.subjects, given.origins):
            row = holdout(**settings, seed=0, warm="false", trials=given.trials)
            print(f"{settings['target']:8}{settings['subject']:9}{row}", flush=True)
        return
    if given.cost:
        (settings,) = rows(["range"], ["AAPL"], given.origins)
        cost(**settings, seed=0, warm="false", trials=given.trials)
        return
    print(
        "target  subject  start  seed outcome      skill   p   detectable   won   promised "
        "obtained   min"
    )
    for settings in rows(given.targets, given.subjects, given.origins):
        for seed in range(given.seeds):
            for warm in ("false", "true") if given.warm else ("false",):
                found = walk(**settings, seed=seed, warm=warm, trials=given.trials)
                print(
                    f"{settings['target']:8}{settings['subject']:9}"
                    f"{'warm' if warm == 'true' else 'cold':7}{seed:4} {line(*found)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
