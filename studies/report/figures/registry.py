"""The figures of a report: how each is drawn, its alternative text and its caption."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from puffin.studies.report.build import Report
from puffin.studies.report.document import Picture
from puffin.studies.report.figures.curves import draw_curves, draw_importance, draw_losses
from puffin.studies.report.figures.intervals import draw_coverage
from puffin.studies.report.figures.models import draw_baselines
from puffin.studies.report.figures.selection import draw_overfitting, draw_overtuning, draw_seeds
from puffin.studies.report.figures.style import Drawing, svg
from puffin.studies.report.figures.symbols import draw_lead, draw_symbols
from puffin.studies.report.figures.time_series import (
    MOST_FOLDS,
    draw_equity,
    draw_folds,
    draw_forecasts,
    draw_recent,
)
from puffin.studies.report.panels import LEVEL
from puffin.studies.study import StoredStudy
from puffin.studies.text import percent


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes
    ----------
    draw : returns figure and title, or None if the report has nothing to draw; the page says why
    alt : alternative text, for readers who cannot see the figure
    caption : text below the figure
    """

    draw: Callable[[StoredStudy, Report], Drawing | None]
    alt: str
    caption: str


@dataclass(frozen=True)
class DrawnFigure:
    """A figure of the report as SVG, its title and caption."""

    title: str
    svg: bytes
    caption: str


# By file name.
Drawn = Mapping[str, DrawnFigure]

_BAND = (
    f"{percent(LEVEL, 0)} of the actual values are meant to lie in the band, which follows the "
    "volatility before each bar."
)
# By file name. A new figure is one entry here and one call of `show` in a section.
FIGURES: dict[str, ReportFigure] = {
    "recent.svg": ReportFigure(
        draw_recent,
        "Last forecasts of the winner and of persistence beside the actual values",
        f"The end of the holdout. {_BAND} What is far from the actual values is cut off.",
    ),
    "forecasts.svg": ReportFigure(
        draw_forecasts,
        "Forecasts of the winner beside the actual values on the whole holdout",
        "The whole holdout, with the same band and without persistence. Skill is the share by "
        "which the error is lower than that of persistence.",
    ),
    "folds.svg": ReportFigure(
        draw_folds,
        "Forecasts of the winner beside the actual values on the search folds",
        "Out-of-sample forecasts on the folds by which the winner was chosen. "
        f"Each panel has its own scale, and at most the last {MOST_FOLDS} folds are shown.",
    ),
    "baselines.svg": ReportFigure(
        draw_baselines,
        "Loss of the winner and of each simple model on the holdout",
        "Loss on the holdout; left is better. The line is the winner. The first simple model was "
        "the best on the search bars and is the one to beat. A hollow mark is a model that is not "
        "the best, by the model confidence set.",
    ),
    "symbols.svg": ReportFigure(
        draw_symbols,
        "Skill of the winner on each symbol against the best simple model",
        "Each dot is a symbol; right of the line the winner has the lower loss. Chance alone puts "
        "some symbols on either side: the table has adjusted p-values.",
    ),
    "lead.svg": ReportFigure(
        draw_lead,
        "Loss of the best simple model minus that of the winner, summed over dates",
        "Where the line rises, the winner forecasts better than the best simple model, on average "
        "over the symbols. A lead that is worth something rises all along and not by a few jumps.",
    ),
    "coverage.svg": ReportFigure(
        draw_coverage,
        "Share of the actual values inside the prediction intervals, over the holdout",
        "Share of the last actual values that were inside the intervals of each level. The dashed "
        "lines are the levels; chance alone moves the lines around them.",
    ),
    "equity.svg": ReportFigure(
        draw_equity,
        "Capital over the holdout, with the forecasts and without them",
        "Capital from trading on the holdout forecasts and from buying once and holding. The "
        "strategy is long where the background is shaded.",
    ),
    "curves.svg": ReportFigure(
        draw_curves,
        "Validation loss of every trial by epoch",
        "Every trial: thin grey lines were pruned, thin blue ones are complete. The winner is bold "
        "and its best epoch is marked. The vertical axis covers the lowest nine tenths of the "
        "losses; higher ones are cut off at the top.",
    ),
    "losses.svg": ReportFigure(
        draw_losses,
        "Lowest loss of each trial by cell type and by lookback",
        "Lowest loss of every trial by cell type and by lookback: circles are complete trials, "
        "crosses pruned ones, the star is the winner, and bars are medians of the complete trials. "
        "The highest tenth of the losses may lie above the figure.",
    ),
    "importance.svg": ReportFigure(
        draw_importance,
        "Importance of each hyperparameter for being among the best trials",
        "How much each hyperparameter separates the best trials from all others. Hyperparameters "
        "with a fixed value are not measured.",
    ),
    "seeds.svg": ReportFigure(
        draw_seeds,
        "Losses of the best configurations over seeds, on the search folds",
        "The best configurations trained again with seeds that were not used to choose them: dots "
        "are losses, short bars their means, and diamonds the losses in the search. The dashed "
        "line is one standard error above the lowest mean.",
    ),
    "overfitting.svg": ReportFigure(
        draw_overfitting,
        "Histogram of how the best trial on one half of the search bars ranked on the other half",
        "One count for each split of the search bars into two halves. Left of 0, hatched, the best "
        "trial on one half was no better than the median trial on the other half.",
    ),
    "overtuning.svg": ReportFigure(
        draw_overtuning,
        "Loss of each trial that was the best so far, on the search folds and on the holdout",
        "Each trial that was the best when it ended, in that order, relative to the first of them. "
        "Where the holdout line lies above the other, part of the progress was fitted to the "
        "search folds; otherwise the progress held on new bars.",
    ),
}


def draw_figures(study: StoredStudy, report: Report) -> dict[str, DrawnFigure]:
    """Draw every figure that the report has data for, by file name."""
    drawings = {name: figure.draw(study, report) for name, figure in FIGURES.items()}
    return {
        name: DrawnFigure(
            drawing.title, svg(drawing.figure), drawing.caption or FIGURES[name].caption
        )
        for name, drawing in drawings.items()
        if drawing is not None
    }


def show(name: str, drawn: Drawn) -> list[Picture]:
    """Return a figure with its words; nothing if it was not drawn."""
    figure = FIGURES[name]
    if name not in drawn:
        return []
    return [Picture(name, drawn[name].title, figure.alt, drawn[name].caption)]
