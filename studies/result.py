"""What a study has found so far, as plain values for tables, JSON and exports."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from models.rnn import CELLS
from studies import tickets
from studies.study import Handle, lowest_complete


@dataclass(frozen=True)
class Status:
    """State of a study.

    Attributes
    ----------
    tickets : trials that the study is to run
    finished : tickets that are spent
    complete, pruned, failed, running : tickets in these states; the rest is still to come
    workers : processes that train a trial and show signs of life, as "host:pid"
    best_loss, best_skill, best_trial : of the best complete trial, None before the first
    """

    name: str
    tickets: int
    finished: int
    complete: int
    pruned: int
    failed: int
    running: int
    workers: tuple[str, ...]
    best_loss: float | None
    best_skill: float | None
    best_trial: int | None

    @property
    def done(self) -> bool:
        """Whether the budget is spent."""
        return self.finished >= self.tickets

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self) | {"done": self.done}


def status(handle: Handle) -> Status:
    """Read the state of a study."""
    trials = handle.trials()
    tally: Counter[str] = tickets.count(trials)
    best = lowest_complete(trials)
    return Status(
        name=handle.name,
        tickets=tickets.total(handle.storage, handle.name) or 0,
        finished=tickets.finished(trials),
        complete=tally["complete"],
        pruned=tally["pruned"],
        failed=tally["failed"],
        running=tally["running"],
        workers=tickets.workers_alive(handle.storage, handle.study, trials),
        best_loss=best.value if best else None,
        best_skill=best.user_attrs["skill"] if best else None,
        best_trial=best.number if best else None,
    )


@dataclass(frozen=True)
class CellSummary:
    """How the trials of one cell type did.

    Attributes
    ----------
    cell : str, a key of ``CELLS``
    trials, complete, pruned, failed : numbers of finished trials
    best : the best complete trial; without one, the pruned trial that had come lowest; or None
    seconds_per_epoch : median over its trials, None without one
    """

    cell: str
    trials: int
    complete: int
    pruned: int
    failed: int
    best: FrozenTrial | None
    seconds_per_epoch: float | None


def compare_cells(handle: Handle) -> list[CellSummary]:
    """Set the best LSTM beside the best GRU."""
    finished = [t for t in handle.trials() if tickets.is_finished(t)]
    return [
        _summarise(
            cell, [t for t in finished if t.user_attrs.get("config", {}).get("cell") == cell]
        )
        for cell in CELLS
    ]


def _summarise(cell: str, trials: list[FrozenTrial]) -> CellSummary:
    states = Counter(t.state for t in trials)
    runs = [t.user_attrs["run"] for t in trials if "run" in t.user_attrs]
    return CellSummary(
        cell=cell,
        trials=len(trials),
        complete=states[TrialState.COMPLETE],
        pruned=states[TrialState.PRUNED],
        failed=states[TrialState.FAIL],
        best=lowest_complete(trials) or _lowest_pruned(trials),
        seconds_per_epoch=median(r["seconds"] / max(r["epochs"], 1) for r in runs)
        if runs
        else None,
    )


def _lowest_pruned(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    pruned = [t for t in trials if t.state == TrialState.PRUNED and "best_loss" in t.user_attrs]
    return min(pruned, key=lambda t: (t.user_attrs["best_loss"], t.number), default=None)


def mishaps(handle: Handle) -> Counter[str]:
    """Count why trials failed or diverged."""
    reasons: Counter[str] = Counter()
    for trial in handle.trials():
        if tickets.FAILURE in trial.user_attrs:
            reasons[f"failed: {trial.user_attrs[tickets.FAILURE]}"] += 1
        elif trial.state == TrialState.PRUNED and trial.constraints:
            reasons[trial.user_attrs["reason"]] += 1
    return reasons


def best_record(handle: Handle) -> dict[str, Any]:
    """Give the best configuration and its scores as plain values.

    Raises
    ------
    StudyError
        If no trial is complete.
    """
    best = handle.best()
    attrs = best.user_attrs
    return {
        "study": handle.name,
        "trial": best.number,
        "config": attrs["config"],
        "epochs": attrs["best_epoch"],
        "scores": {
            "loss": best.value,
            "fold_losses": attrs["fold_losses"],
            "persistence_loss": float(np.mean(handle.attrs["persistence_losses"])),
            "mean_loss": float(np.mean(handle.attrs["mean_losses"])),
            "skill": attrs["skill"],
            "direction_accuracy": attrs["direction_accuracy"],
        },
    }
