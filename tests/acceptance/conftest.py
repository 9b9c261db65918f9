"""The program as users run it: its console script, and a tiny study that it has finished."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.acceptance.dashboards import PASSWORD, Server, serving
from tests.acceptance.helpers import (
    SCRIPT,
    STUDY,
    Command,
    Finished,
    Result,
    Run,
    Start,
    environment,
    run_script,
)
from tests.pool_here import pool_here


@pytest.fixture(scope="session")
def tuner() -> Run:
    """Run the console script as a process: ``tuner("status", cwd=..., KEY=...)``."""
    return run_script


@pytest.fixture(scope="session")
def start() -> Start:
    """Start the console script and leave it running; the test has to end it."""

    def start_(*args: str, cwd: Path | None = None, **env: str) -> "subprocess.Popen[str]":
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
def command() -> Command:
    """Run a command in this process, in the working directory: like `tuner`, but much faster."""
    from puffin.tuner.cli import main
    from puffin.tuner.worker.signals import stop_signals

    names = ("STORAGE", "DEVICE", "DEBUG", "PASSWORD", "PASSWORD_FILE")
    unset = dict.fromkeys(f"TUNER_{name}" for name in names)

    def command_(*args: str, **env: str) -> Result:
        handlers = {number: signal.getsignal(number) for number in stop_signals()}
        done = CliRunner(env=unset | env).invoke(main, args, prog_name="tuner")
        for number, handler in handlers.items():  # a worker replaces them
            signal.signal(number, handler)
        return Result(done.exit_code, done.stdout, done.stderr)

    return command_


def copy_of(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a copy of a folder that one of the processes of this run of pytest has made."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    original, copy = base / f"original-{name}", factory.mktemp(name)
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not original.exists():
            unfinished = base / f"unfinished-{name}"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(original)
    shutil.copytree(original, copy, dirs_exist_ok=True)
    return copy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run a study of six trials once for all tests; a test that changes it makes a copy."""

    def run(folder: Path) -> None:
        (folder / "x.toml").write_text(STUDY)
        result = run_script("run", "x.toml", "--workers", "2", cwd=folder)
        (folder.parent / "finished.json").write_text(json.dumps(result))

    folder = copy_of(tmp_path_factory, "finished", run)
    base = next(p for p in folder.parents if (p / "finished.json").exists())
    return Finished(folder, Result(*json.loads((base / "finished.json").read_text())))


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, without the user's database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_STORAGE", raising=False)


@pytest.fixture(scope="session")
def exported(
    finished: Finished, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Export the tiny study."""
    folder = tmp_path_factory.mktemp("exported")
    with contextlib.chdir(folder):
        result = command("export", "tiny-study", "best", "--storage", finished.url)
    assert result == (0, "", "wrote best/\n")
    return folder / "best"


@pytest.fixture(scope="session")
def reported(
    finished: Finished, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """Open the holdout of the finished study, exported to `sealed` before and `best` after.

    `all` is trained on the holdout too.
    """

    def report(folder: Path) -> None:
        copy = finished.copy(folder)
        judged = ("report", "--workers", "1", "--top", "2")
        for name, *args in (
            ("export", folder / "sealed"),
            (*judged, "--out", folder / "pages"),
            ("export", folder / "best"),
            ("export", folder / "all", "--refit", "all"),
        ):
            with pool_here():
                done = command(name, "tiny-study", *map(str, args), "--storage", copy.url)
            assert done.code == 0, done.err

    return Finished(copy_of(tmp_path_factory, "reported", report), finished.first)


@pytest.fixture(scope="session")
def config(exported: Path) -> dict[str, Any]:
    """Return the configuration in the exported folder."""
    return tomllib.loads((exported / "config.toml").read_text("utf-8"))


@pytest.fixture(scope="session")
def server(start: Start, finished: Finished) -> Iterator[Server]:
    """Serve the finished study as a user would, read-only."""
    with serving(start, finished.folder) as running:
        yield running


@pytest.fixture(scope="session")
def public(
    start: Start, finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Serve a copy to everybody who has the password, writable."""
    folder = tmp_path_factory.mktemp("public")
    finished.copy(folder)
    (folder / "secret.txt").write_bytes(PASSWORD.encode() + b"\r\n")
    options = ("--host", "0.0.0.0", "--writable", "--password-file", "secret.txt")  # noqa: S104
    with serving(start, folder, *options) as running:
        yield running
