"""The rules by which the best trial of a study is chosen."""

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
