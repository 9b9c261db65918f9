"""A finished search and its holdout, made once for all tests of a worker."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from puffin.studies.report import build
from puffin.studies.report.build import Report
from puffin.studies.study import (
    StoredStudy,
    load,
)
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.judging import judge


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    return new_url("sqlite")


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of finished databases; each test works on a copy."""
    return tmp_path_factory.mktemp("done")


@pytest.fixture(scope="session")
def reports() -> list[Report]:
    """Return where the report is kept."""
    return []


@pytest.fixture
def searched(
    storage: RDBStorage, url: str, make_study: Callable[..., StoredStudy], done: Path
) -> StoredStudy:
    """A finished search."""

    def search() -> None:
        make_study(search={"pruner": "none"})
        work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))

    once(done / "searched.db", url, search)
    return load(storage, "tiny")


@pytest.fixture
def judged(searched: StoredStudy, url: str, done: Path, reports: list[Report]) -> Report:
    """The report on its holdout, with three seeds of the best three; the same for every test."""
    once(done / "judged.db", url, lambda: judge(searched, url, top=3))
    if not reports:
        reports.append(build.build(searched))
    return deepcopy(reports[0])


def once(done: Path, url: str, work_on: Callable[[], object]) -> None:
    """Restore a finished database from `done`, or finish it and keep a copy there."""
    path = url.removeprefix("sqlite:///")
    if done.exists():
        source, target = str(done), path
    else:
        work_on()
        source, target = path, str(done)
    with closing(sqlite3.connect(source)) as from_, closing(sqlite3.connect(target)) as to:
        from_.backup(to)
