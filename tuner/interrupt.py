"""SIGTERM, SIGINT and SIGHUP stop a worker at a place where nothing can be lost."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

# A request to end, Ctrl-C, and a terminal that is closed.
STOP_SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
]


class Interrupted(BaseException):  # not an error; passes through `except Exception`
    """The process was asked to stop while it was training."""


class Interrupt:
    """Remembers a request to stop, and raises `Interrupted` only inside `guard`.

    A signal that arrives between two statements of SQL must not tear them apart, so outside of
    training it is only written down.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._armed = False

    def install(self) -> None:
        """Catch these signals from now on; main thread only."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def after(self, seconds: float) -> None:
        """Ask this process to stop when its time is up."""

        def stop() -> None:
            self._event.set()  # a signal that this thread raises does not wake up the main one
            signal.raise_signal(signal.SIGTERM)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._event.set()
        if self._armed:
            self._armed = False
            raise Interrupted

    @property
    def requested(self) -> bool:
        """Whether the process was asked to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up when asked to stop."""
        self._event.wait(seconds)

    def pause(self, seconds: float) -> bool:
        """Sleep, but wake up when asked to stop; False if the process was."""
        return not self._event.wait(seconds)

    def guard(self, items: Iterator[T]) -> Iterator[T]:
        """Pass on `items`; a request to stop raises `Interrupted` while the next one is made."""
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
