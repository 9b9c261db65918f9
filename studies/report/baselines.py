"""The winner beside simple forecasts of the same bars: who forecasts the holdout better."""

from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from puffin.models.arrays import Floats, varies
from puffin.models.evaluation.baselines import BASELINES, Baseline, TooShortError
from puffin.models.evaluation.forecast_tests import (
    LEVEL,
    MeanTest,
    clark_west,
    detectable_skill,
    diebold_mariano,
)
from puffin.models.evaluation.metrics import Direction, skill
from puffin.studies.dataset import Dataset


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """A baseline on the search folds and on the holdout.

    Attributes
    ----------
    name, label : its key, and what was chosen for it
    search_losses, holdout_losses : array, (scored bars,), losses, all folds one after the other
    forecasts : array, (holdout bars,), in the target's unit
    direction : how often it has the direction of the holdout's moves right; None where it never
        forecasts a move, as persistence does
    skill : of the winner against it on the holdout
    diebold_mariano : whether the winner forecasts better
    clark_west : the same for a baseline that is a special case of the network; None for others
    """

    name: str
    label: str
    search_losses: Floats
    holdout_losses: Floats
    forecasts: Floats
    direction: Direction | None
    skill: float
    diebold_mariano: MeanTest
    clark_west: MeanTest | None

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
    """What the holdout says of a forecast.

    Attributes
    ----------
    loss : of the forecast
    baselines : the one that was best on the search data first
    detectable_skill : true skill against that one which so many bars show four times out of five
    """

    loss: float
    baselines: list[BaselineResult]
    detectable_skill: float

    @property
    def reference(self) -> BaselineResult:
        """The baseline that was best on the search data."""
        return self.baselines[0]

    @property
    def best_on_holdout(self) -> BaselineResult:
        """The baseline that was best on the holdout."""
        return min(self.baselines, key=lambda rival: rival.holdout_loss)

    @property
    def beats_baseline(self) -> bool:
        """Whether the winner is below every baseline, and significantly below the first."""
        below_all = self.loss < self.best_on_holdout.holdout_loss
        return below_all and self.reference.diebold_mariano.p_better < LEVEL

    @property
    def nothing_moves(self) -> bool:
        """Whether persistence is never wrong on the holdout, which can then judge nobody."""
        return any(r.name == "persistence" and r.holdout_loss == 0 for r in self.baselines)

    @property
    def outcome(self) -> str:
        """``better``, ``undecided`` or ``worse``.

        Both ends need the test against the first rival, which the search data chose. The lowest of
        several baselines on the holdout is below the winner by luck often enough, so being above it
        is no more than undecided.
        """
        if self.nothing_moves:
            return "undecided"
        if self.beats_baseline:
            return "better"
        return "worse" if self.reference.diebold_mariano.p_worse < LEVEL else "undecided"


def compare_with_baselines(
    folds: Dataset, holdout: Dataset, lookback: int, forecast: Floats
) -> HoldoutComparison:
    """Compare a forecast of the holdout with every baseline.

    Parameters
    ----------
    folds : Dataset
        The search part; which baseline is the one to beat is decided there.
    holdout : Dataset
        The holdout.
    lookback : int
        Bars that the forecast's network sees: ridge regression sees as many.
    forecast : array, (holdout bars,), in the target's unit
    """
    own = holdout.losses_per_bar([forecast])
    # Threads cost these small fits more than they give, and change the last bits.
    with threadpool_limits(1):
        runs = _fit_baselines(folds, holdout, lookback)
    baselines = [_baseline_result(run, folds, holdout, forecast) for run in runs]
    baselines.sort(key=lambda rival: rival.search_loss)
    first = baselines[0].holdout_losses
    return HoldoutComparison(
        loss=float(own.mean()),
        baselines=baselines,
        detectable_skill=detectable_skill(first - own, first, holdout.series.horizon),
    )


@dataclass(frozen=True, eq=False)
class _BaselineForecasts:
    """A baseline fitted on the search data: its forecasts fold by fold, and of the holdout."""

    name: str
    search: list[Floats]
    holdout: Baseline


def _fit_baselines(folds: Dataset, opened: Dataset, lookback: int) -> list[_BaselineForecasts]:
    runs: list[_BaselineForecasts] = []
    (fold,) = opened.folds
    for name, forecast in BASELINES.items():
        try:
            search = [
                forecast(folds.series, lookback, part.train, part.valid).forecasts
                for part in folds.folds
            ]
            holdout = forecast(opened.series, lookback, fold.train, fold.valid)
        except TooShortError:
            continue
        twin = next((run for run in runs if _are_equal(holdout, run.holdout)), None)
        if twin is None:
            runs.append(_BaselineForecasts(name, search, holdout))
        else:  # for returns drift is the training mean: one row is enough, with both names
            both = replace(twin.holdout, label=f"{twin.holdout.label} ({holdout.label})")
            runs[runs.index(twin)] = replace(twin, holdout=both)
    return runs


def _are_equal(one: Baseline, other: Baseline) -> bool:
    return np.allclose(one.forecasts, other.forecasts, rtol=1e-9, atol=0)


def _baseline_result(
    run: _BaselineForecasts, folds: Dataset, holdout: Dataset, forecast: Floats
) -> BaselineResult:
    horizon, baseline = holdout.series.horizon, run.holdout
    points, own = holdout.losses_per_bar([baseline.forecasts]), holdout.losses_per_bar([forecast])
    (actual,), (last,) = (
        holdout.validation_slices(values)
        for values in (holdout.series.target, holdout.series.persistence)
    )
    moves = (baseline.forecasts != last).any()
    nested = _is_nested(baseline, holdout)
    return BaselineResult(
        name=run.name,
        label=baseline.label,
        search_losses=folds.losses_per_bar(run.search),
        holdout_losses=points,
        forecasts=baseline.forecasts,
        direction=holdout.direction([baseline.forecasts]) if moves else None,
        skill=skill(float(own.mean()), float(points.mean())),
        diebold_mariano=diebold_mariano(points - own, horizon),
        clark_west=clark_west(forecast, baseline.forecasts, actual, horizon) if nested else None,
    )


def _is_nested(baseline: Baseline, holdout: Dataset) -> bool:
    """Tell whether the study's networks have a baseline as a special case."""
    data = holdout.spec.data
    reads_last_value = data.target in data.features
    return baseline.nested and (reads_last_value or not varies(baseline.forecasts))
