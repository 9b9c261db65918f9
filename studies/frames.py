"""The trials of a study, their learning curves and their forecasts as DataFrames."""

import io
from dataclasses import asdict, fields
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import Config
from puffin.studies.overview import TrialRow, trial_row
from puffin.studies.records import TrialRecord
from puffin.studies.retraining import read_artifact
from puffin.studies.study import StoredStudy, StudyError

_CONFIG = tuple(field.name for field in fields(Config))
_RESULTS = tuple(f.name for f in fields(TrialRow) if f.name not in {"trial", "seed", "config"})


def trials_frame(study: StoredStudy) -> pd.DataFrame:
    """Return a row for each trial, as `overview.TrialRow` has it, with its configuration.

    Returns
    -------
    DataFrame, (trial, column), the index is the number of the trial
        Losses of pruned trials are the lowest up to the epoch at which they were stopped: only
        those of complete trials can be compared. What does not apply is missing.
    """
    rows = [_values(trial_row(trial)) for trial in study.trials()]
    frame = pd.DataFrame(rows, columns=["trial", *_RESULTS, *_CONFIG]).set_index("trial")
    return frame.astype(dict.fromkeys(("best_epoch", "epochs", "lookback", "batch_size"), "Int64"))


def _values(row: TrialRow) -> dict[str, Any]:
    return asdict(row) | dict(row.config or {})


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
