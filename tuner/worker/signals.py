"""SIGTERM, SIGINT and SIGHUP stop a worker at a place where nothing can be lost."""

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
    """Give the signals that ask this process to end: a request, Ctrl-C, and a closed terminal.

    The last not where it was started to outlive its terminal, as by ``nohup``.
    """
    asking = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        asking.append(signal.SIGHUP)
    return asking


class Interrupted(BaseException):  # not an error; passes through `except Exception`
    """The process was asked to stop while it was training."""


def _send_sigterm() -> None:
    """Send this process SIGTERM, and its main thread, which may be in a call that must end."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


# An epoch that ends within this time is waited for: its work is kept.
_PATIENCE_SECONDS = 5.0


class Interrupt:
    """Remembers a request to stop, and raises `Interrupted` only inside `interruptible`.

    A signal that arrives between two statements of SQL must not tear them apart, so outside of
    training it is only written down. In training it is, too, but for an epoch that does not end
    soon.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._armed = False
        self._late = False

    def install(self) -> None:
        """Catch these signals from now on; main thread only."""
        for number in stop_signals():
            signal.signal(number, self._handle)

    def after(self, seconds: float) -> None:
        """Ask this process to stop when its time is up."""
        _call_after(seconds, _send_sigterm)

    def with_parent(self, descriptor: int) -> None:
        """Ask this process to stop when the parent that holds the other end of a pipe is gone."""

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
        # Only now: Ctrl-C comes to a worker twice, from the terminal and from the launcher.
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
        """Pass on `items`; a request to stop raises `Interrupted` before the next one is made.

        Also while it is made, if that takes long.
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
