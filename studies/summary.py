"""Results of a study so far, as plain values for tables, JSON and exports."""

import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from operator import itemgetter
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import CATEGORICAL_FIELDS, NUMERIC_FIELDS
from puffin.studies.duplicates import trained
from puffin.studies.estimate import seconds_left
from puffin.studies.records import Scores, TrialRecord, is_finished
from puffin.studies.remarks import fold_remarks, repeats_remark
from puffin.studies.storage import registry, workers
from puffin.studies.storage.queue import count_by_state, count_finished
from puffin.studies.study import StoredStudy, StudyError, lowest_complete


@dataclass(frozen=True)
class RunningTrial:
    """A trial in training.

    Attributes
    ----------
    trial, ticket : numbers of the trial and of its ticket
    epoch, max_epochs : epochs trained so far, 0 if they are not reported, and the most there can be
    loss : lowest loss so far; None before the first epoch has ended
    worker : process that trains it, as "host:pid"; None before the training begins
    config : None before all of it is sampled
    seed : of a training with another seed; None in a search
    """

    trial: int
    ticket: int | None
    epoch: int
    max_epochs: int
    loss: float | None
    worker: str | None
    config: Mapping[str, Any] | None
    seed: int | None


@dataclass(frozen=True)
class Status:
    """State of a study.

    Attributes
    ----------
    search : name of the study whose best trials it trains again; None for a search
    tickets : number of trials that the study is to run
    finished : number of finished tickets
    complete, pruned, failed, running : number of tickets in each state; the others are to come
    running_trials : the trials in training
    workers : live processes that train a trial of the study, as "host:pid"
    priority, paused : weight in the sharing of the workers' time, and whether it gets any
    best_loss, best_skill, best_trial, best_config : of the best complete trial of a search; None
        before the first, and for a retraining study, whose lowest loss is lowest by chance
    seconds_left : estimate with the workers that train its trials, or with one if none does; None
        before three trials have ended, and at the end
    """

    name: str
    search: str | None
    tickets: int
    finished: int
    complete: int
    pruned: int
    failed: int
    running: int
    running_trials: tuple[RunningTrial, ...]
    workers: tuple[str, ...]
    priority: int
    paused: bool
    best_loss: float | None
    best_skill: float | None
    best_trial: int | None
    best_config: Mapping[str, Any] | None
    seconds_left: float | None

    @property
    def done(self) -> bool:
        """Whether all tickets are finished."""
        return self.finished >= self.tickets

    @property
    def state(self) -> str:
        """``done``, ``paused`` or ``open``."""
        return "done" if self.done else "paused" if self.paused else "open"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"done": self.done, "state": self.state}


def status(study: StoredStudy) -> Status:
    """Read the state of a study.

    Raises
    ------
    KeyError
        If the study was deleted meanwhile.
    """
    budget = registry.budgets(study.storage)[study.name]
    trials = study.trials()
    tally: Counter[str] = count_by_state(trials)
    done = count_finished(trials)
    at_work = tuple(w.name for w in workers.alive(study.storage) if w.study == study.name)
    search = study.parent_name
    best = lowest_complete(trials) if search is None else None
    return Status(
        name=study.name,
        search=search,
        tickets=budget.tickets,
        finished=done,
        complete=tally["complete"],
        pruned=tally["pruned"],
        failed=tally["failed"],
        running=tally["running"],
        running_trials=tuple(running_trials(study, trials)),
        workers=at_work,
        priority=budget.priority,
        paused=budget.paused,
        best_loss=best.value if best else None,
        best_skill=_skill(best) if best else None,
        best_trial=best.number if best else None,
        best_config=TrialRecord.read(best).config if best else None,
        seconds_left=_seconds_left(study, trials, budget.tickets, len(at_work))
        if done < budget.tickets
        else None,
    )


def _skill(trial: FrozenTrial) -> float | None:
    """Return the skill of a trial; None if it is not finite, as with a persistence loss of 0."""
    scores = TrialRecord.read(trial).scores
    return scores.skill if scores is not None and math.isfinite(scores.skill) else None


def running_trials(study: StoredStudy, trials: Iterable[FrozenTrial]) -> Iterator[RunningTrial]:
    """Yield the trials in training."""
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            record = TrialRecord.read(trial)
            yield RunningTrial(
                trial=trial.number,
                ticket=record.ticket,
                epoch=len(trial.intermediate_values),
                max_epochs=study.spec.training.max_epochs,
                loss=min(trial.intermediate_values.values(), default=None),
                worker=record.worker,
                config=record.config or None,
                seed=record.seed,
            )


def _seconds_left(
    study: StoredStudy, trials: list[FrozenTrial], budget: int, at_work: int
) -> float | None:
    spec = study.spec
    pruned = study.parent_name is None and spec.search.pruner != "none"
    return seconds_left(trials, budget, spec.training.max_epochs, at_work, pruned=pruned)


# Hyperparameters that trials can be compared by, and how each is read from a configuration.
COMPARABLE: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{name: itemgetter(name) for name in (*CATEGORICAL_FIELDS, *NUMERIC_FIELDS)},
    "layers": lambda config: len(config["hidden_dims"]),
    "hidden_dim": lambda config: config["hidden_dims"][0],
    # A network of one layer has no dropout, whatever its value.
    "dropout": lambda config: config["dropout"] if len(config["hidden_dims"]) > 1 else None,
}
# More distinct values than this are grouped into thirds.
_MOST_GROUPS = 5


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
    if by in CATEGORICAL_FIELDS:
        return [
            (
                name.upper() if by == "cell" else name,
                [trial for value, trial in valued if value == name],
            )
            for name in CATEGORICAL_FIELDS[by]
        ]
    values = np.array([value for value, _ in valued])
    distinct, group = np.unique(values, return_inverse=True)
    if len(distinct) > _MOST_GROUPS:
        # By rank, so that thirds are thirds, and equal values stay together.
        group = np.floor(3 * (pd.Series(values).rank().to_numpy() - 0.5) / len(values)).astype(int)
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


def failure_reasons(study: StoredStudy) -> Counter[str]:
    """Count why trials failed or diverged."""
    reasons: Counter[str] = Counter()
    for trial in trained(study.trials()):
        record = TrialRecord.read(trial)
        if record.failure is not None:
            reasons[f"failed: {record.failure}"] += 1
        elif trial.state == TrialState.PRUNED and trial.constraints:
            reasons[record.reason or "pruned"] += 1
    return reasons


def remarks(study: StoredStudy) -> list[str]:
    """Return remarks that help to read the results of a finished search.

    Raises
    ------
    StudyError
        If no trial is complete.
    """
    losses = Scores.read(study.best()).fold_losses
    return fold_remarks(study.dataset, losses) + repeats_remark(study.trials())


def best_record(study: StoredStudy, best: FrozenTrial | None = None) -> dict[str, Any]:
    """Return configuration and scores of a trial, by default the best, as plain values.

    Raises
    ------
    StudyError
        If no trial is complete.
    """
    best = best or study.best()
    record, scores = study.record, Scores.read(best)
    return {
        "study": study.name,
        "trial": best.number,
        "config": TrialRecord.read(best).config,
        "epochs": scores.best_epoch,
        "scores": {
            "loss": best.value,
            "fold_losses": list(scores.fold_losses),
            "persistence_loss": float(np.mean(record.persistence_losses)),
            "mean_loss": float(np.mean(record.mean_losses)),
            "skill": scores.skill,
            "direction_accuracy": scores.direction_accuracy,
            "direction_interval": list(scores.direction_interval),
            "mean_direction_accuracy": record.mean_direction_accuracy,
        },
    }
