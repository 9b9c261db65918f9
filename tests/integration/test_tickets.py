"""The budget: every number once, given back or retried without loss, and audited."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies import tickets
from studies.tickets import CONFIG, FAILURE, MAX_RETRIES, NOTES, RETRIES, TICKET, Audit

Crowd = Callable[..., list[Any]]
LOST = "a worker was lost"
WAITING, RUNNING = TrialState.WAITING, TrialState.RUNNING
COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=storage)


def whole(storage: RDBStorage, study: optuna.Study, budget: int) -> None:
    """Write the row that makes a study whole."""
    token = tickets.begin(storage, study.study_name)
    assert token is not None
    assert tickets.open_budget(storage, study.study_name, token, budget)


def claim(study: optuna.Study) -> FrozenTrial | None:
    """Claim the next ticket as a worker does, if one waits."""
    return tickets.claim(study._storage._backend, study)


def take(study: optuna.Study) -> optuna.Trial:
    """Claim the next ticket as a worker does."""
    claimed = claim(study)
    assert claimed is not None, "no ticket waits"
    return optuna.Trial(study, claimed._trial_id)


def lose(study: optuna.Study, storage: RDBStorage) -> None:
    """Let an hour go by without a sign of life, and look."""
    with storage.engine.begin() as connection:
        connection.execute(sa.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    tickets.fail_stale(study)


def in_state(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    return study.get_trials(states=states)


# The counter


def test_eight_processes_draw_every_number_once_and_never_more(
    storage: RDBStorage, study: optuna.Study, crowd: Crowd
) -> None:
    whole(storage, study, 100)
    drawn = crowd(
        """
        from studies import tickets
        from studies.storage import open_storage

        def act(index, url):
            storage = open_storage(url)
            study = optuna.load_study(study_name="s", storage=storage)
            drawn = []
            while (number := tickets.draw(storage, study)) is not None:
                drawn.append(number)
            return drawn + [tickets.draw(storage, study) for _ in range(3)]
        """
    )
    numbers = [number for part in drawn for number in part if number is not None]
    assert sorted(numbers) == list(range(100))
    assert all(part[-3:] == [None] * 3 for part in drawn)


def test_two_studies_of_one_database_have_two_counters(storage: RDBStorage) -> None:
    one, two = (optuna.create_study(study_name=n, storage=storage) for n in ("one", "two"))
    whole(storage, one, 2)
    whole(storage, two, 1)
    draws = [tickets.draw(storage, s) for s in (one, two, one, two, one)]
    assert draws == [0, 0, 1, None, None]


def test_a_study_is_whole_from_the_opening_of_its_budget_to_the_closing(
    storage: RDBStorage, study: optuna.Study
) -> None:
    assert tickets.draw(storage, study) is None
    assert (tickets.total(storage, study.study_name), set(tickets.budgets(storage))) == (
        None,
        set(),
    )
    whole(storage, study, 7)
    assert tickets.total(storage, study.study_name) == 7
    assert set(tickets.budgets(storage)) == {study.study_name}
    tickets.close_budget(storage, study.study_name)
    assert (tickets.total(storage, study.study_name), set(tickets.budgets(storage))) == (
        None,
        set(),
    )
    assert tickets.draw(storage, study) is None


# The queue


def test_an_issued_ticket_is_claimed_once_with_its_number_and_point(study: optuna.Study) -> None:
    assert claim(study) is None
    tickets.issue(study, 4, {"x": 0.25})
    trial = take(study)
    assert trial.user_attrs == {TICKET: 4}
    assert trial.suggest_float("x", 0.0, 1.0) == 0.25
    assert claim(study) is None
    assert len(study.trials) == 1, "an empty queue must not make a trial"


def test_a_claim_passes_over_what_another_worker_finished_meanwhile(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        tickets.issue(study, number, {})
    seen = study.get_trials(deepcopy=False, states=(WAITING,))
    monkeypatch.setattr(study, "get_trials", lambda **_: seen)
    storage = study._storage
    storage.set_trial_state_values(seen[0]._trial_id, state=RUNNING)
    storage.set_trial_state_values(seen[0]._trial_id, state=COMPLETE, values=[1.0])
    storage.set_trial_state_values(seen[1]._trial_id, state=RUNNING)
    claimed = claim(study)
    assert claimed is not None
    assert claimed.user_attrs[TICKET] == 2
    assert claim(study) is None


def test_a_ticket_given_back_waits_again_with_the_same_point_and_is_not_spent(
    study: optuna.Study,
) -> None:
    tickets.issue(study, 3, {})
    first = take(study)
    point = {
        "x": first.suggest_float("x", 0, 1),
        "cell": first.suggest_categorical("c", ["a", "b"]),
    }
    first.set_user_attr("config", {"x": 1})
    tickets.give_back(study, first)
    assert tickets.count(study.trials) == {"waiting": 1}
    assert tickets.missing(study.trials, 4) == {0, 1, 2}
    again = take(study)
    assert again.user_attrs == {TICKET: 3}
    assert again.suggest_float("x", 0, 1) == point["x"]
    assert again.suggest_categorical("c", ["a", "b"]) == point["cell"]
    study.tell(again, 1.0)
    assert tickets.count(study.trials) == {"complete": 1}


def test_giving_back_is_no_retry_however_often(study: optuna.Study, storage: RDBStorage) -> None:
    tickets.issue(study, 0, {})
    for _ in range(MAX_RETRIES + 3):
        tickets.give_back(study, take(study))
    lost = take(study)
    assert RETRIES not in lost.user_attrs
    lose(study, storage)
    tickets.give_back(study, take(study))
    assert take(study).user_attrs == {TICKET: 0, RETRIES: 1, NOTES: [LOST]}, (
        "the count of losses must survive"
    )


# Lost workers


def test_a_lost_ticket_is_retried_with_its_point_a_few_times_and_then_failed_with_the_reason(
    study: optuna.Study, storage: RDBStorage
) -> None:
    tickets.issue(study, 5, {})
    first = take(study)
    value = first.suggest_float("x", 0.0, 1.0)
    first.set_user_attr(CONFIG, {"x": value})
    for retry in range(1, MAX_RETRIES + 1):
        lose(study, storage)
        assert tickets.count(study.trials) == {"waiting": 1}
        trial = take(study)
        assert trial.user_attrs == {TICKET: 5, RETRIES: retry, NOTES: [LOST] * retry}
        assert trial.suggest_float("x", 0.0, 1.0) == value
    lose(study, storage)
    assert tickets.count(study.trials) == {"failed": 1}
    assert tickets.missing(study.trials, 6) == {0, 1, 2, 3, 4}
    (failed,) = [t for t in study.trials if FAILURE in t.user_attrs]
    assert failed.state == FAIL
    assert failed.params == {"x": value}
    assert failed.user_attrs[TICKET] == 5
    assert failed.user_attrs[FAILURE] == "tried 4 times: a worker was lost"
    lose(study, storage)
    assert len(study.trials) == MAX_RETRIES + 2, "a failed ticket must not be retried"


@pytest.mark.parametrize("sampled", [0, 1])
def test_a_ticket_that_was_lost_while_its_point_was_sampled_has_the_point_of_an_undisturbed_one(
    study: optuna.Study, storage: RDBStorage, sampled: int
) -> None:
    def sample(names: str) -> list[float]:
        study.sampler = optuna.samplers.RandomSampler(seed=7)  # by the ticket, as workers do
        trial = take(study)
        return [trial.suggest_float(name, 0.0, 1.0) for name in names]

    names = "xy"
    tickets.issue(study, 0, {})
    undisturbed = sample(names)
    tickets.issue(study, 1, {})
    sample(names[:sampled])  # kill -9 here
    lose(study, storage)
    assert tickets.count(study.trials) == {"waiting": 2}
    assert sample(names) == undisturbed
    assert sample(names) == undisturbed


@pytest.mark.parametrize("sampled", [0, 1])
def test_a_ticket_that_was_lost_before_its_point_was_read_keeps_what_it_was_issued_with(
    study: optuna.Study, storage: RDBStorage, sampled: int
) -> None:
    point = {"x": 0.25, "y": 0.75}
    tickets.issue(study, 0, point)
    for _ in range(2):
        trial = take(study)
        for name in list(point)[:sampled]:
            trial.suggest_float(name, 0.0, 1.0)
        lose(study, storage)
    study.tell(take(study), state=FAIL)  # by one that died before it put the ticket back
    tickets.issue_lost(study, 0, {})
    again = take(study)
    assert {name: again.suggest_float(name, 0.0, 1.0) for name in point} == point


def test_a_trial_whose_worker_lives_is_left_alone(study: optuna.Study, storage: RDBStorage) -> None:
    tickets.issue(study, 0, {})
    tickets.issue(study, 1, {})
    take(study)
    lose(study, storage)
    alive = take(study)
    tickets.fail_stale(study)
    assert [t.number for t in in_state(study, RUNNING)] == [alive.number]


def test_a_lost_trial_that_is_no_ticket_is_failed_and_not_retried(
    study: optuna.Study, storage: RDBStorage
) -> None:
    study.enqueue_trial({"x": 0.5})
    take(study)
    lose(study, storage)
    assert [t.state for t in study.trials] == [FAIL]


# What is finished, counted, missing


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
    ("state", "reason", "finished", "name", "holds"),
    [
        (COMPLETE, None, True, "complete", True),
        (PRUNED, None, True, "pruned", True),
        (FAIL, "ValueError: no", True, "failed", True),
        (FAIL, None, False, None, False),
        (RUNNING, None, False, "running", True),
        (RUNNING, "ValueError: no", False, "running", True),
        (WAITING, None, False, "waiting", True),
    ],
)
def test_a_trial_spends_its_ticket_when_it_ended_with_a_result_or_a_reason(
    state: TrialState,
    reason: str | None,
    finished: bool,  # noqa: FBT001
    name: str | None,
    holds: bool,  # noqa: FBT001
) -> None:
    trial = trial_of(state, 0, reason)
    assert tickets.is_finished(trial) is finished
    assert tickets.count([trial]) == ({name: 1} if name else {})
    assert tickets.missing([trial], 2) == ({1} if holds else {0, 1})


def test_a_whole_study_is_counted_ticket_by_ticket() -> None:
    trials = [
        trial_of(COMPLETE, 0),
        trial_of(FAIL, 1),  # given back,
        trial_of(COMPLETE, 1),  # and run
        trial_of(PRUNED, 2),
        trial_of(FAIL, 3, "out of memory"),
        trial_of(RUNNING, 4),
        trial_of(WAITING, 5),
        trial_of(FAIL, 6),
    ]
    assert tickets.count(trials) == Counter(complete=2, pruned=1, failed=1, running=1, waiting=1)
    assert tickets.missing(trials, 8) == {6, 7}
    assert tickets.missing([], 2) == {0, 1}
    assert tickets.missing(trials, 0) == set()


# The audit


@pytest.fixture
def lossy(storage: RDBStorage, study: optuna.Study) -> optuna.Study:
    """Four numbers are drawn; 0 is finished, 1 runs, 2 waits, and 3 was never put on the queue."""
    whole(storage, study, 4)
    for _ in range(4):
        tickets.draw(storage, study)
    for number in range(3):
        tickets.issue(study, number, {})
    study.tell(take(study), 1.0)
    take(study)
    return study


def test_an_audit_gives_a_lost_number_after_its_patience_and_not_before(
    storage: RDBStorage, lossy: optuna.Study
) -> None:
    audit = Audit(patience=30)
    assert audit.look(storage, lossy, now=100.0) == set()
    assert audit.look(storage, lossy, now=129.9) == set()
    assert audit.look(storage, lossy, now=130.0) == {3}
    tickets.issue(lossy, 3, {})
    for now in (131.0, 200.0, 300.0, 400.0):
        assert audit.look(storage, lossy, now) == set()


def test_an_audit_that_sees_nothing_lost_never_gives_a_number(
    storage: RDBStorage, lossy: optuna.Study
) -> None:
    tickets.issue(lossy, 3, {})
    audit = Audit(patience=1)
    assert [audit.look(storage, lossy, now) for now in (0.0, 5.0, 10.0)] == [set()] * 3


def test_the_patience_of_an_audit_starts_anew_when_another_number_is_missed(
    storage: RDBStorage, lossy: optuna.Study
) -> None:
    audit = Audit(patience=30)
    audit.look(storage, lossy, now=0.0)
    tickets.give_back(lossy, take(lossy))  # number 2 goes and comes
    (waiting,) = in_state(lossy, WAITING)
    storage.set_trial_state_values(waiting._trial_id, state=FAIL)  # and goes
    assert audit.look(storage, lossy, now=29.0) == set()
    assert audit.look(storage, lossy, now=58.0) == set()
    assert audit.look(storage, lossy, now=59.0) == {2, 3}


def test_four_auditors_in_one_process_give_a_lost_number_once(
    storage: RDBStorage, lossy: optuna.Study
) -> None:
    audits = [Audit(patience=10) for _ in range(4)]
    assert [audit.look(storage, lossy, now=0.0) for audit in audits] == [set()] * 4
    answers = [audit.look(storage, lossy, now=10.0) for audit in audits]
    assert sorted(map(len, answers)) == [0, 0, 0, 1]
    later = [audit.look(storage, lossy, now=11.0) for audit in audits]
    assert later == [set()] * 4, "the winner has just been given it"


def test_of_two_auditors_that_have_seen_the_same_at_the_same_time_one_wins(
    storage: RDBStorage, lossy: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Audit(patience=10), Audit(patience=10)
    for audit in (first, second):
        audit.look(storage, lossy, now=0.0)
    missing = tickets.missing
    between = []

    def second_looks_meanwhile(trials: list[FrozenTrial], number: int) -> set[int]:
        monkeypatch.setattr(tickets, "missing", missing)
        between.append(second.look(storage, lossy, now=10.0))
        return missing(trials, number)

    monkeypatch.setattr(tickets, "missing", second_looks_meanwhile)
    assert first.look(storage, lossy, now=10.0) == set()
    assert between == [{3}]


def test_a_number_that_the_winner_of_an_audit_lost_again_is_found_again(
    storage: RDBStorage, lossy: optuna.Study
) -> None:
    winner, other = Audit(patience=10), Audit(patience=10)
    for audit in (winner, other):
        audit.look(storage, lossy, now=0.0)
    assert winner.look(storage, lossy, now=10.0) == {3}  # and dies before it issues it
    answers = [other.look(storage, lossy, now) for now in (11.0, 20.0, 21.0)]
    assert answers == [set(), set(), {3}]


def test_four_auditing_processes_issue_a_lost_number_exactly_once(
    lossy: optuna.Study, crowd: Crowd
) -> None:
    given = crowd(
        """
        import time
        from studies import tickets
        from studies.storage import open_storage

        def act(index, url):
            storage = open_storage(url)
            study = optuna.load_study(study_name="s", storage=storage)
            audit, end, given = tickets.Audit(patience=0.5), time.monotonic() + 3, []
            while time.monotonic() < end:
                for number in audit.look(storage, study, time.monotonic()):
                    tickets.issue(study, number, {})
                    given.append(number)
                time.sleep(0.01)
            return given
        """,
        count=4,
    )
    assert sorted(map(len, given)) == [0, 0, 0, 1]
    waiting = [t.user_attrs[TICKET] for t in in_state(lossy, WAITING)]
    assert sorted(waiting) == [2, 3]


def test_an_audit_of_a_deleted_study_gives_nothing(
    storage: RDBStorage, lossy: optuna.Study
) -> None:
    audit = Audit(patience=1)
    audit.look(storage, lossy, now=0.0)
    tickets.close_budget(storage, lossy.study_name)
    assert audit.look(storage, lossy, now=5.0) == set()


# Deaths and sleeps at bad moments


def test_a_ticket_that_others_have_retried_is_not_given_back_a_second_time(
    study: optuna.Study,
) -> None:
    tickets.issue(study, 0, {})
    suspended = take(study)
    study._storage.set_trial_state_values(suspended._trial_id, state=FAIL)
    tickets.retry_stale(study, study.trials[0])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        tickets.give_back(study, suspended)  # woken up by SIGTERM
    assert tickets.count(study.trials) == {"waiting": 1}


def test_a_ticket_whose_worker_died_right_after_its_claim_is_retried(
    storage: RDBStorage, study: optuna.Study
) -> None:
    tickets.issue(study, 0, {})
    assert claim(study) is not None  # kill -9 here
    lose(study, storage)
    assert tickets.count(study.trials) == {"waiting": 1}


def test_a_name_is_taken_by_one_and_taken_over_from_a_dead_maker_by_one(
    storage: RDBStorage,
) -> None:
    first = tickets.begin(storage, "s")
    assert first is not None
    assert tickets.begin(storage, "s") is None
    second = tickets.take_over(storage, "s", first)
    assert second not in (None, first)
    assert tickets.take_over(storage, "s", first) is None
    assert not tickets.open_budget(storage, "s", first, 3)
    assert tickets.open_budget(storage, "s", str(second), 3)
    assert tickets.take_over(storage, "s", str(second)) is None, "whole studies are nobody's"
    tickets.release(storage, "s", first)
    assert tickets.total(storage, "s") == 3


def test_a_ticket_that_was_spent_just_before_its_worker_died_is_not_retried(
    storage: RDBStorage, study: optuna.Study
) -> None:
    tickets.issue(study, 0, {})
    take(study).set_user_attr(FAILURE, "ValueError: no")  # kill -9 before it could be told
    lose(study, storage)
    assert tickets.count(study.trials) == {"failed": 1}
    assert tickets.finished(study.trials) == 1


def test_a_ticket_that_two_trials_have_finished_is_one_ticket(study: optuna.Study) -> None:
    for number in (0, 1, 0):
        tickets.issue(study, number, {})
        study.tell(take(study), 1.0)
    assert tickets.finished(study.trials) == 2


# A point is never lost


POINT = {"cell": "gru", "x": 0.25}


@pytest.mark.parametrize("asked", [True, False], ids=["sampled", "not yet sampled"])
@pytest.mark.parametrize("end", ["given back", "given up", "lost"])
def test_a_ticket_goes_on_with_its_fixed_point_however_far_its_trial_came(
    storage: RDBStorage,
    study: optuna.Study,
    end: str,
    asked: bool,  # noqa: FBT001
) -> None:
    tickets.issue(study, 0, POINT)
    trial = take(study)
    if asked:
        assert trial.suggest_float("x", 0.0, 1.0) == 0.25
    if end == "given back":
        tickets.give_back(study, trial)
    elif end == "given up":
        tickets.give_up(study, trial, "out of memory")
    else:
        lose(study, storage)
    again = take(study)
    assert again.suggest_float("x", 0.0, 1.0) == 0.25
    assert again.suggest_categorical("cell", ["lstm", "gru"]) == "gru"


def test_a_ticket_whose_worker_died_between_failing_and_retrying_it_is_issued_as_it_was(
    storage: RDBStorage, study: optuna.Study
) -> None:
    whole(storage, study, 1)
    assert tickets.draw(storage, study) == 0
    tickets.issue(study, 0, POINT)
    lose_one = take(study)
    lose_one.suggest_float("x", 0.0, 1.0)
    tickets.give_up(study, lose_one, "out of memory")
    take(study).suggest_float("x", 0.0, 1.0)
    (running,) = in_state(study, RUNNING)
    study._storage.set_trial_state_values(running._trial_id, state=FAIL)  # kill -9 here
    assert tickets.missing(study.trials, 1) == {0}
    audit = Audit(patience=30)
    assert audit.look(storage, study, now=0.0) == set()
    for lost in audit.look(storage, study, now=30.0):
        tickets.issue_lost(study, lost, {"x": 0.9})
    again = take(study)
    assert again.user_attrs == {TICKET: 0, RETRIES: 1, NOTES: ["out of memory"]}
    assert again.suggest_float("x", 0.0, 1.0) == 0.25
    assert again.suggest_categorical("cell", ["lstm", "gru"]) == "gru"


def test_a_ticket_that_never_was_a_trial_is_issued_with_its_own_point(
    study: optuna.Study,
) -> None:
    tickets.issue(study, 0, {"x": 0.1})
    tickets.issue_lost(study, 1, {"x": 0.9})
    assert [t.system_attrs["fixed_params"] for t in in_state(study, WAITING)] == [
        {"x": 0.1},
        {"x": 0.9},
    ]
    assert [t.user_attrs for t in in_state(study, WAITING)] == [{TICKET: 0}, {TICKET: 1}]
