"""Walks of the sample: what tuning every quarter would have earned, cold and with warm starts.

The command that a user would type, `tuner walk`, on each stock of the sample and on all three as a
basket. A row has the verdict against the simple model that was best before each block, the
smallest detectable skill beside that of a single block, what the searches promised and the blocks
gave, and the time.

    python benchmarks/walk.py --targets range return --seeds 1
    python benchmarks/walk.py --targets range --subjects AAPL IBM MSFT --warm --seeds 2
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
features = ["return", "range", "volume"]
target = "{target}"
[walk_forward]
folds = 3
valid_bars = 120
holdout_bars = 250
[training]
max_epochs = 20
patience = 5
[space]
hidden_dim = {{ low = 16, high = 48, log = true }}
batch_size = [64, 128, 256]
[search]
seed = {seed}
[walk]
origins = {origins}
block_bars = 63
trials = {trials}
warm = {warm}
"""


def walk(**settings: Any) -> tuple[dict[str, Any], float]:
    """Walk in a database of its own; return the figures, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.toml").write_text(STUDY.format(**settings))
        command = (str(Path(sys.executable).with_name("tuner")), "walk", "study.toml", "--json")
        started = time.perf_counter()
        done = subprocess.run(  # noqa: S603  # our own command
            (*command, "--quiet"), cwd=folder, check=True, capture_output=True, text=True
        )
        return json.loads(done.stdout), time.perf_counter() - started


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
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--warm", action="store_true", help="walk with and without warm starts")
    given = parser.parse_args()
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
