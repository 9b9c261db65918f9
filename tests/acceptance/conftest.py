"""The program as a user meets it: its console script, and one tiny study that it has finished."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

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
"""


class Result(NamedTuple):
    """What a command left: its exit code, what it printed, and what it said."""

    code: int
    out: str
    err: str


class Finished(NamedTuple):
    """A folder in which `tuner run x.toml` has come to its end."""

    folder: Path
    first: Result

    @property
    def url(self) -> str:
        """The database, wherever a command is started."""
        return f"sqlite:///{self.folder / 'tuner.db'}"

    def copy(self, to: Path) -> "Finished":
        """Give a copy that may be changed."""
        shutil.copytree(self.folder, to, dirs_exist_ok=True)
        return Finished(to, self.first)


def environment(**extra: str) -> dict[str, str]:
    """Give an environment that no setting of the user's leaks into."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("TUNER_")}
    return own | extra


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


@pytest.fixture(scope="session")
def tuner() -> Callable[..., Result]:
    """Run the console script in a process of its own: ``tuner("status", cwd=..., KEY=...)``."""
    return run_script


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the console script and leave it running; whoever starts it ends it."""

    def start_(*args: str, cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPT, *args],
            cwd=cwd,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start_


@pytest.fixture(scope="session")
def command() -> Callable[..., Result]:
    """Run a command in this process, in the working directory: as `tuner`, and much faster."""
    from puffin.tuner.cli import main

    names = ("STORAGE", "DEVICE", "DEBUG", "PASSWORD", "PASSWORD_FILE")
    unset = dict.fromkeys(f"TUNER_{name}" for name in names)

    def command_(*args: str, **env: str) -> Result:
        done = CliRunner(env=unset | env).invoke(main, args, prog_name="tuner")
        return Result(done.exit_code, done.stdout, done.stderr)

    return command_


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """Make a study of six trials once for all; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "x.toml").write_text(STUDY)
    yield Finished(folder, run_script("run", "x.toml", "--workers", "2", cwd=folder))
    shutil.rmtree(folder)
