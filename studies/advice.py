"""Advice on the study file, derived from the result of its search."""

from collections.abc import Iterator, Sequence

import numpy as np
from optuna.trial import FrozenTrial

from puffin.studies.records import Scores
from puffin.studies.study import StoredStudy


def advice(study: StoredStudy) -> list[str]:
    """Return advice on the study file from its best trial, one sentence each.

    Raises
    ------
    StudyError
        If no trial is complete.
    """
    best = study.best()
    losses = Scores.read(best).fold_losses
    persistence = study.record.persistence_losses
    return [
        *_beside_persistence(study, losses, persistence),
        *_last_epoch(study, best),
    ]


def _beside_persistence(
    study: StoredStudy, losses: Sequence[float], persistence: Sequence[float]
) -> Iterator[str]:
    worse = sum(loss >= naive for loss, naive in zip(losses, persistence, strict=True))
    if not worse:
        return
    on_average = np.mean(losses) >= np.mean(persistence)
    sentence = f"The best trial is no better than persistence on {worse} of {len(losses)} folds"
    sentence += ", and on average" if on_average else ""
    if on_average and study.spec.data.target == "price":
        sentence += '; few forecasts of prices are: try target = "return"'
    yield f"{sentence}."


def _last_epoch(study: StoredStudy, best: FrozenTrial) -> Iterator[str]:
    epoch, most = Scores.read(best).best_epoch, study.spec.training.max_epochs
    if epoch == most:
        yield (
            f"The best epoch of the best trial, {epoch}, is the last that training.max_epochs = "
            f"{most} allows: a higher number may lower the loss."
        )
