"""Databases and programs for the soak, which `--long` lets take its time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from tests.processes import Programs

_LONG_SECONDS = 1800


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        for item in items:
            if "soak" in item.path.parts:
                item.add_marker(pytest.mark.timeout(_LONG_SECONDS))


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long"))


@pytest.fixture(autouse=True)
def _quiet_optuna() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Start programs; whatever still runs at the end is killed."""
    with Programs(tmp_path_factory.mktemp("programs")) as programs:
        yield programs


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the URL of a new database of a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / 'soak.db'}"
        return str(request.getfixturevalue("postgres").new_database())

    return make
