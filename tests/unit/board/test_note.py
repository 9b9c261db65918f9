"""The notes and attributes of the dashboard, without a database."""

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.studies.board.attributes import trial_attributes
from puffin.studies.board.note import (
    note_of_person,
    trial_note,
    with_note_of_person,
)
from puffin.studies.records import Scores, TrainingRun, TrialRecord

SCORES = Scores(5, 0.5, (0.4, 0.61234567), 0.3517, 0.5, (0.4, 0.6))
RUN = TrainingRun(8, 12.54, "cpu", "host", {"torch": "2"}, "abc", 3, "artifact")


def failed(record: TrialRecord) -> FrozenTrial:
    return create_trial(state=TrialState.FAIL, user_attrs=record.to_attrs())


@pytest.mark.parametrize("theirs", ["", "mine", "# Mine\n\n* one\n* two"])
def test_what_a_person_wrote_below_our_note_is_found_again(theirs: str) -> None:
    shown = with_note_of_person("ours", theirs)
    assert shown.startswith("ours\n")
    assert note_of_person(shown) == theirs
    assert note_of_person(with_note_of_person("renewed", note_of_person(shown))) == theirs


def test_a_note_without_our_part_is_all_of_a_person() -> None:
    assert note_of_person("written before\n\nthere was a marker") == (
        "written before\n\nthere was a marker"
    )


def test_a_trial_is_shown_with_units_and_without_the_records_of_the_machinery() -> None:
    record = TrialRecord(ticket=3, worker="host:1", config={"cell": "lstm"}, scores=SCORES, run=RUN)
    trial = create_trial(
        state=TrialState.COMPLETE, value=0.5, user_attrs=record.to_attrs() | {"mine": 1}
    )
    assert trial_attributes(trial) == {
        "skill": "+35.2 %",
        "best epoch": 5,
        "fold 1 loss": 0.4,
        "fold 2 loss": 0.612346,
        "direction accuracy": "50.0 % (40.0 % to 60.0 %)",
        "epochs": 8,
        "seconds": 12.5,
        "device": "cpu",
        "mine": 1,
    }


def test_a_trial_of_another_program_keeps_all_its_attributes() -> None:
    attrs = {"skill": "high", "mine": [1]}
    trial = create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs=attrs)
    assert trial_attributes(trial) == attrs


def test_a_failed_trial_says_why_as_text_that_is_no_markup() -> None:
    note = trial_note(failed(TrialRecord(ticket=0, failure="ValueError: <b>\x1b[2J")))
    assert note == "**Failed**: \n\n    ValueError: <b>\\x1b[2J"


def test_a_diverged_trial_says_at_which_epoch_and_what_to_change() -> None:
    reason = "diverged: the loss is nan at epoch 3"
    trial = create_trial(
        state=TrialState.PRUNED,
        user_attrs=TrialRecord(ticket=0, reason=reason).to_attrs(),
        system_attrs={"constraints": [1.0]},
        constraints={"finite_loss": 1.0},
    )
    assert trial_note(trial) == (
        "**Diverged**: the loss is nan at epoch 3. A lower `space.lr` may help."
    )


def test_a_trial_that_was_pruned_or_requeued_needs_no_note() -> None:
    pruned = TrialRecord(ticket=0, reason="pruned at epoch 2").to_attrs()
    assert trial_note(create_trial(state=TrialState.PRUNED, user_attrs=pruned)) == ""
    assert trial_note(failed(TrialRecord(ticket=0))) == ""
