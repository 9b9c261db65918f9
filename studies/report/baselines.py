"""Comparison of a forecast with the baselines on the holdout."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from puffin.models.arrays import Floats, varies
from puffin.models.evaluation.baseline import Baseline, LeftOutError, MissingPackageError
from puffin.models.evaluation.baselines import BASELINES, fit_each
from puffin.models.evaluation.bootstrap import MIN_BARS
from puffin.models.evaluation.direction import Direction
from puffin.models.evaluation.forecast_tests import (
    LEVEL,
    MeanTest,
    adjusted_differentials,
    clark_west_mean,
)
from puffin.models.evaluation.long_run import LongRunTest, long_run_test
from puffin.models.evaluation.mcs import mcs
from puffin.models.evaluation.metrics import skill
from puffin.models.evaluation.outcome import Evidence
from puffin.models.evaluation.pooled_baselines import POOLED, PooledFit
from puffin.models.evaluation.shifted import fitted_to, persistence_with_quantiles
from puffin.models.losses import Loss
from puffin.models.panel import by_part, mean_by_date
from puffin.studies.dataset import Dataset

# Baselines that read all features.
_RIDGES = ("ridge", "ridge_of_all")


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """A baseline on the search folds and on the holdout.

    Losses and tests are of the mean over symbols of each date, fold after fold. Symbols move
    together, so that many of them on one date are one observation and not many.

    Attributes
    ----------
    name, label : key in `BASELINES`, and its name with the settings that were chosen
    search_losses, holdout_losses : array, (scored dates,), mean loss over symbols
    forecasts : array, (holdout targets,), symbol after symbol, in the target's unit, or (holdout
        targets, level) of quantiles
    direction : direction accuracy on the holdout; None if the baseline never forecasts a move, like
        persistence
    skill : skill of the winner against this baseline on the holdout
    test : whether the winner forecasts better
    clark_west : the same for a baseline that is a special case of the network; None for others
    also : keys of baselines whose forecasts are equal, which have no row of their own
    mcs_p : p-value in the model confidence set of winner and baselines; NaN if there are too few
        bars
    """

    name: str
    label: str
    search_losses: Floats
    holdout_losses: Floats
    forecasts: Floats
    direction: Direction | None
    skill: float
    test: LongRunTest
    clark_west: MeanTest | None
    also: tuple[str, ...] = ()
    mcs_p: float = float("nan")

    @property
    def search_loss(self) -> float:
        """Mean loss on the search folds."""
        return float(self.search_losses.mean())

    @property
    def holdout_loss(self) -> float:
        """Mean loss on the holdout."""
        return float(self.holdout_losses.mean())


@dataclass(frozen=True, eq=False)
class HoldoutComparison:
    """A forecast and the baselines on the holdout.

    Attributes
    ----------
    loss : loss of the forecast
    baselines : sorted by search loss
    mcs_p : p-value of the forecast in the model confidence set of it and all baselines; NaN if
        there are too few bars
    not_installed : tuple of str, why baselines are left out whose package is not installed
    """

    loss: float
    baselines: list[BaselineResult]
    mcs_p: float = float("nan")
    not_installed: tuple[str, ...] = ()

    @property
    def reference(self) -> BaselineResult:
        """The baseline that was best on the search data."""
        return self.baselines[0]

    @property
    def evidence(self) -> Evidence:
        """The tests of the forecast against every baseline."""
        first, tests = self.reference, {each.name: each.test for each in self.baselines}
        return Evidence(first.test, first.holdout_loss, tests)

    @property
    def closest(self) -> BaselineResult:
        """The baseline against which a lead is least certain."""
        return next(each for each in self.baselines if each.name == self.evidence.closest)

    @property
    def may_be_best(self) -> list[str]:
        """The models of the confidence set of 95 %; none if there are too few bars."""
        models = {"the winner": self.mcs_p} | {each.label: each.mcs_p for each in self.baselines}
        return [name for name, p in models.items() if p >= LEVEL]

    @property
    def nothing_moves(self) -> bool:
        """Whether persistence is always right on the holdout: then no forecast can be judged."""
        return any(b.name == "persistence" and b.holdout_loss == 0 for b in self.baselines)

    @property
    def outcome(self) -> str:
        """One of `puffin.models.evaluation.outcome.OUTCOMES`."""
        return "undecided" if self.nothing_moves else self.evidence.outcome


def compare_with_baselines(
    folds: Dataset, holdout: Dataset, lookback: int, forecast: Floats
) -> HoldoutComparison:
    """Compare a forecast of the holdout with every baseline.

    Parameters
    ----------
    folds : Dataset
        The search part, which decides which baseline is the one to beat.
    holdout : Dataset
        The holdout.
    lookback : int
        Number of bars that the network sees; a ridge regression sees as many, and a month at least.
    forecast : array, (holdout targets,), symbol after symbol, in the target's unit, or (holdout
        targets, level) of quantiles
    """
    losses = holdout.losses_by_date([forecast])
    # More threads slow these small fits down, and change the last bits.
    with threadpool_limits(1):
        runs, not_installed = _fit_baselines(folds, holdout, lookback)
    baselines = [_baseline_result(run, folds, holdout, forecast) for run in runs]
    baselines.sort(key=lambda baseline: baseline.search_loss)
    winner, *others = _mcs_p([losses, *(b.holdout_losses for b in baselines)], holdout.date_horizon)
    return HoldoutComparison(
        loss=float(losses.mean()),
        baselines=[replace(b, mcs_p=p) for b, p in zip(baselines, others, strict=True)],
        mcs_p=winner,
        not_installed=not_installed,
    )


def _mcs_p(losses: list[Floats], horizon: int) -> tuple[float, ...]:
    """Return the p-value of each model in their model confidence set; NaN with too few bars."""
    matrix = np.column_stack(losses)
    if len(matrix) < max(MIN_BARS, horizon):
        return (float("nan"),) * len(losses)
    return mcs(matrix, horizon).p_values


@dataclass(frozen=True, eq=False)
class _BaselineForecasts:
    """Forecasts of a baseline: one array per search fold, and of the holdout."""

    name: str
    search: list[Floats]
    holdout: Baseline
    also: tuple[str, ...] = ()


def _fit_baselines(
    folds: Dataset, holdout: Dataset, lookback: int
) -> tuple[list[_BaselineForecasts], tuple[str, ...]]:
    """Fit every baseline that can be fitted; baselines with equal forecasts are merged.

    The second result is why baselines are left out whose package is not installed.
    """
    runs: list[_BaselineForecasts] = []
    not_installed: list[str] = []
    (judged,) = holdout.parts
    for name, fit in models_of(folds).items():
        try:
            search = [fit(found, lookback).forecasts for found in folds.parts]
            on_holdout = fit(judged, lookback)
        except MissingPackageError as error:
            not_installed.append(str(error))
            continue
        except LeftOutError:
            continue
        equal = next((run for run in runs if _are_equal(on_holdout, run.holdout)), None)
        if equal is None:
            runs.append(_BaselineForecasts(name, search, on_holdout))
        else:  # for returns drift is the training mean: one row with both names is enough
            label = f"{equal.holdout.label} ({on_holdout.label})"
            runs[runs.index(equal)] = replace(
                equal, holdout=replace(equal.holdout, label=label), also=(*equal.also, name)
            )
    return runs, tuple(not_installed)


def models_of(folds: Dataset) -> dict[str, PooledFit]:
    """Return every baseline, each fitted to each symbol, and of a basket those of all symbols."""
    loss = folds.spec.criterion
    models: dict[str, PooledFit] = {name: partial(fit_each, fit) for name, fit in BASELINES.items()}
    if folds.is_basket:
        models |= POOLED
    fitted = {name: _fitted_to(loss, name, fit) for name, fit in models.items()}
    return fitted | _spread(loss, models)


def _fitted_to(loss: Loss, name: str, fit: PooledFit) -> PooledFit:
    """Return a baseline that forecasts what a loss is of."""
    if name == "persistence":  # no change stays no change: it is what skill is measured by
        return partial(persistence_with_quantiles, loss.levels) if loss.levels else fit
    # Ridge regressions read what the network reads, so they forecast its volatility as well.
    return fitted_to(loss, fit, fit if name in _RIDGES else None)


def _spread(loss: Loss, models: Mapping[str, PooledFit]) -> dict[str, PooledFit]:
    """Return the training mean with a ridge regression of the volatility, for quantiles alone."""
    if not (loss.levels and {"mean", "ridge"} <= models.keys()):
        return {}
    return {"spread": fitted_to(loss, models["mean"], models["ridge"])}


def _are_equal(one: Baseline, other: Baseline) -> bool:
    return np.allclose(one.forecasts, other.forecasts, rtol=1e-9, atol=0)


def _baseline_result(
    run: _BaselineForecasts, folds: Dataset, holdout: Dataset, forecast: Floats
) -> BaselineResult:
    baseline = run.holdout
    losses, winner = (holdout.losses_by_date([f]) for f in (baseline.forecasts, forecast))
    (last,) = holdout.persistence
    moves = (holdout.point(baseline.forecasts) != last).any()
    nested = _is_nested(baseline, holdout)
    return BaselineResult(
        name=run.name,
        also=run.also,
        label=baseline.label,
        search_losses=folds.losses_by_date(run.search),
        holdout_losses=losses,
        forecasts=baseline.forecasts,
        direction=holdout.direction([baseline.forecasts]) if moves else None,
        skill=skill(float(winner.mean()), float(losses.mean())),
        test=long_run_test(losses - winner),
        clark_west=_clark_west(holdout, forecast, baseline.forecasts) if nested else None,
    )


def _clark_west(holdout: Dataset, forecast: Floats, baseline: Floats) -> MeanTest:
    """Return the test of Clark-West, of the mean over symbols of the adjusted differentials.

    Each symbol is in units of its standardised target, times the mean unit of all symbols.
    """
    ((parts,), (actual,), (dates,)) = holdout.parts, holdout.actuals, holdout.scored_dates
    units = np.array([part.scaler.target_std for part in parts])
    unit = np.repeat(units / units.mean(), [len(part.fold.valid) for part in parts])
    adjusted = adjusted_differentials(forecast / unit, baseline / unit, actual / unit)
    return clark_west_mean(mean_by_date(dates.to_numpy(), adjusted), holdout.date_horizon)


def _is_nested(baseline: Baseline, holdout: Dataset) -> bool:
    """Return whether a baseline is a special case of the study's networks."""
    data, loss = holdout.spec.data, holdout.spec.training.loss
    reads_last_value = data.target in data.features
    (parts,) = holdout.parts
    if loss != "mse":  # the test is of squared errors
        return False
    varying = any(varies(of_symbol) for of_symbol in by_part(parts, baseline.forecasts))
    return baseline.nested and (reads_last_value or not varying)
