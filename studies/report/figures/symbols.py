"""Figures of a basket: the skill on each symbol, and when the lead over a baseline was won."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from puffin.models.evaluation.metrics import skill
from puffin.studies.report.build import Report
from puffin.studies.report.by_symbol import JudgedSymbol
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    GRID,
    ORANGE,
    Drawing,
    new_figure,
    style_axes,
)
from puffin.studies.report.figures.time_series import date_axis
from puffin.studies.study import StoredStudy
from puffin.studies.text import printable, signed

# More symbols are dots without names, except the ends.
_MOST_NAMED = 30
_TALLEST = 7.0


def draw_symbols(_study: StoredStudy, report: Report) -> Drawing | None:
    """Draw the skill of the winner on each symbol against the best simple model."""
    if not report.is_basket:
        return None
    ordered = sorted(report.by_symbol, key=lambda result: -np.nan_to_num(result.skill))
    skills = 100 * np.array([result.skill for result in ordered])
    figure = new_figure(min(0.9 + 0.3 * len(ordered), _TALLEST))
    axes = figure.add_subplot()
    axes.axvline(0, color=GREY, linewidth=1.2)
    for colour, of in ((BLUE, skills > 0), (ORANGE, skills <= 0)):
        axes.plot(skills[of], np.flatnonzero(of), "o", color=colour, markersize=6)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    style_axes(axes, f"skill against {report.comparison.reference.label}, %", "")
    _name_symbols(axes, ordered)
    better = int((skills > 0).sum())
    return Drawing(figure, f"Better on {better} of {len(ordered)} symbols")


def _name_symbols(axes: Axes, ordered: list[JudgedSymbol]) -> None:
    """Write each symbol with its skill beside its dot; of many symbols only the first and last."""
    last = len(ordered) - 1
    named = range(last + 1) if last < _MOST_NAMED else (0, last)
    labels = [f"{printable(ordered[i].symbol)}  {signed(ordered[i].skill)}" for i in named]
    axes.set_yticks(list(named), labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)


def draw_lead(study: StoredStudy, report: Report) -> Drawing | None:
    """Draw the sum of the loss differentials against the best simple model up to each date."""
    if not report.is_basket:
        return None
    reference = report.comparison.reference
    own = study.holdout_dataset.losses_by_date([report.forecasts])
    lead = np.cumsum(reference.holdout_losses - own)
    figure = new_figure(3.2)
    axes = figure.add_subplot()
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.plot(lead, color=BLUE, linewidth=1.8)
    style_axes(axes, "", f"loss of {reference.label} minus the winner's, summed")
    axes.margins(x=0.01)
    date_axis(axes, pd.DatetimeIndex(np.unique(report.dates)))
    gained = skill(report.loss, reference.holdout_loss)
    return Drawing(figure, f"A skill of {signed(gained)} over all dates and symbols")
