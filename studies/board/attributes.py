"""The attributes of studies and trials as a person reads them."""

import math
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from puffin.studies.board.note import budget_in_words, subject_in_words
from puffin.studies.records import Scores, TrainingRun, TrialRecord, VerdictRecord, added_attrs
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, loss, minute, percent, printable, signed


def trial_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """Return what is worth reading of a trial; all attributes of one of another program.

    Numbers stay numbers, because the dashboard sorts trials by them and draws them as axes.
    """
    record = TrialRecord.read(trial)
    if record.ticket is None:
        return added_attrs(trial)
    shown = {
        **({} if record.scores is None else _scores(record.scores)),
        **({} if record.run is None else _run(record.run)),
        "reason": record.reason,
        "failure": record.failure,
        "same network as trial": record.duplicate_of,
        "configuration of trial": record.retrained_trial,
        "seed": record.seed,
        "attempts before": record.retries or None,
        "why they ended": "; ".join(record.notes) or None,
        **added_attrs(trial),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _scores(scores: Scores) -> dict[str, Any]:
    low, high = scores.direction_interval
    interval = "" if math.isnan(low) else f" ({percent(low)} to {percent(high)})"
    folds = enumerate(scores.fold_losses, start=1)
    return {
        "skill": signed(scores.skill),
        "best epoch": scores.best_epoch,
        **{f"fold {number} loss": _rounded(value) for number, value in folds},
        "direction accuracy": f"{percent(scores.direction_accuracy)}{interval}",
    }


def _run(run: TrainingRun) -> dict[str, Any]:
    return {"epochs": run.epochs, "seconds": round(run.seconds, 1), "device": run.device}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def study_attributes(study: StoredStudy) -> dict[str, Any]:
    """Return what is worth reading of a study beside its note."""
    record, spec = study.record, study.spec
    if record.parent_name is not None:
        return {"belongs to": record.parent_name, "trainings": len(record.jobs)}
    verdict = VerdictRecord.read(study.optuna_study)
    shown = {
        "forecasts": subject_in_words(spec.data),
        "prices": printable(record.data.origin),
        "search": budget_in_words(spec),
        "holdout": counted(spec.walk_forward.holdout_bars, "bar"),
        "loss of persistence": loss(float(np.mean(record.persistence_losses))),
        "verdict": verdict and verdict.outcome,
        "submitted": record.submitted and minute(record.submitted),
        "made with": ", ".join(f"{name} {v}" for name, v in record.made_with.items()),
    }
    return {name: value for name, value in shown.items() if value is not None}
