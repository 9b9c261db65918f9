"""Stop signals: SIGTERM, SIGINT and SIGHUP end the work at a point where nothing is lost."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


def _call_after(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask this process to stop.

    SIGHUP, which a closed terminal sends, is left out if the process was started to ignore it, as
    ``nohup`` does.
    """
    signals = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


class Interrupted(BaseException):  # so that `except Exception` does not catch it
    """Raised during training after a request to stop."""


def _send_sigterm() -> None:
    """Send SIGTERM to the main thread, which may be in a blocking call that has to return."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


# An epoch that ends within this time after a request to stop is finished and kept.
_PATIENCE_SECONDS = 5.0


class Interrupt:
    """Records a request to stop, and raises `Interrupted` only inside `interruptible`.

    An exception must not separate two SQL statements that belong together, so the signal is only
    recorded; during training `Interrupted` is raised if the current epoch does not end within 5 s.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._armed = False
        self._late = False

    def install(self) -> None:
        """Handle the stop signals from now on; main thread only."""
        for number in stop_signals():
            signal.signal(number, self._handle)

    def after(self, seconds: float) -> None:
        """Send this process SIGTERM after so many seconds."""
        _call_after(seconds, _send_sigterm)

    def with_parent(self, descriptor: int) -> None:
        """Send this process SIGTERM when its parent ends.

        Parameters
        ----------
        descriptor : int
            Read end of a pipe whose write end only the parent has.
        """

        def watch() -> None:
            while os.read(descriptor, 1):
                pass
            _send_sigterm()

        threading.Thread(target=watch, daemon=True).start()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._event.is_set():
            self._event.set()
            if self._armed:
                _call_after(_PATIENCE_SECONDS, self._force)
        elif self._late and self._armed:
            self._armed = False
            raise Interrupted

    def _force(self) -> None:
        # Set only now: a worker gets Ctrl-C twice, from the terminal and from the pool.
        self._late = True
        if self._armed:
            _send_sigterm()

    @property
    def requested(self) -> bool:
        """Whether the process was asked to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake up on a request to stop; return whether there was none."""
        return not self._event.wait(seconds)

    def interruptible(self, items: Iterator[T]) -> Iterator[T]:
        """Yield `items`; after a request to stop raise `Interrupted` instead of the next one.

        If an item takes more than 5 s after the request, `Interrupted` is raised while it is made.
        """
        while True:
            self._armed = True
            try:
                if self.requested:
                    raise Interrupted
                item = next(items)
            except StopIteration:
                return
            finally:
                self._armed = False
            yield item
