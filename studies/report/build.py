"""The report on a study: its winner judged on the holdout, which no choice has seen.

Every figure is computed from the stored forecasts of trials and retrainings. Only the baselines are
fitted here.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest
from puffin.models.evaluation.bootstrap import MIN_BARS
from puffin.models.evaluation.direction import Direction, DirectionTest
from puffin.models.evaluation.metrics import skill
from puffin.models.evaluation.selection import (
    MIN_BLOCK,
    Overfitting,
    Overtuning,
    incumbents,
    overfitting,
    overtuning,
)
from puffin.models.evaluation.sharpe import DeflatedSharpe, deflated_sharpe
from puffin.models.evaluation.spa import SpaResult, spa
from puffin.models.features import TARGETS
from puffin.studies.dataset import Dataset
from puffin.studies.duplicates import distinct, trained
from puffin.studies.forecast_table import from_columns, read_table
from puffin.studies.openings import Opening, before, looks_at
from puffin.studies.outside import stored
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.report.baselines import HoldoutComparison, compare_with_baselines
from puffin.studies.report.by_symbol import JudgedSymbol, by_symbol
from puffin.studies.report.intervals import LEVELS, HeldIntervals, errors_by_symbol, held_intervals
from puffin.studies.report.outside import OutsideResult, judge_outside
from puffin.studies.report.quantiles import HeldQuantile, held_quantiles
from puffin.studies.report.subject import Subject, subject
from puffin.studies.report.timing import Timing, time_holdout
from puffin.studies.report.trading import (
    run_backtest,
    run_backtests,
    strategy_returns,
    untradable,
    why_no_backtest,
)
from puffin.studies.retraining import in_order_of_end, read_artifact, refits_of, require_opened
from puffin.studies.seeds import SeedSensitivity, read_seed_sensitivity
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted_bars, when

# Fewest returns for a skewness; a standard deviation needs 2.
_FEWEST_RETURNS = 3
# Fewest complete trials for a median or a variance over trials to be informative.
FEWEST_COMPLETE = 6


@dataclass(frozen=True, eq=False)
class Report:
    """The results of a study's winner on the holdout, and of the search that chose it.

    An attribute that is None has a reason in the attribute ``no_...`` of the same name.

    Attributes
    ----------
    study : name of the study
    subject : target, prices, features and dates
    winner : number of the winning trial, fixed before the seal was opened
    config, epochs : hyperparameters and best epoch of the winner
    looks : every opening of these bars by any study of the database, the earliest first
    opened_for : opening id by winning trial, of the openings by this study
    dates : index, (holdout targets,), their times, symbol after symbol
    forecasts, actual : array, (holdout targets,), in the target's unit; a forecast is the mean of
        the winner's networks, of which each has another seed, and may have quantiles, (holdout
        targets, level)
    network_losses : loss on the holdout of each of these networks alone
    search_loss : loss of the winner on the search folds
    skill : skill of the winner against persistence on the holdout
    comparison : winner and baselines on the holdout
    outside : forecasts that were given as files, beside the winner on the holdout
    by_symbol : winner on the holdout of each symbol
    intervals : intervals of the levels for which the search has enough errors, on the holdout
    quantiles : each quantile on the holdout; none if the networks forecast one number
    direction : direction accuracy of the winner on the holdout
    direction_test, no_direction_test : Pesaran-Timmermann test of the winner's directions
    refits : frame of all complete retrainings for the holdout: trial, seed, loss
    seed_sensitivity : the best configurations over seeds, on the search folds
    n_networks : number of different networks that reached a best epoch, pruned ones included
    n_complete : number of these that are complete
    spa : test of all networks against the reference baseline on the search folds; None if there
        are too few bars
    overfitting, no_overfitting : probability of overfitting of the complete networks
    deflated_sharpe, no_deflated_sharpe : of the winner's positions on the search folds
    overtuning : of the incumbents, i.e. the trials that were the best so far
    backtest, no_backtest : of the winner on the holdout
    timing : volatility timing of the winner on the holdout; None if the target is no volatility or
        there are no returns
    symbol_backtests : of the winner on each symbol alone; none if there is no backtest
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
    network_losses: list[float]
    actual: Floats
    search_loss: float
    skill: float
    comparison: HoldoutComparison
    outside: list[OutsideResult]
    by_symbol: list[JudgedSymbol]
    intervals: list[HeldIntervals]
    quantiles: list[HeldQuantile]
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
    timing: Timing | None
    symbol_backtests: dict[str, Backtest]

    @property
    def loss(self) -> float:
        """Loss of the winner on the holdout."""
        return self.comparison.loss

    @property
    def first(self) -> str:
        """Time of the holdout's first target."""
        return when(self.dates.min())

    @property
    def last(self) -> str:
        """Time of the holdout's last target."""
        return when(self.dates.max())

    @property
    def bars(self) -> str:
        """Number of the holdout's bars in words, of a basket that of its dates."""
        return counted_bars(self.dates)

    @property
    def is_basket(self) -> bool:
        """Whether there are several symbols."""
        return len(self.by_symbol) > 1

    @property
    def looks_before(self) -> list[Opening]:
        """Openings of these bars before the one for this winner."""
        return before(self.looks, self.opened_for[self.winner])


def build(study: StoredStudy, winner: FrozenTrial | None = None) -> Report:
    """Return the report on the winner of a study.

    Parameters
    ----------
    study : StoredStudy
    winner : FrozenTrial, optional
        The trial that is judged, by default the best.

    Raises
    ------
    StudyError
        If the seal is closed or was opened for other winners only, or a retraining is not done.
    """
    best = winner or study.best()
    holdout = require_opened(study, best)
    spread = read_seed_sensitivity(study)
    refits = _refits(holdout)
    config = TrialRecord.read(best).config
    folds, opened = study.dataset, study.holdout_dataset
    runs = winner_forecasts(holdout, best.number)
    forecasts = runs.mean(axis=0)
    points = opened.point(forecasts)
    still = float(opened.losses_by_date(opened.judged_persistence).mean())
    comparison = compare_with_baselines(folds, opened, config["lookback"], forecasts)
    rival, (actual,) = comparison.reference, opened.actuals
    no_direction_test = why_no_direction_test(study.spec.data.target)
    trials = trials_with_forecasts(study)
    matrix = np.column_stack([folds.losses_by_date(f) for _, f in trials])
    complete = [trial.state == TrialState.COMPLETE for trial, _ in trials]
    no_overfitting = why_no_overfitting(len(matrix), sum(complete), len(trials))
    no_sharpe = why_no_deflated_sharpe(folds, len(matrix), sum(complete), len(trials))
    return Report(
        study=study.name,
        subject=subject(study),
        winner=best.number,
        config=config,
        epochs=Scores.read(best).best_epoch,
        looks=looks_at(study),
        opened_for=holdout.record.opened_for,
        dates=opened.scored_dates[0],
        forecasts=forecasts,
        network_losses=[float(opened.losses_by_date([run]).mean()) for run in runs],
        actual=actual,
        search_loss=np.nan if best.value is None else best.value,
        skill=skill(comparison.loss, still),
        comparison=comparison,
        outside=judge_outside(
            [*stored(study, "holdout").values()], [opened], opened.losses_by_date([forecasts])
        ),
        by_symbol=by_symbol(opened, forecasts, rival.forecasts),
        intervals=_intervals(folds, opened, read_forecasts(study, best), forecasts),
        quantiles=held_quantiles(opened, forecasts, rival.forecasts),
        direction=opened.direction([forecasts]),
        direction_test=None if no_direction_test else opened.direction_test([forecasts]),
        no_direction_test=no_direction_test,
        refits=refits,
        seed_sensitivity=spread,
        n_networks=len(trials),
        n_complete=sum(complete),
        spa=_spa(rival.search_losses, matrix, folds.date_horizon),
        overfitting=None if no_overfitting else overfitting(matrix[:, complete]),
        no_overfitting=no_overfitting,
        deflated_sharpe=None if no_sharpe else _deflated(folds, trials, best),
        no_deflated_sharpe=no_sharpe,
        overtuning=_overtuning(study, refits),
        backtest=run_backtest(opened, points),
        no_backtest=why_no_backtest(opened),
        timing=time_holdout(opened, points, opened.point(rival.forecasts), rival.label),
        symbol_backtests=run_backtests(opened, points),
    )


def _intervals(
    folds: Dataset, opened: Dataset, searched: list[Floats], forecasts: Floats
) -> list[HeldIntervals]:
    symbols = errors_by_symbol(folds, opened, searched, forecasts)
    found = (held_intervals(symbols, level) for level in LEVELS)
    return [intervals for intervals in found if intervals is not None]


def _refits(holdout: StoredStudy) -> pd.DataFrame:
    """Return the complete retrainings for the holdout: trial, seed, loss."""
    rows = [
        {"trial": record.retrained_trial, "seed": record.seed, "loss": t.value}
        for t in holdout.trials()
        if t.state == TrialState.COMPLETE and (record := TrialRecord.read(t))
    ]
    return pd.DataFrame(rows, columns=["trial", "seed", "loss"])


def read_forecasts(study: StoredStudy, trial: FrozenTrial) -> list[Floats]:
    """Return the forecasts of a trial, one array per fold, in the target's unit."""
    frame, levels = read_table(read_artifact(study, trial)), study.spec.training.quantiles
    return [from_columns(part, levels) for _, part in frame.groupby("fold")]


def winner_forecasts(holdout: StoredStudy, winner: int) -> Floats:
    """Return the forecasts of the holdout by each network of the winner, (network, targets, ...).

    Raises
    ------
    StudyError
        As `refits_of`.
    """
    refits = refits_of(holdout, winner).values()
    return np.stack([one for refit in refits for one in read_forecasts(holdout, refit)])


def trials_with_forecasts(study: StoredStudy) -> list[tuple[FrozenTrial, list[Floats]]]:
    """Return each network that reached a best epoch, pruned or not, with its forecasts there.

    Duplicates, i.e. trials that trained the same network, count once.
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
    """Return the reason why a target has no Pesaran-Timmermann test; None if it has one.

    Forecast and actual moves start from the same last value. If that value predicts the next move,
    the two are dependent whatever the forecast is: for a range, which reverts to its mean, even a
    constant forecast nearly always passes.
    """
    if TARGETS[target].is_move:
        return None
    return (
        f"the last {target} alone may predict the direction of the next move, so that half of the "
        "moves is no yardstick and even a constant forecast can pass the test; compare with the "
        "simple models"
    )


def why_no_overfitting(bars: int, complete: int, tried: int) -> str | None:
    """Return the reason why there is no probability of overfitting; None if there is one.

    Parameters
    ----------
    bars : int
        Number of search bars.
    complete, tried : int
        Numbers of different networks that are complete, and of all.
    """
    if bars < 2 * MIN_BLOCK:
        return f"it needs at least {2 * MIN_BLOCK} search bars, and there are {bars}"
    return _too_few_complete(complete, tried)


def why_no_deflated_sharpe(folds: Dataset, bars: int, complete: int, tried: int) -> str | None:
    """Return the reason why there is no deflated Sharpe ratio; None if there is one.

    Parameters
    ----------
    folds : Dataset
        The search part.
    bars : int
        Number of search bars.
    complete, tried : int
        Numbers of different networks that are complete, and of all.
    """
    if (why := untradable(folds)) is not None:
        return why
    returns = math.ceil(bars / folds.date_horizon)
    if returns < _FEWEST_RETURNS:
        return (
            f"it needs at least {_FEWEST_RETURNS} returns that do not overlap, and the search bars "
            f"have only {returns}"
        )
    return _too_few_complete(complete, tried)


def _too_few_complete(complete: int, tried: int) -> str | None:
    if complete >= FEWEST_COMPLETE:
        return None
    return (
        f"it needs at least {FEWEST_COMPLETE} different complete networks, and there are "
        f"{complete}, beside {tried - complete} pruned ones"
    )


def _deflated(
    folds: Dataset, trials: list[tuple[FrozenTrial, list[Floats]]], best: FrozenTrial
) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio on the search folds of going long on a forecast rise."""
    returns = {
        trial.number: strategy_returns(folds, [folds.point(values) for values in forecasts])
        for trial, forecasts in trials
        if trial.state == TrialState.COMPLETE
    }
    return deflated_sharpe(
        returns[best.number], np.column_stack(list(returns.values())), len(trials)
    )


def _overtuning(study: StoredStudy, refits: pd.DataFrame) -> Overtuning:
    """Compare the incumbents' losses on the holdout with those on the search folds."""
    ended = trained(study.trials())
    complete = in_order_of_end(t for t in ended if t.state == TrialState.COMPLETE)
    same_seed = refits[refits.seed == study.spec.search.seed]
    losses = same_seed.drop_duplicates("trial", keep="last").set_index("trial").loss
    best_so_far = (complete[i] for i in incumbents([t.value for t in complete]))
    # An incumbent whose retraining diverged has no holdout loss and is left out.
    kept = [t for t in best_so_far if t.number in losses.index]
    numbers = [t.number for t in kept]
    result = overtuning([t.value for t in kept], losses.loc[numbers].to_numpy(np.float64))
    return replace(result, trials=np.array(numbers)[result.trials])
