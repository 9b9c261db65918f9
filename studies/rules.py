"""The trial of a study that a command is about: chosen by a rule, or by its number."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from puffin.studies.study import StoredStudy


def _lowest_loss(study: "StoredStudy") -> "FrozenTrial":
    return study.best()


def _one_standard_error(study: "StoredStudy") -> "FrozenTrial":
    # Imported here: the command line lists the rules without loading Optuna.
    from puffin.studies.seeds import one_se_choice

    return one_se_choice(study)


RULES: dict[str, Callable[["StoredStudy"], "FrozenTrial"]] = {
    "loss": _lowest_loss,
    "1se": _one_standard_error,
}


def choose(study: "StoredStudy", rule: str, number: int | None = None) -> "FrozenTrial":
    """Return the trial that a rule chooses, or the complete trial of a number.

    Raises
    ------
    StudyError
        If no trial is complete, or the numbered one is not.
    """
    if number is None:
        return RULES[rule](study)
    from puffin.studies.study import numbered_complete

    return numbered_complete(study, number)
