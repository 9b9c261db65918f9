"""Shows the others that this worker lives, and what it is at."""

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

# So many signs of life fit into the silence after which a worker counts as lost.
_BEATS = 6


class Heartbeat:
    """Beats for a worker and for the trial that it trains, in a thread of its own.

    Outlives a database that does not answer for a while, which Optuna's own heartbeat does not.
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
        """Note what the worker trains from now on; the trial's first beat is its claim's."""
        self._at = (study, ticket, trial_id)
        self._wake.set()

    def end_trial(self) -> None:
        """Note that the worker trains nothing."""
        self._at = (None, None, None)
        self._wake.set()

    @property
    def is_stable(self) -> bool:
        """Whether this worker was in touch with the database all the time of late.

        After an outage everybody looks lost to the one who comes back first, so it must not judge
        until the others have had the time to come back as well.
        """
        recently = time.monotonic() - 2 * self._interval
        return self._stable_since <= recently <= self._last_answer

    def _run(self) -> None:
        while not self._ended:
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001  # whatever it was, the next beat must come
                log.warning("no sign of life could be given: %s", cause_of(error))
            self._wake.wait(self._interval)
            self._wake.clear()
        try:
            self._registration.remove()
        except ReplacedError:
            return  # it ends the worker, which says so
        except SQLAlchemyError as error:
            log.warning("this worker could not sign off: %s", cause_of(error))

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
