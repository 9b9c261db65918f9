"""Figures on selection bias: overfitting, overtuning, and the losses over seeds."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from puffin.studies.report.build import Report
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAPER,
    TEXT,
    Drawing,
    Name,
    name_lines,
    new_figure,
    padded,
    style_axes,
)
from puffin.studies.seeds import SeedSensitivity
from puffin.studies.study import StoredStudy
from puffin.studies.text import percent, signed

# Edges of the bins on either side of 0.
_EDGES = 12
# Most trials whose names fit below a figure, side by side and upright.
_MOST_LABELS, _MOST_UPRIGHT = 6, 16


def draw_overfitting(_study: StoredStudy, report: Report) -> Drawing | None:
    """Draw the out-of-sample rank of the in-sample best, over all splits into halves."""
    overfitting = report.overfitting
    if overfitting is None:
        return None
    logits = overfitting.logits
    edge = float(np.abs(logits).max()) or 1.0
    figure = new_figure(3.2)
    axes = figure.add_subplot()
    # Two histograms, so that 0 itself (no better than the median) is counted on the left.
    axes.hist(
        logits[logits <= 0],
        bins=np.linspace(-edge, 0, _EDGES).tolist(),
        color=ORANGE,
        hatch="//",
        edgecolor=PAPER,
    )
    axes.hist(
        logits[logits > 0],
        bins=np.linspace(0, edge, _EDGES).tolist(),
        color=BLUE,
        edgecolor=PAPER,
    )
    axes.axvline(0, color=INK, linewidth=2.0)
    probability, chance = (
        percent(share, 0) for share in (overfitting.probability, overfitting.chance_level)
    )
    title = f"Probability of overfitting: {probability} ({chance} by chance)"
    style_axes(axes, "log odds of its rank (0 is the median)", "splits")
    # Room on top for the words.
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    share = overfitting.probability
    for x, side, text, colour in (
        (0.02, "left", f"no better: {percent(share, 0)}", ORANGE),
        (0.98, "right", f"better: {percent(1 - share, 0)}", BLUE),
    ):
        axes.text(
            x, 0.97, text, transform=axes.transAxes, ha=side, va="top", color=colour, fontsize=TEXT
        )
    return Drawing(figure, title)


def draw_overtuning(_study: StoredStudy, report: Report) -> Drawing | None:
    """Draw the loss of each incumbent relative to the first, on search folds and holdout."""
    overtuning = report.overtuning
    if len(overtuning.trials) == 1:
        return None
    positions = np.arange(len(overtuning.trials))
    names, changes = [], []
    figure = new_figure(3.4)
    axes = figure.add_subplot()
    for losses, colour, style, name in (
        (overtuning.search_losses, BLUE, "o-", "search\nfolds"),
        (overtuning.holdout_losses, ORANGE, "s--", "holdout"),
    ):
        relative = losses / losses[0] - 1
        changes.append(signed(relative[-1]))
        axes.plot(positions, 100 * relative, style, color=colour, linewidth=2.0)
        names.append(Name(100 * float(relative[-1]), f"{name}\n{changes[-1]}", colour))
    axes.axhline(0, color=GREY, linewidth=0.8)
    _name_trials(axes, overtuning.trials)
    style_axes(
        axes,
        "trials that were the best so far, by their end",
        "loss relative to the first of them, %",
    )
    name_lines(axes, names)
    title = (
        f"Loss of the last relative to the first: {changes[0]} on the search folds, {changes[1]} "
        "on the holdout"
    )
    return Drawing(figure, title)


def draw_seeds(study: StoredStudy, report: Report) -> Drawing:
    """Draw the losses of the best configurations over seeds, and the one-standard-error choice."""
    sensitivity, by_number = report.seed_sensitivity, {t.number: t for t in study.trials()}
    search_losses = np.array([float(by_number[n].values[0]) for n in sensitivity.trials])
    figure = new_figure(3.8)
    axes = figure.add_subplot()
    finite = sensitivity.losses[np.isfinite(sensitivity.losses)]
    drawn = np.append(finite, search_losses)
    low, high = padded(float(drawn.min()), float(drawn.max()))
    _plot_seed_losses(axes, sensitivity, high)
    positions = range(len(search_losses))
    axes.plot(positions, search_losses, "D", mfc="none", color=INK)
    if sensitivity.one_se_choice is not None:
        bound = sensitivity.one_se_bound
        axes.axhline(bound, color=ORANGE, ls="--", linewidth=1.8)
    few = len(search_losses) <= _MOST_LABELS
    _name_trials(axes, [_seed_label(report, i) for i in positions] if few else sensitivity.trials)
    axes.set_xlim(-0.6, len(search_losses) - 0.4)
    axes.set_ylim(low, high)
    wins, seeds = int((sensitivity.ranks == 1).sum()), len(sensitivity.seeds)
    title = f"The best of {len(search_losses)} stays the best with {wins} of {seeds} other seeds"
    if len(search_losses) == 1:
        title = f"The loss of the best with {seeds} other seeds"
    below = "number of weights below each trial" if few else "trial"
    style_axes(
        axes,
        below,
        f"loss on the search folds ({study.spec.training.loss})",
    )
    return Drawing(figure, title)


def _name_trials(axes: Axes, labels: Iterable[object]) -> None:
    """Write the names of trials below their positions; upright and not all if there are many."""
    shown = list(enumerate(map(str, labels)))
    every = -(-len(shown) // _MOST_UPRIGHT)
    positions, names = zip(*shown[::every], strict=True)
    axes.set_xticks(positions, names, rotation=90 if len(shown) > _MOST_LABELS else 0)


def _plot_seed_losses(axes: Axes, sensitivity: SeedSensitivity, top: float) -> None:
    """Plot each configuration's losses with a bar at their mean; count diverged runs at `top`."""
    for position, losses in enumerate(sensitivity.losses):
        finite = np.isfinite(losses)
        at = np.full(int(finite.sum()), position)
        axes.plot(at, losses[finite], "o", color=BLUE, alpha=0.65, markersize=7)
        if finite.all():
            left, right = position - 0.3, position + 0.3
            axes.hlines(losses.mean(), left, right, color=BLUE, linewidth=2.5)
        else:
            text = f"{(~finite).sum()} diverged"
            axes.text(position, top, text, ha="center", va="top", fontsize=TEXT)


def _seed_label(report: Report, position: int) -> str:
    sensitivity = report.seed_sensitivity
    number = sensitivity.trials[position]
    roles = [
        role
        for role, trial in (("winner", report.winner), ("1 s.e.", sensitivity.one_se_choice))
        if number == trial
    ]
    return "\n".join([f"trial {number}", f"{sensitivity.parameters[position]:,}", *roles])
