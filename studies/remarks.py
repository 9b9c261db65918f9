"""Remarks on data and results: constant bars, a fold that dominates, searches without a result."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import varies
from puffin.models.errors import PuffinError
from puffin.models.folds import Span
from puffin.studies.records import is_duplicate, is_finished
from puffin.studies.storage.queue import count_finished
from puffin.studies.text import counted, when

if TYPE_CHECKING:  # a summary of a study does not wait for pandas
    from puffin.studies.dataset import Dataset

# Ratio of a fold's loss to the next largest above which it dominates the mean over folds.
_DOMINANT_RATIO = 3.0


def require_moving_target(dataset: "Dataset") -> None:
    """Raise if no network can learn from a fold, or no forecast can be judged.

    Raises
    ------
    PuffinError
        If the target is constant in the training part of a fold, or persistence is never wrong in
        any validation part.
    """
    target = dataset.spec.data.target
    fix = "take other bars (data.start, data.end), other data or another data.target"
    for number, found in enumerate(dataset.parts, start=1):
        for part in found:
            span = part.fold.train
            if not varies(part.member.series.target[span.start : span.stop]):
                dates = _dates(part.member.dates, span)
                of = f" of {part.member.symbol}" * dataset.is_basket
                raise PuffinError(
                    f"the target ({target}){of} never moves in the training part of fold {number}, "
                    f"{dates}: there is nothing to learn from it; {fix}"
                )
    if not any(dataset.persistence_losses):
        span = Span(dataset.folds[0].valid.start, dataset.folds[-1].valid.stop)
        raise PuffinError(
            f"the target ({target}) never moves in the validation parts of the folds, "
            f"{_dates(dataset.dates, span)}: no forecast can be better than persistence, which is "
            f"never wrong there; {fix}"
        )


def fold_remarks(dataset: "Dataset", losses: Sequence[float] | None = None) -> list[str]:
    """Return remarks on folds without information and on folds that dominate the mean.

    Parameters
    ----------
    dataset : Dataset
    losses : sequence of float, (fold,), optional
        Of a winner; by default those of persistence.
    """
    judged = dataset.persistence_losses if losses is None else losses
    whose = "the loss of persistence" if losses is None else "the winner's loss"
    flat = [i for i, loss in enumerate(dataset.persistence_losses) if loss == 0]
    named = [
        f"fold {i + 1} ({_dates(dataset.dates, f.valid)})" for i, f in enumerate(dataset.folds)
    ]
    remarks = [
        f"{named[i]}: the target never moves there, so persistence is never wrong and the skill of "
        "that fold is undefined"
        for i in flat
    ]
    moving = sorted((loss, i) for i, loss in enumerate(judged) if i not in flat)
    if len(moving) > 1 and moving[-1][0] > _DOMINANT_RATIO * moving[-2][0]:
        (others, _), (loss, heaviest) = moving[-2:]
        remarks.append(
            f"{named[heaviest]} outweighs the others: {whose} is {_plain(loss)} there and at "
            f"most {_plain(others)} elsewhere, so the mean over folds, which chooses the winner, "
            "is nearly that of this fold; look at its prices, or set training.objective = "
            '"skill", which weighs each fold by its own persistence'
        )
    return remarks + _constant_inputs(dataset)


def _plain(loss: float) -> str:
    return f"{loss:.4g}" if loss < 1000 else f"{loss:,.0f}"


def _constant_inputs(dataset: "Dataset") -> list[str]:
    """Return remarks on inputs that are constant in the training part of a fold."""
    constant: dict[str, list[str]] = {}
    for number, found in enumerate(dataset.parts, start=1):
        for part in found:
            of = f" of {part.member.symbol}" * dataset.is_basket
            rows = part.training_rows(dataset.spec.parsed_space.max_lookback)
            for name, moves in zip(dataset.spec.data.inputs, varies(rows), strict=True):
                if not moves:
                    constant.setdefault(name + of, []).append(str(number))
    return [
        f"feature {name} never moves in the training part of fold {', '.join(folds)}: no network "
        "can learn from it there"
        for name, folds in constant.items()
    ]


def _dates(dates: Any, span: Span) -> str:
    import pandas as pd

    first, last = (pd.Timestamp(dates[bar]) for bar in (span.start, span.stop - 1))
    return f"{when(first)} to {when(last)}"


def repeats_remark(trials: Iterable[FrozenTrial]) -> list[str]:
    """Return a remark on the trials that repeated a result without training, if there are any."""
    trials = list(trials)
    repeated = sum(map(is_duplicate, trials))
    if not repeated:
        return []
    return [
        (
            f"{repeated} of {count_finished(trials)} trials repeated the result of a network "
            "that was trained before: [space] has no other"
        )
    ]


def why_nothing_is_complete(trials: Iterable[FrozenTrial]) -> str:
    """Return how trials ended of which none is complete, and what to change."""
    ends = Counter(_end(trial) for trial in trials if is_finished(trial))
    parts = [f"{number} {end}" for end, number in ends.most_common()]
    fixes = {
        "diverged": "lower space.lr",
        "failed": "`tuner dashboard` shows why each failed",
        "pruned": 'set search.pruner = "none"',
    }
    chosen = fixes[ends.most_common(1)[0][0]]
    return (
        f"none of its {counted(ends.total(), 'trial')} is complete ({', '.join(parts)}): {chosen}, "
        "and start a study with another name (--set name=...)"
    )


def _end(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return "failed"
    return "diverged" if trial.constraints else "pruned"
