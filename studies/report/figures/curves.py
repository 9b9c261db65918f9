"""The pictures of a report, as SVG files.

Each is a function of a search and its report that gives a figure, or None where there is nothing
to draw: the page says why. Nothing is told by colour alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from puffin.studies.duplicates import trained
from puffin.studies.records import TrialRecord
from puffin.studies.report.build import Report
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    add_legend,
    add_legend_below,
    new_figure,
    padded,
    robust_limits,
    style_axes,
    svg,
)
from puffin.studies.report.figures.time_series import draw_equity, draw_forecasts
from puffin.studies.report.importance import Importance, importance
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, loss, percent, signed

# A baseline is drawn if it is no farther away than the curves are apart.
_FAR = 1.0
_BINS = 12
# Lookbacks that have room for their numbers below the axis.
_MOST_TICKS = 12


def draw(study: StoredStudy, report: Report) -> dict[str, bytes]:
    """Draw what there is to draw.

    Returns
    -------
    dict
        SVG files by name: keys of ``PICTURES``.
    """
    figures = {name: make(study, report) for name, make in PICTURES.items()}
    return {name: svg(figure) for name, figure in figures.items() if figure is not None}


def _in_state(study: StoredStudy, state: TrialState) -> list[FrozenTrial]:
    return [t for t in trained(study.trials()) if t.state == state]


def _loss(trial: FrozenTrial) -> float:
    """Return the loss of a complete trial."""
    return float(trial.values[0])  # no DataFrame


def _curves(study: StoredStudy, report: Report) -> Figure:
    """Draw the validation loss of every trial, epoch by epoch."""
    complete, pruned = (_in_state(study, s) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    figure = new_figure(5.4)
    axes = figure.add_subplot()
    for trials, width, colour, label in (
        (pruned, 0.8, PALE, f"pruned ({len(pruned)})"),
        (complete, 1.0, BLUE, f"complete ({len(complete)})"),
    ):
        for i, trial in enumerate(trials):
            _curve(axes, trial, color=colour, linewidth=width, label=label if not i else "")
    (winner,) = (t for t in complete if t.number == report.winner)
    _curve(axes, winner, color=INK, linewidth=2.6, label=f"winner: trial {winner.number}")
    best = _loss(winner)
    axes.plot(report.epochs, best, "o", color=INK, markersize=8)
    shown = np.array(
        [v for t in complete for v in t.intermediate_values.values()] + _lowest(pruned)
    )
    axes.set_ylim(*_with_baselines(axes, study, report, *robust_limits(shown)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"The winner's lowest loss is {loss(best)}, after {counted(report.epochs, 'epoch')}"
    style_axes(
        axes, title, "epoch", f"validation loss, mean over folds ({study.spec.training.loss})"
    )
    add_legend_below(figure)
    return figure


def _lowest(pruned: list[FrozenTrial]) -> list[float]:
    """Return the lowest loss of each pruned trial; one that diverged at once has none."""
    all_scores = (TrialRecord.read(t).scores for t in pruned)
    return [scores.best_loss for scores in all_scores if scores is not None]


def _curve(axes: Axes, trial: FrozenTrial, *, color: str, linewidth: float, label: str) -> None:
    epochs, losses = list(trial.intermediate_values), list(trial.intermediate_values.values())
    # One epoch makes no line.
    marker = "." if len(epochs) == 1 else None
    axes.plot(epochs, losses, marker=marker, color=color, linewidth=linewidth, label=label)


def _with_baselines(
    axes: Axes, study: StoredStudy, report: Report, low: float, high: float
) -> tuple[float, float]:
    """Draw the baselines that lie near the curves and name the others; return the limits."""
    reach = _FAR * (high - low)
    record = study.record
    for losses, name, dashes in (
        (record.persistence_losses, "persistence", "--"),
        (record.mean_losses, _name_of_mean(report), ":"),
    ):
        value = float(np.mean(losses))
        if low - reach <= value <= high + reach:
            axes.axhline(
                value, color=ORANGE, ls=dashes, linewidth=1.8, label=f"{name}: {loss(value)}"
            )
            low, high = min(low, padded(value, high)[0]), max(high, padded(low, value)[1])
        else:
            where = "above" if value > high else "below"
            axes.plot([], [], " ", label=f"{name}: {loss(value)}, {where} the picture")
    return low, high


def _name_of_mean(report: Report) -> str:
    """Return how the tables call the training mean: of returns it is the drift."""
    labels = {rival.name: rival.label for rival in report.comparison.baselines}
    return labels.get("mean") or labels.get("drift", "training mean")


def _importance(study: StoredStudy, _report: Report) -> Figure | None:
    """Draw how much each hyperparameter tells the best trials from the others."""
    found = importance(study)
    if not isinstance(found, Importance):
        return None
    names, shares = list(found.shares)[::-1], list(found.shares.values())[::-1]
    figure = new_figure(1.4 + 0.36 * len(names))
    axes = figure.add_subplot()
    bars = axes.barh(names, [100 * s for s in shares], color=BLUE, height=0.65)
    axes.bar_label(bars, [percent(s, 0) for s in shares], padding=4, fontsize=10, color=INK)
    axes.set_xlim(0, 100 * max(shares) * 1.12)
    title = (
        f"{names[-1]} tells the best {found.best} of {found.trials} complete trials most from the "
        "others"
    )
    style_axes(axes, title, "share of the importance, %", "")
    axes.grid(visible=False, axis="y")
    return figure


def _losses(study: StoredStudy, report: Report) -> Figure:
    """Draw the loss of every trial by its cell type and by its lookback."""
    complete, pruned = (_in_state(study, s) for s in (TrialState.COMPLETE, TrialState.PRUNED))
    pruned = [t for t in pruned if _lowest([t])]
    figure = new_figure(4.6)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1, 1.7])
    cells = sorted({_config(t)["cell"] for t in complete + pruned})
    for axes, place in (
        (left, lambda t: cells.index(_config(t)["cell"]) + _aside(t)),
        (right, lambda t: _config(t)["lookback"]),
    ):
        _scatter(axes, place, complete, pruned, report.winner)
    left.set_xticks(range(len(cells)), [cell.upper() for cell in cells])
    left.set_xlim(-0.6, len(cells) - 0.4)
    left.set_ylim(*robust_limits(np.array([_loss(t) for t in complete] + _lowest(pruned))))
    medians = {cell: _median(complete, cell) for cell in cells}
    for i, value in enumerate(medians.values()):
        left.hlines(value, i - 0.35, i + 0.35, color=ORANGE, linewidth=2.2)
    figure.suptitle(
        f"Median of the complete trials: {_listed(medians)}",
        x=0.01,
        ha="left",
        fontsize=12,
        color=INK,
    )
    style_axes(left, "", "cell type (bar: median)", f"lowest loss ({study.spec.training.loss})")
    lookbacks = sorted({_config(t)["lookback"] for t in complete + pruned})
    if len(lookbacks) <= _MOST_TICKS:
        right.set_xticks(lookbacks)
    style_axes(right, "", "lookback, bars", "")
    add_legend(right)
    return figure


def _config(trial: FrozenTrial) -> dict[str, Any]:
    return TrialRecord.read(trial).config


def _aside(trial: FrozenTrial) -> float:
    """Move a mark aside by its number, so that equals are not on top of one another."""
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
    place: Callable[[FrozenTrial], float],
    complete: list[FrozenTrial],
    pruned: list[FrozenTrial],
    winner: int,
) -> None:
    lowest = _lowest(pruned)
    if pruned:
        axes.plot([place(t) for t in pruned], lowest, "x", color=PALE, markersize=5, label="pruned")
    values = [_loss(t) for t in complete]
    axes.plot([place(t) for t in complete], values, "o", color=BLUE, alpha=0.7, label="complete")
    (best,) = (t for t in complete if t.number == winner)
    axes.plot([place(best)], [_loss(best)], "*", color=INK, markersize=15, label="winner")


def _overfitting(_search: StoredStudy, report: Report) -> Figure | None:
    """Draw how the best on one half of the search bars ranked on the other, over all splits."""
    found = report.overfitting
    if found is None:
        return None
    logits = found.logits
    edge = float(np.abs(logits).max()) or 1.0
    figure = new_figure(4.2)
    axes = figure.add_subplot()
    # Apart, so that 0 itself, which is no better than the median, is counted on the left.
    axes.hist(
        logits[logits <= 0],
        bins=np.linspace(-edge, 0, _BINS).tolist(),
        color=ORANGE,
        hatch="//",
        edgecolor="white",
        label=f"no better than the median: {percent(found.probability, 0)}",
    )
    axes.hist(
        logits[logits > 0],
        bins=np.linspace(0, edge, _BINS).tolist(),
        color=BLUE,
        edgecolor="white",
        label=f"better: {percent(1 - found.probability, 0)}",
    )
    axes.axvline(0, color=INK, linewidth=2.0)
    luck = percent(found.chance_level, 0)
    title = f"Probability of overfitting: {percent(found.probability, 0)} ({luck} is luck)"
    style_axes(axes, title, "log odds of its rank (0 is the median)", "splits")
    add_legend(axes)
    return figure


def _overtuning(_search: StoredStudy, report: Report) -> Figure | None:
    """Draw how the loss of each best trial so far changed, on the search folds and after them."""
    found = report.overtuning
    if len(found.trials) == 1:
        return None
    places = np.arange(len(found.trials))
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    for losses, colour, style, name in (
        (found.search_losses, BLUE, "o-", "search folds"),
        (found.holdout_losses, ORANGE, "s--", "holdout"),
    ):
        label = f"{name}: {loss(losses[0])} to {loss(losses[-1])}"
        against = 100 * (losses / losses[0] - 1)
        axes.plot(places, against, style, color=colour, linewidth=2.0, label=label)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xticks(places, [str(n) for n in found.trials])
    searched, judged = (
        losses[-1] / losses[0] - 1 for losses in (found.search_losses, found.holdout_losses)
    )
    title = (
        f"The loss from the first to the last: {signed(searched)} on the search folds, "
        f"{signed(judged)} on the holdout"
    )
    style_axes(
        axes,
        title,
        "trials that were the best so far, in the order that they ended",
        "loss against the first of them, %",
    )
    add_legend(axes)
    return figure


def _seeds(study: StoredStudy, report: Report) -> Figure:
    """Draw the losses of the best over seeds, and the one-standard-error choice among them."""
    spread, known = report.seed_sensitivity, {t.number: t for t in study.trials()}
    figure = new_figure(4.8)
    axes = figure.add_subplot()
    found = np.array([_loss(known[n]) for n in spread.trials])
    places = range(len(found))
    came = np.isfinite(spread.losses)
    all_losses = np.append(spread.losses[came], found)
    low, high = padded(float(all_losses.min()), float(all_losses.max()))
    for place, losses, here in zip(places, spread.losses, came, strict=True):
        label = "trained with other seeds" if not place else ""
        at = np.full(int(here.sum()), place)
        axes.plot(at, losses[here], "o", color=BLUE, alpha=0.65, markersize=8, label=label)
        if here.all():
            mean = "mean of these" if not place else ""
            axes.hlines(
                losses.mean(), place - 0.22, place + 0.22, color=BLUE, linewidth=2.5, label=mean
            )
        else:
            axes.text(place, high, f"{(~here).sum()} diverged", ha="center", va="top", fontsize=10)
    axes.plot(places, found, "D", mfc="none", color=INK, label="in the search")
    if spread.one_se_choice is not None:
        label = f"one-standard-error bound: {loss(spread.one_se_bound)}"
        axes.axhline(spread.one_se_bound, color=ORANGE, ls="--", linewidth=1.8, label=label)
    axes.set_xticks(places, [_seed_label(report, i) for i in places])
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.set_ylim(low, high)
    wins, seeds = int((spread.ranks == 1).sum()), len(spread.seeds)
    title = f"The winner is the best of {len(found)} with {wins} of {seeds} other seeds"
    if len(found) == 1:
        title = f"The winner's loss with {seeds} other seeds"
    style_axes(axes, title, "", f"loss on the search folds ({study.spec.training.loss})")
    add_legend_below(figure)
    return figure


def _seed_label(report: Report, place: int) -> str:
    spread = report.seed_sensitivity
    number = spread.trials[place]
    roles = ["winner"] * (number == report.winner) + ["choice"] * (number == spread.one_se_choice)
    lines = [f"trial {number}", f"{spread.parameters[place]:,} weights", " and ".join(roles)]
    return "\n".join(lines)


PICTURES: dict[str, Callable[[StoredStudy, Report], Figure | None]] = {
    "curves.svg": _curves,
    "forecasts.svg": draw_forecasts,
    "equity.svg": draw_equity,
    "importance.svg": _importance,
    "losses.svg": _losses,
    "overfitting.svg": _overfitting,
    "overtuning.svg": _overtuning,
    "seeds.svg": _seeds,
}
