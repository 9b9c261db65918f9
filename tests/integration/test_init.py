"""`tuner init` creates the tables once, and waits for a database that does not answer yet."""

import threading
import time
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.storages import RDBStorage

from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import NoStudiesError, StorageError
from puffin.studies.storage.tables import metadata
from puffin.studies.study import study_names
from puffin.tuner.cli import main
from puffin.tuner.commands.database import init
from puffin.tuner.dashboard.app import dashboard_app
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt

Crowd = Callable[..., list[Any]]


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_init_creates_the_tables_and_is_idempotent(url: str) -> None:
    ready = f"{url} is ready\n"
    for _ in range(2):
        done = CliRunner().invoke(main, ["init", "--storage", url])
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", ready)
        assert tables(url) >= {*metadata.tables, "studies", "trials"}
        names = study_names(open_storage(url))
        assert names == []


def test_init_leaves_studies_that_are_there_alone(url: str, make_study: Callable[..., Any]) -> None:
    made = make_study()
    init(url, wait=0)
    assert study_names(open_storage(url)) == ["tiny"]
    assert made.still_exists()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_four_processes_make_a_database_ready_at_once(crowd: Crowd, url: str) -> None:
    crowd(
        """
        from puffin.tuner.commands.database import init

        def act(index, url):
            init(url, 0.0)
        """,
        count=4,
    )
    assert tables(url) >= set(metadata.tables)


def test_an_initialised_database_has_no_work_for_any_command(
    url: str,
) -> None:
    init(url, wait=0)
    work(url, Interrupt(), WorkerOptions(device="cpu"))
    said = CliRunner().invoke(main, ["status", "--storage", url])
    assert (said.exit_code, said.stderr) == (0, "")
    assert "no worker is alive" in said.stdout
    environ: dict[str, Any] = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    app = dashboard_app(open_storage(url), writable=False, password=None)
    body = b"".join(app(environ, lambda status, *_: statuses.append(status)))
    assert (statuses, body) == (["200 OK"], b'{"study_summaries": []}')


def test_init_waits_for_a_late_postgresql_up_to_its_limit(
    own_postgres: Any,
) -> None:
    url = own_postgres.new_database()
    own_postgres.stop()
    for wait in (0.0, 1.0):
        started = time.monotonic()
        with pytest.raises(NoStudiesError, match="does not answer"):
            init(url, wait)
        assert wait <= time.monotonic() - started < wait + 10
    starter = threading.Timer(2.0, own_postgres.start)
    starter.start()
    init(url, wait=60.0)
    starter.join()
    assert tables(url) >= set(metadata.tables)


@pytest.mark.parametrize("create", [True, False])
def test_a_database_of_an_earlier_version_is_refused_in_words(
    storage: RDBStorage, url: str, *, create: bool
) -> None:
    with storage.engine.begin() as connection:
        for column in ("priority", "paused"):
            connection.execute(sa.text(f"ALTER TABLE puffin_studies DROP COLUMN {column}"))
    with pytest.raises(StorageError) as caught:
        open_storage(url, create=create)
    assert str(caught.value) == (
        f"{url} was made by another version of Puffin Tuner: "
        "puffin_studies has no paused, priority; use that version, or another --storage"
    )
    for command in ("init", "status"):
        said = CliRunner().invoke(main, [command, "--storage", url])
        assert said.exit_code == 1
        assert "was made by another version of Puffin Tuner" in said.stderr
