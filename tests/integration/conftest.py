"""Databases in a temporary folder, a study that trains in a blink, and crowds of processes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import event

from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import Basket
from puffin.studies.prices.load import Prices
from puffin.studies.spec import Spec, load_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy
from puffin.tuner import backoff
from puffin.tuner.worker import scheduler
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.process import setup_torch
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.integration.helpers import aapl
from tests.processes import Program, Programs
from tests.studies import TINY, tiny_spec

# Imports once, then forks; what each process does is given as the function `act`.
CROWD = """
import json
import multiprocessing
import sys

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
{body}

def start(index, barrier, queue, url):
    try:
        barrier.wait(60)
        queue.put((index, True, act(index, url)))
    except BaseException as error:
        queue.put((index, False, f"{{type(error).__name__}}: {{error}}"))

context = multiprocessing.get_context("fork")
barrier, queue, count = context.Barrier({count}), context.Queue(), {count}
processes = [
    context.Process(target=start, args=(i, barrier, queue, sys.argv[1]), daemon=True)
    for i in range(count)
]
for process in processes:
    process.start()
answers = sorted(queue.get(timeout={seconds}) for _ in processes)
for process in processes:
    process.join()
print(json.dumps(answers))
"""

Crowd = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the URL of a new database of a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / 'test.db'}"
        return str(request.getfixturevalue("postgres").new_database())

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    """Return the URL of a new database; every test that uses it runs on both kinds."""
    return new_url(request.param)


@pytest.fixture
def storage(url: str) -> RDBStorage:
    return open_storage(url, create=True)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny(tiny_file: Path) -> Spec:
    return load_spec(str(tiny_file))


@pytest.fixture
def prices(tiny: Spec) -> Basket:
    return aapl(tiny)


@pytest.fixture
def crowd(tmp_path: Path, url: str) -> Crowd:
    """Run ``act(index, url)`` in many processes at once and return all results."""

    def run(body: str, count: int = 5, seconds: float = 60.0) -> list[Any]:
        script = tmp_path / "crowd.py"
        script.write_text(
            CROWD.format(body=textwrap.dedent(body), count=count, seconds=seconds), "utf-8"
        )
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), url],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds + 30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            pytest.fail(f"{count} processes did not end within {seconds + 30:.0f} s")
        assert process.returncode == 0, f"the crowd ended with {process.returncode}:\n{err}"
        answers = json.loads(out)
        errors = [f"process {index}: {answer}" for index, fine, answer in answers if not fine]
        assert not errors, "\n".join([*errors, err])
        return [answer for _, _, answer in answers]

    return run


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Program]]:
    """Start a program in its own process group; whatever still runs at the end is killed."""
    with Programs(tmp_path_factory.mktemp("programs")) as programs:
        yield programs.start


@pytest.fixture
def make_study(storage: RDBStorage, prices: Prices) -> Callable[..., StoredStudy]:
    """Submit the study that trains in a blink, with some values changed."""

    def make(name: str = "tiny", **sections: dict[str, Any]) -> StoredStudy:
        return submit(storage, tiny_spec(name, **sections), prices)

    return make


@pytest.fixture
def make_worker(storage: RDBStorage) -> Callable[..., Worker]:
    """Return a worker without a heartbeat in the database."""

    def make(interrupt: Interrupt | None = None) -> Worker:
        heartbeat = Heartbeat(storage, Registration(storage, "cpu", {}, 60))
        return Worker(storage, setup_torch("cpu", 1.0), interrupt or Interrupt(), heartbeat)

    return make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers of this process poll a hundred times a second."""
    monkeypatch.setattr(backoff, "_FIRST_SECONDS", 0.01)
    for pause in ("_LAST_TRIALS_SECONDS", "_IDLE_SECONDS"):
        monkeypatch.setattr(scheduler, pause, 0.01)


@pytest.fixture
def statements(storage: RDBStorage) -> list[str]:
    """The SQL statements of this process, in order."""
    said: list[str] = []

    @event.listens_for(storage.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    return said


@pytest.fixture
def one_epoch(make_study: Callable[..., StoredStudy]) -> Callable[..., StoredStudy]:
    """Submit a study whose trials train one epoch."""

    def make(name: str = "tiny", trials: int = 2, **search: Any) -> StoredStudy:
        return make_study(name, training={"max_epochs": 1}, search={"trials": trials} | search)

    return make
