"""Whether the best of a search is any good: judged on bars that no choice has seen.

Every figure comes from the forecasts that trials and reruns left behind; nothing is trained here
but the baselines.
"""

import io
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest, backtest
from puffin.models.evaluation.forecast_tests import DirectionTest, pesaran_timmermann
from puffin.models.evaluation.metrics import Direction, skill
from puffin.models.evaluation.selection import (
    MIN_BLOCK,
    Overfitting,
    Overtuning,
    incumbents,
    overfitting,
    overtuning,
)
from puffin.models.evaluation.sharpe import DeflatedSharpe, deflated_sharpe
from puffin.models.evaluation.spa import MIN_BARS, SpaResult, spa
from puffin.models.features import TARGETS
from puffin.studies.dataset import Dataset
from puffin.studies.duplicates import distinct, trained
from puffin.studies.openings import Opening, before, looks_at
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.report.baselines import HoldoutComparison, compare_with_baselines
from puffin.studies.report.subject import Subject, subject
from puffin.studies.retraining import in_order_of_end, own_refit, read_artifact, require_opened
from puffin.studies.seeds import SeedSensitivity, read_seed_sensitivity
from puffin.studies.study import StoredStudy
from puffin.studies.text import when

# A spread needs so many, and a skewness one more.
_FEWEST_RETURNS = 3
# Trials with one budget, below which a median of them, or a variance, says little.
FEWEST_COMPLETE = 6
_YEAR = pd.Timedelta(days=365.25)
# What a trade costs in the backtest, in basis points: commission, and a worse price.
COST_BPS, SLIPPAGE_BPS = 1.0, 1.0


@dataclass(frozen=True, eq=False)
class Report:
    """What the holdout says of a study's best.

    Attributes
    ----------
    study : its name
    subject : what was forecast from what
    winner : number of the trial, fixed before the seal was opened
    config, epochs : of the winner
    looks : every opening of these bars, by whatever study of the database, the first one first
    opened_for : those by this study, the trial that was the winner to the id of the opening
    dates : array, (holdout bars,), of its targets
    forecasts, actual : array, (holdout bars,), in the target's unit
    search_loss : of the winner on the search folds
    skill : of the winner against persistence on the holdout
    comparison : of the winner beside the baselines
    direction : of the winner on the holdout; that of each baseline is beside it in `comparison`
    direction_test : of the same; None where `no_direction_test` says why there is none
    refits : table of all refits that came to an end: trial, seed, loss
    seed_sensitivity : of the best over seeds, on the search folds
    n_networks : different networks that came to a best epoch, pruned ones too
    n_complete : those of them that were trained to their end
    spa : of all that were tried against the first rival, on the search folds; None where the bars
        are too few
    overfitting : of the complete ones; None where `no_overfitting` says why there is none
    deflated_sharpe : of the winner's positions on the search folds; None where `no_deflated_sharpe`
        says why there is none
    overtuning : of the incumbents
    backtest : of the winner on the holdout; None where `no_backtest` says why there is none
    """

    study: str
    subject: Subject
    winner: int
    config: dict[str, Any]
    epochs: int
    looks: list[Opening]
    opened_for: dict[int, str]
    dates: pd.DatetimeIndex
    forecasts: Floats
    actual: Floats
    search_loss: float
    skill: float
    comparison: HoldoutComparison
    direction: Direction
    direction_test: DirectionTest | None
    no_direction_test: str | None
    refits: pd.DataFrame
    seed_sensitivity: SeedSensitivity
    n_networks: int
    n_complete: int
    spa: SpaResult | None
    overfitting: Overfitting | None
    no_overfitting: str | None
    deflated_sharpe: DeflatedSharpe | None
    no_deflated_sharpe: str | None
    overtuning: Overtuning
    backtest: Backtest | None
    no_backtest: str | None

    @property
    def loss(self) -> float:
        """Of the winner on the holdout."""
        return self.comparison.loss

    @property
    def first(self) -> str:
        """Day of the holdout's first target."""
        return when(self.dates[0])

    @property
    def last(self) -> str:
        """Day of the holdout's last target."""
        return when(self.dates[-1])

    @property
    def looks_before(self) -> list[Opening]:
        """Openings of these bars before the one for this winner."""
        return before(self.looks, self.opened_for[self.winner])


def build(study: StoredStudy) -> Report:
    """Judge the winner of a search by its studies of reruns.

    Raises
    ------
    StudyError
        If the seal is closed or was opened for other winners only, or a refit is not done.
    """
    best, holdout = require_opened(study)
    spread = read_seed_sensitivity(study)
    refits = _refits(holdout)
    config = TrialRecord.read(best).config
    folds, opened = study.dataset, study.holdout_dataset
    own = own_refit(holdout, best.number, study.spec.search.seed)
    (forecasts,) = read_forecasts(holdout, own)
    comparison = compare_with_baselines(folds, opened, config["lookback"], forecasts)
    horizon = opened.series.horizon
    (actual,), (last,) = (
        opened.validation_slices(v) for v in (opened.series.target, opened.series.persistence)
    )
    no_direction_test = why_no_direction_test(study.spec.data.target)
    trials = trials_with_forecasts(study)
    matrix = np.column_stack([folds.losses_per_bar(f) for _, f in trials])
    complete = [trial.state == TrialState.COMPLETE for trial, _ in trials]
    no_overfitting = why_no_overfitting(len(matrix), sum(complete), len(trials))
    no_sharpe = why_no_deflated_sharpe(folds, len(matrix), sum(complete), len(trials))
    (fold,) = opened.folds
    return Report(
        study=study.name,
        subject=subject(study),
        winner=best.number,
        config=config,
        epochs=Scores.read(best).best_epoch,
        looks=looks_at(study),
        opened_for=holdout.record.opened_for,
        dates=opened.dates[fold.valid.start : fold.valid.stop],
        forecasts=forecasts,
        actual=actual,
        search_loss=np.nan if best.value is None else best.value,
        skill=skill(comparison.loss, opened.persistence_losses[0]),
        comparison=comparison,
        direction=opened.direction([forecasts]),
        direction_test=None
        if no_direction_test
        else pesaran_timmermann(forecasts, actual, last, horizon),
        no_direction_test=no_direction_test,
        refits=refits,
        seed_sensitivity=spread,
        n_networks=len(trials),
        n_complete=sum(complete),
        spa=_spa(comparison.reference.search_losses, matrix, horizon),
        overfitting=None if no_overfitting else overfitting(matrix[:, complete]),
        no_overfitting=no_overfitting,
        deflated_sharpe=None if no_sharpe else _deflated(folds, trials, best),
        no_deflated_sharpe=no_sharpe,
        overtuning=_overtuning(study, refits),
        backtest=run_backtest(opened, forecasts),
        no_backtest=why_no_backtest(opened),
    )


def _refits(holdout: StoredStudy) -> pd.DataFrame:
    """Table the refits that came to an end: trial, seed, loss."""
    rows = [
        {"trial": record.retrained_trial, "seed": record.seed, "loss": t.value}
        for t in holdout.trials()
        if t.state == TrialState.COMPLETE and (record := TrialRecord.read(t))
    ]
    return pd.DataFrame(rows, columns=["trial", "seed", "loss"])


def read_forecasts(study: StoredStudy, trial: FrozenTrial) -> list[Floats]:
    """Read what a trial forecast, fold by fold, in the target's unit."""
    frame = pd.read_csv(io.BytesIO(read_artifact(study, trial)))
    return [part["forecast"].to_numpy(np.float64) for _, part in frame.groupby("fold")]


def trials_with_forecasts(study: StoredStudy) -> list[tuple[FrozenTrial, list[Floats]]]:
    """Return each network that came to a best epoch, pruned or not, with its forecasts there.

    Trials that trained one network alike are no two tries.
    """
    ended = [
        trial
        for trial in study.trials()
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and TrialRecord.read(trial).scores is not None
    ]
    return [(trial, read_forecasts(study, trial)) for trial in distinct(ended)]


def _spa(benchmark: Floats, matrix: Floats, horizon: int) -> SpaResult | None:
    return spa(benchmark, matrix, horizon) if len(matrix) >= max(MIN_BARS, horizon) else None


def why_no_direction_test(target: str) -> str | None:
    """Return why there is no Pesaran-Timmermann test, if there is none.

    Forecast and actual moves start from one last value. Where that alone tells something of the
    next move, the two go together whatever the forecast: of a range that comes back to its mean
    even a constant passes nearly always.
    """
    if TARGETS[target].is_move:
        return None
    return (
        f"the last {target} alone tells something of the direction of the next move, so that even "
        "a constant forecast may pass; compare with the baselines"
    )


def why_no_overfitting(bars: int, complete: int, tried: int) -> str | None:
    """Return why there is no probability of overfitting, if there is none.

    Parameters
    ----------
    bars : int
        Search bars.
    complete, tried : int
        Different networks that were trained to their end, and all of them.
    """
    if bars < 2 * MIN_BLOCK:
        return f"it needs {2 * MIN_BLOCK} search bars or more, and there are {bars}"
    return _too_few_complete(complete, tried)


def why_no_deflated_sharpe(folds: Dataset, bars: int, complete: int, tried: int) -> str | None:
    """Return why there is no deflated Sharpe ratio, if there is none; `bars` are search bars."""
    if (why := untradable(folds)) is not None:
        return why
    returns = math.ceil(bars / folds.series.horizon)
    if returns < _FEWEST_RETURNS:
        return (
            f"it needs {_FEWEST_RETURNS} returns that do not overlap, and the search bars hold "
            f"{returns}"
        )
    return _too_few_complete(complete, tried)


def _too_few_complete(complete: int, tried: int) -> str | None:
    if complete >= FEWEST_COMPLETE:
        return None
    return (
        f"it needs {FEWEST_COMPLETE} different networks that were trained to their end, and "
        f"there are {complete}, beside {tried - complete} that were pruned"
    )


def _deflated(
    folds: Dataset, trials: list[tuple[FrozenTrial, list[Floats]]], best: FrozenTrial
) -> DeflatedSharpe:
    """Judge what the best earned on the search folds by being long where it forecast a rise."""
    returns = {
        trial.number: strategy_returns(folds, forecasts)
        for trial, forecasts in trials
        if trial.state == TrialState.COMPLETE
    }
    return deflated_sharpe(
        returns[best.number], np.column_stack(list(returns.values())), len(trials)
    )


def strategy_returns(folds: Dataset, forecasts: list[Floats]) -> Floats:
    """Return the log returns of being long where a rise was forecast, one in `horizon` bars.

    Of targets that can be traded on: `untradable` says why others cannot.
    """
    held = np.concatenate(forecasts) > np.concatenate(
        folds.validation_slices(folds.series.persistence)
    )
    return np.asarray((held * _log_returns(folds))[:: folds.series.horizon])


def _log_returns(folds: Dataset) -> Floats:
    """Return the log return over the horizon at each scored bar."""
    if folds.spec.data.target == "return":
        return np.concatenate(folds.validation_slices(folds.series.target))
    horizon = folds.series.horizon
    spans = [(fold.valid.start, fold.valid.stop) for fold in folds.folds]
    closes = np.concatenate([folds.closes[start:stop] for start, stop in spans])
    before = np.concatenate(
        [folds.closes[start - horizon : stop - horizon] for start, stop in spans]
    )
    return np.asarray(np.log(closes / before))


def _overtuning(study: StoredStudy, refits: pd.DataFrame) -> Overtuning:
    """Set the incumbents' losses on the holdout against those on the search folds."""
    ended = trained(study.trials())
    complete = in_order_of_end(t for t in ended if t.state == TrialState.COMPLETE)
    own = refits[refits.seed == study.spec.search.seed]
    judged = own.drop_duplicates("trial", keep="last").set_index("trial").loss
    best_so_far = (complete[i] for i in incumbents([t.value for t in complete]))
    # One whose refit diverged is judged by nothing; the curve goes on without it.
    kept = [t for t in best_so_far if t.number in judged.index]
    numbers = [t.number for t in kept]
    found = overtuning([t.value for t in kept], judged.loc[numbers].to_numpy(np.float64))
    return replace(found, trials=np.array(numbers)[found.trials])


def untradable(dataset: Dataset) -> str | None:
    """Say why forecasts of these targets cannot be traded on, if they cannot."""
    target, horizon = dataset.spec.data.target, dataset.series.horizon
    if not TARGETS[target].is_tradable:
        return f"a {target} cannot be bought"
    spans = [dataset.closes[f.valid.start - horizon : f.valid.stop] for f in dataset.folds]
    if not (np.concatenate(spans) > 0).all():
        return "a close is zero or negative, and then there are no returns in per cent"
    return None


def why_no_backtest(holdout: Dataset) -> str | None:
    """Say why there is no backtest, if there is none."""
    if (why := untradable(holdout)) is not None:
        return why
    if (horizon := holdout.series.horizon) != 1:
        return f"it trades one bar ahead, and this study forecasts {horizon} bars ahead"
    return None


def run_backtest(holdout: Dataset, forecast: Floats) -> Backtest | None:
    """Trade on forecasts of the holdout (bars,), one bar ahead, long or flat."""
    to_price = TARGETS[holdout.spec.data.target].to_price
    if to_price is None or why_no_backtest(holdout) is not None:
        return None
    (fold,) = holdout.folds
    closes = holdout.closes[fold.valid.start - 1 : fold.valid.stop]
    return backtest(
        closes,
        np.append(np.nan, to_price(forecast, closes[:-1])),
        threshold=0.0,
        cost_bps=COST_BPS,
        slippage_bps=SLIPPAGE_BPS,
        bars_per_year=_bars_per_year(holdout.dates),
    )


def _bars_per_year(dates: pd.DatetimeIndex) -> float:
    """Give the bars of a year: about 252 of days, many more of hours."""
    return float((len(dates) - 1) / ((dates[-1] - dates[0]) / _YEAR))
