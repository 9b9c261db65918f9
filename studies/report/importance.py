"""The importance of hyperparameters for being among the best trials of a search."""

import math
import warnings
from bisect import bisect_right
from dataclasses import dataclass, field

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from puffin.studies.duplicates import trained
from puffin.studies.study import StoredStudy

# Fewest best trials, as Optuna advises, and fewest trials, so that the best are at most half.
BEST, TRIALS = 5, 10
# Share of the trials that are the best ones, if that is at least `BEST`.
_SHARE = 0.1


@dataclass(frozen=True)
class Importance:
    """How much each hyperparameter separates the best trials from all others.

    Attributes
    ----------
    trials : number of complete trials
    best : number of these that count as the best
    shares : importance of each hyperparameter, the largest first; the sum is 1
    why_none : reason why there are no shares; None if there are
    """

    trials: int
    best: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    why_none: str | None = None


def importance(study: StoredStudy) -> Importance:
    """Compute the importance of the hyperparameters of a study by PED-ANOVA.

    PED-ANOVA is deterministic, and it covers conditional hyperparameters, such as the width of a
    second layer.

    References
    ----------
    Watanabe, Bansal and Hutter (2023), "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces", IJCAI 2023.
    """
    complete = [t for t in trained(study.trials()) if t.state == TrialState.COMPLETE]
    count = len(complete)
    if count < TRIALS:
        why = f"at least {TRIALS} complete trials are needed, and the search has {count}"
        return Importance(count, why_none=why)
    share = max(_SHARE, BEST / count)
    # A study without the duplicates, which would count a network more than once.
    in_memory = optuna.create_study(direction="minimize")
    in_memory.add_trials(complete)
    with warnings.catch_warnings():
        # `normalize` is experimental, and some values occur in fewer than two trials.
        warnings.simplefilter("ignore")
        by_name = get_param_importances(
            in_memory,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=share),
            normalize=False,
        )
    total = sum(by_name.values())
    if not total > 0:
        why = "the best trials differ from the others in none of the searched hyperparameters"
        return Importance(count, why_none=why)
    # Sorted by name, too: Optuna's order of equal shares differs from process to process.
    ranked = sorted(by_name.items(), key=lambda item: (-item[1], item[0]))
    losses = sorted(t.value for t in complete if t.value is not None)
    best = bisect_right(losses, losses[math.ceil(share * count) - 1])  # ties included
    return Importance(count, best, {name: value / total for name, value in ranked})
