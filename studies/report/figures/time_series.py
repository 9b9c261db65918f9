"""Figures over time: the winner's forecasts, and the capital from trading on them."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest, Performance
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
from puffin.studies.report.panels import LEVEL, Panel, fold_panels, holdout_panels
from puffin.studies.report.timing import Timing
from puffin.studies.report.trading import traded_dates
from puffin.studies.report.units import UNITS, Unit
from puffin.studies.sections import BacktestSection
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, in_words, percent, printable, signed

# More panels would make a figure that nobody reads to its end.
MOST_FOLDS = 6
# Bars of the figure of the last stretch: about a quarter of a year of days.
_RECENT = 60
# Forecasts at most this multiple of the actual values' range away from them are inside a figure.
_FAR = 1.0
_PORTFOLIO = (
    "Capital from trading on the holdout forecasts, with an equal part in each symbol, and from "
    "buying these parts once and holding them."
)
_TIMING = (
    "Capital with a weight that is smaller the more volatility was forecast, and with the mean of "
    "these weights at all bars."
)
# Most dates below a figure.
_TICKS = 5


def draw_recent(study: StoredStudy, report: Report) -> Drawing:
    """Draw the last forecasts of the holdout, large enough to see each bar."""
    panels = [panel.last(_RECENT) for panel in holdout_panels(study, report)]
    figure = _draw_each(study, panels, report)
    bars = counted(max(len(panel.dates) for panel in panels), "bar")
    return Drawing(figure, f"The last {bars} of the holdout{_of(panels, report)}")


def draw_forecasts(study: StoredStudy, report: Report) -> Drawing:
    """Draw all forecasts of the holdout."""
    panels = holdout_panels(study, report)
    # Persistence, the actual value one bar later, would hide the others.
    figure = _draw_each(study, panels, report, persistence=False)
    title = f"The whole holdout{_of(panels, report)}: {_skill(report.skill)}"
    if len(panels) == 1 and panels[0].band is not None:
        title += f"; {percent(panels[0].inside, 0)} of the bars in the {percent(LEVEL, 0)} band"
    return Drawing(figure, title)


def _draw_each(
    study: StoredStudy, panels: list[Panel], report: Report, *, persistence: bool = True
) -> Figure:
    """Draw panels below each other, of a basket with symbol and skill above each."""
    unit, count = UNITS[study.spec.data.target], len(panels)
    figure = new_figure(3.6 if count == 1 else 0.3 + 2.4 * count)
    for axes, panel in zip(figure.subplots(count, squeeze=False)[:, 0], panels, strict=True):
        name = f"{printable(panel.symbol)}: {_skill(panel.skill)} ({unit.label})"
        _panel(axes, panel, unit, name if report.is_basket else "", persistence=persistence)
    return figure


def _of(panels: list[Panel], report: Report) -> str:
    """Return which symbols of how many are drawn; nothing if there is one."""
    if not report.is_basket:
        return ""
    shown = in_words([printable(panel.symbol) for panel in panels])
    return f" of {shown}" + f", {len(panels)} of {len(report.by_symbol)} symbols" * (
        len(panels) < len(report.by_symbol)
    )


def draw_folds(study: StoredStudy, report: Report) -> Drawing:
    """Draw the winner's forecasts on each search fold, of a basket those of its first symbol."""
    symbol = report.by_symbol[0].symbol
    panels = [panel for panel in fold_panels(study, report) if panel.symbol == symbol]
    shown, unit = panels[-MOST_FOLDS:], UNITS[study.spec.data.target]
    figure = new_figure(0.3 + 1.9 * len(shown))
    for axes, panel in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        _panel(axes, panel, unit, title=f"{panel.name}: {_skill(panel.skill)} ({unit.label})")
    better = sum(panel.skill > 0 for panel in panels)
    title = f"Better than persistence on {better} of {counted(len(panels), 'search fold')}"
    return Drawing(figure, title + f" of {printable(symbol)}" * report.is_basket)


def _skill(skill: float) -> str:
    return f"skill {'undefined' if np.isnan(skill) else signed(skill)}"


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
        if panel.outer is not None:
            outer = [unit.convert(values) for values in panel.outer]
            for values in outer:
                axes.plot(bars, values, color=BLUE, ls="--", linewidth=0.8)
            names.append(Name(float(outer[1][-1]), "outer quantiles", BLUE))
            lines += outer
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
    date_axis(axes, panel.dates)
    name_lines(axes, names)


def _limits(actual: Floats, drawn: Floats) -> tuple[float, float]:
    """Return limits that span what is drawn, as far as it is near the actual values."""
    low, high = float(actual.min()), float(actual.max())
    reach = _FAR * (high - low) or 1.0
    return padded(max(float(drawn.min()), low - reach), min(float(drawn.max()), high + reach))


def date_axis(axes: Axes, dates: pd.DatetimeIndex) -> None:
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
    """Draw the growth of a capital of 100 on the holdout forecasts, and without them."""
    if report.timing is not None:
        return draw_timing(report.timing)
    if report.backtest is None:
        return None
    dates = traded_dates(study.holdout_dataset)
    drawing = draw_growth(report.backtest, dates, study.spec.backtest, shaded=not report.is_basket)
    return replace(drawing, caption=_PORTFOLIO if report.is_basket else None)


def draw_growth(
    strategy: Backtest, dates: pd.DatetimeIndex, rules: BacktestSection, *, shaded: bool
) -> Drawing:
    """Draw the growth of a capital of 100 by a strategy and by holding.

    Parameters
    ----------
    strategy : Backtest
    dates : DatetimeIndex, (bars,)
    rules : BacktestSection
    shaded : bool
        Whether the bars with a long position have a background.
    """
    hold = strategy["buy_and_hold"]
    held = _held(strategy, len(dates) - 1) if shaded else []
    title = (
        f"{signed(strategy['total_return'])} in {counted(len(strategy['trades']), 'trade')} at "
        f"{rules.cost_bps:g} basis points, {signed(hold['total_return'])} by holding"
    )
    return Drawing(_capital(dates, (strategy, "strategy"), (hold, "buy-and-hold"), held), title)


def draw_timing(timing: Timing) -> Drawing:
    """Draw the growth of a capital of 100 by volatility timing and by its mean weight."""
    own, other = timing.winner, timing.constant
    title = (
        f"{signed(own['total_return'])} by volatility timing, {signed(other['total_return'])} by "
        "its mean weight at all bars"
    )
    figure = _capital(timing.dates, (own, "timing"), (other, "constant"), [])
    return Drawing(figure, title, caption=_TIMING)


def _capital(
    dates: pd.DatetimeIndex,
    own: tuple[Performance, str],
    other: tuple[Performance, str],
    held: list[tuple[int, int]],
) -> Figure:
    """Draw two named curves of capital, with a background where a position is held."""
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    for start, stop in held:
        axes.axvspan(start, stop, color=SHADE, linewidth=0)
    names = []
    # The dashed line is drawn last, so that both stay visible if they coincide.
    for (result, name), colour, dashes, width in (
        (own, BLUE, "-", 2.8),
        (other, ORANGE, "--", 1.6),
    ):
        grown = 100 * result["equity"] / result["equity"][0]
        axes.plot(grown, color=colour, ls=dashes, linewidth=width)
        names.append(Name(float(grown[-1]), f"{name}\n{signed(result['total_return'])}", colour))
    axes.axhline(100, color=GREY, linewidth=0.8)
    style_axes(axes, "", "capital, 100 at the start")
    axes.margins(x=0)
    date_axis(axes, dates)
    name_lines(axes, names)
    return figure


def _held(strategy: Backtest, last: int) -> list[tuple[int, int]]:
    """Return the first and last bar of each long position."""
    bought = [bar for side, bar, _, _ in strategy["trades"] if side == "BUY"]
    sold = [bar for side, bar, _, _ in strategy["trades"] if side == "SELL"]
    return list(zip(bought, [*sold, last][: len(bought)], strict=True))
