"""What the result of a search says about its study file, in plain sentences."""

from collections.abc import Iterator, Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from studies import tickets
from studies.result import mishaps
from studies.study import Handle

# A fold outweighs the others where its loss is so many times their mean.
_OUTWEIGHS = 3.0


def remarks(search: Handle) -> list[str]:
    """Return what is to be known of the best trial of a search, one sentence each.

    Raises
    ------
    StudyError
        If no trial is complete.
    """
    best = search.best()
    losses = best.user_attrs["fold_losses"]
    persistence = search.attrs["persistence_losses"]
    return [
        *_beside_persistence(search, losses, persistence),
        *_last_epoch(search, best),
        *_heaviest_fold(losses),
    ]


def _beside_persistence(
    search: Handle, losses: Sequence[float], persistence: Sequence[float]
) -> Iterator[str]:
    worse = sum(own >= last for own, last in zip(losses, persistence, strict=True))
    if not worse:
        return
    on_average = np.mean(losses) >= np.mean(persistence)
    sentence = f"The best trial is no better than persistence on {worse} of {len(losses)} folds"
    sentence += ", and on average" if on_average else ""
    if on_average and search.spec.data.target == "price":
        sentence += '; of prices hardly anything is: target = "return" may do better'
    yield f"{sentence}."


def _last_epoch(search: Handle, best: FrozenTrial) -> Iterator[str]:
    epoch, most = best.user_attrs["best_epoch"], search.spec.training.max_epochs
    if epoch == most:
        yield (
            f"Its best epoch, {epoch}, is the last that training.max_epochs = {most} allows: "
            "a higher number may lower the loss."
        )


def _heaviest_fold(losses: Sequence[float]) -> Iterator[str]:
    heaviest = int(np.argmax(losses))
    others = float(np.mean(np.delete(losses, heaviest)))
    if losses[heaviest] > _OUTWEIGHS * others:
        share = 100 * losses[heaviest] / sum(losses)
        yield (
            f"Fold {heaviest + 1} outweighs the others with {share:.0f} % of the sum of the "
            "losses: it decides which trial is the best."
        )


def why_none_is_complete(search: Handle) -> str:
    """Return why a search has no result, and what helps.

    Parameters
    ----------
    search : Handle
        Without a complete trial.
    """
    ended = [t for t in search.trials() if tickets.is_finished(t)]
    diverged = sum(t.state == TrialState.PRUNED and bool(t.constraints) for t in ended)
    failed = sum(t.state == TrialState.FAIL for t in ended)
    counts = {"diverged": diverged, "failed": failed, "pruned": len(ended) - diverged - failed}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    most = max(counts, key=lambda state: counts[state])
    reasons = [reason for reason, _ in mishaps(search).most_common(1)]
    helps = {
        "diverged": "lower the learning rates in space.lr, or look for a bar far off the others",
        "failed": "the most common reason: " + "".join(reasons).removeprefix("failed: "),
        "pruned": 'set search.pruner = "none", or add trials with `tuner extend`',
    }
    return f"no trial of study {search.name!r} is complete ({states}); {helps[most]}"
