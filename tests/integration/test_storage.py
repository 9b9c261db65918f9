"""The database: concurrent processes, safe settings, and error messages."""

import contextlib
import gc
import socketserver
import sqlite3
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.studies.prices.basket import Basket
from puffin.studies.spec import Spec
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import BusyError, NoStudiesError, StorageError
from puffin.studies.storage.optuna_internals import trial_id
from puffin.studies.study import study_names
from tests.queues import age_heartbeats, make_queue, study_of, take

Crowd = Callable[..., list[Any]]


# Eight processes at once


OPEN_QUEUE = """
        from puffin.studies.storage import registry
        from puffin.studies.storage.queue import TicketQueue
        from puffin.studies.storage.database import open_storage

        def open_queue(url):
            storage = open_storage(url)
            key, budget = storage.get_study_id_from_name("s"), registry.budget_of(storage, "s")
            return TicketQueue(storage, key, budget.creation_id)
"""


def test_five_processes_claim_each_requeued_ticket_once(storage: RDBStorage, crowd: Crowd) -> None:
    queue = make_queue(storage, 64)
    study = study_of(queue)
    for trial in [take(study, queue) for _ in range(64)]:
        queue.requeue(trial_id(trial))
    taken = crowd(
        OPEN_QUEUE
        + """
        def act(index, url):
            own, taken = open_queue(url), []
            while (trial := own.claim()) is not None:
                taken.append(trial.user_attrs["ticket"])
            return taken
        """
    )
    assert sorted(number for part in taken for number in part) == list(range(64))
    assert sum(1 for part in taken if part) > 1, "one process took all: nothing was tested"
    assert len(study.get_trials(states=(TrialState.RUNNING,))) == 64
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_five_processes_retry_each_lost_trial_once(storage: RDBStorage, crowd: Crowd) -> None:
    queue = make_queue(storage, 25)
    study = study_of(queue)
    for _ in range(25):
        take(study, queue)
    age_heartbeats(storage)
    crowd(
        OPEN_QUEUE
        + """
        def act(index, url):
            open_queue(url).retry_stale()
        """
    )
    states = Counter(t.state for t in study.trials)
    assert states == {TrialState.FAIL: 25, TrialState.WAITING: 25}
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert sorted(t.user_attrs["ticket"] for t in waiting) == list(range(25))
    assert {t.user_attrs["retries"] for t in waiting} == {1}


def test_five_processes_make_the_tables_at_once_and_all_live(crowd: Crowd, url: str) -> None:
    counts = crowd(
        """
        from puffin.studies.storage.database import open_storage

        def act(index, url):
            storage = open_storage(url, create=True)
            return len(storage.get_all_studies())
        """
    )
    assert counts == [0] * 5
    assert study_names(open_storage(url)) == []


def test_five_processes_submit_one_study_and_all_get_it_whole(
    crowd: Crowd, storage: RDBStorage, tiny_file: Path, tiny: Spec, prices: Basket
) -> None:
    answers = crowd(
        f"""
        from datetime import date
        from puffin.studies.prices.basket import load_basket
        from puffin.studies.prices.request import PriceRequest
        from puffin.studies.spec import load_spec
        from puffin.studies.storage.database import open_storage
        from puffin.studies.lifecycle import submit

        spec = load_spec({str(tiny_file)!r})
        prices = load_basket("sample", PriceRequest(start=spec.data.start), ["AAPL"])

        def act(index, url):
            handle = submit(open_storage(url, create=True), spec, prices)
            return [handle.optuna_study._study_id, handle.record.targets_sha256,
                    len(handle.load_search_prices()["AAPL"]),
                    handle.spec.to_json() == spec.to_json()]
        """
    )
    assert len({tuple(answer) for answer in answers}) == 1
    assert answers[0][2:] == [len(prices.frames["AAPL"]) - tiny.walk_forward.holdout_bars, True]
    assert len(storage.get_all_studies()) == 1
    with storage.engine.connect() as connection:
        for table, rows in (("puffin_studies", 1), ("puffin_artifacts", 2)):
            found = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()  # noqa: S608
            assert found == rows, table


# Settings

only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


@only_sqlite
@pytest.mark.parametrize("create", [True, False])
def test_every_connection_has_write_ahead_log_timeout_and_synchronous_normal(
    storage: RDBStorage, url: str, *, create: bool
) -> None:
    del storage  # made the tables
    opened = open_storage(url, create=create)
    with opened.engine.connect() as first, opened.engine.connect() as second:
        for connection in (first, second):
            for pragma, value in (
                ("journal_mode", "wal"),
                ("busy_timeout", 60_000),
                ("synchronous", 1),
            ):
                found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
                assert found == value, pragma


@only_sqlite
@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_while_trials_are_read(
    storage: RDBStorage, monkeypatch: pytest.MonkeyPatch, *, enabled: bool
) -> None:
    study, seen = optuna.create_study(study_name="s", storage=storage), []
    read = RDBStorage._get_trials

    def spy(*args: Any, **kwargs: Any) -> Any:
        seen.append(gc.isenabled())
        return read(*args, **kwargs)

    monkeypatch.setattr(RDBStorage, "_get_trials", spy)
    (gc.enable if enabled else gc.disable)()
    try:
        assert study.get_trials() == []
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        gc.enable()


@only_sqlite
def test_a_row_lock_keeps_a_second_writer_out(storage: RDBStorage, url: str) -> None:
    optuna.create_study(study_name="s", storage=storage)
    path = url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    session = storage.scoped_session()
    try:
        session.execute(sa.text("SELECT 1")).scalar()
        other.execute("BEGIN IMMEDIATE")  # a plain SELECT locks nothing
        other.execute("ROLLBACK")
        study_row = optuna.storages._rdb.models.StudyModel
        session.execute(sa.select(study_row).with_for_update()).all()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        session.rollback()
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    finally:
        other.close()
        storage.remove_session()


def test_grace_period_exceeds_the_wait_for_a_database(
    storage: RDBStorage,
) -> None:
    assert storage.get_heartbeat_interval() is not None
    assert storage.grace_period is not None
    assert timedelta(seconds=storage.grace_period) >= timedelta(seconds=60)


# Errors


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("tuner.db", "tuner.db is a path, not a database URL"),
        ("sqlite:///no/such/folder/tuner.db", "the folder of no/such/folder/tuner.db does not"),
        (
            "sqlite:///folder",
            "folder is a folder; name a file in it, for example sqlite:///folder/",
        ),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words(
    wrong: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    create: bool,
) -> None:
    """What a URL may be is a matter of tests/unit/storage/test_url.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError) as caught:
        open_storage(wrong, create=create)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_opening_a_missing_database_does_not_create_it(tmp_path: Path) -> None:
    path = tmp_path / "gone.db"
    with pytest.raises(StorageError) as caught:
        open_storage(f"sqlite:///{path}")
    assert str(caught.value) == (
        f"there is no database {path}; `tuner run demo` or `tuner submit` makes one"
    )
    assert not path.exists()


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_refused_unchanged(tmp_path: Path, *, create: bool) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are only some notes\n" * 99)
    before = path.read_bytes()
    with pytest.raises(StorageError) as caught:
        open_storage(f"sqlite:///{path}", create=create)
    assert str(caught.value) == (
        f"the database sqlite:///{path} cannot be used: file is not a database"
    )
    assert path.read_bytes() == before


@contextlib.contextmanager
def postgres_that_refuses(code: str, said: str) -> Iterator[str]:
    """Answer every connection on loopback as PostgreSQL refuses one; give the URL."""
    fields = f"SFATAL\0VFATAL\0C{code}\0M{said}\0\0".encode()

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while len(head := self.rfile.read(8)) == 8:
                length, request = struct.unpack("!II", head)
                if request >> 16 == 3:  # the version of the protocol: no more questions
                    self.rfile.read(length - 8)
                    self.wfile.write(b"E" + struct.pack("!I", len(fields) + 4) + fields)
                    return
                self.wfile.write(b"N")  # neither TLS nor GSS

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"postgresql://puffin@127.0.0.1:{server.server_address[1]}/studies"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("57P03", "the database system is starting up"),
        ("57P03", "the database system is not yet accepting connections"),
        ("57P03", "the database system is not accepting connections"),
        ("57P03", "the database system is shutting down"),
        ("57P03", "the database system is in recovery mode"),
        ("53300", "sorry, too many clients already"),
        ("53300", 'too many connections for database "studies"'),
        ("53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_busy_postgresql_is_worth_waiting_for(code: str, said: str, *, create: bool) -> None:
    with (
        postgres_that_refuses(code, said) as url,
        pytest.raises(BusyError, match=f"does not answer: .*{said}"),
    ):
        open_storage(url, create=create)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("3D000", 'database "studies" does not exist'),
        ("28P01", 'password authentication failed for user "puffin"'),
    ],
)
def test_a_postgresql_that_refuses_for_good_is_not_waited_for(code: str, said: str) -> None:
    with (
        postgres_that_refuses(code, said) as url,
        pytest.raises(StorageError, match=f"cannot be used: .*{said}") as caught,
    ):
        open_storage(url)
    assert not isinstance(caught.value, NoStudiesError)


def test_an_optuna_database_without_our_tables_has_no_studies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'plain.db'}"
    plain = RDBStorage(url)
    optuna.create_study(study_name="theirs", storage=plain)
    with pytest.raises(StorageError) as caught:
        open_storage(url)
    assert str(caught.value) == (
        f"{url} holds no studies; `tuner run demo` or `tuner submit` makes one"
    )
    ours = open_storage(url, create=True)  # lives beside theirs
    assert study_names(ours) == []
    assert [s.study_name for s in ours.get_all_studies()] == ["theirs"]


def test_tables_of_another_version_of_optuna_are_refused(storage: RDBStorage, url: str) -> None:
    with storage.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE version_info SET schema_version = 11, library_version = '1.3.0'")
        )
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'v1.3.0.a'"))
    with pytest.raises(StorageError, match="was made by another version of Optuna"):
        open_storage(url)


def test_tables_of_an_older_version_of_the_same_revision_are_used(
    storage: RDBStorage, url: str
) -> None:
    with storage.engine.begin() as connection:
        connection.execute(sa.text("UPDATE version_info SET library_version = '4.0.0'"))
    assert study_names(open_storage(url)) == []
