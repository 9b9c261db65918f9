"""A whole study of equal work: the same configurations, folds and epochs in a plain script.

Nothing is pruned and nothing stops early. Ours draws the configurations at random and trains them
with one worker a core, or so many as are asked for; the plain script (benchmarks/plain.py) is given
the same ones. Both times are of whole commands, from start to exit. Rounds alternate. On a GPU the
share of the time that it is busy stands beside them, by nvidia-smi.

    python benchmarks/study.py --trials 40 --epochs 3 --rounds 3
    python benchmarks/study.py --device cuda --workers 8
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from puffin.studies.records import TrialRecord
from puffin.studies.storage.database import open_storage
from puffin.studies.study import load

HERE = Path(__file__).parent


def console_script() -> str | None:
    """Return the path of `tuner` beside this Python or on the PATH; None where it is on neither."""
    return shutil.which("tuner", path=str(Path(sys.executable).parent)) or shutil.which("tuner")


class Busy:
    """How busy a GPU is while a command runs."""

    def __init__(self, device: str) -> None:
        self.shares: list[float] = []
        self._watched = device != "cpu"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._watched:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._watched:
            self._thread.join()

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._over.wait(1.0):
            out = subprocess.run(query, check=True, capture_output=True, text=True).stdout  # noqa: S603
            self.shares.append(float(out.splitlines()[0]))

    def mean(self) -> float:
        """Return the mean share of the command's time, in per cent."""
        return float(statistics.mean(self.shares))

    def __str__(self) -> str:
        """Write the mean."""
        return f", busy {self.mean():.0f} %" if self.shares else ""


def seconds(command: list[str | Path], folder: Path, limit: float | None = None) -> float:
    """Time a command from start to exit, with torch's own choice of threads.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes longer than `limit` seconds; it is then ended with all that it has started.
    subprocess.CalledProcessError
        If it fails; with what it wrote.
    """
    own = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, out, err)
    return time.perf_counter() - started


@dataclass(frozen=True)
class Work:
    """What both are to do, and where.

    Attributes
    ----------
    workers : processes of ours; one a core when not given
    space : changes to the search space of ours
    limit : seconds that a command may take
    """

    trials: int
    epochs: int
    device: str = "cpu"
    workers: int | None = None
    space: tuple[str, ...] = ()
    limit: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a command has done.

    Attributes
    ----------
    seconds : from its start to its exit
    training_seconds : from the start of its first trial to the end of its last
    trials : each configuration with its loss
    """

    seconds: float
    training_seconds: float
    trials: list[dict[str, Any]]

    @property
    def median_loss(self) -> float:
        """Return the median of the trials' losses."""
        return float(statistics.median(trial["loss"] for trial in self.trials))


def ours(folder: Path, work: Work, seed: int) -> Outcome:
    """Run the search."""
    changes = {
        "search.sampler": "random",
        "search.pruner": "none",
        "search.trials": work.trials,
        "search.seed": seed,
        "training.max_epochs": work.epochs,
        "training.patience": work.epochs,
    }
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    settings += [f"--set=space.{change}" for change in work.space]
    if work.workers is not None:
        settings.append(f"--workers={work.workers}")
    script = console_script() or "tuner"
    command: list[str | Path] = [script, "run", "volatility", f"--device={work.device}", *settings]
    took = seconds(command, folder, work.limit)
    done = load(open_storage(f"sqlite:///{folder / 'tuner.db'}"), "volatility").trials()
    first = min(trial.datetime_start for trial in done if trial.datetime_start)
    last = max(trial.datetime_complete for trial in done if trial.datetime_complete)
    trials = [TrialRecord.read(trial).config | {"loss": trial.value} for trial in done]
    return Outcome(took, (last - first).total_seconds(), trials)


def plain(folder: Path, work: Work, configs: list[dict[str, Any]]) -> Outcome:
    """Have the plain script train the same."""
    (folder / "configs.json").write_text(json.dumps(configs))
    command: list[str | Path] = [sys.executable, HERE / "plain.py", "--configs=configs.json"]
    command += [f"--epochs={work.epochs}", f"--device={work.device}", "--out=plain.json"]
    took = seconds(command, folder, work.limit)
    log = json.loads((folder / "plain.json").read_text())
    trials = [trial["config"] | {"loss": trial["loss"]} for trial in log]
    return Outcome(took, log[-1]["seconds"], trials)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    work, ratios = Work(given.trials, given.epochs, given.device, given.workers), []
    for number in range(given.rounds):
        with tempfile.TemporaryDirectory() as name:
            with Busy(work.device) as busy:
                own = ours(Path(name), work, number)
            with Busy(work.device) as their_busy:
                other = plain(Path(name), work, own.trials)
        ratios.append(other.seconds / own.seconds)
        print(
            f"{work.trials} configurations, {work.epochs} epochs: ours {own.seconds:.0f} s{busy}, "
            f"plain script {other.seconds:.0f} s{their_busy}, ratio {ratios[-1]:.2f}; median loss "
            f"{own.median_loss:.4f} and {other.median_loss:.4f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})")


if __name__ == "__main__":
    main()
