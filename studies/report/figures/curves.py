"""Figures on the trials of a search: learning curves, losses, hyperparameter importance.

No figure uses colour alone to tell things apart.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from puffin.studies.duplicates import trained
from puffin.studies.records import TrialRecord
from puffin.studies.report.build import Report
from puffin.studies.report.figures.style import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    TEXT,
    TRUTH,
    Drawing,
    Name,
    name_lines,
    new_figure,
    padded,
    robust_limits,
    style_axes,
)
from puffin.studies.report.importance import importance
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, loss, percent

# A baseline is drawn if its distance from the curves is at most this multiple of their range.
_FAR = 1.0
# Most lookbacks whose values fit below the axis.
_MOST_TICKS = 6


def _in_state(study: StoredStudy, state: TrialState) -> list[FrozenTrial]:
    return [t for t in trained(study.trials()) if t.state == state]


def _loss(trial: FrozenTrial) -> float:
    """Return the loss of a complete trial."""
    return float(trial.values[0])  # no DataFrame


def draw_curves(study: StoredStudy, report: Report) -> Drawing:
    """Draw the validation loss of every trial, epoch by epoch."""
    complete, pruned = (_in_state(study, s) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    figure = new_figure(3.8)
    axes = figure.add_subplot()
    for trials, width, colour in ((pruned, 0.8, PALE), (complete, 1.0, BLUE)):
        for trial in trials:
            _curve(axes, trial, color=colour, linewidth=width)
    (winner,) = (t for t in complete if t.number == report.winner)
    _curve(axes, winner, color=INK, linewidth=2.6)
    best = _loss(winner)
    axes.plot(report.epochs, best, "o", color=INK, markersize=8)
    shown = np.array(
        [v for t in complete for v in t.intermediate_values.values()] + _lowest(pruned)
    )
    names = [Name(list(winner.intermediate_values.values())[-1], f"trial {winner.number}", INK)]
    limits, baselines = _with_baselines(axes, study, report, *robust_limits(shown))
    axes.set_ylim(*limits)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes, "epoch", f"validation loss, mean over folds ({study.spec.training.loss})")
    name_lines(axes, [*names, *baselines])
    title = f"The winner's lowest loss is {loss(best)}, after {counted(report.epochs, 'epoch')}"
    return Drawing(figure, title)


def _lowest(pruned: list[FrozenTrial]) -> list[float]:
    """Return the lowest loss of each pruned trial; a trial that diverged at once has none."""
    all_scores = (TrialRecord.read(t).scores for t in pruned)
    return [scores.best_loss for scores in all_scores if scores is not None]


def _curve(axes: Axes, trial: FrozenTrial, *, color: str, linewidth: float) -> None:
    epochs, losses = list(trial.intermediate_values), list(trial.intermediate_values.values())
    # A single epoch is a point: a line needs two.
    marker = "." if len(epochs) == 1 else None
    axes.plot(epochs, losses, marker=marker, color=color, linewidth=linewidth)


def _with_baselines(
    axes: Axes, study: StoredStudy, report: Report, low: float, high: float
) -> tuple[tuple[float, float], list[Name]]:
    """Draw the baselines near the curves; return the limits, and the names of all baselines."""
    reach = _FAR * (high - low)
    record, names = study.record, []
    for losses, name, dashes in (
        (record.persistence_losses, "persistence", "--"),
        (record.mean_losses, _name_of_mean(report), ":"),
    ):
        value = float(np.mean(losses))
        text = f"{name}\n{loss(value)}"
        if low - reach <= value <= high + reach:
            axes.axhline(value, color=ORANGE, ls=dashes, linewidth=1.8)
            low, high = min(low, padded(value, high)[0]), max(high, padded(low, value)[1])
        else:
            text += f"\n({'above' if value > high else 'below'})"
        names.append(Name(value, text, ORANGE))
    return (low, high), names


def _name_of_mean(report: Report) -> str:
    """Return the label of the training mean in the tables; for returns it is called drift."""
    labels = {baseline.name: baseline.label for baseline in report.comparison.baselines}
    return labels.get("mean") or labels.get("drift", "training mean")


def draw_importance(study: StoredStudy, _report: Report) -> Drawing | None:
    """Draw the importance of each hyperparameter for being among the best trials."""
    result = importance(study)
    if result.why_none is not None:
        return None
    names, shares = list(result.shares)[::-1], list(result.shares.values())[::-1]
    figure = new_figure(0.8 + 0.34 * len(names))
    axes = figure.add_subplot()
    bars = axes.barh(names, [100 * s for s in shares], color=BLUE, height=0.65)
    axes.bar_label(bars, [percent(s, 0) for s in shares], padding=4, fontsize=TEXT, color=INK)
    axes.set_xlim(0, 100 * max(shares) * 1.2)
    title = (
        f"{names[-1]} separates the best {result.best} of {result.trials} complete trials most "
        "from the others"
    )
    style_axes(axes, "share of the importance, %", "")
    axes.grid(visible=False, axis="y")
    return Drawing(figure, title)


def draw_losses(study: StoredStudy, report: Report) -> Drawing:
    """Draw the loss of every trial by its cell type and by its lookback."""
    complete, pruned = (_in_state(study, s) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    pruned = [t for t in pruned if _lowest([t])]
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.5])
    cells = sorted({_config(t)["cell"] for t in complete + pruned})
    for axes, position in (
        (left, lambda t: cells.index(_config(t)["cell"]) + _jitter(t)),
        (right, lambda t: _config(t)["lookback"]),
    ):
        _scatter(axes, position, complete, pruned, report.winner)
    left.set_xticks(range(len(cells)), [cell.upper() for cell in cells])
    left.set_xlim(-0.6, len(cells) - 0.4)
    left.set_ylim(*robust_limits(np.array([_loss(t) for t in complete] + _lowest(pruned))))
    medians = {cell: _median(complete, cell) for cell in cells}
    for i, value in enumerate(medians.values()):
        left.hlines(value, i - 0.35, i + 0.35, color=ORANGE, linewidth=2.2)
    lookbacks = sorted({_config(t)["lookback"] for t in complete + pruned})
    style_axes(left, "cell type", f"lowest loss ({study.spec.training.loss})")
    style_axes(right, "lookback, bars", "")
    if len(lookbacks) <= _MOST_TICKS:
        right.set_xticks(lookbacks)
    return Drawing(figure, f"Median of the complete trials: {_listed(medians)}")


def _config(trial: FrozenTrial) -> dict[str, Any]:
    return TrialRecord.read(trial).config


def _jitter(trial: FrozenTrial) -> float:
    """Return a horizontal offset by trial number, so that equal losses do not overlap."""
    return (trial.number * 0.618 % 1 - 0.5) * 0.6


def _median(complete: list[FrozenTrial], cell: str) -> float:
    losses = [_loss(t) for t in complete if _config(t)["cell"] == cell]
    return float(np.median(losses)) if losses else float("nan")


def _listed(medians: dict[str, float]) -> str:
    return ", ".join(
        f"{cell.upper()} {'has none' if np.isnan(value) else loss(value)}"
        for cell, value in medians.items()
    )


def _scatter(
    axes: Axes,
    position: Callable[[FrozenTrial], float],
    complete: list[FrozenTrial],
    pruned: list[FrozenTrial],
    winner: int,
) -> None:
    lowest = _lowest(pruned)
    if pruned:
        axes.plot([position(t) for t in pruned], lowest, "x", color=TRUTH, markersize=5)
    values = [_loss(t) for t in complete]
    axes.plot([position(t) for t in complete], values, "o", color=BLUE, alpha=0.7)
    (best,) = (t for t in complete if t.number == winner)
    axes.plot([position(best)], [_loss(best)], "*", color=INK, markersize=15)
