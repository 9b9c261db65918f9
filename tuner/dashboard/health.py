"""Answer 503 while the database does not answer, instead of letting requests wait for it."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Engine

from puffin.studies.storage.errors import cause_of
from puffin.tuner.dashboard.access import Environ, Headers, Refusal, WsgiApp

log = logging.getLogger(__name__)

# How long a request waits for the database's answer, and how long an answer stays valid.
_PATIENCE_SECONDS = 2.0
_VALID_SECONDS = 1.0
# After this time a running request is checked: the database may have stopped since it started.
_LOOK_SECONDS = 1.0
_DATABASE_PATHS = re.compile(r"/(studies)?|/(api|artifacts|csv|reports|walks)/.*")


class _Probe:
    """One query that tests the database, in a separate thread because it may hang."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reason: str | None = None
        self._answered = threading.Event()
        self._started = time.monotonic()
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
        except Exception as error:  # noqa: BLE001  # whatever failed, the database cannot be used
            self._reason = cause_of(error)
        self._answered.set()

    @property
    def is_fine(self) -> bool:
        """Whether the database answered without an error."""
        return self._answered.is_set() and self._reason is None

    @property
    def is_over(self) -> bool:
        """Whether a new check is due; a check that hangs is not repeated."""
        return self._answered.is_set() and time.monotonic() - self._started > _VALID_SECONDS

    def reason(self) -> str | None:
        """Return why the database cannot be used, or None if it answers."""
        if self._answered.wait(max(self._started + _PATIENCE_SECONDS - time.monotonic(), 0)):
            return self._reason
        return f"no answer within {_PATIENCE_SECONDS:.0f} s"


class DatabaseHealth:
    """Checks the database when a request needs it, at most once a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._check: _Probe | None = None
        self._was_away = False

    def trouble(self, *, anew: bool = False) -> str | None:
        """Return why the database cannot be used, or None if it answers; within two seconds.

        With `anew`, an earlier answer without an error does not count.
        """
        with self._lock:
            if self._check is None or self._check.is_over or (anew and self._check.is_fine):
                self._check = _Probe(self._engine)
            check = self._check
        reason = check.reason()
        self._note(reason)
        return reason

    def _note(self, reason: str | None) -> None:
        """Log when the database stops answering and when it answers again."""
        with self._lock:
            if self._was_away == bool(reason):
                return
            self._was_away = bool(reason)
        log.warning("%s", f"the database is away: {reason}" if reason else "the database is back")


class _Request(threading.Thread):
    """One request to the application, in a separate thread that is abandoned if it hangs."""

    def __init__(self, app: WsgiApp, environ: Environ) -> None:
        super().__init__(daemon=True)
        self._app, self._environ = app, environ
        self.answer: tuple[str, Headers] | None = None
        self.body: Iterable[bytes] = ()
        self.error: Exception | None = None

    def run(self) -> None:
        """Call the application and keep its answer or its error."""
        try:
            self.body = self._app(self._environ, self._start)
        except Exception as error:  # noqa: BLE001  # logged by the thread that waits
            self.error = error

    def _start(self, status: str, headers: Headers, *_: Any) -> None:
        self.answer = status, headers


def says_when_away(app: WsgiApp, pulse: DatabaseHealth) -> WsgiApp:
    """Answer 503 with the reason if the database is away, also if it stops during a request.

    Any other failure is one line in the log, and the answer shows no code.
    """

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _DATABASE_PATHS.fullmatch(environ["PATH_INFO"]):
            return app(environ, start_response)
        if reason := pulse.trouble():
            return _away(reason).send(start_response)
        request = _Request(app, environ)
        request.start()
        while request.is_alive():
            request.join(_LOOK_SECONDS)
            if request.is_alive() and (reason := pulse.trouble()):
                return _away(reason).send(start_response)
        if request.error is not None:
            log.warning("%s failed: %s", environ["PATH_INFO"], cause_of(request.error))
        status, headers = request.answer or (_FAILED.status, [])
        if status.startswith("5") and (reason := pulse.trouble(anew=True)):
            return _away(reason).send(start_response)
        if request.error is not None:
            return _FAILED.send(start_response)
        start_response(status, headers)
        return request.body

    return wrapped


_FAILED = Refusal(
    "500 Internal Server Error", "this request failed; the terminal of the dashboard says why"
)


def _away(reason: str) -> Refusal:
    msg = f"the database is away, try again in a moment: {reason}"
    return Refusal("503 Service Unavailable", msg, ("Retry-After", "5"))
