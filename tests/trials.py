"""Records of trials with defaults, for tests that need only some of their fields."""

from dataclasses import replace
from typing import Any

from puffin.studies.records import Scores


def scores(loss: float = 0.5, **changes: Any) -> Scores:
    """Return scores of a trial with one fold, with some fields changed."""
    usual = Scores(
        best_epoch=1,
        best_loss=loss,
        fold_losses=(loss,),
        skill=0.1,
        direction_accuracy=0.5,
        direction_interval=(0.4, 0.6),
    )
    return replace(usual, **changes)
