"""Forecasts of the winner beside actual values and persistence, in the unit of a trader."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.intervals import IntervalError, residual_interval
from puffin.models.evaluation.metrics import skill
from puffin.studies.records import Scores
from puffin.studies.report.build import Report, read_forecasts
from puffin.studies.study import StoredStudy

# Level of the band around the holdout forecasts; the default of `tuner predict`.
LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class Panel:
    """Forecasts and actual values of consecutive bars, in the target's unit.

    `skill` is measured against persistence. The band, (lower ends, upper ends), is None on search
    folds, or if there are too few errors for it.
    """

    name: str
    dates: pd.DatetimeIndex
    forecast: Floats
    actual: Floats
    persistence: Floats
    skill: float
    band: tuple[Floats, Floats] | None = None

    @property
    def inside(self) -> float:
        """Share of the bars whose actual value lies in the band; NaN without a band."""
        if self.band is None:
            return np.nan
        low, high = self.band
        return float(np.mean((low <= self.actual) & (self.actual <= high)))

    def last(self, bars: int) -> "Panel":
        """Return the last bars only."""
        cut = slice(-bars, None)
        band = None if self.band is None else (self.band[0][cut], self.band[1][cut])
        return Panel(
            self.name,
            self.dates[cut],
            self.forecast[cut],
            self.actual[cut],
            self.persistence[cut],
            self.skill,
            band,
        )


def fold_panels(study: StoredStudy) -> list[Panel]:
    """Return the winner's forecasts on each search fold."""
    best, folds = study.best(), study.dataset
    rows = zip(
        folds.scored_dates,
        read_forecasts(study, best),
        folds.actuals,
        folds.persistence,
        Scores.read(best).fold_losses,
        study.record.persistence_losses,
        strict=True,
    )
    return [
        Panel(
            f"fold {number}",
            dates,
            forecast,
            actual,
            persistence,
            skill(loss, last),
        )
        for number, (dates, forecast, actual, persistence, loss, last) in enumerate(rows, start=1)
    ]


def holdout_panel(study: StoredStudy, report: Report) -> Panel:
    """Return the winner's forecasts on the holdout, with the band of its errors in the search."""
    holdout = study.holdout_dataset
    (persistence,) = holdout.persistence
    errors = np.concatenate([fold.actual - fold.forecast for fold in fold_panels(study)])
    return Panel(
        "holdout",
        report.dates,
        report.forecasts,
        report.actual,
        persistence,
        report.skill,
        _band(report.forecasts, errors),
    )


def _band(forecast: Floats, errors: Floats) -> tuple[Floats, Floats] | None:
    try:
        low, high = residual_interval(errors, LEVEL)
    except IntervalError:
        return None
    return forecast + low, forecast + high
