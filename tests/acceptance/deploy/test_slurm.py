"""The scripts for SLURM and for the database, and the example with submitit."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.deploy.tools import (
    BIN,
    DATABASE,
    ONE_THREAD,
    SLURM,
    TINY,
    Output,
    blocks,
    changed,
    passed_on,
    run_tool,
)
from tests.acceptance.helpers import Command
from tests.pages import mistake


@pytest.fixture
def slurm(tmp_path: Path) -> Callable[..., Output]:
    """Run the script with a `tuner` that prints its parent process and its arguments."""
    stub = tmp_path / "tuner"
    stub.write_text('#!/bin/sh\necho "$PPID $OMP_NUM_THREADS $MKL_NUM_THREADS"\necho "$*"\n')
    stub.chmod(0o755)

    def run(*args: str, **env: str) -> Output:
        return run_tool("bash", SLURM, *args, PATH=f"{tmp_path}:{os.environ['PATH']}", **env)

    return run


def test_shellcheck_finds_nothing_and_finds_planted_faults(tmp_path: Path) -> None:
    for script in (SLURM, DATABASE):
        assert run_tool("bash", "-n", script) == (0, "")
        assert run_tool("shellcheck", script) == (0, "")
    assert run_tool("bash", "-n", changed(SLURM, "\nfi\n", "\n", tmp_path)).code != 0
    unquoted = changed(SLURM, '"${options[@]}"', "${options[@]}", tmp_path)
    assert "SC2068" in run_tool("shellcheck", unquoted).text


def test_slurm_signals_the_worker_itself() -> None:
    head, _, body = SLURM.read_text("utf-8").partition("\nset -euo pipefail\n")
    directives = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2]
        for line in head.splitlines()
        if line.startswith("#SBATCH ")
    )
    # SLURM ignores directives below the first command.
    assert "#SBATCH" not in body
    assert directives["signal"] == "B:TERM@60"
    assert re.fullmatch(r"1-\d+", directives["array"])
    assert directives["cpus-per-task"] == "1"
    assert "time" in directives


def test_the_script_becomes_a_worker_that_ends_before_the_job(slurm: Callable[..., Output]) -> None:
    end = str(int(time.time()) + 3600)
    code, text = slurm("daily", TUNER_STORAGE="postgresql://h/d", SLURM_JOB_END_TIME=end)
    assert code == 0
    process, command = text.splitlines()
    # Its parent is this process: the shell was replaced by it.
    assert process == f"{os.getpid()} 1 1"
    given = re.fullmatch(r"worker --study daily --max-time (\d+)", command)
    assert given
    # SIGTERM comes 60 s before the end at the latest, and 120 s at the earliest.
    assert 3600 - 150 < int(given[1]) <= 3600 - 120
    assert mistake(command.split()) is None


@pytest.mark.parametrize("left", [None, 30])
def test_without_a_usable_end_the_script_relies_on_the_signal(
    left: int | None, slurm: Callable[..., Output]
) -> None:
    end = {} if left is None else {"SLURM_JOB_END_TIME": str(int(time.time()) + left)}
    code, text = slurm("daily", TUNER_STORAGE="postgresql://h/d", **end)
    assert (code, text.splitlines()[1]) == (0, "worker --study daily")


def test_the_script_requires_a_study_and_a_database(slurm: Callable[..., Output]) -> None:
    code, text = slurm(TUNER_STORAGE="postgresql://h/d")
    assert code != 0
    assert "which study?" in text
    code, text = slurm("daily")
    assert code != 0
    assert "export TUNER_STORAGE=" in text


def test_the_submitit_example_finishes_a_study(command: Command, tmp_path: Path) -> None:
    (text,) = blocks("python")
    for old, new in [('"logs"', '"logs", cluster="local"'), ("range(16)", "range(2)")]:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "workers.py").write_text(text, "utf-8")
    (tmp_path / "daily.toml").write_text(TINY.replace("tiny", "daily"), "utf-8")
    url = f"sqlite:///{tmp_path / 'daily.db'}"
    submitted = command("submit", str(tmp_path / "daily.toml"), "--storage", url)
    assert submitted.code == 0, submitted.err

    env = ONE_THREAD | {"TUNER_STORAGE": url, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "workers.py"],
        cwd=tmp_path,
        env=passed_on() | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "logs").glob("*_result.pkl"))) == 2
    with contextlib.closing(sqlite3.connect(tmp_path / "daily.db")) as database:
        states = [state for (state,) in database.execute("SELECT state FROM trials")]
    assert len(states) == 4
    assert set(states) <= {"COMPLETE", "PRUNED"}
