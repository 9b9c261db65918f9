"""Forecasts of the winner beside actual values and persistence, in the unit of a trader."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.metrics import skill
from puffin.models.panel import Part, by_part
from puffin.studies.dataset import Dataset
from puffin.studies.report.build import Report, read_forecasts
from puffin.studies.report.by_symbol import shown_symbols
from puffin.studies.report.intervals import Ends, errors_by_symbol
from puffin.studies.study import StoredStudy

# Level of the band around the holdout forecasts; the default of `tuner predict`.
LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class Panel:
    """Forecasts and actual values of consecutive bars of one symbol, in the target's unit.

    `skill` is measured against persistence. The band, (lower ends, upper ends), is None on search
    folds, or if there are too few errors for it. `outer` are the lowest and the highest quantile
    that the networks forecast, None if they forecast one number.
    """

    name: str
    symbol: str
    dates: pd.DatetimeIndex
    forecast: Floats
    actual: Floats
    persistence: Floats
    skill: float
    band: tuple[Floats, Floats] | None = None
    outer: tuple[Floats, Floats] | None = None

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
        return replace(
            self,
            dates=self.dates[cut],
            forecast=self.forecast[cut],
            actual=self.actual[cut],
            persistence=self.persistence[cut],
            band=_last(self.band, cut),
            outer=_last(self.outer, cut),
        )


def _last(ends: Ends | None, cut: slice) -> Ends | None:
    return None if ends is None else (ends[0][cut], ends[1][cut])


def fold_panels(study: StoredStudy, report: Report) -> list[Panel]:
    """Return the winner's forecasts of each symbol on each search fold."""
    forecasts = read_forecasts(study, study.trials()[report.winner])
    return [
        panel
        for number, panels in enumerate(_panels(study.dataset, forecasts), start=1)
        for panel in (replace(each, name=f"fold {number}") for each in panels)
    ]


def holdout_panels(study: StoredStudy, report: Report) -> list[Panel]:
    """Return the winner's forecasts of the symbols to show, each with the band of its errors."""
    folds, holdout = study.dataset, study.holdout_dataset
    (panels,) = _panels(holdout, [report.forecasts])
    searched = read_forecasts(study, study.trials()[report.winner])
    errors = errors_by_symbol(folds, holdout, searched, report.forecasts)
    bands = {one.part.member.symbol: one.interval(LEVEL) for one in errors}
    by_symbol = {panel.symbol: panel for panel in panels}
    return [
        replace(by_symbol[symbol], band=_band(by_symbol[symbol].forecast, bands[symbol]))
        for symbol in shown_symbols(report.by_symbol)
    ]


def _panels(dataset: Dataset, forecasts: list[Floats]) -> list[list[Panel]]:
    """Return the panels of each fold, one per symbol."""
    columns = (
        forecasts,
        dataset.actuals,
        dataset.persistence,
        dataset.bar_losses(forecasts),
        dataset.bar_losses(dataset.judged_persistence),
    )
    folds = zip(dataset.parts, *columns, strict=True)
    return [_of_fold(dataset, parts, values) for parts, *values in folds]


def _of_fold(dataset: Dataset, parts: tuple[Part, ...], columns: list[Floats]) -> list[Panel]:
    """Return the panels of a fold from forecasts, actual values, persistence and both losses."""
    by_symbol = zip(*(by_part(parts, column) for column in columns), strict=True)
    return [
        Panel(
            "holdout",
            part.member.symbol,
            pd.DatetimeIndex(part.scored(part.member.dates)),
            dataset.point(forecast),
            actual,
            persistence,
            skill(float(own.mean()), float(still.mean())),
            outer=(forecast[:, 0], forecast[:, -1]) if forecast.ndim > 1 else None,
        )
        for part, (forecast, actual, persistence, own, still) in zip(parts, by_symbol, strict=True)
    ]


def _band(forecast: Floats, ends: Ends | None) -> Ends | None:
    return None if ends is None else (forecast + ends[0], forecast + ends[1])
