"""The figure of the intervals: which share of the bars was inside, over time."""

import numpy as np

from puffin.models.arrays import Floats
from puffin.studies.report.build import Report
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    Drawing,
    Name,
    name_lines,
    new_figure,
    style_axes,
)
from puffin.studies.report.figures.time_series import date_axis
from puffin.studies.study import StoredStudy
from puffin.studies.text import percent

# Dates of which a share is drawn: about a quarter of a year of days, or a third of fewer dates.
_DATES, _PARTS = 60, 3


def draw_coverage(_study: StoredStudy, report: Report) -> Drawing | None:
    """Draw the share of the bars inside the intervals of each level, over the dates before."""
    if not report.intervals:
        return None
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    names = []
    for one in report.intervals:
        window = max(min(_DATES, len(one.dates) // _PARTS), 1)
        axes.axhline(100 * one.level, color=GREY, linewidth=0.8, ls="--")
        share = 100 * _moving(one.by_date, window)
        axes.plot(np.arange(window - 1, len(one.dates)), share, color=BLUE, linewidth=1.8)
        names.append(Name(float(share[-1]), f"{percent(one.level, 0)} intervals", BLUE))
    axes.set_ylim(0, 103)
    style_axes(
        axes, "", f"inside, of the last {window} {'dates' if report.is_basket else 'bars'}, %"
    )
    axes.margins(x=0.01)
    date_axis(axes, one.dates)
    name_lines(axes, names)
    inside = " / ".join(percent(one.inside.share, 0) for one in report.intervals)
    levels = " / ".join(percent(one.level, 0) for one in report.intervals)
    return Drawing(figure, f"{inside} of the holdout inside intervals of {levels}")


def _moving(values: Floats, window: int) -> Floats:
    """Return the mean of each `window` values that follow each other."""
    means: Floats = np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)
    return means
