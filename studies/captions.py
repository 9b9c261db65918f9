"""What is said of each picture: to those who see it, and to those who do not."""

from collections.abc import Collection

from studies.markdown import picture
from studies.over_time import MOST_FOLDS

# Alternative text and caption of each picture.
CAPTIONS = {
    "curves.png": (
        "Validation loss of every trial by epoch",
        (
            "Every trial, epoch by epoch; the winner is bold, its best epoch marked. Nine "
            "tenths of the losses set the height: worse ones leave the picture at the top."
        ),
    ),
    "forecasts.png": (
        "Forecasts of the winner and the truth, on each fold and on the holdout",
        (
            "What the winner forecast out of sample and what came, each panel at its own scale; "
            f"skill is against persistence. No more than the last {MOST_FOLDS} folds are shown."
        ),
    ),
    "equity.png": (
        "Capital over the holdout, by trading on the forecasts and by holding",
        (
            "Trading on the forecasts of the holdout beside buying once and holding; the "
            "position is held where the ground is dark."
        ),
    ),
    "importance.png": (
        "Share of each hyperparameter in what tells the best trials from the others",
        "What the best trials have in common. It says nothing of a hyperparameter that was fixed.",
    ),
    "losses.png": (
        "Lowest loss of each trial by cell type and by lookback",
        (
            "Every trial by cell type and by lookback; a pruned one at the lowest loss it came to. "
            "The worst tenth may lie above the picture."
        ),
    ),
    "overfitting.png": (
        "Histogram of how the best trial on one half of the search bars ranked on the other half",
        (
            "Each split of the search bars into halves is counted once. Left of 0, the best "
            "trial on one half was no better than the median on the other."
        ),
    ),
    "overtuning.png": (
        "Loss of each trial that was the best so far, on the search folds and on the holdout",
        (
            "Each trial that was the best when it ended, in that order. Where the lines part, "
            "the search went on to fit its own folds."
        ),
    ),
    "seeds.png": (
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
