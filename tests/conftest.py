"""For every tier of tests: databases, signals, a real PostgreSQL, an option for the soak."""

import os
import signal
from collections.abc import Iterator

import pytest
from optuna.storages._rdb.storage import _VersionManager
from sqlalchemy import Connection, Engine, event

from puffin.tuner.worker.signals import stop_signals
from tests.postgres import Postgres, running_postgres

# As every worker has it, before torch is imported: tests run beside each other, and sums keep
# their order.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run tests/soak in its long form")
    parser.addoption("--pictures", metavar="DIR", help="keep pictures of the dashboard there")


@pytest.fixture(scope="session", autouse=True)
def _migrations_read_once() -> Iterator[None]:
    """Read Optuna's migrations once: each opening of a database defines all their tables anew."""
    manager = object.__new__(_VersionManager)
    manager.url = ""
    with pytest.MonkeyPatch.context() as patch:
        script = _VersionManager._create_alembic_script(manager)
        patch.setattr(_VersionManager, "_create_alembic_script", lambda _: script)
        yield


@pytest.fixture(autouse=True)
def _closed_databases() -> Iterator[None]:
    """Close what a test opened: a connection that is left to the collector is a warning."""
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    yield
    event.remove(Engine, "engine_connect", remember)
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL for the whole session."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """Start a PostgreSQL that a test may stop."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def trains_here() -> Iterator[None]:
    """Let `tuner run`, `tuner report` and `puffin.search` train in this process."""
    from tests.pool_here import pool_here  # imports torch

    with pool_here():
        yield


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Restore the signal handlers that a program in this process replaces."""
    before = {number: signal.getsignal(number) for number in stop_signals()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
