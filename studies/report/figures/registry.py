"""The figures of a report: how each is drawn, its alternative text and its caption."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from matplotlib.figure import Figure

from puffin.studies.report.build import Report
from puffin.studies.report.figures.curves import draw_curves, draw_importance, draw_losses
from puffin.studies.report.figures.selection import draw_overfitting, draw_overtuning, draw_seeds
from puffin.studies.report.figures.style import svg
from puffin.studies.report.figures.time_series import (
    LEVEL,
    MOST_FOLDS,
    draw_equity,
    draw_forecasts,
)
from puffin.studies.report.markdown import picture
from puffin.studies.study import StoredStudy
from puffin.studies.text import percent


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes
    ----------
    draw : returns the figure, or None if the report has nothing to draw; the page says why
    alt : alternative text, for readers who cannot see the figure
    caption : text below the figure
    """

    draw: Callable[[StoredStudy, Report], Figure | None]
    alt: str
    caption: str


# By file name. A new figure is one entry here and one call of `show` on a page.
FIGURES: dict[str, ReportFigure] = {
    "curves.svg": ReportFigure(
        draw_curves,
        "Validation loss of every trial by epoch",
        "Validation loss of every trial by epoch. The winner is bold and its best epoch is marked. "
        "The vertical axis covers the lowest nine tenths of the losses; higher ones are cut off at "
        "the top.",
    ),
    "forecasts.svg": ReportFigure(
        draw_forecasts,
        "Forecasts of the winner and of persistence beside the actual values, by fold and on the "
        "holdout",
        "Out-of-sample forecasts of the winner, the actual values, and the forecasts of "
        "persistence, which expects no change. Skill is measured against persistence. "
        f"{percent(LEVEL, 0)} of the actual values would lie in the band if the winner's errors "
        "on the holdout were like those on the search folds. Each panel has its own scale, and at "
        f"most the last {MOST_FOLDS} folds are shown.",
    ),
    "equity.svg": ReportFigure(
        draw_equity,
        "Capital over the holdout, by trading on the forecasts and by holding",
        "Capital from trading on the holdout forecasts and from buying once and holding. The "
        "strategy holds the position where the background is shaded.",
    ),
    "importance.svg": ReportFigure(
        draw_importance,
        "Importance of each hyperparameter for being among the best trials",
        "How much each hyperparameter separates the best trials from all others. Hyperparameters "
        "with a fixed value are not measured.",
    ),
    "losses.svg": ReportFigure(
        draw_losses,
        "Lowest loss of each trial by cell type and by lookback",
        "Lowest loss of every trial, pruned ones included, by cell type and by lookback. The "
        "highest tenth of the losses may lie above the figure.",
    ),
    "overfitting.svg": ReportFigure(
        draw_overfitting,
        "Histogram of how the best trial on one half of the search bars ranked on the other half",
        "One count for each split of the search bars into two halves. Left of 0, the best trial on "
        "one half was no better than the median trial on the other half.",
    ),
    "overtuning.svg": ReportFigure(
        draw_overtuning,
        "Loss of each trial that was the best so far, on the search folds and on the holdout",
        "Each trial that was the best when it ended, in that order, relative to the first of them. "
        "Where the holdout line lies above the other, part of the progress was fitted to the "
        "search folds; otherwise the progress held on new bars.",
    ),
    "seeds.svg": ReportFigure(
        draw_seeds,
        "Losses of the best configurations over seeds, on the search folds",
        "The best configurations trained again with seeds that were not used to choose them. The "
        "short bars are means.",
    ),
}


def draw_figures(study: StoredStudy, report: Report) -> dict[str, bytes]:
    """Draw every figure that the report has data for.

    Returns
    -------
    dict
        SVG files by name: keys of ``FIGURES``.
    """
    figures = {name: figure.draw(study, report) for name, figure in FIGURES.items()}
    return {name: svg(figure) for name, figure in figures.items() if figure is not None}


def show(name: str, drawn: Collection[str]) -> str:
    """Return the Markdown of a figure with its caption; an empty text if it was not drawn."""
    figure = FIGURES[name]
    return picture(name, figure.alt, figure.caption) if name in drawn else ""
