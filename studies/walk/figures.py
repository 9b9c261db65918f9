"""The figures of a walk: the lead over time, promises, winners, and the capital from trading."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from optuna.distributions import CategoricalDistribution

from puffin.studies.report.document import Picture
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    SHADE,
    Drawing,
    Name,
    name_lines,
    new_figure,
    padded,
    style_axes,
)
from puffin.studies.report.figures.time_series import date_axis, draw_growth, draw_timing
from puffin.studies.text import counted, signed, when
from puffin.studies.walk.verdict import Walk
from puffin.studies.walk.winners import Stability

_LINE: dict[str, Any] = {"color": BLUE, "markersize": 5.0, "linewidth": 0.8}
# More hyperparameters would make a figure that nobody reads to its end.
_MOST_PANELS = 8


def draw_lead(walk: Walk) -> Drawing:
    """Draw the sum of the loss differentials up to each date, and the lead in windows."""
    figure = new_figure(5.4)
    above, below = figure.subplots(2, height_ratios=(3, 2), sharex=True)
    lead = np.cumsum(walk.reference_losses - walk.losses)
    _mark_blocks(above, walk)
    above.axhline(0, color=GREY, linewidth=0.8)
    above.plot(lead, color=BLUE, linewidth=1.8)
    style_axes(above, "", "loss of the simple model minus the winners', summed")
    found = walk.fluctuation
    middle = np.arange(len(found.statistics)) + found.window // 2
    _mark_blocks(below, walk)
    below.axhspan(-found.critical, found.critical, color=SHADE, linewidth=0)
    below.axhline(0, color=GREY, linewidth=0.8)
    below.plot(middle, found.statistics, color=BLUE, linewidth=1.8)
    style_axes(below, "", f"lead in windows of {found.window} dates, in standard errors")
    above.margins(x=0.01)
    date_axis(below, walk.dates)
    won = f"Better on {walk.won} of {counted(len(walk.blocks), 'block')}"
    return Drawing(figure, f"{won}: a skill of {signed(walk.skill)} over all dates")


def _mark_blocks(axes: Axes, walk: Walk) -> None:
    """Draw a line where each block begins."""
    starts = np.cumsum([0, *(len(block.losses) for block in walk.blocks[:-1])])
    for start in starts:
        axes.axvline(start, color=PALE, linewidth=0.8, linestyle=":")


def draw_promises(walk: Walk) -> Drawing:
    """Draw the skill that each search promised, and the skill that its block gave."""
    figure = new_figure(3.4)
    axes = figure.add_subplot()
    places = np.arange(len(walk.blocks))
    promised = 100 * np.array([block.promised for block in walk.blocks])
    obtained = 100 * np.array([block.obtained for block in walk.blocks])
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.vlines(places, promised, obtained, color=PALE, linewidth=1.2)
    axes.plot(places, promised, "o", color=ORANGE, markersize=6, markerfacecolor="none")
    axes.plot(places, obtained, "o", color=BLUE, markersize=6)
    style_axes(axes, "block from", "skill against persistence, %")
    _block_axis(axes, walk)
    axes.set_xlim(-0.5, len(places) - 0.5)
    name_lines(
        axes,
        [
            Name(float(promised[-1]), "promised", ORANGE),
            Name(float(obtained[-1]), "obtained", BLUE),
        ],
    )
    title = f"{signed(walk.promised)} promised, {signed(walk.obtained)} obtained on average"
    return Drawing(figure, title)


def _block_axis(axes: Axes, walk: Walk) -> None:
    """Label blocks by their first dates; of many only some."""
    each = -(-len(walk.blocks) // 4)
    places = range(0, len(walk.blocks), each)
    axes.set_xticks(list(places), [when(walk.blocks[i].dates[0])[:10] for i in places])


def draw_winners(walk: Walk) -> Drawing | None:
    """Draw the value of each hyperparameter in the winner of each origin."""
    shown = walk.stability[:_MOST_PANELS]
    if not shown:
        return None
    figure = new_figure(0.6 + 1.15 * len(shown))
    panels = figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    for axes, each in zip(panels, shown, strict=True):
        _panel(axes, each)
    _block_axis(panels[-1], walk)
    panels[-1].set_xlim(-0.5, len(walk.blocks) - 0.5)
    return Drawing(figure, "The hyperparameters of each winner, on the ranges searched")


def _panel(axes: Axes, each: Stability) -> None:
    """Draw a hyperparameter on the range in which it was searched."""
    known = [(i, value) for i, value in enumerate(each.values) if value is not None]
    places, values = [i for i, _ in known], [value for _, value in known]
    searched = each.distribution
    if isinstance(searched, CategoricalDistribution):
        axes.plot(places, [searched.choices.index(value) for value in values], "o-", **_LINE)
        style_axes(axes, "", each.name)
        axes.set_yticks(range(len(searched.choices)), [str(c) for c in searched.choices])
        axes.set_ylim(-0.5, len(searched.choices) - 0.5)
        return
    heights = [math.log(value) if searched.log else value for value in values]
    ends = [searched.low, searched.high]
    low, high = [math.log(end) for end in ends] if searched.log else ends
    axes.plot(places, heights, "o-", **_LINE)
    style_axes(axes, "", f"{each.name}{', log scale' if searched.log else ''}")
    axes.set_yticks([low, high], [f"{end:g}" for end in ends])
    axes.set_ylim(*padded(low, high))


def draw_equity(walk: Walk) -> Drawing | None:
    """Draw the growth of a capital of 100 on the forecasts of all blocks, and without them."""
    if walk.timing is not None:
        return draw_timing(walk.timing)
    if walk.backtest is None:
        return None
    return draw_growth(
        walk.backtest, walk.traded, walk.spec.backtest, shaded=len(walk.symbols) == 1
    )


@dataclass(frozen=True)
class WalkFigure:
    """A figure of a walk: how it is drawn, its alternative text and its caption."""

    draw: Callable[[Walk], Drawing | None]
    alt: str
    caption: str


# By file name.
FIGURES: dict[str, WalkFigure] = {
    "lead.svg": WalkFigure(
        draw_lead,
        "Lead of the winners over the best simple model, summed over time and in windows",
        "Where the upper line rises, the winners forecast better than the simple model that was "
        "best before the block; dotted lines are the origins. Below, a line outside of the shaded "
        "band is a lead or a lag that chance gives anywhere in the walk one time in twenty.",
    ),
    "promised.svg": WalkFigure(
        draw_promises,
        "Skill that each search promised and skill that its block gave",
        "Circles are the skill of the winner on the folds of its search, dots that on the block "
        "after it. Dots that lie below their circles show what tuning overstates.",
    ),
    "equity.svg": WalkFigure(
        draw_equity,
        "Capital over all blocks, with the forecasts and without them",
        "Capital from trading on the forecasts of all blocks, one winner after another, and from "
        "buying once and holding.",
    ),
    "winners.svg": WalkFigure(
        draw_winners,
        "Value of each hyperparameter in the winner of each origin",
        "A hyperparameter that stays where others were tried is one that the data decide; one that "
        "jumps about hardly matters, or the searches are too short to decide it.",
    ),
}

# Figures that were drawn, by file name.
Drawn = Mapping[str, Drawing]


def draw_figures(walk: Walk) -> dict[str, Drawing]:
    """Draw every figure that a walk has data for, by file name."""
    drawings = {name: figure.draw(walk) for name, figure in FIGURES.items()}
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}


def show(name: str, drawn: Drawn) -> list[Picture]:
    """Return a figure with its words; nothing if it was not drawn."""
    if name not in drawn:
        return []
    figure = FIGURES[name]
    return [Picture(name, drawn[name].title, figure.alt, drawn[name].caption or figure.caption)]
