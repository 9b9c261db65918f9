"""Pictures of a report whose axis is time: what the winner forecast, and what it earned."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.backtest import Backtest
from models.metrics import skill
from models.series import TARGETS
from studies.canvas import BLUE, GREY, INK, ORANGE, dress, explain, new_figure
from studies.report import COST_BPS, SLIPPAGE_BPS, Report, read_forecasts
from studies.study import Handle
from studies.text import signed

Floats = NDArray[np.float64]

# More panels would be too small to be read.
MOST_FOLDS = 12


@dataclass(frozen=True, eq=False)
class _Panel:
    """Forecasts of some bars beside the truth; `skill` is against persistence."""

    name: str
    dates: pd.DatetimeIndex
    forecast: Floats
    actual: Floats
    skill: float


def draw_forecasts(search: Handle, report: Report) -> Figure:
    """Draw what the winner forecast, fold by fold and on the holdout, and what came."""
    folds = _fold_panels(search)[-MOST_FOLDS:]
    rows = (len(folds) + 1) // 2
    figure = new_figure(1.7 * rows + 2.6)
    grid = figure.add_gridspec(rows + 1, 2, height_ratios=[1.0] * rows + [1.3])
    for i, panel in enumerate(folds):
        _panel(figure.add_subplot(grid[i // 2, i % 2]), panel)
    holdout = _Panel("holdout", report.dates, report.forecasts, report.actual, report.skill)
    _panel(figure.add_subplot(grid[rows, :]), holdout)
    figure.legend(
        handles=figure.axes[0].get_lines(), loc="outside upper right", ncols=2, frameon=False
    )
    bars = search.spec.data.horizon
    ahead = f"{bars} bars ahead" if bars > 1 else "one bar ahead"
    figure.supylabel(f"{TARGETS[search.spec.data.target].unit}, {ahead}", fontsize=10.5, color=INK)
    return figure


def _fold_panels(search: Handle) -> list[_Panel]:
    best, folds = search.best(), search.workload
    rows = zip(
        folds.folds,
        read_forecasts(search, best),
        folds.scored(folds.series.target),
        best.user_attrs["fold_losses"],
        search.attrs["persistence_losses"],
        strict=True,
    )
    return [
        _Panel(
            f"fold {number}",
            folds.dates[fold.valid.start : fold.valid.stop],
            forecast,
            actual,
            skill(loss, last),
        )
        for number, (fold, forecast, actual, loss, last) in enumerate(rows, start=1)
    ]


def _panel(axes: Axes, panel: _Panel) -> None:
    days = panel.dates.to_numpy()
    axes.plot(days, panel.actual, color="#9a9a9a", linewidth=1.0, label="truth")
    axes.plot(days, panel.forecast, color=BLUE, linewidth=1.7, label="forecast")
    worth = "undefined" if np.isnan(panel.skill) else signed(panel.skill)
    dress(axes, f"{panel.name}: skill {worth}", "", "")
    _date_axis(axes)


def _date_axis(axes: Axes) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)


def draw_equity(search: Handle, report: Report) -> Figure | None:
    """Draw what 100 became by trading on the forecasts of the holdout, and by holding."""
    earned = report.backtest
    if earned is None:
        return None
    (fold,) = search.opened.folds
    days = search.opened.dates[fold.valid.start - 1 : fold.valid.stop].to_numpy()
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    hold = earned["buy_and_hold"]
    spans = _held(earned, len(days) - 1)
    for i, (start, stop) in enumerate(spans):
        label = "the strategy holds" if not i else ""
        axes.axvspan(days[start], days[stop], color="#e9eef2", linewidth=0, label=label)
    # The dashes on top: both may go one way, and are seen all the same.
    for result, colour, dashes, width, name in (
        (earned, BLUE, "-", 2.8, "strategy"),
        (hold, ORANGE, "--", 1.6, "buy-and-hold"),
    ):
        grown = 100 * result["equity"] / (result["final_capital"] / (1 + result["total_return"]))
        label = f"{name}: {signed(result['total_return'])}"
        axes.plot(days, grown, color=colour, ls=dashes, linewidth=width, label=label)
    axes.axhline(100, color=GREY, linewidth=0.8)
    trades = len(earned["trades"])
    title = (
        f"{signed(earned['total_return'])} in {trades} trade{'s' * (trades != 1)} at "
        f"{COST_BPS + SLIPPAGE_BPS:.0f} basis points, {signed(hold['total_return'])} by holding"
    )
    dress(axes, title, "", "capital, 100 at the start")
    _date_axis(axes)
    explain(axes)
    return figure


def _held(earned: Backtest, last: int) -> list[tuple[int, int]]:
    """Give first and last bar of each time that the strategy was long."""
    bought = [bar for side, bar, _, _ in earned["trades"] if side == "BUY"]
    sold = [bar for side, bar, _, _ in earned["trades"] if side == "SELL"]
    return list(zip(bought, [*sold, last][: len(bought)], strict=True))
