"""`tuner status`: all studies of a database in a table, or one study in detail."""

import io
import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import click
from optuna.storages import RDBStorage
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from puffin.models.errors import PuffinError
from puffin.studies.overview import Overview, TrialRow, overview
from puffin.studies.storage import workers
from puffin.studies.storage.workers import WorkerRow
from puffin.studies.study import HOLDOUT_SUFFIX, load, searches_of_walk, study_names, walk_of
from puffin.studies.summary import Status, fold_walks, status
from puffin.studies.text import configuration, counted, duration, loss, printable, roughly, signed
from puffin.studies.versions import PACKAGES
from puffin.tuner.columns import CONFIGURATION, print_rows
from puffin.tuner.messages import say, shell_command, stdout
from puffin.tuner.progress import best_line, count_line, ended_as, running_line

# Columns that are left out on a narrow terminal, in this order. Names and losses always stay.
_OPTIONAL = ("retraining", "ended as", "priority", "skill", "running", "time left", "state")
_OPTIONAL_OF_WORKERS = (" / ".join(PACKAGES), "since", "device")
_OPTIONAL_OF_TRIALS = ("best epoch", "seconds", "epochs", CONFIGURATION)
_MOST_REASONS = 5


def show(
    storage: RDBStorage, name: str | None, seconds: float | None, *, everything: bool, as_json: bool
) -> None:
    """Print all studies or one in detail, once or every `seconds`."""

    def show_once(out: Console) -> bool:
        if name is None or searches_of_walk(storage, name):
            return _print_studies(out, storage, name, everything=everything, as_json=as_json)
        return _print_study(out, storage, name, as_json=as_json)

    if seconds is None:
        show_once(stdout())
    else:
        _watch(show_once, seconds)


def _watch(once: Callable[[Console], bool], seconds: float) -> None:
    """Print a state again and again, in place on a terminal, until it is done.

    Parameters
    ----------
    once : callable
        Prints the state and returns whether it is done.
    seconds : float
        Pause before it is printed again.
    """
    out = stdout()
    in_place = out.is_interactive and sys.stdout.isatty()
    with Live(console=out, screen=True, auto_refresh=False) if in_place else nullcontext() as live:
        while not (done := _show_once(once, out, live)):
            time.sleep(seconds)
    if live is not None and done:  # the screen of before is back
        once(out)


def _show_once(once: Callable[[Console], bool], out: Console, live: Live | None) -> bool:
    if live is None:
        done = once(out)
        out.print()
        return done
    # What is printed while `live` runs would appear above it.
    text = io.StringIO()
    done = once(Console(file=text, width=out.width, markup=False, emoji=False, highlight=False))
    live.update(Text(text.getvalue()), refresh=True)
    return done


def _print_studies(
    out: Console, storage: RDBStorage, walk: str | None, *, everything: bool, as_json: bool
) -> bool:
    """Print the studies, or those of a walk, and the workers alive; return whether all are done.

    Parameters
    ----------
    out : Console
    storage : RDBStorage
    walk : str, optional
        Name of a walk, whose searches are listed, a row for each.
    everything : bool
        Whether to list also the studies that retrain the best of another one, and each search of a
        walk.
    as_json : bool
        Print JSON, which always contains every study.
    """
    states = [state for state in _all_states(storage) if walk in (None, walk_of(state.name))]
    alive = workers.alive(storage)
    if as_json:
        _print_json([state.to_json() for state in states], alive)
        return True
    names = {state.name for state in states}
    shown = states if everything or walk else fold_walks(states)
    rows = [s for s in shown if everything or s.search is None or s.search not in names]
    if rows:
        _print_table(out, rows, {} if everything else _retraining(states))
    else:
        out.print("no study yet")
    _print_workers(out, alive, states)
    return bool(states) and all(state.done for state in states)


def _print_study(out: Console, storage: RDBStorage, name: str, *, as_json: bool) -> bool:
    """Print one study in detail; return whether it is done.

    Raises
    ------
    StudyError
        If there is no study of that name, or it cannot be read.
    """
    shown = overview(load(storage, name))
    alive = [w for w in workers.alive(storage) if w.study == name]
    if as_json:
        _print_json([shown.to_json()], alive)
        return True
    facts = Table.grid(padding=(0, 2))
    for label, lines in _facts(shown, is_served=bool(alive)):
        facts.add_row(label, Text("\n".join(map(printable, lines))))
    out.print(facts)
    if shown.last_trials:
        out.print()
        out.print("Last trials")
        print_trials(out, shown.last_trials, shown.searched)
    _print_workers(out, alive, [shown.status])
    return shown.status.done


def _all_states(storage: RDBStorage) -> list[Status]:
    """Return the state of each study, and print a message for those that cannot be read."""
    states = []
    for name in study_names(storage):
        try:
            states.append(status(load(storage, name)))
        except PuffinError as error:
            say(f"not listed: {error}")
        except KeyError:
            continue  # deleted just now
    return states


def _print_json(studies: Sequence[Mapping[str, Any]], alive: Sequence[WorkerRow]) -> None:
    values = {"studies": studies, "workers": [worker.to_json() for worker in alive]}
    click.echo(json.dumps(values, indent=2))


def _retraining(states: Sequence[Status]) -> dict[str, str]:
    """Return the progress of the retraining of each search: its name to ``3 of 8``."""
    searches = {state.search for state in states if state.search is not None}
    return {
        search: f"{sum(s.finished for s in states if s.search == search)} of "
        f"{sum(s.tickets for s in states if s.search == search)}"
        for search in searches
    }


def _print_table(out: Console, states: Sequence[Status], retraining: Mapping[str, str]) -> None:
    """Print a row per study, without the columns that are empty for all of them."""
    columns = {
        "study": [s.name for s in states],
        "state": [s.state for s in states],
        "priority": [str(s.priority) for s in states],
        "trials": [f"{s.finished} of {s.tickets}" for s in states],
        "ended as": [ended_as(s) or "-" for s in states],
        "running": [str(s.running or "-") for s in states],
        "time left": [_time_left(s) for s in states],
        "retraining": [retraining.get(s.name, "-") for s in states],
        "loss": ["-" if s.best_loss is None else loss(s.best_loss) for s in states],
        "skill": [signed(s.best_skill) for s in states],
    }
    defaults = {"priority": "1", "running": "-", "time left": "-", "retraining": "-"}
    for name, empty in defaults.items():
        if set(columns[name]) == {empty}:
            del columns[name]
    rows = list(zip(*columns.values(), strict=True))
    print_rows(out, list(columns), rows, _OPTIONAL)


def _time_left(state: Status) -> str:
    if state.seconds_left is None or state.paused or not state.workers:
        return "-"
    return roughly(state.seconds_left)


def _print_workers(out: Console, alive: Sequence[WorkerRow], states: Sequence[Status]) -> None:
    out.print()
    if not alive:
        out.print("no worker is alive")
        return
    trials = {(s.name, t.ticket): t.trial for s in states for t in s.running_trials}
    columns = ("worker", "study", "trial", "device", "since", " / ".join(PACKAGES))
    rows = [
        (
            worker.name,
            worker.study or "-",
            str(trials.get((worker.study or "", worker.ticket), "-")),
            worker.device,
            f"{worker.since:%Y-%m-%d %H:%M} UTC",
            " / ".join(worker.versions.get(package, "?") for package in PACKAGES),
        )
        for worker in alive
    ]
    print_rows(out, columns, rows, _OPTIONAL_OF_WORKERS)


def _facts(study: Overview, *, is_served: bool) -> list[tuple[str, list[str]]]:
    """Return labels with their lines that describe a study; labels without lines are left out."""
    state = study.status
    facts: dict[str, list[str | None]] = {
        "study": [state.name, state.search and f"retrains the best of study {state.search}"],
        "state": [f"{state.state}, {count_line(state)}"],
        "priority": [str(state.priority) if state.priority != 1 else None],
        "target": [
            f"{study.target}, {counted(study.horizon, 'bar')} ahead, from "
            + ", ".join(study.features)
        ],
        "data": [
            f"{study.origin}, {study.first} to {study.last}",
            f"{counted(study.bars, 'bar')}, the last {study.holdout_bars} sealed",
        ],
        "submitted": [_ago(study.submitted)],
        "time left": [_outlook(state, is_served=is_served)],
        "best": [
            (best_line(state) or "").removeprefix("best "),
            f"{configuration(study.config, study.searched)}, best epoch {study.best_epoch}"
            if study.config
            else None,
        ],
        "running": [running_line(trial) for trial in state.running_trials],
        "retraining": [_retraining_line(each, study.openings) for each in study.retraining],
        "failures": list(_reasons(study.failures)),
    }
    lines = {label: [line for line in values if line] for label, values in facts.items()}
    return [(label, values) for label, values in lines.items() if values]


def _ago(moment: str | None) -> str | None:
    """Return an ISO 8601 time in UTC, and how long ago that is by this machine's clock."""
    if moment is None:
        return None
    then = datetime.fromisoformat(moment)
    age = (datetime.now(UTC) - then).total_seconds()
    return f"{then:%Y-%m-%d %H:%M} UTC, {duration(max(age, 0))} ago"


def _outlook(state: Status, *, is_served: bool) -> str | None:
    if state.done:
        return None
    if state.paused:
        return f"paused: `{shell_command('resume', state.name)}` resumes it"
    left = "" if state.seconds_left is None else roughly(state.seconds_left)
    if not is_served:
        return f"no worker serves it{left and f'; with one {left}'}"
    return left or "not known before three trials have ended"


def _retraining_line(state: Status, openings: int) -> str:
    opened = ""
    if state.name.endswith(HOLDOUT_SUFFIX):
        opened = f"; opened {counted(openings, 'time')}"
    return f"{state.name}: {count_line(state)}{opened}"


def _reasons(failures: Mapping[str, int]) -> Iterator[str]:
    for reason, times in list(failures.items())[:_MOST_REASONS]:
        yield f"{counted(times, 'trial')} {reason}"
    if (more := len(failures) - _MOST_REASONS) > 0:
        yield f"and {counted(more, 'other reason')}"


def print_trials(out: Console, trials: Sequence[TrialRow], searched: Collection[str]) -> None:
    """Print trials in a table.

    Parameters
    ----------
    out : Console
    trials : sequence of TrialRow
    searched : collection of str
        The hyperparameters to show beside cell and widths.
    """
    columns = ("trial", "state", "loss", "skill", "best epoch", "epochs", "seconds", CONFIGURATION)
    rows = [
        (
            str(trial.trial),
            trial.state,
            "-" if trial.loss is None else loss(trial.loss),
            signed(trial.skill),
            _or_dash(trial.best_epoch),
            _or_dash(trial.epochs),
            _or_dash(trial.seconds),
            _trained(trial, searched),
        )
        for trial in trials
    ]
    print_rows(out, columns, rows, _OPTIONAL_OF_TRIALS)


def _trained(trial: TrialRow, searched: Collection[str]) -> str:
    """Return what a trial has trained; for one that failed, why."""
    if trial.config is None or trial.state == "failed":
        return trial.reason or "-"
    shown = configuration(trial.config, searched)
    return shown if trial.seed is None else f"seed {trial.seed}, {shown}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
