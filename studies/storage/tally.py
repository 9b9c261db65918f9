"""How far all studies of a database are, counted by the database.

Reading the trials themselves takes seconds for thousands of them.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage

from puffin.studies.records import FAILURE
from puffin.studies.storage.optuna_internals import (
    StudyRow,
    TrialAttributeRow,
    TrialRow,
    TrialValueRow,
)


@dataclass
class Tally:
    """The trials of a study.

    Attributes
    ----------
    states : numbers of trials that are complete, pruned, failed or running
    best_trial, best_loss : number and loss of the complete trial with the lowest loss
    best_attrs : user attributes of that trial
    """

    states: Counter[str] = field(default_factory=Counter)
    best_trial: int | None = None
    best_loss: float | None = None
    best_attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Number of trials that have ended for good."""
        return self.states["complete"] + self.states["pruned"] + self.states["failed"]


def tallies(storage: RDBStorage) -> dict[str, Tally]:
    """Return the tally of each study that has trials, by name."""
    found: dict[str, Tally] = defaultdict(Tally)
    with storage.engine.connect() as connection:
        for name, state, count in connection.execute(_counts()):
            if (key := state.name.lower()) != "fail":
                found[name].states[key] = count
        for name, count in connection.execute(_failures()):
            found[name].states["failed"] = count
        best: dict[int, Tally] = {}
        for name, key, number, value in connection.execute(_losses()):
            tally = found[name]
            if tally.best_loss is None:  # the lowest one comes first
                tally.best_trial, tally.best_loss = number, value
                best[key] = tally
        for key, attribute, text in connection.execute(_attributes(list(best))):
            best[key].best_attrs[attribute] = json.loads(text)
    return dict(found)


def _counts() -> sa.Select[Any]:
    return (
        sa.select(StudyRow.study_name, TrialRow.state, sa.func.count())
        .join(TrialRow, TrialRow.study_id == StudyRow.study_id)
        .group_by(StudyRow.study_name, TrialRow.state)
    )


def _failures() -> sa.Select[Any]:
    """Count failed trials; one without a reason was requeued and has not ended its ticket."""
    return (
        sa.select(StudyRow.study_name, sa.func.count())
        .join(TrialRow, TrialRow.study_id == StudyRow.study_id)
        .join(TrialAttributeRow, TrialAttributeRow.trial_id == TrialRow.trial_id)
        .where(TrialRow.state == "FAIL", TrialAttributeRow.key == FAILURE)
        .group_by(StudyRow.study_name)
    )


def _losses() -> sa.Select[Any]:
    """List the lowest loss of each study, with its first trial first."""
    lowest = (
        sa.select(TrialRow.study_id, sa.func.min(TrialValueRow.value).label("value"))
        .join(TrialValueRow, TrialValueRow.trial_id == TrialRow.trial_id)
        .where(TrialRow.state == "COMPLETE")
        .group_by(TrialRow.study_id)
        .subquery()
    )
    return (
        sa.select(StudyRow.study_name, TrialRow.trial_id, TrialRow.number, TrialValueRow.value)
        .join(TrialRow, TrialRow.study_id == StudyRow.study_id)
        .join(TrialValueRow, TrialValueRow.trial_id == TrialRow.trial_id)
        .join(lowest, lowest.c.study_id == StudyRow.study_id)
        .where(TrialRow.state == "COMPLETE", TrialValueRow.value == lowest.c.value)
        .order_by(TrialRow.number)
    )


def _attributes(trials: list[int]) -> sa.Select[Any]:
    row = TrialAttributeRow
    return sa.select(row.trial_id, row.key, row.value_json).where(row.trial_id.in_(trials))
