"""Everything that `tuner status NAME` and `tuner trials NAME` show of a study."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from puffin.studies.records import TrialRecord, is_finished, is_requeued
from puffin.studies.storage import registry
from puffin.studies.study import RETRAINING_SUFFIXES, StoredStudy, load, lowest_complete
from puffin.studies.summary import Status, failure_reasons, status

_LAST = 5
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class TrialRow:
    """A trial as tables list it.

    Attributes
    ----------
    trial : number of the trial
    state : complete, pruned, failed, running, waiting, or stopped: a later trial resumes it
    loss, skill, best_epoch : lowest loss so far, its skill and epoch; None if no epoch has ended
    epochs, seconds : length of the training; None if there was none
    seed : of a training with another seed; None in a search
    config : None before all of it is sampled
    reason : why the trial was pruned or failed, or which trial it repeats
    """

    trial: int
    state: str
    loss: float | None
    skill: float | None
    best_epoch: int | None
    epochs: int | None
    seconds: float | None
    seed: int | None
    config: Mapping[str, Any] | None
    reason: str | None


@dataclass(frozen=True)
class Overview:
    """What a study searches, and its state.

    Attributes
    ----------
    status : Status
    submitted : ISO 8601 with a zone; None in a study of an older version
    target, horizon, features : target, bars ahead, and inputs of the forecast
    source, symbols, origin, first, last, bars, holdout_bars : the prices
    searched : the hyperparameters that differ between trials, beside cell and widths
    best_epoch : of the best trial of a search; None before there is one
    last_trials : the last trials that ended, the latest first
    failures : number of trials by the reason why they failed or diverged
    retraining : the studies that train its best trials again
    openings : number of winners that its holdout was opened for
    """

    status: Status
    submitted: str | None
    target: str
    horizon: int
    features: tuple[str, ...]
    source: str
    symbols: tuple[str, ...]
    origin: str
    first: str
    last: str
    bars: int
    holdout_bars: int
    searched: tuple[str, ...]
    best_epoch: int | None
    last_trials: tuple[TrialRow, ...]
    failures: Mapping[str, int]
    retraining: tuple[Status, ...]
    openings: int

    @property
    def config(self) -> Mapping[str, Any] | None:
        """Configuration of the best trial of a search; None before there is one."""
        return self.status.best_config

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the fields of the status and the others side by side."""
        others = asdict(self)
        del others["status"]
        others["retraining"] = [each.to_json() for each in self.retraining]
        return self.status.to_json() | others


def overview(study: StoredStudy) -> Overview:
    """Read everything that there is to show of a study.

    Raises
    ------
    KeyError
        If the study was deleted meanwhile.
    """
    record, spec, trials = study.record, study.spec, study.trials()
    data, retraining = record.data, _retraining(study)
    best = lowest_complete(trials) if study.parent_name is None else None
    of_best = TrialRecord.read(best) if best else TrialRecord()
    return Overview(
        status=status(study),
        submitted=record.submitted,
        target=spec.data.target,
        horizon=spec.data.horizon,
        features=spec.data.features,
        source=spec.data.source,
        symbols=spec.data.symbols,
        origin=data.origin,
        first=data.first,
        last=data.last,
        bars=data.bars,
        holdout_bars=spec.walk_forward.holdout_bars,
        searched=tuple(sorted(spec.parsed_space.searched)),
        best_epoch=of_best.scores.best_epoch if of_best.scores else None,
        last_trials=tuple(map(trial_row, _latest(trials))),
        failures=dict(failure_reasons(study).most_common()),
        retraining=tuple(map(status, retraining)),
        openings=sum(len(each.record.opened_for) for each in retraining),
    )


def _retraining(study: StoredStudy) -> list[StoredStudy]:
    """Return the studies that train the best trials of this one again."""
    names = [study.name + suffix for suffix in RETRAINING_SUFFIXES]
    known = registry.budgets(study.storage)
    return [load(study.storage, name) for name in names if name in known]


def _latest(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    ended = [t for t in trials if is_finished(t)]
    ended.sort(key=lambda t: (t.datetime_complete or datetime.min, t.number))  # noqa: DTZ901  # as trials have it
    return ended[: -_LAST - 1 : -1]


def trial_row(trial: FrozenTrial) -> TrialRow:
    """Return a trial as tables list it."""
    record, reported = TrialRecord.read(trial), trial.intermediate_values
    scores, run = record.scores, record.run
    repeated = None if record.duplicate_of is None else f"repeats trial {record.duplicate_of}"
    return TrialRow(
        trial=trial.number,
        state="stopped" if is_requeued(trial) else _STATES[trial.state],
        loss=scores.best_loss if scores else min(reported.values(), default=None),
        skill=scores.skill if scores and math.isfinite(scores.skill) else None,
        best_epoch=scores.best_epoch if scores else None,
        epochs=run.epochs if run else len(reported) or None,
        seconds=run.seconds if run else None,
        seed=record.seed,
        config=record.config or None,
        reason=record.failure or repeated or record.reason,
    )
