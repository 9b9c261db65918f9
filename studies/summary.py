"""Results of a study so far, as plain values for tables, JSON and exports."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from puffin.studies.duplicates import trained
from puffin.studies.estimate import seconds_left
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.remarks import fold_remarks, repeats_remark
from puffin.studies.storage import registry, workers
from puffin.studies.storage.queue import count_by_state, count_finished
from puffin.studies.study import StoredStudy, lowest_complete, walk_of


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
    origins : number of origins of the walk of which it is a search; 0 if it is of none
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
    origins: int
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


def sum_of(name: str, states: Iterable[Status], to_come: int = 0) -> Status:
    """Return the state of several studies together, under a name; it has no best trial.

    Parameters
    ----------
    name : str
    states : iterable of Status
    to_come : int
        Tickets of studies that are not created yet.
    """
    known = list(states)
    unfinished = [state for state in known if not state.done]
    left = [state.seconds_left for state in unfinished if state.seconds_left is not None]
    return Status(
        name=name,
        search=None,
        tickets=sum(state.tickets for state in known) + to_come,
        finished=sum(state.finished for state in known),
        complete=sum(state.complete for state in known),
        pruned=sum(state.pruned for state in known),
        failed=sum(state.failed for state in known),
        running=sum(state.running for state in known),
        running_trials=tuple(trial for state in known for trial in state.running_trials),
        workers=tuple(worker for state in known for worker in state.workers),
        priority=max((state.priority for state in known), default=1),
        paused=bool(unfinished) and all(state.paused for state in unfinished),
        best_loss=None,
        best_skill=None,
        best_trial=None,
        best_config=None,
        origins=0,
        seconds_left=sum(left) if len(left) == len(unfinished) and left else None,
    )


def fold_walks(states: Iterable[Status]) -> list[Status]:
    """Return states with one for each walk, in place of its searches and their retraining."""
    walks: dict[str, list[Status]] = {}
    for state in states:
        walks.setdefault(walk_of(state.name) or state.name, []).append(state)
    return [
        sum_of(name, found, _to_come(found)) if walk_of(found[0].name) else found[0]
        for name, found in walks.items()
    ]


def _to_come(walk: Sequence[Status]) -> int:
    """Return the tickets of the searches of a walk that have not begun."""
    searches = [state for state in walk if state.search is None]
    return (searches[0].origins - len(searches)) * searches[0].tickets if searches else 0


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
        origins=study.record.origins if walk_of(study.name) else 0,
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
