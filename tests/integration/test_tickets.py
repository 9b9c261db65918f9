"""Tickets: each finishes exactly once, even if processes are killed or suspended."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies import records
from puffin.studies.records import CONFIG, FAILURE, NOTES, RETRIES, TICKET
from puffin.studies.storage import registry
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import stale_trial_ids, study_id, trial_id
from puffin.studies.storage.queue import (
    MAX_RETRIES,
    Outlook,
    TicketQueue,
    count_by_state,
    count_finished,
)
from tests.queues import age_heartbeats, lose, make_queue, study_of, take

Crowd = Callable[..., list[Any]]
LOST = "a worker was lost"
WAITING, RUNNING = TrialState.WAITING, TrialState.RUNNING
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


@pytest.fixture
def queue(storage: RDBStorage) -> TicketQueue:
    return make_queue(storage, 9)


@pytest.fixture
def study(queue: TicketQueue) -> optuna.Study:
    return study_of(queue)


def in_state(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(states=states)


# The counter


def test_five_processes_start_every_number_once_and_never_more(
    storage: RDBStorage, crowd: Crowd
) -> None:
    make_queue(storage, 64)
    started = crowd(
        """
        from puffin.studies.storage import registry
        from puffin.studies.storage.queue import TicketQueue
        from puffin.studies.storage.database import open_storage

        def act(index, url):
            storage = open_storage(url)
            budget = registry.budget_of(storage, "s")
            key = storage.get_study_id_from_name("s")
            queue = TicketQueue(storage, key, budget.creation_id)
            numbers = []
            while (trial := queue.start_next()) is not None:
                numbers.append(trial.user_attrs["ticket"])
            return numbers + [queue.start_next()]
        """
    )
    numbers = [number for part in started for number in part if number is not None]
    assert sorted(numbers) == list(range(64))
    assert all(part[-1] is None for part in started)


def test_two_studies_of_one_database_have_two_counters(storage: RDBStorage) -> None:
    one, two = make_queue(storage, 2, "one"), make_queue(storage, 1, "two")
    started = [queue.start_next() for queue in (one, two, one, two, one)]
    assert [t and t.user_attrs[TICKET] for t in started] == [0, 0, 1, None, None]


def test_a_study_exists_from_its_publication_to_its_closing(storage: RDBStorage) -> None:
    with transaction(storage) as connection:
        registry.register(connection, "s")
        study = optuna.create_study(study_name="s", storage=storage)
        if storage.engine.dialect.name == "sqlite":  # a second connection would wait for this one
            assert storage.get_study_name_from_id(study_id(study)) == "s"
        else:
            assert registry.budgets(storage) == {}
    assert registry.total(storage, "s") is None, "it was never published"
    queue = make_queue(storage, 7, "t")
    assert registry.total(storage, "t") == 7
    assert set(registry.budgets(storage)) == {"t"}
    with transaction(storage) as connection:
        assert registry.close(connection, "t") == queue.creation_id
    assert registry.budget_of(storage, "t") is None
    assert registry.closed_id_of(storage, "t") == queue.creation_id
    assert queue.start_next() is None


def test_the_name_of_a_closed_study_is_still_taken(
    storage: RDBStorage,
) -> None:
    make_queue(storage, 1)
    for _ in range(2):
        with (
            pytest.raises(registry.NameTakenError, match="a study 's'"),
            transaction(storage) as now,
        ):
            registry.register(now, "s")
        with transaction(storage) as connection:
            registry.close(connection, "s")


# What is left


def test_what_is_left_of_a_study_is_counted_with_the_oldest_heartbeat(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    assert queue.look() == Outlook(unissued=9, waiting=0, running=0, silence=0.0)
    first, second, third = (take(study, queue) for _ in range(3))
    queue.requeue(trial_id(first))
    study.tell(second, 1.0)
    study.add_trial(create_trial(state=RUNNING))  # of another program, without a ticket
    left = queue.look()
    assert (left.unissued, left.waiting, left.running) == (6, 1, 1)
    assert 0 <= left.silence < 60
    age_heartbeats(storage)
    assert take(study, queue) is not None, "a young heartbeat does not hide the old one"
    assert queue.look().silence > 86_400
    assert trial_id(third) in stale_trial_ids(storage, queue.study_id)


def test_a_study_is_finished_when_its_last_ticket_is(storage: RDBStorage) -> None:
    queue = make_queue(storage, 1)
    study = study_of(queue)
    assert not queue.look().is_finished
    trial = take(study, queue)
    assert not queue.look().is_finished
    queue.requeue(trial_id(trial))
    assert not queue.look().is_finished
    study.tell(take(study, queue), 1.0)
    assert queue.look() == Outlook(unissued=0, waiting=0, running=0, silence=0.0)
    assert queue.look().is_finished


# One transaction


def test_a_failed_transaction_rolls_back_optunas_writes_too(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    running = take(study, queue)

    def write_and_fail() -> None:
        with transaction(storage) as connection:
            running.set_user_attr("a", 1)
            study.set_user_attr("b", 2)
            registry.set_budget(connection, queue.creation_id, tickets=100)
            optuna.create_study(study_name="another", storage=storage)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert study.user_attrs == {}
    assert study.trials[0].user_attrs == {TICKET: 0}
    assert registry.total(storage, "s") == 9
    assert [s.study_name for s in storage.get_all_studies()] == ["s"]


@pytest.mark.parametrize("act", ["start", "requeue", "retry", "stale", "claim"])
def test_a_worker_killed_before_its_commit_changes_nothing(
    storage: RDBStorage,
    queue: TicketQueue,
    study: optuna.Study,
    act: str,
) -> None:
    trial = take(study, queue)
    if act == "claim":
        queue.requeue(trial_id(trial))
    if act == "stale":
        age_heartbeats(storage)
    before = [(t.state, t.user_attrs) for t in study.trials]
    acts: dict[str, Callable[[], Any]] = {
        "start": queue.start_next,
        "requeue": lambda: queue.requeue(trial_id(trial)),
        "retry": lambda: queue.retry_or_fail(trial_id(trial), "no memory"),
        "stale": queue.retry_stale,
        "claim": queue.claim,
    }

    def die(_connection: sa.Connection) -> None:
        raise KeyboardInterrupt

    sa.event.listen(storage.engine, "commit", die)
    with pytest.raises(KeyboardInterrupt):
        acts[act]()
    sa.event.remove(storage.engine, "commit", die)
    storage.engine.dispose()  # as the end of a process does
    assert [(t.state, t.user_attrs) for t in study.trials] == before
    acts[act]()
    assert [(t.state, t.user_attrs) for t in study.trials] != before


# The queue


def test_a_started_ticket_has_its_number_and_its_fixed_parameters(
    study: optuna.Study, queue: TicketQueue
) -> None:
    assert queue.claim() is None
    trial = take(study, queue, x=0.25)
    assert trial.user_attrs == {TICKET: 0}
    assert trial.suggest_float("x", 0.0, 1.0) == 0.25
    assert queue.claim() is None
    assert len(study.trials) == 1, "an empty queue must not make a trial"


def test_claim_skips_trials_that_another_worker_took_or_finished(
    study: optuna.Study, queue: TicketQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trial in [take(study, queue) for _ in range(3)]:
        queue.requeue(trial_id(trial))
    storage = queue.storage
    seen = storage.get_all_trials(queue.study_id, states=(WAITING,))
    monkeypatch.setattr(type(storage), "get_all_trials", lambda *_, **__: seen)
    storage.set_trial_state_values(trial_id(seen[0]), state=RUNNING)
    storage.set_trial_state_values(trial_id(seen[0]), state=COMPLETE, values=[1.0])
    storage.set_trial_state_values(trial_id(seen[1]), state=RUNNING)
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.user_attrs[TICKET] == 2
    assert queue.claim() is None


def test_a_requeued_ticket_waits_with_the_same_parameters(
    study: optuna.Study, queue: TicketQueue
) -> None:
    first = take(study, queue)
    sampled = {
        "x": first.suggest_float("x", 0, 1),
        "cell": first.suggest_categorical("c", ["a", "b"]),
    }
    first.set_user_attr("config", {"x": 1})
    queue.requeue(trial_id(first))
    assert count_by_state(study.trials) == {"waiting": 1}
    again = take(study, queue)
    assert again.user_attrs == {TICKET: 0}
    assert again.suggest_float("x", 0, 1) == sampled["x"]
    assert again.suggest_categorical("c", ["a", "b"]) == sampled["cell"]
    study.tell(again, 1.0)
    assert count_by_state(study.trials) == {"complete": 1}


def test_requeuing_is_no_retry_however_often(study: optuna.Study, queue: TicketQueue) -> None:
    for _ in range(MAX_RETRIES + 3):
        queue.requeue(trial_id(take(study, queue)))
    lost = take(study, queue)
    assert RETRIES not in lost.user_attrs
    lose(queue)
    queue.requeue(trial_id(take(study, queue)))
    assert take(study, queue).user_attrs == {TICKET: 0, RETRIES: 1, NOTES: [LOST]}, (
        "the count of losses must survive"
    )


# Lost workers


def test_a_lost_ticket_is_retried_three_times_then_failed(
    study: optuna.Study, queue: TicketQueue
) -> None:
    first = take(study, queue)
    value = first.suggest_float("x", 0.0, 1.0)
    first.set_user_attr(CONFIG, {"x": value})
    for retry in range(1, MAX_RETRIES + 1):
        lose(queue)
        assert count_by_state(study.trials) == {"waiting": 1}
        trial = take(study, queue)
        assert trial.user_attrs == {TICKET: 0, RETRIES: retry, NOTES: [LOST] * retry}
        assert trial.suggest_float("x", 0.0, 1.0) == value
    lose(queue)
    assert count_by_state(study.trials) == {"failed": 1}
    (failed,) = [t for t in study.trials if FAILURE in t.user_attrs]
    assert failed.state == FAIL
    assert failed.params == {"x": value}
    assert failed.user_attrs[TICKET] == 0
    assert failed.user_attrs[FAILURE] == "tried 4 times: a worker was lost"
    lose(queue)
    assert len(study.trials) == MAX_RETRIES + 2, "a failed ticket must not be retried"


@pytest.mark.parametrize("sampled", [0, 1])
def test_a_ticket_lost_while_sampling_gets_the_undisturbed_parameters(
    study: optuna.Study, queue: TicketQueue, sampled: int
) -> None:
    def sample(names: str) -> list[float]:
        study.sampler = optuna.samplers.RandomSampler(seed=7)  # by the ticket, as workers do
        trial = take(study, queue)
        return [trial.suggest_float(name, 0.0, 1.0) for name in names]

    names = "xy"
    undisturbed = sample(names)
    sample(names[:sampled])  # kill -9 here
    lose(queue)
    assert count_by_state(study.trials) == {"waiting": 2}
    assert sample(names) == undisturbed
    assert sample(names) == undisturbed


def test_a_trial_whose_worker_lives_is_left_alone(study: optuna.Study, queue: TicketQueue) -> None:
    take(study, queue)
    lose(queue)
    queue.claim()
    alive = take(study, queue)
    queue.retry_stale()
    assert alive.number in [t.number for t in in_state(study, RUNNING)]
    assert in_state(study, WAITING) == []


def test_a_lost_trial_without_a_ticket_is_not_retried(
    study: optuna.Study, queue: TicketQueue
) -> None:
    study.enqueue_trial({"x": 0.5})
    assert queue.claim() is not None
    lose(queue)
    assert [t.state for t in study.trials] == [FAIL]


# What is finished and counted


def trial_of(state: TrialState, number: int | None = 0, reason: str | None = None) -> FrozenTrial:
    attrs: dict[str, Any] = {} if number is None else {TICKET: number}
    return create_trial(
        state=state,
        value=1.0 if state == COMPLETE else None,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        user_attrs=attrs | ({FAILURE: reason} if reason else {}),
    )


@pytest.mark.parametrize(
    ("state", "reason", "finished", "name"),
    [
        (COMPLETE, None, True, "complete"),
        (PRUNED, None, True, "pruned"),
        (FAIL, "ValueError: no", True, "failed"),
        (FAIL, None, False, None),
        (RUNNING, None, False, "running"),
        (RUNNING, "ValueError: no", False, "running"),
        (WAITING, None, False, "waiting"),
    ],
)
def test_a_trial_with_a_result_or_reason_finishes_its_ticket(
    state: TrialState,
    reason: str | None,
    finished: bool,  # noqa: FBT001
    name: str | None,
) -> None:
    trial = trial_of(state, 0, reason)
    assert records.is_finished(trial) is finished
    assert count_by_state([trial]) == ({name: 1} if name else {})


def test_a_whole_study_is_counted_ticket_by_ticket() -> None:
    trials = [
        trial_of(COMPLETE, 0),
        trial_of(FAIL, 1),  # requeued,
        trial_of(COMPLETE, 1),  # and run
        trial_of(PRUNED, 2),
        trial_of(FAIL, 3, "out of memory"),
        trial_of(RUNNING, 4),
        trial_of(WAITING, 5),
        trial_of(FAIL, 6),
    ]
    assert count_by_state(trials) == Counter(complete=2, pruned=1, failed=1, running=1, waiting=1)
    assert count_finished(trials) == 4


# Processes that come back too late


def test_a_ticket_retried_by_others_is_not_requeued_again(
    study: optuna.Study, queue: TicketQueue
) -> None:
    suspended = trial_id(take(study, queue))
    lose(queue)
    with pytest.raises(UpdateFinishedTrialError):
        queue.requeue(suspended)
    with pytest.raises(UpdateFinishedTrialError):
        queue.retry_or_fail(suspended, "out of memory")
    assert count_by_state(study.trials) == {"waiting": 1}


def test_the_queue_of_a_deleted_study_leaves_a_later_one_unchanged(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    running = trial_id(take(study, queue))
    with transaction(storage) as connection:
        registry.close(connection, "s")
        storage.delete_study(queue.study_id)
        registry.unregister(connection, queue.creation_id)
    later = make_queue(storage, 3)
    assert queue.start_next() is queue.claim() is None
    queue.retry_stale()
    for late in (queue.look, lambda: queue.requeue(running)):
        with pytest.raises(KeyError):
            late()
    for change in (
        lambda: registry.extend(storage, queue.creation_id, 1),
        lambda: registry.set_priority(storage, queue.creation_id, 9),
        lambda: registry.set_paused(storage, queue.creation_id, paused=True),
    ):
        with pytest.raises(registry.StudyGoneError, match="the study was deleted while"):
            change()
    budget = registry.budget_of(storage, "s")
    assert budget is not None
    assert (budget.tickets, budget.issued, budget.priority, budget.paused) == (3, 0, 1, False)
    assert storage.get_all_trials(later.study_id) == []


def test_a_ticket_lost_right_after_its_start_is_retried(
    study: optuna.Study, queue: TicketQueue
) -> None:
    assert queue.start_next() is not None  # kill -9 here
    lose(queue)
    assert count_by_state(study.trials) == {"waiting": 1}


def test_a_ticket_that_two_trials_have_finished_is_one_ticket(
    study: optuna.Study, queue: TicketQueue
) -> None:
    for _ in range(2):
        study.tell(take(study, queue), 1.0)
    study.add_trial(create_trial(state=COMPLETE, value=1.0, user_attrs={TICKET: 0}))
    assert count_finished(study.trials) == 2


# Fixed parameters are never lost


FIXED = {"cell": "gru", "x": 0.25}


@pytest.mark.parametrize("asked", [True, False], ids=["sampled", "not yet sampled"])
@pytest.mark.parametrize("end", ["requeued", "out of memory", "lost", "lost twice"])
def test_a_retried_ticket_keeps_its_fixed_parameters(
    study: optuna.Study,
    queue: TicketQueue,
    end: str,
    asked: bool,  # noqa: FBT001
) -> None:
    trial = take(study, queue, **FIXED)
    if asked:
        assert trial.suggest_float("x", 0.0, 1.0) == 0.25
    if end == "requeued":
        queue.requeue(trial_id(trial))
    elif end == "out of memory":
        queue.retry_or_fail(trial_id(trial), "out of memory")
    else:
        lose(queue)
    if end == "lost twice":
        take(study, queue)
        lose(queue)
    again = take(study, queue)
    assert again.suggest_float("x", 0.0, 1.0) == 0.25
    assert again.suggest_categorical("cell", ["lstm", "gru"]) == "gru"
