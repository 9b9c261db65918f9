"""Which study a worker serves next, and when its work is done."""

import functools
import logging
import random
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from puffin.models.errors import PuffinError
from puffin.studies import versions
from puffin.studies.storage import tickets
from puffin.studies.storage.database import GRACE_SECONDS, open_storage
from puffin.studies.storage.errors import (
    BusyError,
    NoStudiesError,
    ReplacedError,
    StorageError,
    cause_of,
)
from puffin.studies.storage.tickets import Budget
from puffin.studies.storage.url import masked_url
from puffin.studies.storage.workers import Registration
from puffin.studies.study import NoStudyError, StoredStudy, StudyError, load
from puffin.studies.text import first_line
from puffin.tuner.worker.compatibility import require_compatible
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.process import setup_torch
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import CHECKPOINT_SECONDS, Worker
from puffin.tuner.worker.worker_log import WorkerLog

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
# So many storage errors in a row, with growing pauses between them (2 minutes in all), and out.
_MAX_STORAGE_ERRORS = 8


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is asked to do.

    Attributes
    ----------
    study : serve only this one, and wait for it if it is not there yet
    forever : wait for new studies instead of ending
    max_trials : end after so many trials
    device : see `puffin.tuner.worker.devices.gpu_names`
    memory_share : share of a GPU's memory that this process may take, in (0, 1]
    checkpoint_seconds : time between two checkpoints of a trial, at least
    grace_seconds : silence after which it is lost; where several differ the longest counts
    quiet : write warnings and errors only
    """

    study: str | None = None
    forever: bool = False
    max_trials: int | None = None
    device: str = "auto"
    memory_share: float = 1.0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    grace_seconds: int = GRACE_SECONDS
    quiet: bool = False


def work(url: str, interrupt: Interrupt, options: WorkerOptions) -> None:
    """Serve a study, or every open study of a database, until there is nothing to do.

    Parameters
    ----------
    url : str
        Database, as an SQLAlchemy URL.
    interrupt : Interrupt
        Ends the work when asked to; the ticket at hand is given back.
    options : WorkerOptions

    Raises
    ------
    StorageError
        If the database does not answer for about two minutes.
    PuffinError
        If the only study cannot be served.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    device = setup_torch(options.device, options.memory_share)
    journal = WorkerLog(quiet=options.quiet)
    starts = functools.partial(journal.starts, masked_url(url), str(device))
    storage = _open_when_available(url, interrupt, options, starts)
    if storage is None:
        journal.ends("it was asked to stop")
        return
    starts()
    me = Registration(storage, str(device), versions.installed_versions(), options.grace_seconds)
    with Heartbeat(storage, me) as heartbeat:
        worker = Worker(storage, device, interrupt, heartbeat, options.checkpoint_seconds, journal)
        scheduler = StudyScheduler(
            worker, options.study, forever=options.forever, remaining_trials=options.max_trials
        )
        try:
            _serve_until_done(scheduler, interrupt)
        finally:
            journal.ends(scheduler.why_it_ends())


def _open_when_available(
    url: str, interrupt: Interrupt, options: WorkerOptions, starts: Callable[[], None]
) -> RDBStorage | None:
    """Open a storage, waiting for one that is not there yet; None if asked to stop.

    Before it waits it calls `starts`; a worker that cannot start says why, and nothing else.
    """
    told = False
    while not interrupt.requested:
        try:
            return open_storage(
                url,
                pause=interrupt.wait,
                grace_seconds=options.grace_seconds,
            )
        except NoStudiesError as error:
            waits = options.forever or options.study is not None or isinstance(error, BusyError)
            if not waits:
                raise
            if not told:
                starts()
                log.warning("%s; waiting for it", error)
                told = True
            interrupt.wait(_POLL_SECONDS)
    return None


def _serve_until_done(scheduler: "StudyScheduler", interrupt: Interrupt) -> None:
    errors = 0
    while not interrupt.requested:
        try:
            if not scheduler.run_one():
                return
        except ReplacedError:
            raise
        except (StorageInternalError, SQLAlchemyError, StorageError) as error:
            errors += 1
            if errors >= _MAX_STORAGE_ERRORS:
                msg = f"the database failed {errors} times in a row: {cause_of(error)}"
                raise StorageError(msg) from error
            log.warning("the database failed, trying again: %s", cause_of(error))
            scheduler.worker.storage.remove_session()
            interrupt.wait(2.0 ** (errors - 1))
        else:
            errors = 0


def _reason(error: Exception, name: str) -> str:
    """Return why the study `name` cannot be served, in one line without its name."""
    if isinstance(error, PuffinError):
        return str(error).removeprefix(f"study {name!r}: ")
    return f"{type(error).__name__}: {first_line(error)}"


class FairQueue:
    """Who has had the least of a worker's time, measured by priority.

    Start-time fair queueing: each study has a virtual time, to which its seconds are added, divided
    by its priority; the lowest comes first. One that comes new, or had nothing to do, starts where
    the others are, so that it does not make up for what it never asked for.

    References
    ----------
    Goyal, Vin and Cheng (1997), "Start-time fair queuing", IEEE/ACM Transactions on Networking
    5(5), section II.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._now = 0.0

    def order(self, names: Iterable[str]) -> list[str]:
        """Give the studies, the one whose turn it is first; equals in any order."""
        self._times = {name: max(self._times.get(name, 0.0), self._now) for name in names}
        # Workers that start at the same time must not all start with the same study.
        return sorted(self._times, key=lambda name: (self._times[name], random.random()))  # noqa: S311

    def charge(self, name: str, seconds: float, priority: int) -> None:
        """Note that a study had its turn."""
        self._now = self._times[name]
        self._times[name] += seconds / priority


@dataclass
class StudyScheduler:
    """Goes round the studies that a worker serves.

    Parameters
    ----------
    worker : Worker
    only : str, optional
        The study to serve; otherwise all that are open.
    forever : bool
        Whether to wait for more when all are done.
    remaining_trials : int, optional
        Trials until it ends.
    """

    worker: Worker
    only: str | None
    forever: bool
    remaining_trials: int | None = None
    _queue: FairQueue = field(default_factory=FairQueue)
    _studies: dict[str, StoredStudy] = field(default_factory=dict)
    # Studies that are served out, by creation id, with as many tickets as they had then.
    _done: dict[str, int] = field(default_factory=dict)
    _already_logged: set[str] = field(default_factory=set)
    # Studies that nobody serves now.
    _paused: list[str] = field(default_factory=list)

    def run_one(self) -> bool:
        """Run one ticket of the study whose turn it is, or wait; False when all is done."""
        if self.remaining_trials == 0:
            return False
        there = tickets.budgets(self.worker.storage)
        waiting = absent = self._waits_for_its_study(there)
        offers = {name: budget for name, budget in there.items() if self._is_open(budget)}
        self._paused = [name for name, budget in there.items() if budget.paused]
        if self.only is None:  # what is not served need not keep its series in memory
            self._studies = {n: study for n, study in self._studies.items() if n in offers}
        for name in self._queue.order(offers):
            if self.worker.interrupt.requested:
                return True
            started = time.monotonic()
            ran = self._serve(offers[name])
            if ran:
                self._queue.charge(name, time.monotonic() - started, offers[name].priority)
                self.remaining_trials = (
                    None if self.remaining_trials is None else self.remaining_trials - 1
                )
                return True
            waiting = waiting or ran is False
        if waiting or self.forever:
            if not absent:
                self.worker.log.waits(
                    "other workers train the last trials" if waiting else "no study has work left"
                )
            self.worker.interrupt.wait(_POLL_SECONDS)
        return waiting or self.forever

    def why_it_ends(self) -> str:
        """Return why there is no further turn."""
        if self.worker.interrupt.requested:
            return "it was asked to stop"
        if self.remaining_trials == 0:
            return "it has done its --max-trials"
        paused = f"; paused: {', '.join(self._paused)}" if self._paused else ""
        return f"no work is left{paused}"

    def _waits_for_its_study(self, there: dict[str, Budget]) -> bool:
        """Tell whether the only study cannot be served yet; fail if it was, and is gone."""
        if self.only is None:
            return False
        known, own = self._studies.get(self.only), there.get(self.only)
        if known is not None and (own is None or own.creation_id != known.creation_id):
            msg = f"study {self.only!r} was deleted while this worker served it"
            raise StudyError(msg)
        if own is None:
            self._log_once(f"there is no study {self.only!r} in the database yet; waiting for it")
        elif own.paused:
            if self._is_served_out(own):
                return False
            command = shlex.join(["tuner", "resume", self.only])
            self._log_once(f"study {self.only!r} is paused; waiting for `{command}`")
        return own is None or own.paused

    def _is_served_out(self, budget: Budget) -> bool:
        """Tell whether there is nothing left to wait for."""
        try:
            trials = self._load(budget).trials()
        except (NoStudyError, KeyError):
            return False  # deleted just now
        return tickets.finished(trials) >= budget.tickets

    def _is_open(self, budget: Budget) -> bool:
        """Tell whether there may be something to do for a study."""
        if budget.paused or (self.only is not None and budget.name != self.only):
            return False
        return self._done.get(budget.creation_id) != budget.tickets

    def _serve(self, budget: Budget) -> bool | None:
        """Run one ticket of a study; the result is that of `Worker.step`.

        A study that cannot be served, for whatever reason, is said once and passed over, so that
        the other studies of the database are served.
        """
        study = None
        try:
            study = self._load(budget)
            ran = self.worker.step(study)
        except (StorageError, StorageInternalError, SQLAlchemyError):
            raise
        except NoStudyError:
            return False  # deleted just now
        except Exception as error:
            if study is not None and not study.still_exists():
                return False  # deleted just now
            if self.only:
                raise
            self._log_once(f"not serving study {budget.name!r}: {_reason(error, budget.name)}")
            log.debug("study %s", budget.name, exc_info=error)
            ran = None
        if ran is None:
            self._done[budget.creation_id] = budget.tickets
        return ran

    def _load(self, budget: Budget) -> StoredStudy:
        """Give the study as it stands now."""
        known = self._studies.get(budget.name)
        if known is None or known.creation_id != budget.creation_id:
            known = load(self.worker.storage, budget.name)
            require_compatible(known, self._log_once)
            self._studies[budget.name] = known
        return known

    def _log_once(self, message: str) -> None:
        """Say something once."""
        if message not in self._already_logged:
            self._already_logged.add(message)
            log.warning("%s", message)
