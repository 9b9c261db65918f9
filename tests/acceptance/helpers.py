"""How acceptance tests run the program, and the tiny study that it has finished."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from puffin.studies.storage.database import open_storage

SCRIPT = str(Path(sys.executable).parent / "tuner")
STUDY = """\
name = "tiny-study"
[data]
source = "sample"
symbol = "AAPL"
start = 2011-06-01
target = "range"
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[training]
max_epochs = 3
[space]
cell = ["lstm", "gru"]
layers = { low = 1, high = 2 }
hidden_dim = { low = 4, high = 8 }
lookback = { low = 3, high = 5 }
[search]
trials = 6
seed = 3
[final]
seeds = 3
"""
SEALED_EXPORT = {
    "config.toml",
    "model.safetensors",
    "README.md",
    "prices-search.csv",
    "forecasts.csv",
    "SHA256SUMS",
}


class Result(NamedTuple):
    """The exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """The type of the fixture `tuner`: ``tuner("status", cwd=..., KEY=...)``."""

    def __call__(self, *args: str, cwd: Path | None = None, **env: str) -> Result: ...


class Command(Protocol):
    """The type of the fixture `command`: ``command("status", KEY=...)``."""

    def __call__(self, *args: str, **env: str) -> Result: ...


class Start(Protocol):
    """The type of the fixture `start`: ``start("worker", cwd=..., KEY=...)``."""

    def __call__(
        self, *args: str, cwd: Path | None = None, **env: str
    ) -> "subprocess.Popen[str]": ...


class Finished(NamedTuple):
    """A folder in which `tuner run x.toml` has finished."""

    folder: Path
    first: Result

    @property
    def url(self) -> str:
        """URL of the database, with an absolute path."""
        return f"sqlite:///{self.folder / 'tuner.db'}"

    def copy(self, to: Path) -> "Finished":
        """Return a copy that may be changed."""
        shutil.copytree(self.folder, to, dirs_exist_ok=True)
        return Finished(to, self.first)

    def trials(self, name: str = "tiny-study") -> list[FrozenTrial]:
        """Return the trials as they are in the database."""
        return optuna.load_study(study_name=name, storage=open_storage(self.url)).get_trials()

    def best_trial(self) -> FrozenTrial:
        """Return the complete trial with the lowest loss."""
        complete = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        return min(complete, key=lambda t: t.value)


def environment(**extra: str) -> dict[str, str]:
    """Return the environment without the user's settings of this program."""
    others = {k: v for k, v in os.environ.items() if not k.startswith("TUNER_")}
    return others | extra


def run_script(*args: str, cwd: Path | None = None, **env: str) -> Result:
    """Run the console script to its end."""
    done = subprocess.run(
        [SCRIPT, *args],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def words(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def query(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a SQLite file."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def until(ready: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until `ready` returns something true, and fail after so many seconds."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"{what} took longer than {seconds:.0f} s"
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
