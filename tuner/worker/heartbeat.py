"""The heartbeat of a worker: it is alive, and which trial it trains."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from puffin.studies.storage.errors import ReplacedError, cause_of
from puffin.studies.storage.workers import Registration

log = logging.getLogger(__name__)

# Beats within the grace time, after which a worker without a heartbeat counts as lost.
_BEATS = 6


class Heartbeat:
    """Records in the database, from a thread, that a worker and its trial are alive.

    It continues after an outage of the database, where Optuna's heartbeat thread would end.
    """

    def __init__(self, storage: RDBStorage, registration: Registration) -> None:
        self._storage = storage
        self._registration = registration
        self._interval = registration.grace / _BEATS
        self._at: tuple[str | None, int | None, int | None] = (None, None, None)
        self._wake = threading.Event()
        self._ended = False
        self._last_answer = self._stable_since = time.monotonic() - registration.grace
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join()

    def start_trial(self, study: str, ticket: int, trial_id: int) -> None:
        """Record beats for this trial from now on; claiming it has recorded the first."""
        self._at = (study, ticket, trial_id)
        self._wake.set()

    def end_trial(self) -> None:
        """Record from now on that the worker trains nothing."""
        self._at = (None, None, None)
        self._wake.set()

    @property
    def is_stable(self) -> bool:
        """Whether this worker may declare others lost: its recent beats all reached the database.

        After an outage the first worker to reconnect sees all others as stale, so it waits until
        they have had time to reconnect before it fails their trials.
        """
        recently = time.monotonic() - 2 * self._interval
        return self._stable_since <= recently <= self._last_answer

    def _run(self) -> None:
        while not self._ended:
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001  # the next beat must come after any error
                log.warning("a heartbeat could not be recorded: %s", cause_of(error))
            self._wake.wait(self._interval)
            self._wake.clear()
        try:
            self._registration.remove()
        except ReplacedError:
            return  # the same error ends the worker, which reports it
        except SQLAlchemyError as error:
            log.warning("the entry of this worker could not be removed: %s", cause_of(error))

    def _beat(self) -> None:
        study, ticket, trial_id = self._at
        self._registration.write(study, ticket)
        if trial_id is not None:
            self._storage.record_heartbeat(trial_id)
        self._storage.grace_period = self._registration.longest_grace()
        now = time.monotonic()
        if now - self._last_answer > 2 * self._interval:
            self._stable_since = now
        self._last_answer = now
