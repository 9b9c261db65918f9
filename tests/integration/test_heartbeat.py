"""Workers are listed while they live, and declare others lost only if they may."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from puffin.studies import summary, versions
from puffin.studies.storage import workers
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.workers import Registration
from puffin.studies.study import load
from puffin.tuner.cli import main
from puffin.tuner.worker.heartbeat import Heartbeat
from tests.integration.helpers import TUNER, MakeStudy, MakeWorker, Start, finished, on_both
from tests.queues import age_heartbeats

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
    return found


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr("puffin.tuner.worker.heartbeat.time", SimpleNamespace(monotonic=own))
    return own


@pytest.fixture
def heartbeat(storage: RDBStorage, clock: Clock) -> Heartbeat:
    """A heartbeat that beats when it is told to; a beat is due every 10 s."""
    assert clock.now == Clock.now
    return Heartbeat(storage, Registration(storage, "cpu", {}, 60))


def beat_for(heartbeat: Heartbeat, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds / 10)):
        clock.now += 10
        heartbeat._beat()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_beat_reads_no_rows_of_other_workers(
    storage: RDBStorage, heartbeat: Heartbeat, clock: Clock
) -> None:
    for grace in (30, 60, 60):
        Registration(storage, "cpu", {}, grace).write(None, None)
    rows: list[int] = []

    @sa.event.listens_for(storage.engine, "after_cursor_execute")
    def note(_connection: Any, cursor: Any, *_: Any) -> None:
        rows.append(cursor.rowcount)

    beat_for(heartbeat, clock, 10)  # the first one writes the worker's row
    rows.clear()
    beat_for(heartbeat, clock, 10)
    assert rows == [1, 0], "its own row is updated, and nobody has a longer grace period"
    Registration(storage, "cpu", {}, 90).write(None, None)
    beat_for(heartbeat, clock, 10)
    assert storage.grace_period == 90


@pytest.fixture
def beating(storage: RDBStorage) -> Iterator[Heartbeat]:
    with Heartbeat(storage, Registration(storage, "cpu", {}, 1)) as heartbeat:
        yield heartbeat


@on_both
def test_status_lists_a_worker_until_it_is_killed(
    start: Start, url: str, storage: RDBStorage, make_study: MakeStudy
) -> None:
    program = start(url, TUNER, "worker", "--forever", "--grace-seconds", "3")
    (idle,) = program.until(lambda: workers.alive(storage), "it is there")
    assert idle.pid == program.process.pid
    assert idle.name == workers.process_name().replace(str(os.getpid()), str(idle.pid))
    assert (idle.device, idle.versions) == ("cpu", versions.installed_versions())
    assert (idle.study, idle.ticket) == (None, None)
    assert 0 <= time.time() - idle.since.timestamp() < 60
    said = CliRunner().invoke(main, ["status", "--storage", url])
    (row,) = [line.split() for line in said.stdout.splitlines() if idle.name in line]
    assert row[:4] == [idle.name, "-", "-", "cpu"]
    assert row[7::2] == list(versions.installed_versions().values())
    listed = json.loads(CliRunner().invoke(main, ["status", "--json", "--storage", url]).stdout)
    assert listed == {"studies": [], "workers": [idle.to_json()]}

    make_study("long", training={"max_epochs": 10**6, "patience": 10**6})
    (at_work,) = program.until(lambda: [w for w in workers.alive(storage) if w.study], "it trains")
    assert (at_work.study, at_work.ticket) == ("long", 0)
    assert summary.status(load(storage, "long")).workers == (idle.name,)
    with storage.engine.begin() as connection:  # as if others had taken it for gone
        connection.execute(sa.text("DELETE FROM puffin_workers"))
    assert workers.alive(storage) == []
    program.until(lambda: workers.alive(storage) == [at_work], "it comes back as it was")

    os.kill(program.process.pid, signal.SIGKILL)
    killed = time.monotonic()
    assert program.end(10) == -signal.SIGKILL
    assert workers.alive(storage) == [at_work], "nobody can know yet"
    until(lambda: not workers.alive(storage))
    assert time.monotonic() - killed > 1
    assert "no worker is alive" in CliRunner().invoke(main, ["status", "--storage", url]).stdout
    Registration(storage, "cpu", {}, 60).write(None, None)  # the next one sweeps it away
    with storage.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM puffin_workers")).scalar() == 1
    assert [w.pid for w in workers.alive(storage)] == [os.getpid()]


def test_a_heartbeat_is_stable_after_two_beats(heartbeat: Heartbeat, clock: Clock) -> None:
    assert not heartbeat.is_stable
    heartbeat._beat()
    assert not heartbeat.is_stable
    beat_for(heartbeat, clock, 10)
    assert not heartbeat.is_stable
    beat_for(heartbeat, clock, 10)
    assert heartbeat.is_stable
    beat_for(heartbeat, clock, 3600)
    assert heartbeat.is_stable


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "hangs"])
def test_a_heartbeat_is_not_stable_until_others_can_be_back(
    heartbeat: Heartbeat, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    heartbeat._beat()
    beat_for(heartbeat, clock, 60)
    assert heartbeat.is_stable
    write = heartbeat._registration.write

    def away(*args: Any) -> None:
        clock.now += 45
        assert not heartbeat.is_stable
        if fails:
            raise OperationalError("UPDATE", {}, Exception("the server is gone"))
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(heartbeat._registration, "write", away)
        if fails:
            with pytest.raises(OperationalError):
                heartbeat._beat()
        else:
            heartbeat._beat()
    if fails:
        heartbeat._beat()
    assert not heartbeat.is_stable, "the first that is back sees all others silent"
    beat_for(heartbeat, clock, 10)
    assert not heartbeat.is_stable
    beat_for(heartbeat, clock, 10)
    assert heartbeat.is_stable


def test_one_late_beat_is_not_an_outage(heartbeat: Heartbeat, clock: Clock) -> None:
    heartbeat._beat()
    beat_for(heartbeat, clock, 60)
    clock.now += 15
    heartbeat._beat()
    assert heartbeat.is_stable


def test_only_a_worker_with_a_stable_heartbeat_fails_stale_trials(
    storage: RDBStorage, one_epoch: MakeStudy, clock: Clock, make_worker: MakeWorker
) -> None:
    study = one_epoch(trials=1)
    worker = make_worker()
    assert study.queue.start_next() is not None
    age_heartbeats(storage)
    storage = open_storage(str(storage.engine.url))
    study = load(storage, "tiny")
    worker.heartbeat._beat()
    assert worker.step(study) is False
    assert [t.state for t in study.trials()] == [TrialState.RUNNING]
    beat_for(worker.heartbeat, clock, 60)
    assert worker.step(study) is True
    assert study.trials()[0].state == TrialState.FAIL
    assert finished(study) == 1


def test_the_longest_grace_time_of_living_workers_counts(storage: RDBStorage, clock: Clock) -> None:
    assert clock.now == Clock.now
    slow, quick = (Registration(storage, "cpu", {}, grace) for grace in (60, 5))
    slow.write(None, None)
    heartbeat = Heartbeat(storage, quick)
    heartbeat._beat()
    assert storage.grace_period == 60
    slow.remove()
    heartbeat._beat()
    assert storage.grace_period == 5


@pytest.mark.parametrize(
    "error", [OperationalError("UPDATE", {}, Exception("gone")), AssertionError()], ids=type
)
def test_a_failed_beat_is_logged_and_the_next_one_follows(
    beating: Heartbeat,
    storage: RDBStorage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    record = storage.record_heartbeat
    beats: list[int] = []
    errors = iter([error])

    def beat(trial_id: int) -> None:
        beats.append(trial_id)
        if failing := next(errors, None):
            raise failing

    monkeypatch.setattr(storage, "record_heartbeat", beat)
    beating.start_trial("s", 3, 77)
    end = time.monotonic() + 10
    while len(beats) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert beats[:3] == [77] * 3
    assert [m for m in caplog.messages if m.startswith("a heartbeat could not be recorded")]
    (alive,) = workers.alive(storage)
    assert (alive.study, alive.ticket) == ("s", 3)
    beating.end_trial()
    while workers.alive(storage)[0].study and time.monotonic() < end:
        time.sleep(0.02)
    assert workers.alive(storage)[0].study is None
    monkeypatch.setattr(storage, "record_heartbeat", record)
