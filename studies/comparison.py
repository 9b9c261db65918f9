"""Trials compared by the value of one hyperparameter."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import CATEGORICAL_FIELDS, NUMERIC_FIELDS
from puffin.models.evaluation.metrics import skill
from puffin.studies.duplicates import trained
from puffin.studies.records import Scores, TrialRecord, is_finished
from puffin.studies.study import StoredStudy, StudyError, lowest_complete

# Hyperparameters that trials can be compared by, and how each is read from a configuration.
COMPARABLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{name: itemgetter(name) for name in (*CATEGORICAL_FIELDS, *NUMERIC_FIELDS)},
    "features": lambda config: config.get("features"),
    "layers": lambda config: len(config["hidden_dims"]),
    "hidden_dim": lambda config: config["hidden_dims"][0],
    # A network of one layer has no dropout, whatever its value.
    "dropout": lambda config: config["dropout"] if len(config["hidden_dims"]) > 1 else None,
}

# What symbols of a basket are compared by.
SYMBOL = "symbol"
# More distinct values than this are grouped into thirds.
_MOST_GROUPS = 5


@dataclass(frozen=True)
class SymbolResult:
    """The best trial's result on one symbol of a basket.

    Attributes
    ----------
    loss, persistence : mean losses over the folds in which the symbol takes part
    """

    symbol: str
    loss: float
    persistence: float

    @property
    def skill(self) -> float:
        """1 - loss / loss of persistence."""
        return skill(self.loss, self.persistence)


def compare_symbols(study: StoredStudy) -> list[SymbolResult]:
    """Return the results of the best trial on each symbol, the highest skill first.

    Raises
    ------
    StudyError
        If no trial is complete, or the study has one symbol.
    """
    losses, persistence = Scores.read(study.best()).symbol_losses, study.record.symbol_persistence
    if not losses:
        msg = f"study {study.name!r} has one symbol: there are no symbols to compare"
        raise StudyError(msg)
    found = [SymbolResult(symbol, value, persistence[symbol]) for symbol, value in losses.items()]
    return sorted(found, key=lambda result: -result.skill)


def results_of_each(studies: Iterable[StoredStudy]) -> list[SymbolResult]:
    """Return the results of studies of one symbol each, the highest skill first.

    Raises
    ------
    StudyError
        If a study has no complete trial.
    """
    found = [
        SymbolResult(
            study.spec.data.title,
            Scores.read(study.best()).best_loss,
            float(np.mean(study.record.persistence_losses)),
        )
        for study in studies
    ]
    return sorted(found, key=lambda result: -result.skill)


@dataclass(frozen=True)
class Group:
    """Results of the trials that share the value of a hyperparameter.

    Attributes
    ----------
    label : the value, or its range
    trials, complete, pruned, failed : numbers of finished trials
    best : best complete trial; None without one
    median_loss : of the complete trials; None without one
    folds_won : number of folds in which the best trial has the lowest loss of all groups' best
        trials; None if there are not two to compare
    seconds_per_epoch : median over the trials; None without one
    epoch : last epoch that every group has reached, up to which losses are compared if a group has
        no complete trial; None if each group has one
    loss_at_epoch : lowest loss up to that epoch of all trials, including pruned ones
    """

    label: str
    trials: int
    complete: int
    pruned: int
    failed: int
    best: FrozenTrial | None
    median_loss: float | None
    folds_won: int | None
    seconds_per_epoch: float | None
    epoch: int | None = None
    loss_at_epoch: float | None = None


def compare(study: StoredStudy, by: str = "cell") -> list[Group]:
    """Compare trials by the value of one hyperparameter; duplicates do not count.

    Losses are compared at equal numbers of epochs. Complete trials were trained to their end. If
    the pruner has stopped all trials of a group, the lowest losses of all groups are compared up to
    the last epoch that the trials of that group have reached.

    Parameters
    ----------
    by : str
        A key of ``COMPARABLE``; `hidden_dim` is the width of the first layer. More than five values
        are grouped into thirds.

    Raises
    ------
    StudyError
        If no trial is finished, or all finished ones have the same number; names such as those of
        `cell` always have a group each.
    """
    finished = [t for t in trained(study.trials()) if is_finished(t)]
    valued = []
    for trial in finished:
        config = TrialRecord.read(trial).config
        value = COMPARABLE[by](config) if config else None
        if value is not None:
            valued.append((value, trial))
    groups = _groups(valued, by) if valued else []
    if len(groups) < 2 or not any(_curve(trial for _, trial in valued)):
        raise StudyError(_nothing_to_compare(study, by, finished, groups))
    bests = [lowest_complete(trials) for _, trials in groups]
    winners = _fold_winners(bests)
    epoch = _common_epoch([trials for _, trials in groups])
    return [
        _summarise(label, trials, best, winners.count(i) if winners and best else None, epoch)
        for i, ((label, trials), best) in enumerate(zip(groups, bests, strict=True))
    ]


def _common_epoch(groups: list[list[FrozenTrial]]) -> int | None:
    """Return the last epoch that every group has reached; None if each has a complete trial.

    A group with a complete trial has reached the last epoch; a group without any loss is ignored.
    """
    pruned_only = [trials for trials in groups if lowest_complete(trials) is None]
    reached = [max(_curve(trials), default=(0, 0.0))[0] for trials in pruned_only]
    return min(filter(None, reached), default=None)


def _curve(trials: Iterable[FrozenTrial]) -> Iterator[tuple[int, float]]:
    """Yield epoch and loss of each report of a complete or pruned trial."""
    for trial in trials:
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            yield from trial.intermediate_values.items()


def _nothing_to_compare(
    study: StoredStudy,
    by: str,
    finished: list[FrozenTrial],
    groups: list[tuple[str, list[FrozenTrial]]],
) -> str:
    """Return why there are no two groups of trials, and what to do."""
    if not finished:
        return (
            f"study {study.name!r} has no finished trial yet: there is nothing to compare before "
            "`tuner worker` has trained some"
        )
    if not any(_curve(finished)):
        command = shlex.join(["tuner", "status", study.name])
        return (
            f"all finished trials of study {study.name!r} ({len(finished)}) failed before an "
            f"epoch had ended: there is nothing to compare; `{command}` shows the reasons"
        )
    common = f"{by} = {groups[0][0]}" if groups else "one layer, where dropout does nothing"
    return (
        f"all finished trials of study {study.name!r} have {common}: there is nothing to compare; "
        "name another --by"
    )


def _groups(valued: list[tuple[Any, FrozenTrial]], by: str) -> list[tuple[str, list[FrozenTrial]]]:
    """Group trials by name, or by number or thirds of the numbers in ascending order."""
    if isinstance(valued[0][0], str):
        names = CATEGORICAL_FIELDS.get(by) or tuple(dict.fromkeys(value for value, _ in valued))
        return [
            (
                name.upper() if by == "cell" else name,
                [trial for value, trial in valued if value == name],
            )
            for name in names
        ]
    values = np.array([value for value, _ in valued])
    distinct, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) > _MOST_GROUPS:
        # By the middle of their ranks, so that thirds are thirds, and equal values stay together.
        middles = np.cumsum(counts) - counts / 2
        group = np.floor(3 * middles[group] / len(values)).astype(int)
    return [
        (
            _label(values[group == i]),
            [trial for (_, trial), place in zip(valued, group, strict=True) if place == i],
        )
        for i in np.unique(group)
    ]


def _label(values: np.ndarray) -> str:
    """Return the range of a group's values as text, like "4" or "4 to 9"."""
    ends = dict.fromkeys((values.min().item(), values.max().item()))
    return " to ".join(str(end) if isinstance(end, int) else f"{end:.3g}" for end in ends)


def _fold_winners(bests: list[FrozenTrial | None]) -> list[int]:
    """Return for each fold the position of the trial with the lowest loss."""
    losses = {i: Scores.read(t).fold_losses for i, t in enumerate(bests) if t is not None}
    folds = len(next(iter(losses.values()))) if len(losses) > 1 else 0
    return [min(losses, key=lambda i: losses[i][fold]) for fold in range(folds)]


def _summarise(
    label: str,
    trials: list[FrozenTrial],
    best: FrozenTrial | None,
    folds_won: int | None,
    epoch: int | None,
) -> Group:
    states = Counter(t.state for t in trials)
    runs = [run for t in trials if (run := TrialRecord.read(t).run) is not None]
    losses = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return Group(
        label=label,
        trials=len(trials),
        complete=states[TrialState.COMPLETE],
        pruned=states[TrialState.PRUNED],
        failed=states[TrialState.FAIL],
        best=best,
        median_loss=median(losses) if losses else None,
        folds_won=folds_won,
        seconds_per_epoch=median(run.seconds / max(run.epochs, 1) for run in runs)
        if runs
        else None,
        epoch=epoch,
        loss_at_epoch=min((v for e, v in _curve(trials) if e <= (epoch or 0)), default=None),
    )
