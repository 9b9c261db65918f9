"""`tuner run`: submit, work here with live progress, show the result, export the best."""

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from puffin.models.errors import PuffinError
from puffin.studies import summary, versions
from puffin.studies.advice import advice
from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.sources import SOURCES
from puffin.studies.prices.validation import DataError
from puffin.studies.retraining_cost import Cost, retraining_cost
from puffin.studies.sections import DataSection
from puffin.studies.spec import load_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import NoStudiesError, cause_of
from puffin.studies.storage.url import masked_url
from puffin.studies.study import StoredStudy, StudyError, load, require_same, submit
from puffin.studies.text import counted, roughly
from puffin.tuner.commands import tables
from puffin.tuner.commands.progress import Progress
from puffin.tuner.launcher import Pool
from puffin.tuner.worker.devices import assign
from puffin.tuner.worker.signals import Interrupt, Interrupted, stop_signals

_REFRESH_SECONDS = 0.5


def init(storage_url: str, wait: float) -> None:
    """Make the tables of a database that may be about to start.

    Raises
    ------
    StorageError
        If it cannot be used, or does not answer within `wait` seconds.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    end = time.monotonic() + wait
    while True:
        try:
            open_storage(storage_url, create=True)
        except NoStudiesError:
            if time.monotonic() > end:
                raise
            time.sleep(_REFRESH_SECONDS)
        else:
            tables.say(f"{masked_url(storage_url)} is ready")
            return


def read_prices(data: DataSection, *, refresh: bool = False) -> Prices:
    """Load the prices that a study file names, and say how they came."""
    prices = load_prices(data.source, data.request(refresh=refresh))
    for line in prices.fetch_notes:
        tables.say(f"prices: {line}")
    return prices


def open_study(
    path_or_preset: str, overrides: Sequence[str], storage_url: str, *, refresh: bool = False
) -> StoredStudy:
    """Check a study file and its prices, and make the study or find it.

    A study that is there goes on with its own copy of the prices, whatever became of theirs;
    a service on the network is not even asked.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = load_spec(path_or_preset, overrides)
    if SOURCES[spec.data.source].is_live and (there := _find(spec.name, storage_url)):
        if refresh:
            tables.say(f"prices: study {spec.name} resumes with its own copy")
        return require_same(there, spec)
    try:
        prices = read_prices(spec.data, refresh=refresh)
    except DataError as error:
        there = _find(spec.name, storage_url)
        if there is None:
            raise
        study = require_same(there, spec)
        tables.say(f"prices: {error}; the study resumes with its own copy")
        return study
    storage = open_storage(storage_url, create=True)
    study = submit(storage, spec, prices)
    if not study.has_same_prices(prices):
        tables.say(
            f"prices: {prices.origin} has changed since study {spec.name} was submitted, which "
            "resumes with its own copy; --set name=... makes a new study of the new prices"
        )
    return study


def _find(name: str, storage_url: str) -> StoredStudy | None:
    """Give the study of a name, if there is one that is whole."""
    try:
        return load(open_storage(storage_url), name)
    except PuffinError:
        return None


def run(
    path_or_preset: str,
    overrides: Sequence[str],
    storage_url: str,
    workers: int | None,
    device: str,
    workers_per_gpu: int,
    *,
    refresh: bool,
) -> None:
    """Do the whole of `tuner run`.

    Raises
    ------
    PuffinError
        With whatever keeps the search from its end.
    KeyboardInterrupt
        After a clean stop on SIGINT or SIGTERM.
    """
    devices = assign(device, workers, workers_per_gpu)
    study = open_study(path_or_preset, overrides, storage_url, refresh=refresh)
    state = summary.status(study)
    for warning in study.attrs["data"]["warnings"]:
        tables.say(f"prices: {warning}")
    if state.done:
        done = counted(state.finished, "trial")
        tables.say(f"study {study.name} is complete: {done}")
    else:
        _require_workable(study, state)
        _announce(study, state, devices)
        search(study, storage_url, devices)
    _finish(study, storage_url)


def _require_workable(study: StoredStudy, state: summary.Status) -> None:
    """Refuse at once what workers would refuse one after the other."""
    if state.paused:
        msg = f"study {study.name!r} is paused; `{tables.typed('resume', study.name)}` first"
        raise StudyError(msg)
    try:
        warnings = versions.check_versions(study.attrs["made_with"], versions.installed_versions())
    except versions.VersionMismatchError as error:
        msg = f"study {study.name!r}: {error}"
        raise StudyError(msg) from None
    for warning in warnings:
        tables.say(f"study {study.name}: {warning}")


def _announce(study: StoredStudy, state: summary.Status, devices: Sequence[str]) -> None:
    verb = "resumes" if study.trials() else "starts"
    data = study.attrs["data"]
    trials = counted(state.tickets - state.finished, "trial")
    workers = counted(len(devices), "worker")
    tables.say(
        f"study {study.name} {verb} with {trials} on {workers} "
        f"({', '.join(sorted(set(devices)))}); {data['origin']}, {data['bars']} bars; "
        "Ctrl-C stops, and the same command resumes"
    )
    if note := tables.grid_note(study.spec):
        tables.say(note)


def search(study: StoredStudy, storage_url: str, devices: Sequence[str]) -> None:
    """Keep workers at it until the budget is spent, and show how it goes."""
    if summary.status(study).done:
        return
    previous = {number: signal.getsignal(number) for number in stop_signals()}
    interrupt = Interrupt()
    interrupt.install()
    try:
        with (
            Progress() as progress,
            Pool(storage_url, study.name, devices, progress.say) as pool,
        ):
            for state in interrupt.interruptible(_watch(study, pool, progress, interrupt)):
                progress.show(state)
    except Interrupted:
        pass
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    state = summary.status(study)
    total = counted(state.tickets, "trial")
    done = f"{state.finished} of {total} done; the same command resumes"
    if interrupt.requested:
        tables.say(f"stopped with {done}")
        raise KeyboardInterrupt
    if not state.done:  # somebody ended the workers, but not this command
        msg = f"the workers were stopped with {done}"
        raise PuffinError(msg)


def _watch(
    study: StoredStudy, pool: Pool, progress: Progress, interrupt: Interrupt
) -> Iterator[summary.Status]:
    """Give the state of a study again and again, until it or all of its workers are done."""
    # Done by the database: workers notice by themselves, but only at their next look.
    while pool.poll() and not (state := _look(study, progress, interrupt)).done:
        yield state
        interrupt.wait(_REFRESH_SECONDS)


def _look(study: StoredStudy, progress: Progress, interrupt: Interrupt) -> summary.Status:
    """Read the state; a database that does not answer is given as long as the workers give it."""
    for pause in (1, 2, 4, 8, 16, 32, 64):
        try:
            return summary.status(study)
        except KeyError:
            if study.still_exists():
                raise
            msg = f"study {study.name!r} was deleted while this command worked on it"
            raise StudyError(msg) from None
        except (StorageInternalError, SQLAlchemyError) as error:
            progress.say(f"the database failed, trying again: {cause_of(error)}")
            if not interrupt.pause(pause):
                raise Interrupted from None
    return summary.status(study)


def _finish(study: StoredStudy, storage_url: str) -> None:
    """Print the result and what it says, and export the best."""
    for reason, times in summary.failure_reasons(study).most_common():
        tables.say(f"{counted(times, 'trial')} {reason}")
    record = summary.best_record(study)
    tables.print_result(study, record, summary.compare(study))
    folder = _export(study)
    out = tables.stdout()
    for sentence in (*advice(study), *summary.remarks(study)):
        out.print(sentence)
    out.print()
    workers = len(assign("auto", None, 2))  # as `tuner report` does without options
    reports = report_cost(retraining_cost(study), workers)
    out.print(tables.next_steps(study.name, storage_url, folder, reports), soft_wrap=True)


def _export(study: StoredStudy) -> Path | None:
    """Export the best; hours of search must not end in an error because a file is in the way."""
    # Here, since `check`, `submit` and the workers of a pool need not wait for its pictures.
    from puffin.studies.export.checksums import ExportError, added_note, read_checksums
    from puffin.studies.export.write import export

    folder: Path | None = None
    try:
        folder = export(study, Path("exports") / study.name)
        if note := added_note(folder, read_checksums(folder)):
            tables.say(note)
    except ExportError as error:
        again = tables.typed("export", study.name, "DIR")
        tables.say(f"not exported: {error}, `{again}`")
    return folder


def report_cost(cost: Cost, workers: int) -> str:
    """Write what a report has to train: ``27 trainings, about 3 min``; nothing if none is left."""
    if not cost.trainings:
        return ""
    seconds = cost.seconds(workers)
    takes = "" if seconds is None else f", {roughly(seconds)}"
    return counted(cost.trainings, "training") + takes
