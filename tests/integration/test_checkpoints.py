"""Checkpoints: one row a ticket, written by the trial that runs it and by no other."""

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from studies import tickets
from studies.checkpoints import Checkpoint, Saved, drop_all
from studies.storage import FAILURE


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=storage)


def claim(storage: RDBStorage, study: optuna.Study, ticket: int) -> FrozenTrial:
    tickets.issue(study, ticket, {})
    claimed = tickets.claim(storage, study)
    assert claimed is not None
    return claimed


def checkpoint(storage: RDBStorage, trial: FrozenTrial) -> Checkpoint:
    return Checkpoint(storage, "s", trial.user_attrs[tickets.TICKET], trial._trial_id, 0.0)


def rows(storage: RDBStorage) -> list[tuple[int, int, bytes]]:
    query = sa.text("SELECT ticket, trial_id, body FROM puffin_checkpoints ORDER BY ticket")
    with storage.engine.connect() as connection:
        return [(r.ticket, r.trial_id, bytes(r.body)) for r in connection.execute(query)]


def test_the_last_checkpoint_of_each_ticket_is_kept_and_no_other(
    storage: RDBStorage, study: optuna.Study
) -> None:
    first, second = (claim(storage, study, ticket) for ticket in (0, 1))
    for body in (b"a", b"bb"):
        checkpoint(storage, first).save({"x": 1}, body)
    checkpoint(storage, second).save({"y": [0.1]}, bytes(range(256)))
    assert checkpoint(storage, first).load() == Saved({"x": 1}, b"bb")
    assert checkpoint(storage, second).load() == Saved({"y": [0.1]}, bytes(range(256)))
    assert [row[:2] for row in rows(storage)] == [(0, first._trial_id), (1, second._trial_id)]
    checkpoint(storage, first).drop()
    assert checkpoint(storage, first).load() is None
    drop_all(storage, "another")
    assert len(rows(storage)) == 1
    drop_all(storage, "s")
    assert rows(storage) == []


def test_a_trial_that_others_have_ended_writes_no_checkpoint(
    storage: RDBStorage, study: optuna.Study
) -> None:
    dead = claim(storage, study, 0)
    checkpoint(storage, dead).save({}, b"early")
    tickets.give_back(study, optuna.Trial(study, dead._trial_id))
    heir = tickets.claim(storage, study)
    assert heir is not None
    for expected in (b"early", b"later"):
        with pytest.raises(UpdateFinishedTrialError, match="ticket 0 was ended"):
            checkpoint(storage, dead).save({}, b"from the grave")
        assert checkpoint(storage, heir).load() == Saved({}, expected)
        checkpoint(storage, heir).save({}, b"later")
    checkpoint(storage, heir).drop()
    with pytest.raises(UpdateFinishedTrialError):
        checkpoint(storage, dead).save({}, b"from the grave")
    assert rows(storage) == []


def test_a_checkpoint_is_due_after_its_time_and_again_after_the_next(
    storage: RDBStorage, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    own = Checkpoint(storage, "s", 0, claim(storage, study, 0)._trial_id, 30.0)
    assert not own.due
    now[0] += 30.0
    assert own.due
    own.save({}, b"")
    assert not own.due


def test_what_was_given_back_leaves_nothing_for_the_pruner_to_compare_with(
    storage: RDBStorage, study: optuna.Study
) -> None:
    for ticket, reason in ((0, None), (1, "it broke")):
        trial = claim(storage, study, ticket)
        storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 0.5)
        storage.set_trial_system_attr(trial._trial_id, "other", 1)
        if reason is None:
            tickets.give_back(study, optuna.Trial(study, trial._trial_id))
            continue
        storage.set_trial_user_attr(trial._trial_id, FAILURE, reason)
        storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert [set(t.system_attrs) - {"fixed_params"} for t in failed] == [
        {"other"},
        {"completed_rung_0", "other"},
    ]
