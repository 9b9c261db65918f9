"""Figures over time: the winner's forecasts, and the capital from trading on them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest
from puffin.models.evaluation.intervals import IntervalError, residual_interval
from puffin.models.evaluation.metrics import skill
from puffin.studies.records import Scores
from puffin.studies.report.build import Report, read_forecasts
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    add_legend,
    new_figure,
    style_axes,
)
from puffin.studies.report.trading import COST_BPS, SLIPPAGE_BPS
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, percent, signed

# More panels would be too small to read.
MOST_FOLDS = 12
# Level of the band around the holdout forecasts; the default of `tuner predict`.
LEVEL = 0.9


@dataclass(frozen=True)
class _Unit:
    """How a target is drawn: the axis label, and the conversion from the target's unit."""

    label: str
    convert: Callable[[Floats], Floats]


_UNITS = {
    "return": _Unit("return, %", lambda log_return: 100 * np.expm1(log_return)),
    "range": _Unit("high above low, %", lambda log_range: 100 * np.expm1(np.exp(log_range))),
    "price": _Unit("price", np.asarray),
    "change": _Unit("change in price", np.asarray),
}


@dataclass(frozen=True, eq=False)
class _Panel:
    """Forecasts and actual values of consecutive bars, in the target's unit.

    `skill` is measured against persistence. The band around the forecast is the interval of
    `errors`; None draws no band.
    """

    name: str
    dates: pd.DatetimeIndex
    forecast: Floats
    actual: Floats
    persistence: Floats
    skill: float
    errors: Floats | None = None


def draw_forecasts(study: StoredStudy, report: Report) -> Figure:
    """Draw the winner's forecasts and the actual values, by fold and on the holdout."""
    folds = _fold_panels(study)
    shown, rows = folds[-MOST_FOLDS:], (min(len(folds), MOST_FOLDS) + 1) // 2
    unit = _UNITS[study.spec.data.target]
    figure = new_figure(1.7 * rows + 2.9)
    grid = figure.add_gridspec(rows + 1, 2, height_ratios=[1.0] * rows + [1.5])
    for i, panel in enumerate(shown):
        _panel(figure.add_subplot(grid[i // 2, i % 2]), panel, unit)
    holdout = figure.add_subplot(grid[rows, :])
    _panel(holdout, _holdout_panel(study, report, folds), unit)
    figure.legend(
        *holdout.get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False
    )
    bars = study.spec.data.horizon
    ahead = f"{bars} bars ahead" if bars > 1 else "one bar ahead"
    figure.supylabel(f"{unit.label}, {ahead}", fontsize=10.5, color=INK)
    return figure


def _fold_panels(study: StoredStudy) -> list[_Panel]:
    best, folds = study.best(), study.dataset
    rows = zip(
        folds.folds,
        read_forecasts(study, best),
        folds.validation_slices(folds.series.target),
        folds.validation_slices(folds.series.persistence),
        Scores.read(best).fold_losses,
        study.record.persistence_losses,
        strict=True,
    )
    return [
        _Panel(
            f"fold {number}",
            folds.dates[fold.valid.start : fold.valid.stop],
            forecast,
            actual,
            persistence,
            skill(loss, last),
        )
        for number, (fold, forecast, actual, persistence, loss, last) in enumerate(rows, start=1)
    ]


def _holdout_panel(study: StoredStudy, report: Report, folds: list[_Panel]) -> _Panel:
    (persistence,) = study.holdout_dataset.validation_slices(
        study.holdout_dataset.series.persistence
    )
    return _Panel(
        "holdout",
        report.dates,
        report.forecasts,
        report.actual,
        persistence,
        report.skill,
        errors=np.concatenate([fold.actual - fold.forecast for fold in folds]),
    )


def _panel(axes: Axes, panel: _Panel, unit: _Unit) -> None:
    days = panel.dates.to_numpy()
    skill_text = "undefined" if np.isnan(panel.skill) else signed(panel.skill)
    title = f"{panel.name}: skill {skill_text}"
    with np.errstate(over="ignore"):  # a forecast that is far too large overflows
        if (band := _band(panel)) is not None:
            low, high = map(unit.convert, band)
            axes.fill_between(
                days,
                low,
                high,
                color=BLUE,
                alpha=0.15,
                linewidth=0,
                label=f"{percent(LEVEL, 0)} band",
            )
            inside = np.mean((band[0] <= panel.actual) & (panel.actual <= band[1]))
            title += f"; {percent(float(inside), 0)} of the bars in the {percent(LEVEL, 0)} band"
        for values, colour, dashes, width, label in (
            (panel.actual, "#9a9a9a", "-", 1.0, "actual"),
            (panel.persistence, ORANGE, ":", 1.1, "persistence"),
            (panel.forecast, BLUE, "-", 1.6, "forecast"),
        ):
            drawn = unit.convert(values)
            axes.plot(days, drawn, color=colour, ls=dashes, linewidth=width, label=label)
    style_axes(axes, title, "", "")
    _date_axis(axes)


def _band(panel: _Panel) -> tuple[Floats, Floats] | None:
    """Return both ends of the interval around the forecasts; None if there are too few errors."""
    if panel.errors is None:
        return None
    try:
        low, high = residual_interval(panel.errors, LEVEL)
    except IntervalError:
        return None
    return panel.forecast + low, panel.forecast + high


def _date_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)


def draw_equity(study: StoredStudy, report: Report) -> Figure | None:
    """Draw the growth of a capital of 100 by trading on the holdout forecasts, and by holding."""
    strategy = report.backtest
    if strategy is None:
        return None
    (fold,) = study.holdout_dataset.folds
    days = study.holdout_dataset.dates[fold.valid.start - 1 : fold.valid.stop].to_numpy()
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    hold = strategy["buy_and_hold"]
    spans = _held(strategy, len(days) - 1)
    for i, (start, stop) in enumerate(spans):
        label = "the strategy holds" if not i else ""
        axes.axvspan(days[start], days[stop], color="#e9eef2", linewidth=0, label=label)
    # The dashed line is drawn last, so that both stay visible if they coincide.
    for result, colour, dashes, width, name in (
        (strategy, BLUE, "-", 2.8, "strategy"),
        (hold, ORANGE, "--", 1.6, "buy-and-hold"),
    ):
        grown = 100 * result["equity"] / (result["final_capital"] / (1 + result["total_return"]))
        label = f"{name}: {signed(result['total_return'])}"
        axes.plot(days, grown, color=colour, ls=dashes, linewidth=width, label=label)
    axes.axhline(100, color=GREY, linewidth=0.8)
    title = (
        f"{signed(strategy['total_return'])} in {counted(len(strategy['trades']), 'trade')} at "
        f"{COST_BPS + SLIPPAGE_BPS:.0f} basis points, {signed(hold['total_return'])} by holding"
    )
    style_axes(axes, title, "", "capital, 100 at the start")
    _date_axis(axes)
    add_legend(axes)
    return figure


def _held(strategy: Backtest, last: int) -> list[tuple[int, int]]:
    """Return the first and last bar of each long position."""
    bought = [bar for side, bar, _, _ in strategy["trades"] if side == "BUY"]
    sold = [bar for side, bar, _, _ in strategy["trades"] if side == "SELL"]
    return list(zip(bought, [*sold, last][: len(bought)], strict=True))
