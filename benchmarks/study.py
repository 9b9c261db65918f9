"""A whole study of equal work: the same configurations, folds and epochs in a plain script.

Nothing is pruned and nothing stops early. Ours draws the configurations at random and trains them
with one worker a core; the plain script (benchmarks/plain.py) is given the same ones. Both times
are of whole commands, from start to exit. Rounds alternate.

    python benchmarks/study.py --trials 40 --epochs 3 --rounds 3
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from studies import tickets
from studies.storage import open_storage
from studies.study import load

HERE = Path(__file__).parent
TUNER = Path(sys.executable).with_name("tuner")


def seconds(command: list[str | Path], folder: Path) -> float:
    """Time a command from start to exit, with torch's own choice of threads."""
    own = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=own, check=True, capture_output=True)  # noqa: S603
    return time.perf_counter() - started


def ours(folder: Path, trials: int, epochs: int, seed: int) -> tuple[float, list[dict[str, Any]]]:
    """Run the search; give its time and its configurations with their losses."""
    changes = {
        "search.sampler": "random",
        "search.pruner": "none",
        "search.trials": trials,
        "search.seed": seed,
        "training.max_epochs": epochs,
        "training.patience": epochs,
    }
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    took = seconds([TUNER, "run", "volatility", *settings], folder)
    done = load(open_storage(f"sqlite:///{folder / 'tuner.db'}"), "volatility").trials()
    return took, [t.user_attrs[tickets.CONFIG] | {"loss": t.value} for t in done]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ratios = []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            own, found = ours(folder, given.trials, given.epochs, number)
            (folder / "configs.json").write_text(json.dumps(found))
            plain = seconds(
                [
                    sys.executable,
                    HERE / "plain.py",
                    "--configs",
                    "configs.json",
                    "--epochs",
                    str(given.epochs),
                    "--out",
                    "plain.json",
                ],
                folder,
            )
            theirs = [trial["loss"] for trial in json.loads((folder / "plain.json").read_text())]
        ratios.append(plain / own)
        mine = [trial["loss"] for trial in found]
        print(
            f"{given.trials} configurations, {given.epochs} epochs: ours {own:.0f} s, plain script "
            f"{plain:.0f} s, ratio {ratios[-1]:.2f}; median loss {statistics.median(mine):.4f} and "
            f"{statistics.median(theirs):.4f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})")


if __name__ == "__main__":
    main()
