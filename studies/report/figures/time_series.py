"""Figures over time: the winner's forecasts, and the capital from trading on them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest
from puffin.studies.report.build import Report
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    SHADE,
    TRUTH,
    Drawing,
    Name,
    name_lines,
    new_figure,
    padded,
    style_axes,
)
from puffin.studies.report.panels import LEVEL, Panel, fold_panels, holdout_panel
from puffin.studies.report.trading import COST_BPS, SLIPPAGE_BPS
from puffin.studies.report.units import UNITS, Unit
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, percent, signed

# More panels would make a figure that nobody reads to its end.
MOST_FOLDS = 6
# Bars of the figure of the last stretch: about a quarter of a year of days.
_RECENT = 60
# Forecasts at most this multiple of the actual values' range away from them are inside a figure.
_FAR = 1.0
# Most dates below a figure.
_TICKS = 5


def draw_recent(study: StoredStudy, report: Report) -> Drawing:
    """Draw the last forecasts of the holdout, large enough to see each bar."""
    panel = holdout_panel(study, report).last(_RECENT)
    figure = new_figure(3.6)
    _panel(figure.add_subplot(), panel, UNITS[study.spec.data.target])
    return Drawing(figure, f"The last {counted(len(panel.dates), 'bar')} of the holdout")


def draw_forecasts(study: StoredStudy, report: Report) -> Drawing:
    """Draw all forecasts of the holdout."""
    panel = holdout_panel(study, report)
    figure = new_figure(3.6)
    # Persistence, the actual value one bar later, would hide the others.
    _panel(figure.add_subplot(), panel, UNITS[study.spec.data.target], persistence=False)
    title = f"The whole holdout: {_skill(panel)}"
    if panel.band is not None:
        title += f"; {percent(panel.inside, 0)} of the bars in the {percent(LEVEL, 0)} band"
    return Drawing(figure, title)


def draw_folds(study: StoredStudy, _report: Report) -> Drawing:
    """Draw the winner's forecasts on each search fold."""
    panels = fold_panels(study)
    shown, unit = panels[-MOST_FOLDS:], UNITS[study.spec.data.target]
    figure = new_figure(0.3 + 1.9 * len(shown))
    for axes, panel in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        _panel(axes, panel, unit, title=f"{panel.name}: {_skill(panel)} ({unit.label})")
    better = sum(panel.skill > 0 for panel in panels)
    title = f"Better than persistence on {better} of {counted(len(panels), 'search fold')}"
    return Drawing(figure, title)


def _skill(panel: Panel) -> str:
    return f"skill {'undefined' if np.isnan(panel.skill) else signed(panel.skill)}"


def _panel(
    axes: Axes, panel: Panel, unit: Unit, title: str = "", *, persistence: bool = True
) -> None:
    bars = np.arange(len(panel.dates))
    names, lines = [], []
    with np.errstate(over="ignore"):  # a forecast that is far too large overflows
        if panel.band is not None:
            low, high = map(unit.convert, panel.band)
            axes.fill_between(bars, low, high, color=BLUE, alpha=0.15, linewidth=0)
            names.append(Name(float(high[-1]), f"{percent(LEVEL, 0)} band", BLUE))
            lines += [low, high]
        for values, colour, ink, dashes, width, name in (
            (panel.actual, TRUTH, GREY, "-", 1.2, "actual"),
            (panel.persistence, ORANGE, ORANGE, ":", 1.2, "persistence"),
            (panel.forecast, BLUE, BLUE, "-", 1.8, "forecast"),
        ):
            if values is panel.persistence and not persistence:
                continue
            drawn = unit.convert(values)
            axes.plot(bars, drawn, color=colour, ls=dashes, linewidth=width)
            names.append(Name(float(drawn[-1]), name, ink))
            lines.append(drawn)
    axes.set_ylim(*_limits(unit.convert(panel.actual), np.concatenate(lines)))
    style_axes(axes, "", title or unit.label)
    axes.margins(x=0.01)
    _date_axis(axes, panel.dates)
    name_lines(axes, names)


def _limits(actual: Floats, drawn: Floats) -> tuple[float, float]:
    """Return limits that span what is drawn, as far as it is near the actual values."""
    low, high = float(actual.min()), float(actual.max())
    reach = _FAR * (high - low) or 1.0
    return padded(max(float(drawn.min()), low - reach), min(float(drawn.max()), high + reach))


def _date_axis(axes: Axes, dates: pd.DatetimeIndex) -> None:
    """Label bars, which are equally far apart, by dates; nights and weekends take no room."""
    starts, form = _period_starts(dates)
    axes.set_xticks(starts, [dates[start].strftime(form) for start in starts])


def _period_starts(dates: pd.DatetimeIndex) -> tuple[list[int], str]:
    """Return the first bars of years, quarters, ... or hours, at least two, and their format."""
    for period, form in (
        (dates.year, "%Y"),
        (dates.year * 4 + dates.quarter, "%b %Y"),
        (dates.strftime("%Y-%m"), "%b %Y"),
        (dates.isocalendar().week, "%d %b"),
        (dates.strftime("%Y-%m-%d"), "%d %b"),
    ):
        if len(starts := _changes(period)) > 1:
            return _thinned(starts), form
    return _thinned(_changes(dates.strftime("%Y-%m-%d %H"))), "%d %b\n%H:%M"


def _changes(period: "pd.Index | pd.Series") -> list[int]:
    values = np.asarray(period)
    return [int(i) for i in np.flatnonzero(values[1:] != values[:-1]) + 1]


def _thinned(starts: list[int]) -> list[int]:
    return starts[:: -(-len(starts) // _TICKS) or 1]


def draw_equity(study: StoredStudy, report: Report) -> Drawing | None:
    """Draw the growth of a capital of 100 by trading on the holdout forecasts, and by holding."""
    strategy = report.backtest
    if strategy is None:
        return None
    ((part,),) = study.holdout_dataset.parts
    valid = part.fold.valid
    dates = pd.DatetimeIndex(part.member.dates[valid.start - 1 : valid.stop])
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    hold = strategy["buy_and_hold"]
    for start, stop in _held(strategy, len(dates) - 1):
        axes.axvspan(start, stop, color=SHADE, linewidth=0)
    names = []
    # The dashed line is drawn last, so that both stay visible if they coincide.
    for result, colour, dashes, width, name in (
        (strategy, BLUE, "-", 2.8, "strategy"),
        (hold, ORANGE, "--", 1.6, "buy-and-hold"),
    ):
        grown = 100 * result["equity"] / (result["final_capital"] / (1 + result["total_return"]))
        axes.plot(grown, color=colour, ls=dashes, linewidth=width)
        names.append(Name(float(grown[-1]), f"{name}\n{signed(result['total_return'])}", colour))
    axes.axhline(100, color=GREY, linewidth=0.8)
    style_axes(axes, "", "capital, 100 at the start")
    axes.margins(x=0)
    _date_axis(axes, dates)
    name_lines(axes, names)
    title = (
        f"{signed(strategy['total_return'])} in {counted(len(strategy['trades']), 'trade')} at "
        f"{COST_BPS + SLIPPAGE_BPS:.0f} basis points, {signed(hold['total_return'])} by holding"
    )
    return Drawing(figure, title)


def _held(strategy: Backtest, last: int) -> list[tuple[int, int]]:
    """Return the first and last bar of each long position."""
    bought = [bar for side, bar, _, _ in strategy["trades"] if side == "BUY"]
    sold = [bar for side, bar, _, _ in strategy["trades"] if side == "SELL"]
    return list(zip(bought, [*sold, last][: len(bought)], strict=True))
