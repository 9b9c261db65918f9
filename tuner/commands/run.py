"""`tuner run`: submit, work here with live progress, show the result, export the best."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from puffin.studies import summary
from puffin.studies.advice import advice
from puffin.studies.comparison import compare, results_of_each
from puffin.studies.retraining_cost import Cost, retraining_cost
from puffin.studies.study import StoredStudy, StudyError
from puffin.studies.text import counted, duration, roughly
from puffin.tuner.commands import tables
from puffin.tuner.messages import next_steps, say, shell_command, stdout
from puffin.tuner.pool import run_workers_until_done
from puffin.tuner.submit import open_studies
from puffin.tuner.worker.compatibility import require_compatible
from puffin.tuner.worker.devices import assign

_TIMED_OUT = 124  # as `timeout` of coreutils ends


def run(
    path_or_preset: str,
    overrides: Sequence[str],
    storage_url: str,
    devices: Sequence[str],
    *,
    refresh: bool,
    timeout: float | None,
    quiet: bool,
) -> None:
    """Run a search from its study file to the exported forecaster.

    Raises
    ------
    PuffinError
        With the reason if the search cannot be finished.
    KeyboardInterrupt
        After a clean stop on SIGINT or SIGTERM.
    click.exceptions.Exit
        After the timeout.
    """
    until = None if timeout is None else time.monotonic() + timeout
    studies = open_studies(path_or_preset, overrides, storage_url, refresh=refresh)
    for study in studies:
        left = None if until is None else max(until - time.monotonic(), 0.0)
        if not _search(study, storage_url, devices, left, quiet=quiet):
            _stop(study, storage_url, timeout)
    if len(studies) > 1:
        stdout().print(tables.symbol_table(results_of_each(studies)))


def _search(
    study: StoredStudy,
    storage_url: str,
    devices: Sequence[str],
    timeout: float | None,
    *,
    quiet: bool,
) -> bool:
    """Run the workers of a study and print its result; return False after the timeout."""
    state = summary.status(study)
    for warning in study.record.data.warnings:
        say(f"prices: {warning}")
    if state.done:
        say(f"study {study.name} is complete: {counted(state.finished, 'trial')}")
    else:
        _require_workable(study, state)
        if not quiet:
            _announce(study, state, devices)
        if not run_workers_until_done(study, storage_url, devices, timeout, quiet=quiet):
            return False
    _finish(study, storage_url)
    return True


def _require_workable(study: StoredStudy, state: summary.Status) -> None:
    """Raise once what each worker would refuse."""
    if state.paused:
        msg = f"study {study.name!r} is paused; `{shell_command('resume', study.name)}` first"
        raise StudyError(msg)
    require_compatible(study, say)


def _announce(study: StoredStudy, state: summary.Status, devices: Sequence[str]) -> None:
    verb = "resumes" if study.trials() else "starts"
    data = study.record.data
    trials = counted(state.tickets - state.finished, "trial")
    workers = counted(len(devices), "worker")
    say(
        f"study {study.name} {verb} with {trials} on {workers} "
        f"({', '.join(sorted(set(devices)))}); {data.origin}, {data.bars} bars; "
        "Ctrl-C stops, and the same command resumes"
    )
    if note := tables.grid_note(study.spec):
        say(note)


def _stop(study: StoredStudy, storage_url: str, seconds: float | None) -> NoReturn:
    """End the command after its timeout."""
    state = summary.status(study)
    best = shell_command("best", study.name, storage=storage_url)
    found = f", `{best}` prints the best so far" if state.complete else ""
    say(
        f"stopped after {duration(seconds or 0)} (--timeout) with {state.finished} of "
        f"{counted(state.tickets, 'trial')} done; the same command resumes{found}"
    )
    raise click.exceptions.Exit(_TIMED_OUT)


def _finish(study: StoredStudy, storage_url: str) -> None:
    """Print the result with its advice, and export the best."""
    for reason, times in summary.failure_reasons(study).most_common():
        say(f"{counted(times, 'trial')} {reason}")
    record = summary.best_record(study)
    tables.print_result(study, record, compare(study))
    folder = _export(study)
    out = stdout()
    for sentence in (*advice(study), *summary.remarks(study)):
        out.print(sentence)
    out.print()
    workers = len(assign("auto", None, 2))  # as `tuner report` does without options
    cost = describe_cost(retraining_cost(study), workers)
    out.print(next_steps(study.name, storage_url, folder, cost), soft_wrap=True)


def _export(study: StoredStudy) -> Path | None:
    """Export the best; print a message instead of failing, because the search has succeeded."""
    # Imported late, because `check`, `submit` and workers need none of it.
    from puffin.studies.export.checksums import ExportError, added_note, read_checksums
    from puffin.studies.export.write import export

    folder: Path | None = None
    try:
        folder = export(study, Path("exports") / study.name)
        if note := added_note(folder, read_checksums(folder)):
            say(note)
    except ExportError as error:
        again = shell_command("export", study.name, "DIR")
        say(f"not exported: {error}, `{again}`")
    return folder


def describe_cost(cost: Cost, workers: int) -> str:
    """Return what a report has to train: ``27 trainings, about 3 min``; empty if nothing."""
    if not cost.trainings:
        return ""
    seconds = cost.seconds(workers)
    time = "" if seconds is None else f", {roughly(seconds)}"
    return counted(cost.trainings, "training") + time
