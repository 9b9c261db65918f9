"""What is said of each picture: to those who see it, and to those who do not."""

from collections.abc import Collection

from puffin.studies.report.figures.time_series import LEVEL, MOST_FOLDS
from puffin.studies.report.markdown import picture
from puffin.studies.text import percent

# Alternative text and caption of each picture.
CAPTIONS = {
    "curves.svg": (
        "Validation loss of every trial by epoch",
        (
            "Every trial, epoch by epoch; the winner is bold, its best epoch marked. Nine "
            "tenths of the losses set the height: worse ones leave the picture at the top."
        ),
    ),
    "forecasts.svg": (
        "Forecasts of the winner and of persistence beside the truth, by fold and on the holdout",
        (
            "What the winner forecast out of sample, what came, and what persistence forecast: no "
            f"change. Skill is against persistence. The band is where {percent(LEVEL, 0)} of what "
            "came would lie if the winner erred on the holdout as it did on the search folds. Each "
            f"panel has its own scale; no more than the last {MOST_FOLDS} folds are shown."
        ),
    ),
    "equity.svg": (
        "Capital over the holdout, by trading on the forecasts and by holding",
        (
            "Trading on the forecasts of the holdout beside buying once and holding; the "
            "position is held where the ground is dark."
        ),
    ),
    "importance.svg": (
        "Share of each hyperparameter in what tells the best trials from the others",
        "What the best trials have in common. It says nothing of a hyperparameter that was fixed.",
    ),
    "losses.svg": (
        "Lowest loss of each trial by cell type and by lookback",
        (
            "Every trial by cell type and by lookback; a pruned one at the lowest loss it came to. "
            "The worst tenth may lie above the picture."
        ),
    ),
    "overfitting.svg": (
        "Histogram of how the best trial on one half of the search bars ranked on the other half",
        (
            "Each split of the search bars into halves is counted once. Left of 0, the best "
            "trial on one half was no better than the median on the other."
        ),
    ),
    "overtuning.svg": (
        "Loss of each trial that was the best so far, on the search folds and on the holdout",
        (
            "Each trial that was the best when it ended, in that order, against the first of them. "
            "Where the line of the holdout stays above the other, a part of the progress was "
            "fitted to the search folds; where it does not, the progress held on new bars."
        ),
    ),
    "seeds.svg": (
        "Losses of the best configurations over seeds, on the search folds",
        (
            "The best configurations trained again with seeds that had no part in choosing "
            "them; the short bars are means."
        ),
    ),
}


def show(name: str, drawn: Collection[str]) -> str:
    """Show a picture with its caption, if it was drawn."""
    return picture(name, *CAPTIONS[name]) if name in drawn else ""
