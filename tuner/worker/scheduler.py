"""The main loop of a worker: which study it serves next, and when its work is done."""

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
from puffin.studies.storage import registry
from puffin.studies.storage.database import GRACE_SECONDS, open_storage
from puffin.studies.storage.errors import (
    BusyError,
    NoStudiesError,
    ReplacedError,
    StorageError,
    cause_of,
)
from puffin.studies.storage.queue import count_finished
from puffin.studies.storage.registry import Budget
from puffin.studies.storage.url import masked_url
from puffin.studies.storage.workers import Registration
from puffin.studies.study import WALK, NoStudyError, StoredStudy, StudyError, load, walk_of
from puffin.studies.text import first_line
from puffin.tuner.backoff import MOST_STORAGE_ERRORS, RETRY_SECONDS, Backoff
from puffin.tuner.worker.compatibility import require_compatible
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.process import setup_torch
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import CHECKPOINT_SECONDS, Worker
from puffin.tuner.worker.worker_log import WorkerLog

log = logging.getLogger(__name__)

# Longest pauses between two polls: of a worker that waits for the last trials of others, whose
# tickets may come back to it, and of one that waits for work.
_LAST_TRIALS_SECONDS, _IDLE_SECONDS = 2.0, 5.0


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker does, and with which resources.

    Attributes
    ----------
    study : str, optional
        Serve only this study, and wait for it if it does not exist yet; or all searches of a walk,
        ``NAME.walk``.
    forever : bool
        Wait for new studies instead of ending.
    max_trials : int, optional
        End after so many trials.
    device : str
        See `puffin.tuner.worker.devices.gpu_names`.
    memory_share : float
        Share of a GPU's memory that this process may use, in (0, 1].
    checkpoint_seconds : float
        Least time between two checkpoints of a trial.
    grace_seconds : int
        Time without a heartbeat after which the worker counts as lost. If the workers of a database
        differ, the longest counts for all.
    """

    study: str | None = None
    forever: bool = False
    max_trials: int | None = None
    device: str = "auto"
    memory_share: float = 1.0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    grace_seconds: int = GRACE_SECONDS


def work(url: str, interrupt: Interrupt, options: WorkerOptions) -> None:
    """Serve one study, or every open study of a database, until no work is left.

    Parameters
    ----------
    url : str
        Database, as an SQLAlchemy URL.
    interrupt : Interrupt
        Stops the work on request; the ticket of the running trial is requeued.
    options : WorkerOptions

    Raises
    ------
    StorageError
        If the database does not answer for 2.1 to 4.3 minutes.
    PuffinError
        If the study that `options` names cannot be served.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    device = setup_torch(options.device, options.memory_share)
    journal = WorkerLog()
    starts = functools.partial(journal.starts, masked_url(url), str(device))
    storage = _open_when_available(url, interrupt, options, starts)
    if storage is None:
        journal.ends("it was asked to stop")
        return
    starts()
    registration = Registration(
        storage, str(device), versions.installed_versions(), options.grace_seconds
    )
    with Heartbeat(storage, registration) as heartbeat:
        worker = Worker(storage, device, interrupt, heartbeat, options.checkpoint_seconds, journal)
        scheduler = StudyScheduler(
            worker, options.study, forever=options.forever, remaining_trials=options.max_trials
        )
        try:
            serve_until_done(scheduler, interrupt)
        finally:
            journal.ends(scheduler.why_it_ends())


def _open_when_available(
    url: str, interrupt: Interrupt, options: WorkerOptions, starts: Callable[[], None]
) -> RDBStorage | None:
    """Open a storage, waiting for one that does not exist yet; None after a request to stop.

    `starts` is called before the first wait, so that a worker that cannot start writes only why.
    """
    has_waited, backoff = False, Backoff()
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
            if not has_waited:
                starts()
                log.warning("%s; waiting for it", error)
                has_waited = True
            interrupt.wait(backoff.next(_IDLE_SECONDS))
    return None


def serve_until_done(scheduler: "StudyScheduler", interrupt: Interrupt) -> None:
    """Run tickets until no work is left, with pauses while the database does not answer.

    Raises
    ------
    StorageError
        After so many errors in a row.
    """
    errors, backoff = 0, Backoff()
    while not interrupt.requested:
        try:
            if not scheduler.run_one():
                return
        except ReplacedError:
            raise
        except (StorageInternalError, SQLAlchemyError, StorageError) as error:
            errors += 1
            if errors >= MOST_STORAGE_ERRORS:
                msg = f"the database failed {errors} times in a row: {cause_of(error)}"
                raise StorageError(msg) from error
            log.warning("the database failed, trying again: %s", cause_of(error))
            scheduler.worker.storage.remove_session()
            interrupt.wait(backoff.next(RETRY_SECONDS))
        else:
            errors = 0
            backoff.reset()


def _reason(error: Exception, name: str) -> str:
    """Return why the study `name` cannot be served, in one line without its name."""
    if isinstance(error, PuffinError):
        return str(error).removeprefix(f"study {name!r}: ")
    return f"{type(error).__name__}: {first_line(error)}"


class FairQueue:
    """Start-time fair queueing of studies: the one served least, by priority, is next.

    Each study has a virtual time, which grows by the seconds that it was served divided by its
    priority; the lowest is next. A new or idle study starts at the current virtual time, so it
    cannot claim time for the past.

    References
    ----------
    Goyal, Vin and Cheng (1997), "Start-time fair queuing", IEEE/ACM Transactions on Networking
    5(5), section II.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._now = 0.0

    def order(self, names: Iterable[str]) -> list[str]:
        """Return the studies, least served first; those with equal time in random order."""
        self._times = {name: max(self._times.get(name, 0.0), self._now) for name in names}
        # Random, because workers that start together must not all begin with the same study.
        return sorted(self._times, key=lambda name: (self._times[name], random.random()))  # noqa: S311

    def charge(self, name: str, seconds: float, priority: int) -> None:
        """Add the time for which a study was served."""
        self._now = self._times[name]
        self._times[name] += seconds / priority


@dataclass
class StudyScheduler:
    """Shares one worker between the open studies of a database.

    Parameters
    ----------
    worker : Worker
    only : str, optional
        The one study or walk to serve; by default all open studies.
    forever : bool
        Whether to wait for new work when all studies are done.
    remaining_trials : int, optional
        Trials until the worker ends.
    """

    worker: Worker
    only: str | None
    forever: bool
    remaining_trials: int | None = None
    _queue: FairQueue = field(default_factory=FairQueue)
    _backoff: Backoff = field(default_factory=Backoff)
    _studies: dict[str, StoredStudy] = field(default_factory=dict)
    # Finished studies: creation id to their number of tickets then, which an extension raises.
    _done: dict[str, int] = field(default_factory=dict)
    _already_logged: set[str] = field(default_factory=set)
    _paused: list[str] = field(default_factory=list)

    def run_one(self) -> bool:
        """Run one ticket of the study that is next, or wait; return False if no work is left."""
        if self.remaining_trials == 0:
            return False
        budgets = registry.budgets(self.worker.storage)
        absent, last_trials = self._must_wait_for_only(budgets), False
        candidates = {name: budget for name, budget in budgets.items() if self._is_open(budget)}
        self._paused = [name for name, budget in budgets.items() if budget.paused]
        if self.only not in budgets:  # free the series of studies that are no longer served
            self._studies = {n: study for n, study in self._studies.items() if n in candidates}
        for name in self._queue.order(candidates):
            if self.worker.interrupt.requested:
                return True
            started = time.monotonic()
            ran = self._serve(candidates[name])
            if ran:
                self._queue.charge(name, time.monotonic() - started, candidates[name].priority)
                if self.remaining_trials is not None:
                    self.remaining_trials -= 1
                self._backoff.reset()
                return True
            last_trials = last_trials or ran is False
        if not (absent or last_trials or self.forever):
            return False
        self._wait(absent=absent, last_trials=last_trials)
        return True

    def _wait(self, *, absent: bool, last_trials: bool) -> None:
        if not absent:
            self.worker.log.waits(
                "other workers train the last trials" if last_trials else "no study has work left"
            )
        longest = _LAST_TRIALS_SECONDS if last_trials else _IDLE_SECONDS
        self.worker.interrupt.wait(self._backoff.next(longest))

    def why_it_ends(self) -> str:
        """Return why no further ticket is run."""
        if self.worker.interrupt.requested:
            return "it was asked to stop"
        if self.remaining_trials == 0:
            return "it has done its --max-trials"
        paused = f"; paused: {', '.join(self._paused)}" if self._paused else ""
        return f"no work is left{paused}"

    def _must_wait_for_only(self, budgets: dict[str, Budget]) -> bool:
        """Return whether the one study to serve does not exist yet, or is paused with work left.

        Raises
        ------
        StudyError
            If it was served before and does not exist any more.
        """
        if self.only is None:
            return False
        if self.only.endswith(WALK):
            absent = self.only not in map(walk_of, budgets)
            if absent:
                self._log_once(f"there is no {self.only!r} in the database yet; waiting for it")
            return absent
        known, budget = self._studies.get(self.only), budgets.get(self.only)
        if known is not None and (budget is None or budget.creation_id != known.creation_id):
            msg = f"study {self.only!r} was deleted while this worker served it"
            raise StudyError(msg)
        if budget is None:
            self._log_once(f"there is no study {self.only!r} in the database yet; waiting for it")
        elif budget.paused:
            if self._is_finished(budget):
                return False
            command = shlex.join(["tuner", "resume", self.only])
            self._log_once(f"study {self.only!r} is paused; waiting for `{command}`")
        return budget is None or budget.paused

    def _is_finished(self, budget: Budget) -> bool:
        """Return whether all tickets of a study are finished, or the study is deleted."""
        try:
            trials = self._load(budget).trials()
        except (NoStudyError, KeyError):
            return False  # deleted just now
        return count_finished(trials) >= budget.tickets

    def _is_open(self, budget: Budget) -> bool:
        """Return whether there may be work for a study."""
        if budget.paused or self.only not in (None, budget.name, walk_of(budget.name)):
            return False
        return self._done.get(budget.creation_id) != budget.tickets

    def _serve(self, budget: Budget) -> bool | None:
        """Run one ticket of a study; the result is that of `Worker.step`.

        A study that cannot be served is logged once and skipped, whatever the reason, so that the
        other studies of the database are served.
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
        """Return the study of a budget, loaded once for each creation id."""
        known = self._studies.get(budget.name)
        if known is None or known.creation_id != budget.creation_id:
            known = load(self.worker.storage, budget.name)
            require_compatible(known, self._log_once)
            self._studies[budget.name] = known
        return known

    def _log_once(self, message: str) -> None:
        """Log a warning, unless the same one was logged before."""
        if message not in self._already_logged:
            self._already_logged.add(message)
            log.warning("%s", message)
