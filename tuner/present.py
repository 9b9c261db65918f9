"""What a person sees: tables of a study on stdout, progress and messages on stderr."""

import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from models.metrics import skill
from studies.result import Group, Status
from studies.space import grid_points
from studies.spec import Spec
from studies.stamp import PACKAGES
from studies.storage import masked
from studies.study import Handle
from studies.validation import when
from studies.workers import WorkerRow
from studies.workload import Workload

# Seconds between two lines of progress where stderr is no terminal.
_QUIET_INTERVAL = 10.0
# Where the output goes to a file nothing is cut or wrapped.
_FILE_WIDTH = 10_000


def stdout() -> Console:
    """Make the console of results."""
    return Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False)


def duration(seconds: float) -> str:
    """Write seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def signed_percent(value: float | None) -> str:
    """Write a share as ``+12.3 %``."""
    return "-" if value is None or math.isnan(value) else f"{value:+.1%}".replace("%", " %")


def percent(value: float) -> str:
    """Write a share as ``12.3 %``."""
    if math.isnan(value):
        return "-"
    return f"{value:.1%}".replace("%", " %")


class Progress:
    """Live state of a running search: one line that renews itself, or one line every 10 s."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._started = time.monotonic()
        self._before: int | None = None
        self._printed = -_QUIET_INTERVAL

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print a message above the line of progress."""
        self._console.print(Text(line), soft_wrap=True)

    def show(self, status: Status) -> None:
        """Show the state."""
        if self._before is None:
            self._before = status.finished
        line = self._line(status)
        if self._console.is_terminal:
            self._live.update(Text(line))
        elif time.monotonic() - self._printed >= _QUIET_INTERVAL:
            self._printed = time.monotonic()
            self._console.print(Text(line), soft_wrap=True)

    def _line(self, status: Status) -> str:
        parts = [
            f"{status.finished}/{status.tickets} trials",
            f"{status.complete} complete",
            f"{status.pruned} pruned",
            f"{status.failed} failed",
        ]
        if status.paused:
            parts.append(f"paused: `tuner resume {status.name}` goes on")
        if status.best_loss is not None:
            parts.append(f"best loss {status.best_loss:.4f}")
            parts.append(f"skill {signed_percent(status.best_skill)}")
        elapsed = time.monotonic() - self._started
        parts.append(f"{duration(elapsed)} gone")
        done = status.finished - (self._before or 0)
        if done:
            left = elapsed / done * (status.tickets - status.finished)
            parts.append(f"about {duration(left)} left")
        return " · ".join(parts)


def new_table(*columns: str) -> Table:
    """Make an empty table, its first column to the left."""
    table = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def print_result(handle: Handle, record: dict[str, Any], cells: Sequence[Group]) -> None:
    """Print what a finished search has found: configuration, folds, one cell against another."""
    out = stdout()
    out.print(Text(f"Best of study {record['study']}: trial {record['trial']}", "bold"))
    out.print(_config_table(record))
    out.print(Text("Validation", "bold"))
    out.print(_fold_table(handle, record))
    out.print(Text(_direction(record["scores"])))
    out.print()
    out.print(Text("LSTM against GRU", "bold"))
    out.print(group_table(cells))


def _config_table(record: dict[str, Any]) -> Table:
    table = new_table("hyperparameter", "value")
    for key, value in record["config"].items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        table.add_row(key, f"{shown:.3g}" if isinstance(shown, float) else str(shown))
    table.add_row("epochs", str(record["epochs"]))
    return table


def _fold_table(handle: Handle, record: dict[str, Any]) -> Table:
    scores = record["scores"]
    loss = f"walk-forward {handle.spec.training.loss}"
    table = new_table("fold", loss, "persistence", "training mean", "skill")
    persistence, means = handle.attrs["persistence_losses"], handle.attrs["mean_losses"]
    rows = zip(scores["fold_losses"], persistence, means, strict=True)
    for number, (own, last, mean) in enumerate(rows, start=1):
        table.add_row(str(number), *loss_cells(own, last, mean), signed_percent(skill(own, last)))
    table.add_section()
    averages = loss_cells(scores["loss"], float(np.mean(persistence)), float(np.mean(means)))
    table.add_row("mean", *averages, signed_percent(scores["skill"]))
    return table


def _direction(scores: dict[str, Any]) -> str:
    low, high = scores["direction_interval"]
    return (
        f"direction accuracy {percent(scores['direction_accuracy'])}, 95 % interval "
        f"{percent(low)} to {percent(high)}; of the training mean "
        f"{percent(scores['mean_direction_accuracy'])}"
    )


def loss_cells(*values: float) -> list[str]:
    """Write losses for a row."""
    return [f"{value:.4f}" for value in values]


def group_table(groups: Sequence[Group]) -> Table:
    """Set groups of trials side by side."""
    table = new_table("", *(group.label for group in groups))
    rows: dict[str, list[str]] = {
        "trials": [str(g.trials) for g in groups],
        "complete / pruned / failed": [f"{g.complete} / {g.pruned} / {g.failed}" for g in groups],
        "median loss": [_or_dash(g.median_loss, ".4f") for g in groups],
        "best loss": [_attr(g, "best_loss", "{:.4f}".format) for g in groups],
        "cut short": [_ending(g) for g in groups],
        "folds won": [_or_dash(g.folds_won, "d") for g in groups],
        "skill": [_attr(g, "skill", signed_percent) for g in groups],
        "direction accuracy": [_attr(g, "direction_accuracy", percent) for g in groups],
        "widths": [_config(g, "hidden_dims") for g in groups],
        "lookback": [_config(g, "lookback") for g in groups],
        "seconds per epoch": [_or_dash(g.seconds_per_epoch, ".2f") for g in groups],
    }
    for name, values in rows.items():
        if any(values):
            table.add_row(name, *values)
    return table


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _attr(summary: Group, key: str, form: Callable[[float], str]) -> str:
    return form(summary.best.user_attrs[key]) if summary.best else "-"


def _ending(summary: Group) -> str:
    """Say when a best trial was cut short, and its loss is so not the whole story."""
    return str(summary.best.user_attrs.get("reason", "")) if summary.best else ""


def _config(summary: Group, key: str) -> str:
    if summary.best is None:
        return "-"
    value = summary.best.user_attrs["config"][key]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def status_table(statuses: Sequence[Status]) -> Table:
    """List studies with their tickets by state."""
    table = new_table(
        "study",
        "state",
        "priority",
        "tickets",
        "complete",
        "pruned",
        "failed",
        "running",
        "to come",
        "workers",
        "loss",
        "skill",
    )
    for s in statuses:
        to_come = s.tickets - s.finished - s.running
        loss = "-" if s.best_loss is None else f"{s.best_loss:.4f}"
        counts = (s.tickets, s.complete, s.pruned, s.failed, s.running, to_come, len(s.workers))
        numbers = map(str, (s.priority, *counts))
        table.add_row(s.name, s.state, *numbers, loss, signed_percent(s.best_skill))
    return table


def worker_table(workers: Sequence[WorkerRow]) -> Table:
    """List the workers that live, and what they are at."""
    table = new_table("worker", "device", "since", "study", "ticket", " / ".join(PACKAGES))
    for w in workers:
        since = f"{w.since:%Y-%m-%d %H:%M:%S} UTC"
        ticket = "-" if w.ticket is None else str(w.ticket)
        versions = " / ".join(w.versions.get(package, "?") for package in PACKAGES)
        table.add_row(w.name, w.device, since, w.study or "-", ticket, versions)
    return table


def fold_dates_table(workload: Workload) -> Table:
    """Show what a study file leads to: its folds with their dates and baselines."""
    table = new_table(
        "fold", "trained on", "targets", "validated on", "persistence", "training mean"
    )
    dates = workload.dates
    for i, fold in enumerate(workload.folds):
        table.add_row(
            str(i + 1),
            f"{when(dates[fold.train.start])} to {when(dates[fold.train.stop - 1])}",
            str(len(fold.train)),
            f"{when(dates[fold.valid.start])} to {when(dates[fold.valid.stop - 1])}",
            f"{workload.persistence_losses[i]:.4f}",
            f"{workload.mean_losses[i]:.4f}",
        )
    return table


def grid_note(spec: Spec) -> str | None:
    """Say how many points of a grid are not run because another point is the same network."""
    if spec.search.sampler != "grid":
        return None
    repeats = grid_points(spec.parsed_space).repeats
    return (
        f"the grid has {spec.tickets + repeats} points, {repeats} of which repeat another network "
        "(dropout is inert at one layer) and are not run"
    )


_IN_ENVIRONMENT = " (the commands below take it from TUNER_STORAGE)"


def next_steps(name: str, storage: str, folder: Path | None) -> str:
    """Say where everything lies and what to type next."""
    shown = masked(storage)
    # A password is not shown, and a command without it does not work: the environment has it.
    option = "" if storage == "sqlite:///tuner.db" or shown != storage else f" --storage {storage}"
    steps = {
        f"{_own_name()} report {name}{option}": "is it any good? opens the sealed holdout",
        f"{_own_name()} compare {name}{option}": "best LSTM beside best GRU",
        f"{_own_name()} best {name}{option}": "the configuration as TOML",
        f"{_own_name()} dashboard{option}": "every trial in a browser",
    }
    width = max(map(len, steps))
    lines = [f"{command:{width}}   {why}" for command, why in steps.items()]
    return "\n".join(
        [
            f"study   {name} in {shown}{_IN_ENVIRONMENT if shown != storage else ''}",
            f"export  {f'{folder}/' if folder else 'none'}",
            f"next    {lines[0]}",
            *(f"        {line}" for line in lines[1:]),
        ]
    )


def _own_name() -> str:
    """Give what to type to start this program: its name alone only where a shell finds it so."""
    typed, found = Path(sys.argv[0]), shutil.which("tuner")
    if typed.name != "tuner" or (found and Path(found).resolve() == typed.resolve()):
        return "tuner"
    return str(typed)
