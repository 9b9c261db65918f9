"""One ticket of a study in the hands of a worker: claimed, trained, and ended in one way of few."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import optuna
import torch
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from studies import checkpoints, tickets
from studies.checkpoints import Checkpoint
from studies.reruns import ordered
from studies.storage import FAILURE
from studies.study import Handle
from studies.workers import own_name
from tuner.interrupt import Interrupt, Interrupted
from tuner.memory import is_out_of_memory, release
from tuner.objective import run_trial
from tuner.presence import Presence
from tuner.refit import run_refit

log = logging.getLogger(__name__)

# A trial that is lost loses no more of its training than this.
CHECKPOINT_SECONDS = 30.0
# What another process takes of the memory now it may have given back by then.
_PAUSE_WITHOUT_MEMORY = 5.0


@dataclass
class Worker:
    """Runs the tickets of studies in one database on one device."""

    storage: RDBStorage
    device: torch.device
    interrupt: Interrupt
    presence: Presence
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
        _ = handle.workload  # what cannot be read is found before a ticket is spent
        if self.presence.is_steady:
            tickets.fail_stale(handle.study)
        claimed = tickets.claim(self.storage, handle.study) or self._issue_and_claim(handle)
        if claimed is not None:
            self._run(handle, claimed)
            return True
        if tickets.finished(handle.trials()) < (tickets.total(self.storage, handle.name) or 0):
            return False
        # A worker that died right after its last word has left one.
        checkpoints.drop_all(self.storage, handle.name)
        return None

    def _issue_and_claim(self, handle: Handle) -> FrozenTrial | None:
        # Another worker may claim what this one issued: then there is the next number.
        while (number := tickets.draw(self.storage, handle.study)) is not None:
            tickets.issue(handle.study, number, handle.ticket_params(number))
            if (claimed := tickets.claim(self.storage, handle.study)) is not None:
                return claimed
        for lost in handle.audit.look(self.storage, handle.study, time.monotonic()):
            tickets.issue_lost(handle.study, lost, handle.ticket_params(lost))
        return tickets.claim(self.storage, handle.study)

    def _run(self, handle: Handle, claimed: FrozenTrial) -> None:
        ticket, trial_id = claimed.user_attrs[tickets.TICKET], claimed._trial_id  # noqa: SLF001  # no public name
        self.presence.begins(handle.name, ticket, trial_id)
        try:
            handle.prepare_sampler(ticket)
            trial = optuna.Trial(handle.study, trial_id)
            self._train(handle, trial)
        except UpdateFinishedTrialError:
            log.warning("trial %s was taken from this worker, which goes on", claimed.number)
        finally:
            self.presence.ends()

    def _train(self, handle: Handle, trial: optuna.Trial) -> None:
        study, number = handle.study, trial.user_attrs[tickets.TICKET]
        checkpoint = Checkpoint(
            self.storage,
            handle.name,
            number,
            trial._trial_id,  # noqa: SLF001  # no public name
            self.checkpoint_seconds,
        )
        starved = False
        try:
            rerun = None if handle.search is None else ordered(handle, number)
            if rerun is not None and handle.judges_holdout:
                value = run_refit(trial, rerun, handle, self.device, self.interrupt)
            else:
                value = run_trial(trial, handle, self.device, self.interrupt, checkpoint, rerun)
        except TrialPruned:
            self._end(trial, checkpoint, TrialState.PRUNED)
        except Interrupted:
            self._surely(lambda: tickets.give_back(study, trial))
        except UpdateFinishedTrialError:
            raise
        except (StorageInternalError, SQLAlchemyError):
            # The database went away in the midst of a statement; the trial has done nothing wrong.
            self._surely(lambda: tickets.give_back(study, trial))
            raise
        except Exception as error:  # noqa: BLE001  # one bad trial must not stop a study
            starved = is_out_of_memory(error)
            if starved:
                tickets.give_up(study, trial, self._starved(trial, error))
            else:
                self._fail(trial, checkpoint, error)
        else:
            self._end(trial, checkpoint, TrialState.COMPLETE, value)
        # Only here: inside of `except` the traceback still holds the networks.
        release(self.device)
        if starved:
            self.interrupt.wait(_PAUSE_WITHOUT_MEMORY)

    def _surely(self, act: Callable[[], None]) -> None:
        """Do it again if the database went away meanwhile: connecting waits until it is back."""
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
    ) -> None:
        """End a trial, unless others have: then its checkpoint is for who took its ticket over."""

        def end() -> None:
            told = trial.study.tell(trial, value, state=state, skip_if_finished=True)
            if tickets.is_finished(told):
                checkpoint.drop()

        self._surely(end)

    def _starved(self, trial: optuna.Trial, error: Exception) -> str:
        """Say that a trial found no memory, which is not its fault alone."""
        note = f"out of memory on {self.device} of {own_name()}: {_first_line(error)}"
        log.warning("trial %s: %s", trial.number, note, exc_info=_debug_info(error))
        return note

    def _fail(self, trial: optuna.Trial, checkpoint: Checkpoint, error: Exception) -> None:
        """Record why a trial failed; its ticket is spent."""
        reason = f"{type(error).__name__}: {_first_line(error)}"
        log.warning("trial %s failed: %s", trial.number, reason, exc_info=_debug_info(error))
        trial.set_user_attr(FAILURE, reason)
        self._end(trial, checkpoint, TrialState.FAIL)


def _debug_info(error: Exception) -> Exception | None:
    """Give the traceback to the log only where somebody asked for it."""
    return error if log.isEnabledFor(logging.DEBUG) else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0]
