"""A real PostgreSQL for every tier of tests, and the option that lets the soak take its time."""

from collections.abc import Iterator

import pytest

from tests.postgres import Postgres, running_postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run tests/soak in its long form")


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
