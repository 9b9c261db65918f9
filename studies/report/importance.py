"""Which hyperparameters the best trials of a search have in common."""

import math
import warnings
from bisect import bisect_right
from dataclasses import dataclass

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from puffin.studies.duplicates import trained
from puffin.studies.study import StoredStudy

# Optuna advises at least so many trials among the best; they must be no more than half of all.
BEST, TRIALS = 5, 10
_SHARE = 0.1


@dataclass(frozen=True)
class Importance:
    """How much each hyperparameter tells the best trials from the others.

    Attributes
    ----------
    shares : of each hyperparameter, the largest first; their sum is 1
    trials : complete trials that it was computed from
    best : how many of these were the best ones
    """

    shares: dict[str, float]
    trials: int
    best: int


def importance(search: StoredStudy) -> Importance | str:
    """Weigh the hyperparameters of a search, or say in words why that cannot be done.

    PED-ANOVA draws nothing at random: the same trials give the same shares. It weighs conditional
    hyperparameters as well, such as the width of a second layer.

    References
    ----------
    Watanabe, Bansal and Hutter (2023), "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces", IJCAI 2023.
    """
    complete = [t for t in trained(search.trials()) if t.state == TrialState.COMPLETE]
    count = len(complete)
    if count < TRIALS:
        return f"it needs {TRIALS} complete trials or more, and the search has {count}"
    share = max(_SHARE, BEST / count)
    # Without the duplicates, which would count a network more than once.
    study = optuna.create_study(direction="minimize")
    study.add_trials(complete)
    with warnings.catch_warnings():
        # Of `normalize` being new, and of values that fewer than two trials had.
        warnings.simplefilter("ignore")
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=share),
            normalize=False,
        )
    total = sum(found.values())
    if not total > 0:
        return "the best trials differ from the others in no hyperparameter that was searched"
    # Optuna gives equals in an order that changes from process to process.
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    losses = sorted(t.value for t in complete if t.value is not None)
    best = bisect_right(losses, losses[math.ceil(share * count) - 1])  # with all that tie
    return Importance({name: value / total for name, value in ranked}, count, best)
