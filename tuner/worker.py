"""One worker process: takes tickets, one after the other, until none is left."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import optuna
import torch
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from models.errors import PuffinError
from studies import checkpoints, tickets
from studies.checkpoints import Checkpoint
from studies.storage import FAILURE, HEARTBEAT_SECONDS, NoStudiesError, StorageError, open_storage
from studies.study import Handle, StudyError, load, study_names
from studies.workload import Workload
from tuner.devices import is_out_of_memory, prepare, release
from tuner.interrupt import Interrupt, Interrupted
from tuner.objective import run_trial

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
# A trial that is lost loses no more of its training than this.
CHECKPOINT_SECONDS = 30.0
# So many storage errors in a row, with growing pauses between them (2 minutes in all), and out.
_MAX_STORAGE_ERRORS = 8


class Heartbeat:
    """Shows that a trial's worker lives; outlives a database that does not answer for a while."""

    def __init__(self, storage: RDBStorage, trial_id: int) -> None:
        self._storage = storage
        self._trial_id = trial_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._storage.record_heartbeat(self._trial_id)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._storage.record_heartbeat(self._trial_id)
            except (StorageInternalError, SQLAlchemyError) as error:
                log.warning("no heartbeat for trial row %s: %s", self._trial_id, error)


@dataclass
class Worker:
    """Runs the tickets of studies in one database on one device."""

    storage: RDBStorage
    device: torch.device
    interrupt: Interrupt
    checkpoint_seconds: float = CHECKPOINT_SECONDS

    def step(self, handle: Handle) -> bool | None:
        """Run one ticket of a study.

        Returns
        -------
        bool or None
            True if a ticket was run, False if others still hold some, None if all are finished.

        Raises
        ------
        StudyError
            If this worker cannot read what the study was made with; no ticket is spent on it.
        """
        workload = handle.workload
        tickets.fail_stale(handle.study)
        claimed = tickets.claim(self.storage, handle.study) or self._issue_and_claim(handle)
        if claimed is not None:
            self._run(handle, workload, claimed)
            return True
        if tickets.finished(handle.trials()) < (tickets.total(self.storage, handle.name) or 0):
            return False
        # A worker that died right after its last word has left one.
        checkpoints.drop_all(self.storage, handle.name)
        return None

    def _issue_and_claim(self, handle: Handle) -> FrozenTrial | None:
        number = tickets.draw(self.storage, handle.study)
        if number is not None:
            tickets.issue(handle.study, number, handle.ticket_params(number))
            return tickets.claim(self.storage, handle.study)
        for lost in handle.audit.look(self.storage, handle.study, time.monotonic()):
            tickets.issue(handle.study, lost, handle.ticket_params(lost))
        return tickets.claim(self.storage, handle.study)

    def _run(self, handle: Handle, workload: Workload, claimed: FrozenTrial) -> None:
        with Heartbeat(self.storage, claimed._trial_id):  # noqa: SLF001  # no public name
            handle.prepare_sampler(claimed.user_attrs[tickets.TICKET])
            trial = optuna.Trial(handle.study, claimed._trial_id)  # noqa: SLF001  # as above
            try:
                self._train(handle, workload, trial)
            except UpdateFinishedTrialError:
                log.warning("trial %s was taken from this worker, which goes on", trial.number)

    def _train(self, handle: Handle, workload: Workload, trial: optuna.Trial) -> None:
        checkpoint = Checkpoint(
            self.storage,
            handle.name,
            trial.user_attrs[tickets.TICKET],
            trial._trial_id,  # noqa: SLF001  # no public name
            self.checkpoint_seconds,
        )
        try:
            scored = handle.attrs["targets_sha256"]
            value = run_trial(
                trial,
                workload,
                handle.store,
                self.device,
                self.interrupt.guard,
                scored,
                checkpoint,
            )
        except TrialPruned:
            handle.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
            checkpoint.drop()
        except Interrupted:
            tickets.give_back(handle.study, trial)
        except (StorageInternalError, SQLAlchemyError, UpdateFinishedTrialError):
            raise  # not the trial's fault: the loop around this knows what to do
        except Exception as error:  # noqa: BLE001  # one bad trial must not stop a study
            self._fail(handle.study, trial, error)
            checkpoint.drop()
        else:
            handle.study.tell(trial, value, skip_if_finished=True)
            checkpoint.drop()
        # Only here: inside of `except` the traceback still holds the networks.
        release(self.device)

    def _fail(self, study: optuna.Study, trial: optuna.Trial, error: Exception) -> None:
        """Record why a trial failed; its ticket is spent."""
        kind = "out of memory" if is_out_of_memory(error) else type(error).__name__
        reason = f"{kind}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        log.warning("trial %s failed: %s", trial.number, reason, exc_info=_debug_info(error))
        trial.set_user_attr(FAILURE, reason)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _debug_info(error: Exception) -> Exception | None:
    """Give the traceback to the log only where somebody asked for it."""
    return error if log.isEnabledFor(logging.DEBUG) else None


def work(
    url: str,
    *,
    study: str | None,
    device: str = "auto",
    memory_share: float = 1.0,
    forever: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    interrupt: Interrupt,
) -> None:
    """Serve a study, or every open study of a database in turn, until there is nothing to do.

    Parameters
    ----------
    url : str
        Database, as an SQLAlchemy URL.
    study : str, optional
        Serve only this one, and wait for it if it is not there yet.
    device : str
        See `tuner.devices.gpu_names`.
    memory_share : float
        Share of a GPU's memory that this process may take, in (0, 1].
    forever : bool
        Wait for new studies instead of ending.
    checkpoint_seconds : float
        Time between two checkpoints of a trial, at least.
    interrupt : Interrupt
        Ends the work when asked to; the ticket at hand is given back.

    Raises
    ------
    StorageError
        If the database does not answer for about two minutes.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    chosen = prepare(device, memory_share)
    storage = _patiently(
        lambda: open_storage(url, on_stale_trial=tickets.retry_stale, pause=interrupt.pause),
        interrupt,
        wait=forever or study is not None,
    )
    if storage is None:
        return
    rounds = _Rounds(Worker(storage, chosen, interrupt, checkpoint_seconds), study, forever)
    errors = 0
    while not interrupt.requested:
        try:
            if not rounds.run():
                return
        except (StorageInternalError, SQLAlchemyError, StorageError) as error:
            errors += 1
            if errors >= _MAX_STORAGE_ERRORS:
                msg = f"the database failed {errors} times in a row: {error}"
                raise StorageError(msg) from error
            log.warning("the database failed, trying again: %s", error)
            interrupt.wait(2.0 ** (errors - 1))
        else:
            errors = 0


@dataclass
class _Rounds:
    """Goes round the studies that a worker serves, a ticket of each at a time."""

    worker: Worker
    only: str | None
    forever: bool
    _handles: dict[str, Handle] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def run(self) -> bool:
        """Go round once; False when there is nothing left to do."""
        names = [self.only] if self.only else study_names(self.worker.storage)
        results = [self._serve(name) for name in names]
        if not self.forever and all(result is None for result in results):
            return False
        if not any(results):
            self.worker.interrupt.wait(_POLL_SECONDS)
        return True

    def _serve(self, name: str) -> bool | None:
        """Run one ticket of a study; the result is that of `Worker.step`."""
        if self.worker.interrupt.requested:
            return False
        handle = None
        try:
            handle = self._handle(name)
            return False if handle is None else self.worker.step(handle)
        except StorageError:
            raise
        except PuffinError as error:
            if self.only:
                raise
            self._tell(f"not serving study {name!r}: {error}")
            return None
        except (KeyError, ArtifactNotFound):
            if handle is None or handle.is_current():
                raise
            return False  # deleted just now

    def _handle(self, name: str) -> Handle | None:
        """Give the study as it stands now, or None if it is not there (yet)."""
        known = self._handles.pop(name, None)
        if known is None or not known.is_current():
            try:
                known = load(self.worker.storage, name)
            except StudyError as error:
                if known is not None and self.only:
                    msg = f"study {name!r} was deleted while this worker served it"
                    raise StudyError(msg) from None
                self._tell(f"{error}; waiting for it")
                return None
        self._handles[name] = known
        return known

    def _tell(self, message: str) -> None:
        """Say something once."""
        if message not in self._told:
            self._told.add(message)
            log.warning("%s", message)


def _patiently(
    open_: Callable[[], RDBStorage], interrupt: Interrupt, *, wait: bool
) -> RDBStorage | None:
    """Open a storage, waiting for one that is not there yet; None if asked to stop."""
    told = False
    while not interrupt.requested:
        try:
            return open_()
        except NoStudiesError as error:
            if not wait:
                raise
            if not told:
                log.warning("%s; waiting for it", error)
                told = True
            interrupt.wait(_POLL_SECONDS)
    return None
