"""A pool: studies by turns, paused and extended, and workers that are known while they live."""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from puffin.studies import summary, versions
from puffin.studies.sections import MOST_TRIALS
from puffin.studies.spec import parse_spec
from puffin.studies.storage import tickets, workers
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy, StudyError, extend, load, submit
from puffin.tuner.cli import main
from puffin.tuner.worker import scheduler as module
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.scheduler import StudyScheduler, WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt, stop_signals
from puffin.tuner.worker.worker import Worker
from tests.queues import age_heartbeats

TUNER = Path(sys.executable).with_name("tuner")
Start = Callable[..., Any]
MakeStudy = Callable[..., StoredStudy]
MakeWorker = Callable[..., Worker]
on_both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)


@pytest.fixture
def one_epoch(make_study: MakeStudy) -> MakeStudy:
    def make(name: str = "tiny", trials: int = 2, **search: Any) -> StoredStudy:
        return make_study(name, training={"max_epochs": 1}, search={"trials": trials} | search)

    return make


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the studies of which a ticket was run, in order."""
    served: list[str] = []
    step = Worker.step

    def noted(worker: Worker, study: StoredStudy) -> bool | None:
        if ran := step(worker, study):
            served.append(study.name)
        return ran

    monkeypatch.setattr(Worker, "step", noted)
    return served


def finished(study: StoredStudy) -> int:
    return tickets.finished(study.trials())


# Turns


@on_both
def test_a_pool_worker_serves_two_studies_by_turns(
    one_epoch: MakeStudy,
    make_worker: MakeWorker,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handles = [one_epoch(name, 4) for name in ("a", "b")]
    ticks = iter(range(1000))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    while scheduler.run_one():
        pass
    assert {frozenset(steps[i : i + 2]) for i in range(0, 8, 2)} == {frozenset("ab")}
    assert len(steps) == 8
    assert [finished(study) for study in handles] == [4, 4]


def test_a_study_of_priority_3_has_three_of_four_turns_from_when_it_is_given_it(
    storage: RDBStorage,
    make_worker: MakeWorker,
    one_epoch: MakeStudy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("high", "low"):
        one_epoch(name, 100)
    url = str(storage.engine.url)
    assert CliRunner().invoke(main, ["priority", "high", "3", "--storage", url]).exit_code == 0
    served: list[str] = []
    now = [0.0]

    def step(_worker: Worker, study: StoredStudy) -> bool:
        served.append(study.name)
        now[0] += 2.0
        return True

    monkeypatch.setattr(Worker, "step", step)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    for _ in range(40):
        assert scheduler.run_one()
    assert 29 <= served.count("high") <= 31
    tickets.set_priority(storage, load(storage, "high").creation_id, 1)
    served.clear()
    for _ in range(40):
        assert scheduler.run_one()
    assert 18 <= served.count("high") <= 22


# Pause and resume


def pause(storage: RDBStorage, name: str, *, paused: bool) -> None:
    tickets.set_paused(storage, load(storage, name).creation_id, paused=paused)


@on_both
def test_a_paused_study_gets_no_ticket_while_the_other_goes_on_and_the_pool_ends_without_it(
    storage: RDBStorage, url: str, one_epoch: MakeStudy, steps: list[str]
) -> None:
    paused, other = one_epoch("paused", 3), one_epoch("other", 3)
    pause(storage, "paused", paused=True)
    work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert steps == ["other"] * 3
    assert (paused.trials(), finished(other)) == ([], 3)
    pause(storage, "paused", paused=False)
    work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert finished(paused) == 3


def test_a_study_that_is_paused_in_the_midst_ends_the_trial_at_hand_and_begins_no_other(
    storage: RDBStorage, one_epoch: MakeStudy, make_worker: MakeWorker
) -> None:
    study = one_epoch(trials=5)
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    assert scheduler.run_one()
    pause(storage, "tiny", paused=True)
    assert not scheduler.run_one()
    assert tickets.count(study.trials()).total() == finished(study) == 1


def test_a_worker_of_one_study_waits_while_it_is_paused_says_so_once_and_goes_on(
    storage: RDBStorage,
    one_epoch: MakeStudy,
    make_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study = one_epoch(trials=2)
    pause(storage, "tiny", paused=True)
    scheduler = StudyScheduler(make_worker(), "tiny", forever=False)
    with caplog.at_level(logging.WARNING):
        assert [scheduler.run_one() for _ in range(3)] == [True] * 3
    assert caplog.messages == ["study 'tiny' is paused; waiting for `tuner resume tiny`"]
    assert study.trials() == []
    pause(storage, "tiny", paused=False)
    while scheduler.run_one():
        pass
    assert finished(study) == 2


@pytest.mark.timeout(30)
def test_a_worker_of_one_study_does_not_wait_for_one_that_was_paused_when_it_was_done(
    storage: RDBStorage, url: str, one_epoch: MakeStudy
) -> None:
    study = one_epoch(trials=1)
    work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert finished(study) == 1
    pause(storage, "tiny", paused=True)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))


# Extend


@on_both
def test_a_worker_goes_on_by_itself_when_a_finished_study_is_extended(
    storage: RDBStorage, one_epoch: MakeStudy, make_worker: MakeWorker
) -> None:
    study = one_epoch(trials=2)
    scheduler = StudyScheduler(make_worker(), None, forever=True)
    for _ in range(4):
        assert scheduler.run_one()
    assert finished(study) == 2
    assert extend(storage, "tiny", 3) == 5
    for _ in range(4):
        assert scheduler.run_one()
    assert finished(study) == 5
    numbers = {t.user_attrs[tickets.TICKET] for t in study.trials()}
    assert numbers == set(range(5)), "the new tickets go on where the old ones end"


def test_an_extended_study_is_accepted_with_its_first_file_and_with_the_number_that_it_has(
    storage: RDBStorage, one_epoch: MakeStudy
) -> None:
    study = one_epoch(trials=4)
    extend(storage, "tiny", 3)
    assert [one_epoch(trials=n).creation_id for n in (4, 7)] == [study.creation_id] * 2
    assert tickets.total(storage, "tiny") == 7
    with pytest.raises(StudyError) as caught:
        one_epoch(trials=5)
    assert "search.trials: 4 there, 5 here" in str(caught.value)
    assert "`tuner extend tiny --trials N` adds N to its 7 trials, or use another" in str(
        caught.value
    )
    with pytest.raises(StudyError, match=r"search.seed: 0 there, 1 here") as caught:
        one_epoch(trials=7, seed=1)
    assert "extend" not in str(caught.value)


def test_a_study_of_100_trials_by_default_is_extended_beyond_them(
    storage: RDBStorage, make_study: MakeStudy
) -> None:
    make_study(search={"trials": None})
    assert extend(storage, "tiny", 1) == 101
    assert make_study(search={"trials": 101}).spec.search.trials is None


def test_an_extension_of_a_grid_of_nothing_and_beyond_all_limits_is_refused(
    storage: RDBStorage, tiny: Any, prices: Any, one_epoch: MakeStudy
) -> None:
    values = tiny.to_json() | {"name": "grid", "search": {"sampler": "grid"}}
    values["space"] = {"hidden_dim": 4, "lookback": [3, 4, 5]}
    submit(storage, parse_spec(values, "grid"), prices)
    one_epoch(trials=8)
    for name, more, words in (
        ("grid", 1, "runs every point of a grid once: there are no more trials to add"),
        ("nobody", 1, "there is no study 'nobody' in the database; studies there: grid, tiny"),
        ("tiny", MOST_TRIALS, "at most 1000000 trials, but 8 [+] 1000000 are asked for"),
    ):
        with pytest.raises(StudyError, match=words):
            extend(storage, name, more)
    assert [tickets.total(storage, name) for name in ("grid", "tiny")] == [3, 8]
    assert extend(storage, "tiny", MOST_TRIALS - 8) == MOST_TRIALS


# How long a worker works


def test_a_worker_ends_after_so_many_trials_of_whatever_study(
    url: str, one_epoch: MakeStudy, steps: list[str]
) -> None:
    handles = [one_epoch(name, 4) for name in ("a", "b")]
    work(url, Interrupt(), WorkerOptions(device="cpu", forever=True, max_trials=3))
    assert len(steps) == 3
    assert sum(finished(study) for study in handles) == 3


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """Let a test catch signals in this process."""
    before = {number: signal.getsignal(number) for number in stop_signals()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@on_both
@pytest.mark.usefixtures("_own_signals")
@pytest.mark.timeout(60)
def test_a_worker_whose_time_is_up_in_mid_trial_gives_its_ticket_back_with_exit_0(
    url: str, storage: RDBStorage, make_study: MakeStudy
) -> None:
    study = make_study("long", training={"max_epochs": 10**6, "patience": 10**6})
    started = time.monotonic()
    said = CliRunner().invoke(main, ["worker", "--max-time", "1.5", "--storage", url])
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr.endswith(" 0 failed, 1 requeued; it was asked to stop\n")
    assert 1.5 <= time.monotonic() - started < 15
    lost, again = study.trials()
    assert lost.intermediate_values, "it trained"
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert again.system_attrs["fixed_params"] == lost.params
    assert workers.alive(storage) == [], "who ends is gone at once"


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.timeout(60)
def test_a_worker_whose_time_is_up_does_not_sleep_on() -> None:
    interrupt = Interrupt()
    interrupt.install()
    interrupt.after(0.2)
    started = time.monotonic()
    interrupt.wait(30)
    assert 0.1 < time.monotonic() - started < 10
    assert interrupt.requested


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
    return found


@on_both
def test_a_worker_is_listed_idle_and_at_work_comes_back_when_struck_out_and_ages_when_killed(
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


# In touch with the database


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
def stub_heartbeat(storage: RDBStorage, clock: Clock) -> Heartbeat:
    """A heartbeat that beats when it is told to; a beat is due every 10 s."""
    assert clock.now == Clock.now
    return Heartbeat(storage, Registration(storage, "cpu", {}, 60))


def beat_for(heartbeat: Heartbeat, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds / 10)):
        clock.now += 10
        heartbeat._beat()


def test_a_worker_is_steady_after_a_while_and_not_at_first(
    heartbeat: Heartbeat, clock: Clock
) -> None:
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
def test_a_worker_is_not_steady_during_an_outage_nor_until_the_others_can_be_back(
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


def test_one_beat_that_is_late_is_no_outage(heartbeat: Heartbeat, clock: Clock) -> None:
    heartbeat._beat()
    beat_for(heartbeat, clock, 60)
    clock.now += 15
    heartbeat._beat()
    assert heartbeat.is_stable


def test_a_worker_that_is_not_steady_fails_no_trial_and_one_that_is_does(
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


def test_of_several_graces_the_longest_counts_as_long_as_its_worker_lives(
    storage: RDBStorage, clock: Clock
) -> None:
    assert clock.now == Clock.now
    slow, quick = (Registration(storage, "cpu", {}, grace) for grace in (60, 5))
    slow.write(None, None)
    heartbeat = Heartbeat(storage, quick)
    heartbeat._beat()
    assert storage.grace_period == 60
    slow.remove()
    heartbeat._beat()
    assert storage.grace_period == 5


@pytest.fixture
def quick_presence(storage: RDBStorage) -> Iterator[Heartbeat]:
    with Heartbeat(storage, Registration(storage, "cpu", {}, 1)) as heartbeat:
        yield heartbeat


@pytest.mark.parametrize(
    "error", [OperationalError("UPDATE", {}, Exception("gone")), AssertionError()], ids=type
)
def test_a_beat_that_fails_is_said_and_the_next_one_comes(
    quick_presence: Heartbeat,
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
    quick_presence.start_trial("s", 3, 77)
    end = time.monotonic() + 10
    while len(beats) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert beats[:3] == [77] * 3
    assert [m for m in caplog.messages if m.startswith("no sign of life could be given")]
    (alive,) = workers.alive(storage)
    assert (alive.study, alive.ticket) == ("s", 3)
    quick_presence.end_trial()
    while workers.alive(storage)[0].study and time.monotonic() < end:
        time.sleep(0.02)
    assert workers.alive(storage)[0].study is None
    monkeypatch.setattr(storage, "record_heartbeat", record)


# Memory


def test_a_worker_for_ever_keeps_nothing_of_a_study_that_is_done(
    one_epoch: MakeStudy, make_worker: MakeWorker
) -> None:
    one_epoch(trials=1)
    scheduler = StudyScheduler(make_worker(), None, forever=True)
    for _ in range(3):
        scheduler.run_one()
    assert scheduler._studies == {}


# Versions


def of_another_torch(study: StoredStudy) -> None:
    study.optuna_study.set_user_attr(
        "made_with", versions.installed_versions() | {"torch": "1.0.0"}
    )


@pytest.mark.usefixtures("_own_signals")
def test_a_worker_of_a_study_of_another_torch_refuses_with_the_reason_and_spends_no_ticket(
    storage: RDBStorage, url: str, one_epoch: MakeStudy
) -> None:
    study = one_epoch()
    of_another_torch(study)
    said = CliRunner().invoke(main, ["worker", "--study", "tiny", "--storage", url])
    assert said.exit_code == 1
    assert "\nerror: study 'tiny': it was made with torch 1.0.0, but this is" in said.stderr
    assert study.trials() == []
    assert tickets.budgets(storage)[study.name].issued == 0


def test_a_pool_worker_passes_over_a_study_of_another_torch_says_so_once_and_serves_the_others(
    url: str, one_epoch: MakeStudy, caplog: pytest.LogCaptureFixture
) -> None:
    other, own = one_epoch("other"), one_epoch("own", 3)
    of_another_torch(other)
    with caplog.at_level(logging.WARNING):
        work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert (other.trials(), finished(own)) == ([], 3)
    (said,) = caplog.messages
    assert said.startswith("not serving study 'other': it was made with torch 1.0.0, but this is")


def test_a_worker_says_once_of_another_patch_and_goes_on(
    url: str, one_epoch: MakeStudy, caplog: pytest.LogCaptureFixture
) -> None:
    study = one_epoch(trials=3)
    own = versions.installed_versions()["torch"]
    patched = ".".join([*own.split(".")[:2], "99"])
    study.optuna_study.set_user_attr(
        "made_with", versions.installed_versions() | {"torch": patched}
    )
    with caplog.at_level(logging.WARNING):
        work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert caplog.messages == [f"study 'tiny': it was made with torch {patched}, this is {own}"]
    assert finished(study) == 3


def test_a_study_of_another_torch_can_be_read_and_deleted_but_not_run(
    url: str,
    one_epoch: MakeStudy,
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    study = one_epoch(trials=2)
    work(url, Interrupt(), WorkerOptions(device="cpu", max_trials=1))
    of_another_torch(study)
    monkeypatch.chdir(tmp_path)
    tiny_file.write_text(
        tiny_file.read_text().replace("= 3\npatience", "= 1\npatience").replace("= 8\n", "= 2\n")
    )

    def tuner(*args: str) -> Any:
        return CliRunner().invoke(main, [*args, "--storage", url])

    ran = tuner("run", str(tiny_file), "--workers", "1")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("error: study 'tiny': it was made with torch 1.0.0, but this is")
    for args in (["status"], ["status", "tiny"], ["best", "tiny"], ["delete", "tiny", "--yes"]):
        assert tuner(*args).exit_code == 0, args
    assert tuner("status", "tiny").exit_code == 1


NEEDS_A_STUDY = [
    ["status", "tiny"],
    ["worker", "--study", "tiny"],
    ["best", "tiny"],
    ["compare", "tiny"],
    ["export", "tiny", "out"],
    ["pause", "tiny"],
    ["resume", "tiny"],
    ["priority", "tiny", "2"],
    ["extend", "tiny", "--trials", "1"],
    ["copy", "tiny", "--to", "sqlite:///other.db"],
]


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            "version",
            "'tiny' was made by another version of Puffin Tuner and cannot be read by this",
        ),
        (
            "settings",
            "'tiny' has lost its trials or its settings to another program; `tuner delete",
        ),
        ("study", "'tiny' has lost its trials or its settings to another program; `tuner delete"),
    ],
)
def test_a_study_that_cannot_be_read_is_named_in_every_error_and_can_be_deleted(
    storage: RDBStorage,
    one_epoch: MakeStudy,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    words: str,
) -> None:
    url = str(storage.engine.url)
    one_epoch("sound")
    study = one_epoch()
    if broken == "study":
        optuna.delete_study(study_name="tiny", storage=storage)
    else:
        with storage.engine.begin() as connection:
            key = {"version": "spec_version", "settings": "spec"}[broken]
            query = "DELETE FROM study_user_attributes WHERE key = :key AND study_id = :study"
            own = {"key": key, "study": study.optuna_study._study_id}
            connection.execute(sa.text(query), own)
    monkeypatch.chdir(Path(url.removeprefix("sqlite:///")).parent)
    for args in NEEDS_A_STUDY[: len(NEEDS_A_STUDY) if broken == "version" else 2]:
        said = CliRunner().invoke(main, [*args, "--storage", url])
        assert (said.exit_code, said.stdout) == (1, ""), args
        assert "error: study " in said.stderr, args
        assert words in said.stderr, args
    with pytest.raises(StudyError, match=words[:40]):
        one_epoch()  # it is submitted again
    listed = CliRunner().invoke(main, ["status", "--json", "--storage", url])
    assert listed.exit_code == 0
    assert [s["name"] for s in json.loads(listed.stdout)["studies"]] == ["sound"]
    assert ("not listed: study 'tiny'" in listed.stderr) == (broken != "study")
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    while scheduler.run_one():
        pass
    assert finished(load(storage, "sound")) == 2
    done = CliRunner().invoke(main, ["delete", "tiny", "--yes", "--storage", url])
    assert done.exit_code == 0
    assert one_epoch().trials() == []
