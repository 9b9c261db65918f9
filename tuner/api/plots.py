"""Figures of a study for scripts and notebooks, drawn without pyplot."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from puffin.models.errors import PuffinError
from puffin.studies.report.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    TEXT,
    robust_limits,
    style_axes,
    svg,
)

_SIZE = (7.0, 4.0)  # inches


class NotebookFigure(Figure):
    """A figure that a notebook shows as SVG, also without pyplot."""

    def _repr_svg_(self) -> str:
        return svg(self).decode()


def _new_axes(title: str) -> tuple[NotebookFigure, Axes]:
    figure = NotebookFigure(figsize=_SIZE, layout="constrained", facecolor=PAPER)
    figure.suptitle(title, x=0.01, ha="left", fontsize=TEXT + 1, color=INK)
    return figure, figure.add_subplot()


def _add_legend(axes: Axes) -> None:
    axes.legend(loc="best", fontsize=TEXT, framealpha=0.85, edgecolor="none")


def history(trials: pd.DataFrame, title: str) -> Figure:
    """Draw the loss of each complete and pruned trial, and the lowest complete one so far."""
    figure, axes = _new_axes(title)
    complete = trials[trials["state"] == "complete"]
    pruned = trials[trials["state"] == "pruned"]
    axes.plot(pruned.index, pruned["loss"], ".", color=PALE, label="pruned")
    axes.plot(complete.index, complete["loss"], "o", color=BLUE, label="complete")
    lowest = complete["loss"].cummin()
    axes.step(complete.index, lowest, where="post", color=ORANGE, label="lowest so far")
    losses = trials["loss"].dropna().to_numpy(np.float64)
    if len(losses):
        axes.set_ylim(*robust_limits(losses))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes, "trial", "loss")
    _add_legend(axes)
    return figure


def curves(losses: pd.DataFrame, best: int, title: str) -> Figure:
    """Draw the validation loss of each trial over the epochs, and the best in colour."""
    figure, axes = _new_axes(title)
    for number in losses:
        axes.plot(losses.index, losses[number], color=PALE, linewidth=0.9)
    axes.plot(losses.index, losses[best], color=BLUE, linewidth=2, label=f"best, trial {best}")
    axes.set_ylim(*robust_limits(losses.to_numpy()[np.isfinite(losses.to_numpy())]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes, "epoch", "loss")
    _add_legend(axes)
    return figure


def folds(losses: Sequence[float], persistence: Sequence[float], best: int) -> Figure:
    """Draw the loss of the best trial on each fold beside that of persistence."""
    figure, axes = _new_axes("Loss on the validation part of each fold")
    places = np.arange(1, len(losses) + 1)
    axes.bar(places - 0.2, persistence, 0.38, color=PALE, label="persistence")
    axes.bar(places + 0.2, losses, 0.38, color=BLUE, label=f"best, trial {best}")
    axes.set_xticks(places)
    style_axes(axes, "fold", "loss")
    _add_legend(axes)
    return figure


def forecasts(frame: pd.DataFrame, fold: int | None, trial: int, unit: str) -> Figure:
    """Draw forecasts beside what came and beside persistence, of one fold or of the last.

    Raises
    ------
    PuffinError
        If there is no such fold.
    """
    known = frame["fold"].unique().tolist()
    chosen = known[-1] if fold is None else fold
    if chosen not in known:
        raise PuffinError(f"there is no fold {fold}; the folds are 1 to {known[-1]}")
    part = frame[frame["fold"] == chosen]
    figure, axes = _new_axes(f"Forecasts of trial {trial} on fold {chosen}")
    axes.plot(part.index, part["actual"], color=INK, linewidth=1, label="what came")
    axes.plot(
        part.index, part["persistence"], color=GREY, linewidth=0.8, ls=":", label="persistence"
    )
    axes.plot(part.index, part["forecast"], color=ORANGE, linewidth=1.8, label="forecast")
    style_axes(axes, "", unit)
    _add_legend(axes)
    return figure
