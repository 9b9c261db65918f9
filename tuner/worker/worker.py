"""A worker runs one ticket: claim it, train it, and complete, prune, fail or requeue its trial."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import optuna
import torch
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from puffin.studies.records import TrialRecord, ticket_of
from puffin.studies.retraining import job_of
from puffin.studies.storage.checkpoints import Checkpoint, require_running
from puffin.studies.storage.database import transaction
from puffin.studies.storage.errors import ReplacedError
from puffin.studies.storage.optuna_internals import running_trial, trial_id
from puffin.studies.storage.workers import process_name
from puffin.studies.study import StoredStudy, lowest_complete
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.log_format import at_trial
from puffin.tuner.worker.objective import run_trial
from puffin.tuner.worker.process import empty_gpu_cache, is_out_of_memory
from puffin.tuner.worker.refit import run_refit
from puffin.tuner.worker.signals import Interrupt, Interrupted
from puffin.tuner.worker.worker_log import WorkerLog

log = logging.getLogger(__name__)

# A lost trial loses at most this much of its training.
CHECKPOINT_SECONDS = 30.0
# Pause after a trial ran out of memory, in which another process may free some.
_PAUSE_WITHOUT_MEMORY = 5.0


@dataclass
class Worker:
    """Runs the tickets of studies in one database on one device."""

    storage: RDBStorage
    device: torch.device
    interrupt: Interrupt
    heartbeat: Heartbeat
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    log: WorkerLog = field(default_factory=WorkerLog)

    def step(self, study: StoredStudy) -> bool | None:
        """Run one ticket of a study.

        Returns
        -------
        bool or None
            True if a ticket was run, False if other workers run the last ones, None if all are
            finished.

        Raises
        ------
        StudyError
            If this worker cannot load the data of the study; no ticket is used for it.
        KeyError
            If the study was deleted.
        """
        _ = study.dataset  # raises before a ticket is used
        queue = study.queue
        left = queue.look()
        if left.silence > (self.storage.grace_period or 0) and self.heartbeat.is_stable:
            queue.retry_stale()
            left = queue.look()
        claimed = queue.claim() if left.waiting else None
        if claimed is None and left.unissued:
            claimed = queue.start_next([] if study.parent_name else study.sampling.initial_params)
        if claimed is not None:
            self._run(study, claimed)
            return True
        return None if left.is_finished else False

    def _run(self, study: StoredStudy, claimed: FrozenTrial) -> None:
        with at_trial(study.name, claimed.number):
            self._run_claimed(study, claimed)

    def _run_claimed(self, study: StoredStudy, claimed: FrozenTrial) -> None:
        ticket = ticket_of(claimed)
        self.heartbeat.start_trial(study.name, ticket, trial_id(claimed))
        try:
            study.optuna_study.sampler = study.sampling.sampler_of(ticket)
            trial = running_trial(study.optuna_study, trial_id(claimed))
            self._train(study, trial)
        except UpdateFinishedTrialError:
            if study.still_exists():
                log.warning("trial %s was ended already; this worker continues", claimed.number)
            else:
                log.warning("study %s was deleted in the middle of a trial", study.name)
        else:
            ended = study.storage.get_trial(trial_id(claimed))
            self.log.trial_ended(ended, is_best=_is_new_best(study, ended))
        finally:
            self.heartbeat.end_trial()

    def _train(self, study: StoredStudy, trial: optuna.Trial) -> None:
        queue, key, number = study.queue, trial_id(trial), ticket_of(trial)
        checkpoint = Checkpoint(
            study.storage, study.creation_id, number, key, self.checkpoint_seconds
        )
        out_of_memory = False
        try:
            value = self._train_ticket(study, trial, checkpoint)
        except TrialPruned:
            self._end(trial, checkpoint, TrialState.PRUNED)
        except Interrupted:
            self._retry_once(lambda: queue.requeue(key))
        except (UpdateFinishedTrialError, ReplacedError):
            raise
        except (StorageInternalError, SQLAlchemyError):
            # The connection broke during a statement, which is not the fault of the trial.
            self._retry_once(lambda: queue.requeue(key))
            raise
        except Exception as error:  # one bad trial must not stop a study
            if not study.still_exists():
                raise  # not the fault of the trial
            out_of_memory = is_out_of_memory(error)
            if out_of_memory:
                queue.retry_or_fail(key, self._out_of_memory_note(trial, error))
            else:
                self._fail(trial, checkpoint, error)
        else:
            self._end(trial, checkpoint, TrialState.COMPLETE, value)
        # Not inside `except`, where the traceback still refers to the networks.
        empty_gpu_cache(self.device)
        if out_of_memory:
            self.interrupt.wait(_PAUSE_WITHOUT_MEMORY)

    def _train_ticket(
        self, study: StoredStudy, trial: optuna.Trial, checkpoint: Checkpoint
    ) -> float:
        """Train the trial of a ticket; return its loss."""
        if study.parent_name is None:
            return run_trial(trial, study, self.device, self.interrupt, checkpoint)
        job = job_of(study, checkpoint.ticket)
        if study.judges_holdout:
            return run_refit(trial, job, study, self.device, self.interrupt)
        return run_trial(trial, study, self.device, self.interrupt, checkpoint, job)

    def _retry_once(self, act: Callable[[], None]) -> None:
        """Act, and once more if the connection breaks: connecting waits for the server."""
        try:
            act()
        except (StorageInternalError, SQLAlchemyError):
            self.storage.remove_session()
            act()

    def _end(
        self,
        trial: optuna.Trial,
        checkpoint: Checkpoint,
        state: TrialState,
        value: float | None = None,
        failure: str | None = None,
    ) -> None:
        """End a trial and delete its checkpoint, unless another process has ended the trial."""

        def end() -> None:
            with transaction(checkpoint.storage) as connection:
                require_running(connection, trial_id(trial))
                TrialRecord(failure=failure).write(trial)
                trial.study.tell(trial, value, state=state)
                checkpoint.delete(connection)

        self._retry_once(end)

    def _out_of_memory_note(self, trial: optuna.Trial, error: Exception) -> str:
        """Log that a trial ran out of memory, and return the note for its ticket."""
        note = f"out of memory on {self.device} of {process_name()}: {_first_line(error)}"
        log.warning("trial %s: %s", trial.number, note, exc_info=_debug_info(error))
        return note

    def _fail(self, trial: optuna.Trial, checkpoint: Checkpoint, error: Exception) -> None:
        """Record why a trial failed, which finishes its ticket."""
        reason = f"{type(error).__name__}: {_first_line(error)}"
        log.warning("trial %s failed: %s", trial.number, reason, exc_info=_debug_info(error))
        self._end(trial, checkpoint, TrialState.FAIL, failure=reason)


def _is_new_best(study: StoredStudy, trial: FrozenTrial) -> bool:
    """Return whether a trial is the best of its search so far."""
    if study.parent_name is not None or trial.state != TrialState.COMPLETE:
        return False
    best = lowest_complete(study.trials())
    return best is not None and best.number == trial.number


def _debug_info(error: Exception) -> Exception | None:
    """Return the error, whose traceback is logged, if the level is DEBUG."""
    return error if log.isEnabledFor(logging.DEBUG) else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]
