"""The figure of the winner beside the simple models."""

from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.studies.report.build import Report
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    GRID,
    INK,
    Drawing,
    new_figure,
    padded,
    style_axes,
)
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, loss

# A loss above this multiple of those of the winner and its rival is drawn at the edge.
_FAR = 3.0
# Characters of a label that leaves little room for the axis.
_LONG = 32


def draw_baselines(_study: StoredStudy, report: Report) -> Drawing:
    """Draw the loss of the winner and of each simple model on the holdout."""
    comparison = report.comparison
    losses = {"winner": comparison.loss}
    losses |= {baseline.label: baseline.holdout_loss for baseline in comparison.baselines}
    p_values = [comparison.mcs_p, *(baseline.mcs_p for baseline in comparison.baselines)]
    figure = new_figure(0.9 + 0.34 * len(losses))
    axes = figure.add_subplot()
    most = _FAR * max(comparison.loss, comparison.reference.holdout_loss)
    near = [value for value in losses.values() if value <= most]
    low, high = padded(min(near), max(near))
    axes.set_xlim(low, high)
    axes.set_ylim(len(losses) - 0.5, -0.5)
    axes.axvline(comparison.loss, color=BLUE, linewidth=1.2)
    for place, ((name, value), p) in enumerate(zip(losses.items(), p_values, strict=True)):
        colour, marker = (BLUE, "o") if name == "winner" else (INK, "s")
        at = min(value, high)
        axes.plot(
            [at],
            [place],
            marker if value <= high else ">",
            color=colour,
            markerfacecolor="none" if p < LEVEL else colour,
            markersize=7,
            clip_on=False,
        )
    labels = [f"{name}  {loss(value)}" for name, value in losses.items()]
    style_axes(axes, "", "")
    axes.set_yticks(range(len(losses)), labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4 if max(map(len, labels)) < _LONG else 2)
    axes.spines["left"].set_color(GREY)
    return Drawing(figure, _title(report))


def _title(report: Report) -> str:
    comparison = report.comparison
    lower = sum(b.holdout_loss < comparison.loss for b in comparison.baselines)
    models = counted(len(comparison.baselines), "simple model")
    if not lower:
        return f"No simple model of {len(comparison.baselines)} has a lower loss than the winner"
    return f"{lower} of {models} {'has' if lower == 1 else 'have'} a lower loss than the winner"
