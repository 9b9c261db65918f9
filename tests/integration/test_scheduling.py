"""Studies by turns, paused, resumed and extended; how long a worker works."""

import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.studies import records
from puffin.studies.lifecycle import extend, submit
from puffin.studies.sections import MOST_TRIALS
from puffin.studies.spec import parse_spec
from puffin.studies.storage import registry, workers
from puffin.studies.storage.optuna_internals import trial_id
from puffin.studies.storage.queue import count_by_state
from puffin.studies.study import StoredStudy, StudyError, load
from puffin.tuner.cli import main
from puffin.tuner.worker import scheduler as module
from puffin.tuner.worker.scheduler import StudyScheduler, WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.integration.helpers import MakeStudy, MakeWorker, finished, on_both

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


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


def pause(storage: RDBStorage, name: str, *, paused: bool) -> None:
    registry.set_paused(storage, load(storage, name).creation_id, paused=paused)


@on_both
def test_a_worker_serves_two_studies_by_turns(
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


def test_a_study_of_priority_3_gets_three_of_four_turns(
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
    registry.set_priority(storage, load(storage, "high").creation_id, 1)
    served.clear()
    for _ in range(40):
        assert scheduler.run_one()
    assert 18 <= served.count("high") <= 22


@on_both
def test_a_paused_study_is_skipped_until_it_is_resumed(
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


def test_a_study_paused_during_its_search_starts_no_new_trial(
    storage: RDBStorage, one_epoch: MakeStudy, make_worker: MakeWorker
) -> None:
    study = one_epoch(trials=5)
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    assert scheduler.run_one()
    pause(storage, "tiny", paused=True)
    assert not scheduler.run_one()
    assert count_by_state(study.trials()).total() == finished(study) == 1


def test_a_worker_of_one_paused_study_waits_and_logs_it_once(
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
def test_a_worker_does_not_wait_for_a_paused_finished_study(
    storage: RDBStorage, url: str, one_epoch: MakeStudy
) -> None:
    study = one_epoch(trials=1)
    work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert finished(study) == 1
    pause(storage, "tiny", paused=True)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))


@on_both
def test_a_waiting_worker_runs_the_trials_of_an_extension(
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
    numbers = {t.user_attrs[records.TICKET] for t in study.trials()}
    assert numbers == set(range(5)), "the new tickets go on where the old ones end"


def test_an_extended_study_accepts_its_first_and_its_present_number(
    storage: RDBStorage, one_epoch: MakeStudy
) -> None:
    study = one_epoch(trials=4)
    extend(storage, "tiny", 3)
    assert [one_epoch(trials=n).creation_id for n in (4, 7)] == [study.creation_id] * 2
    assert registry.total(storage, "tiny") == 7
    with pytest.raises(StudyError) as caught:
        one_epoch(trials=5)
    assert "search.trials: 4 there, 5 here" in str(caught.value)
    assert "`tuner extend tiny --trials N` adds N to its 7 trials, or use another" in str(
        caught.value
    )
    with pytest.raises(StudyError, match=r"search.seed: 0 there, 1 here") as caught:
        one_epoch(trials=7, seed=1)
    assert "extend" not in str(caught.value)


def test_a_study_with_the_default_trials_can_be_extended(
    storage: RDBStorage, make_study: MakeStudy
) -> None:
    make_study(search={"trials": None})
    assert extend(storage, "tiny", 1) == 101
    assert make_study(search={"trials": 101}).spec.search.trials is None


def test_extending_a_grid_or_nothing_or_too_far_is_refused(
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
    assert [registry.total(storage, name) for name in ("grid", "tiny")] == [3, 8]
    assert extend(storage, "tiny", MOST_TRIALS - 8) == MOST_TRIALS


def test_max_trials_counts_the_trials_of_all_studies(
    url: str, one_epoch: MakeStudy, steps: list[str]
) -> None:
    handles = [one_epoch(name, 4) for name in ("a", "b")]
    work(url, Interrupt(), WorkerOptions(device="cpu", forever=True, max_trials=3))
    assert len(steps) == 3
    assert sum(finished(study) for study in handles) == 3


@on_both
@pytest.mark.usefixtures("own_signals")
@pytest.mark.timeout(60)
def test_max_time_requeues_the_running_trial_and_exits_with_0(
    url: str, storage: RDBStorage, make_study: MakeStudy
) -> None:
    study = make_study("long", training={"max_epochs": 10**6, "patience": 10**6})
    started = time.monotonic()
    said = CliRunner().invoke(main, ["worker", "--max-time", "1.5", "--storage", url])
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr.endswith(" 0 failed, 1 stopped; it was asked to stop\n")
    assert 1.5 <= time.monotonic() - started < 15
    lost, again = study.trials()
    assert lost.intermediate_values, "it trained"
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert again.system_attrs["fixed_params"] == lost.params
    assert workers.alive(storage) == [], "who ends is gone at once"


@pytest.mark.usefixtures("own_signals")
@pytest.mark.timeout(60)
def test_max_time_ends_a_sleep() -> None:
    interrupt = Interrupt()
    interrupt.install()
    interrupt.after(0.2)
    started = time.monotonic()
    interrupt.wait(30)
    assert 0.1 < time.monotonic() - started < 10
    assert interrupt.requested


def test_a_worker_forgets_a_finished_study(one_epoch: MakeStudy, make_worker: MakeWorker) -> None:
    one_epoch(trials=1)
    scheduler = StudyScheduler(make_worker(), None, forever=True)
    for _ in range(3):
        scheduler.run_one()
    assert scheduler._studies == {}


@on_both
def test_a_worker_that_waits_reads_two_statements_and_writes_nothing(
    storage: RDBStorage, one_epoch: MakeStudy, make_worker: MakeWorker, statements: list[str]
) -> None:
    study = one_epoch(trials=4)
    scheduler = StudyScheduler(make_worker(), None, forever=True)
    assert scheduler.run_one()
    trained = [study.queue.start_next() for _ in range(3)]  # by others
    for busy in (3, 2, 1):
        statements.clear()
        assert scheduler.run_one()
        assert study.queue.look().running == busy
        assert [text.split()[0] for text in statements] == ["SELECT"] * 3, "one is of this test"
        storage.set_trial_state_values(trial_id(trained.pop()), TrialState.FAIL)
    scheduler.run_one()  # notices the end
    statements.clear()
    assert scheduler.run_one()
    assert [text.split()[0] for text in statements] == ["SELECT"]


@on_both
def test_a_worker_claims_one_of_many_requeued_tickets_without_reading_the_others(
    storage: RDBStorage, one_epoch: MakeStudy, statements: list[str]
) -> None:
    queue = one_epoch(trials=8).queue
    counts = []
    for requeued in (1, 7):
        for trial in [queue.start_next() for _ in range(requeued)]:
            queue.requeue(trial_id(trial))
        statements.clear()
        claimed = queue.claim()
        assert claimed is not None
        assert claimed.state == TrialState.RUNNING
        counts.append(len(statements))
        storage.set_trial_state_values(trial_id(claimed), TrialState.FAIL)
    assert counts[0] == counts[1]
