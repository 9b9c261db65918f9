"""The verdict of the search folds, and advice on the study file."""

from collections.abc import Iterator, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from puffin.models.evaluation.metrics import skill
from puffin.studies.records import Scores
from puffin.studies.study import StoredStudy
from puffin.studies.text import percent


def advice(study: StoredStudy) -> list[str]:
    """Return what the best trial says of the study file, one sentence each.

    Raises
    ------
    StudyError
        If no trial is complete.
    """
    best = study.best()
    losses = Scores.read(best).fold_losses
    persistence = study.record.persistence_losses
    return [
        _beside_persistence(study, losses, persistence),
        *_last_epoch(study, best),
    ]


def _beside_persistence(
    study: StoredStudy, losses: Sequence[float], persistence: Sequence[float]
) -> str:
    """Return the verdict of the search folds."""
    folds = len(losses)
    better = sum(loss < naive for loss, naive in zip(losses, persistence, strict=True))
    count = {folds: f"all {folds}", 0: f"none of {folds}"}.get(better, f"{better} of {folds}")
    gained = skill(float(np.mean(losses)), float(np.mean(persistence)))
    average = f"by {percent(gained)}" if gained > 0 else f"{percent(-gained)} worse"
    sentence = (
        f"The best trial is better than persistence on {count} folds, and on average {average}"
    )
    if gained <= 0 and study.spec.data.target == "price":
        sentence += '; few forecasts of prices are better: try target = "return"'
    return f"{sentence}."


def _last_epoch(study: StoredStudy, best: FrozenTrial) -> Iterator[str]:
    epoch, most = Scores.read(best).best_epoch, study.spec.training.max_epochs
    if epoch == most:
        yield (
            f"The best epoch of the best trial, {epoch}, is the last that training.max_epochs = "
            f"{most} allows: a higher number may lower the loss."
        )
