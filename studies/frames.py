"""The trials of a study, their learning curves and their forecasts as DataFrames."""

import io
from dataclasses import fields
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import Config
from puffin.studies.records import TrialRecord, is_requeued
from puffin.studies.retraining import read_artifact
from puffin.studies.study import StoredStudy, StudyError

_CONFIG = tuple(field.name for field in fields(Config))
_COLUMNS = (
    "state",
    "loss",
    "skill",
    "best_epoch",
    "epochs",
    "seconds",
    "direction_accuracy",
    *_CONFIG,
    "reason",
    "duplicate_of",
)


def trials_frame(study: StoredStudy) -> pd.DataFrame:
    """Return a row for each trial.

    Returns
    -------
    DataFrame, (trial, column), the index is the number of the trial
        `state` is running, complete, pruned, failed or requeued. `loss` is the lowest mean
        validation loss over folds, of pruned trials up to the epoch at which they were stopped;
        only losses of complete trials can be compared. `reason` says why a trial was pruned or
        failed. What does not apply is missing.
    """
    rows = {trial.number: _row(trial) for trial in study.trials()}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(_COLUMNS))
    frame.index.name = "trial"
    whole = ["best_epoch", "epochs", "lookback", "batch_size", "duplicate_of"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _row(trial: FrozenTrial) -> list[Any]:
    record = TrialRecord.read(trial)
    scores, run, config = record.scores, record.run, record.config
    return [
        _state(trial),
        scores.best_loss if scores else min(trial.intermediate_values.values(), default=None),
        scores.skill if scores else None,
        scores.best_epoch if scores else None,
        run.epochs if run else len(trial.intermediate_values),
        run.seconds if run else None,
        scores.direction_accuracy if scores else None,
        *(config.get(key) for key in _CONFIG),
        record.failure or record.reason,
        record.duplicate_of,
    ]


def _state(trial: FrozenTrial) -> str:
    if is_requeued(trial):
        return "requeued"
    return "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()


def curves_frame(study: StoredStudy) -> pd.DataFrame:
    """Return the mean validation loss over folds of each trial after each epoch.

    Returns
    -------
    DataFrame, (epoch, trial), the index counts epochs from 1
        NaN after the last epoch of a trial; a trial that repeats another has no column.
    """
    curves = {
        trial.number: pd.Series(trial.intermediate_values, dtype="float64")
        for trial in study.trials()
        if trial.intermediate_values and TrialRecord.read(trial).duplicate_of is None
    }
    frame = pd.DataFrame(curves).sort_index()
    return frame.rename_axis(index="epoch", columns="trial")


def forecasts_frame(study: StoredStudy, number: int) -> pd.DataFrame:
    """Return the forecasts of a trial at its best epoch, on the validation part of each fold.

    Returns
    -------
    DataFrame, (target, column), the index "date" is the bar that is forecast
        Columns fold (from 1), forecast, actual and persistence, in the target's unit.

    Raises
    ------
    StudyError
        If there is no such trial, or it has stored no forecasts.
    """
    trial = find_trial(study, number)
    if trial.state == TrialState.RUNNING or TrialRecord.read(trial).run is None:
        msg = f"trial {number} of study {study.name!r} has stored no forecasts"
        raise StudyError(msg)
    body = io.BytesIO(read_artifact(study, trial))
    return pd.read_csv(body, parse_dates=["date"], index_col="date")


def find_trial(study: StoredStudy, number: int) -> FrozenTrial:
    """Return a trial by its number.

    Raises
    ------
    StudyError
        If there is none; the message has the numbers that exist.
    """
    trials = study.trials()
    if not 0 <= number < len(trials):
        known = f"its trials are 0 to {len(trials) - 1}" if trials else "it has none yet"
        msg = f"study {study.name!r} has no trial {number}; {known}"
        raise StudyError(msg)
    return trials[number]
