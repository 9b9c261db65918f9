"""Checkpoints: one row for each ticket, written only by its running trial."""

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.studies import records
from puffin.studies.records import FAILURE
from puffin.studies.storage.checkpoints import (
    Checkpoint,
    DamagedCheckpointError,
    SavedCheckpoint,
    delete_checkpoints,
)
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import trial_id
from puffin.studies.storage.queue import TicketQueue
from tests.queues import make_queue, study_of, take


@pytest.fixture
def queue(storage: RDBStorage) -> TicketQueue:
    return make_queue(storage, 9)


@pytest.fixture
def study(queue: TicketQueue) -> optuna.Study:
    return study_of(queue)


def checkpoint(queue: TicketQueue, trial: optuna.Trial) -> Checkpoint:
    ticket = trial.user_attrs[records.TICKET]
    return Checkpoint(queue.storage, queue.creation_id, ticket, trial_id(trial), 0.0)


def rows(storage: RDBStorage) -> list[tuple[int, int, bytes]]:
    query = sa.text("SELECT ticket, trial_id, body FROM puffin_checkpoints ORDER BY ticket")
    with storage.engine.connect() as connection:
        return [(r.ticket, r.trial_id, bytes(r.body)) for r in connection.execute(query)]


def test_only_the_last_checkpoint_of_each_ticket_is_kept(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    first, second = take(study, queue), take(study, queue)
    for body in (b"a", b"bb"):
        checkpoint(queue, first).save(SavedCheckpoint({"x": 1}, {}, body))
    checkpoint(queue, second).save(SavedCheckpoint({"y": [0.1]}, {}, bytes(range(256))))
    assert checkpoint(queue, first).load() == SavedCheckpoint({"x": 1}, {}, b"bb")
    assert checkpoint(queue, second).load() == SavedCheckpoint({"y": [0.1]}, {}, bytes(range(256)))
    assert [row[:2] for row in rows(storage)] == [(0, trial_id(first)), (1, trial_id(second))]
    with transaction(storage) as connection:
        checkpoint(queue, first).delete(connection)
    assert checkpoint(queue, first).load() is None
    with transaction(storage) as connection:
        delete_checkpoints(connection, "of another study")
    assert len(rows(storage)) == 1
    with transaction(storage) as connection:
        delete_checkpoints(connection, queue.creation_id)
    assert rows(storage) == []


def test_a_later_study_of_the_same_name_has_no_checkpoint(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    trial = take(study, queue)
    checkpoint(queue, trial).save(SavedCheckpoint({}, {}, b"of the first study"))
    later = make_queue(storage, 9, "t")
    assert Checkpoint(storage, later.creation_id, 0, trial_id(trial), 0.0).load() is None


def test_a_trial_that_others_have_ended_writes_no_checkpoint(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    dead = take(study, queue)
    checkpoint(queue, dead).save(SavedCheckpoint({}, {}, b"early"))
    queue.requeue(trial_id(dead))
    heir = take(study, queue)
    for expected in (b"early", b"later"):
        with pytest.raises(UpdateFinishedTrialError, match="was ended by another process"):
            checkpoint(queue, dead).save(SavedCheckpoint({}, {}, b"too late"))
        assert checkpoint(queue, heir).load() == SavedCheckpoint({}, {}, expected)
        checkpoint(queue, heir).save(SavedCheckpoint({}, {}, b"later"))
    with transaction(storage) as connection:
        checkpoint(queue, heir).delete(connection)
    with pytest.raises(UpdateFinishedTrialError):
        checkpoint(queue, dead).save(SavedCheckpoint({}, {}, b"too late"))
    assert rows(storage) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", b"other bytes"),
        ("body", b""),
        ("facts", "{"),
        ("facts", "[]"),
        ("facts", "null"),
        ("facts", '{"config": {}}'),
        ("facts", '{"config": {}, "rungs": {}}'),
    ],
)
def test_a_checkpoint_that_was_changed_is_refused(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study, column: str, value: bytes | str
) -> None:
    trial = take(study, queue)
    checkpoint(queue, trial).save(SavedCheckpoint({"config": {}}, {}, b"bytes"))
    query = sa.text(f"UPDATE puffin_checkpoints SET {column} = :value")  # noqa: S608  # our names
    with storage.engine.begin() as connection:
        connection.execute(query, {"value": value})
    with pytest.raises(DamagedCheckpointError, match="the checkpoint of ticket 0 is damaged"):
        checkpoint(queue, trial).load()


def test_checkpoints_are_due_at_regular_intervals(
    queue: TicketQueue, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    slow = Checkpoint(queue.storage, queue.creation_id, 0, trial_id(take(study, queue)), 30.0)
    assert not slow.due
    now[0] += 30.0
    assert slow.due
    slow.save(SavedCheckpoint({}, {}, b""))
    assert not slow.due


def test_the_pruner_ignores_the_rungs_of_requeued_trials(
    storage: RDBStorage, queue: TicketQueue, study: optuna.Study
) -> None:
    trials = [take(study, queue) for _ in range(2)]
    for trial in trials:
        storage.set_trial_system_attr(trial_id(trial), "completed_rung_0", 0.5)
        storage.set_trial_system_attr(trial_id(trial), "other", 1)
    queue.requeue(trial_id(trials[0]))
    trials[1].set_user_attr(FAILURE, "it broke")
    study.tell(trials[1], state=TrialState.FAIL)
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert [set(t.system_attrs) - {"fixed_params"} for t in failed] == [
        {"other"},
        {"completed_rung_0", "other"},
    ]
