"""A pool of worker processes on this machine: start, watch, restart and stop them."""

import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from puffin.models.errors import PuffinError
from puffin.studies import summary
from puffin.studies.storage.errors import cause_of
from puffin.studies.study import WALK, StoredStudy, StudyError
from puffin.tuner import messages
from puffin.tuner.backoff import MOST_STORAGE_ERRORS, RETRY_SECONDS, Backoff
from puffin.tuner.progress import Progress, done_of
from puffin.tuner.worker.signals import Interrupt, Interrupted, stop_signals

_MAX_RESTARTS = 3
# Earlier restarts of a worker that then ran for this long no longer count.
_HEALTHY_SECONDS = 600.0
# Longer than the longest SQL statement of a worker, shorter than a user's patience.
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.5


class WorkerError(PuffinError):
    """Worker processes that do not stay alive."""


@dataclass
class _Slot:
    """One worker of the pool: its process, which may be restarted."""

    index: int
    device: str
    process: subprocess.Popen[str]
    restarts: int = 0
    since: float = field(default_factory=time.monotonic)
    last_stderr_line: list[str] = field(default_factory=list)


class Pool:
    """Worker processes of one study, or of all searches of a walk.

    Parameters
    ----------
    url : str
        Database; passed in the environment, so that no process title shows a password.
    study : str
        The study to serve, or the walk.
    devices : sequence of str
        Device of each worker.
    say : callable
        Prints each line that a worker writes to stderr, and each restart.
    """

    def __init__(
        self, url: str, study: str, devices: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self._url = url
        self._study = study
        self._say = say
        self._shares = {d: 1.0 / devices.count(d) for d in devices}
        self._slots: list[_Slot] = []
        self._devices = list(devices)

    def __enter__(self) -> Self:
        try:
            for index, device in enumerate(self._devices):
                slot = _Slot(index, device, self._start(device))
                self._slots.append(slot)
                self._listen(slot)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, device: str) -> subprocess.Popen[str]:
        env = os.environ | {
            "TUNER_STORAGE": self._url,
            # Workers with one thread each are faster than one with all; torch reads these once.
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            # Without a fixed workspace cuBLAS may sum in another order from run to run.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            env["TUNER_DEBUG"] = "1"
        share = f"{self._shares[device]:.6f}"
        command = [_script(), "worker", "--study", self._study, "--device", device]
        if self._study.endswith(WALK):  # its next search may begin while no work is left
            command.append("--forever")
        return subprocess.Popen(  # noqa: S603  # our own console script
            [*command, "--memory-share", share, "--quiet", "--stop-with-parent"],
            env=env,
            # Nothing is written to it: the kernel closes it when this process ends, even if killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _listen(self, slot: _Slot) -> None:
        def forward(process: subprocess.Popen[str]) -> None:
            if process.stderr is None:
                return
            with process.stderr as lines:
                for line in lines:
                    slot.last_stderr_line[:] = [line.rstrip()]
                    self._say(f"worker {slot.index + 1}: {line.rstrip()}")

        threading.Thread(target=forward, args=(slot.process,), daemon=True).start()

    @property
    def labels(self) -> dict[str, str]:
        """The processes, "host:pid" to the number of the worker."""
        host = socket.gethostname()
        return {f"{host}:{slot.process.pid}": str(slot.index + 1) for slot in self._slots}

    def poll(self) -> bool:
        """Restart workers that failed; return False once all have finished their work.

        Raises
        ------
        WorkerError
            If a worker cannot be kept alive.
        """
        alive = False
        for slot in self._slots:
            code = slot.process.poll()
            if code == 0:
                continue
            if code is not None:
                self._restart(slot, code)
            alive = True
        return alive

    def _restart(self, slot: _Slot, code: int) -> None:
        if time.monotonic() - slot.since > _HEALTHY_SECONDS:
            slot.restarts = 0
        if slot.restarts >= _MAX_RESTARTS:
            last = f": {slot.last_stderr_line[0]}" if slot.last_stderr_line else ""
            msg = f"worker {slot.index + 1} ended {slot.restarts + 1} times, with {_cause(code)}"
            raise WorkerError(msg + last)
        slot.restarts += 1
        slot.since = time.monotonic()
        self._say(f"worker {slot.index + 1} ended with {_cause(code)}; restarting it")
        _close_stdin(slot.process)
        slot.process = self._start(slot.device)
        self._listen(slot)

    def stop(self) -> None:
        """Ask all workers to requeue their tickets and end; kill those that do not within 30 s."""
        running = [slot.process for slot in self._slots if slot.process.poll() is None]
        for process in running:
            process.terminate()
        end = time.monotonic() + _STOP_SECONDS
        for process in running:
            try:
                process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for slot in self._slots:
            _close_stdin(slot.process)


def _close_stdin(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _cause(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _script() -> str:
    """Return the path of the console script, preferably the one beside this interpreter.

    Raises
    ------
    WorkerError
        If it is not installed.
    """
    beside = str(Path(sys.executable).parent)
    script = shutil.which("tuner", path=beside) or shutil.which("tuner")
    if script is None:
        msg = "the console script `tuner` is not installed; run pip install . in this project"
        raise WorkerError(msg)
    return script


def run_workers_until_done(
    study: StoredStudy,
    storage_url: str,
    devices: Sequence[str],
    timeout: float | None = None,
    *,
    quiet: bool = False,
) -> bool:
    """Run workers on a study until its budget is spent, and show the progress unless `quiet`.

    Returns
    -------
    bool
        Whether the study is done; False if `timeout` seconds have passed before.

    Raises
    ------
    PuffinError
        If workers do not stay alive or were stopped by somebody else, or if the study is deleted.
    KeyboardInterrupt
        After a clean stop on SIGINT or SIGTERM.
    """

    def read() -> summary.Status:
        try:
            return summary.status(study)
        except KeyError:
            if study.still_exists():
                raise
            msg = f"study {study.name!r} was deleted while this command worked on it"
            raise StudyError(msg) from None

    if read().done:
        return True
    progress = Progress(study.spec, quiet=quiet)
    return run_workers(study.name, storage_url, devices, read, read, progress, timeout)


def run_workers(
    served: str,
    storage_url: str,
    devices: Sequence[str],
    read: Callable[[], summary.Status],
    read_stopped: Callable[[], summary.Status],
    progress: Progress,
    timeout: float | None = None,
) -> bool:
    """Run workers until what they serve is done.

    Parameters
    ----------
    served : str
        The study, or all searches of a walk.
    storage_url : str
    devices : sequence of str
        Device of each worker.
    read : callable
        Returns the state; it is called about twice a second, and may begin further searches.
    read_stopped : callable
        Returns the state after a request to stop, and begins nothing.
    progress : Progress
    timeout : float, optional
        Seconds until the workers are stopped.

    Returns
    -------
    bool
        Whether everything is done; False if the time was up before.

    Raises
    ------
    PuffinError
        If workers do not stay alive or were stopped by somebody else, or by `read`.
    KeyboardInterrupt
        After a clean stop on SIGINT or SIGTERM.
    """
    end = time.monotonic() + (math.inf if timeout is None else timeout)
    previous = {number: signal.getsignal(number) for number in stop_signals()}
    interrupt, state = Interrupt(), None
    interrupt.install()
    try:
        with progress, Pool(storage_url, served, devices, progress.say) as pool:
            with suppress(Interrupted):
                for state in interrupt.interruptible(_watch(read, pool, progress, interrupt, end)):
                    progress.show(state, pool.labels)
            if interrupt.requested:
                progress.say("stops: the workers save what they train")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    try:
        # Trials may have ended while the workers stopped.
        state = read_stopped() if interrupt.requested else read()
    except (StorageInternalError, SQLAlchemyError):
        if state is None or not interrupt.requested:
            raise
    done = f"{done_of(state)} done; the same command resumes"
    if interrupt.requested:
        messages.say(f"stopped with {done}")
        raise KeyboardInterrupt
    if not state.done and time.monotonic() >= end:
        return False
    if not state.done:  # the workers got a signal that this command did not get
        msg = f"the workers were stopped with {done}"
        raise PuffinError(msg)
    return True


def _watch(
    read: Callable[[], summary.Status],
    pool: Pool,
    progress: Progress,
    interrupt: Interrupt,
    end: float,
) -> Iterator[summary.Status]:
    """Yield the state until all is done, all workers have ended, or the time is `end`."""
    # The state is read from the database, because workers notice the end only at their next poll.
    alive = True
    while alive:
        alive = pool.poll()
        state = _read(read, progress, interrupt)
        yield state
        if state.done or time.monotonic() >= end:
            return
        interrupt.wait(_POLL_SECONDS)


def _read(
    read: Callable[[], summary.Status], progress: Progress, interrupt: Interrupt
) -> summary.Status:
    """Return the state, retrying as long as the workers do if the database does not answer."""
    backoff = Backoff()
    for _ in range(MOST_STORAGE_ERRORS - 1):
        try:
            return read()
        except (StorageInternalError, SQLAlchemyError) as error:
            progress.say(f"the database failed, trying again: {cause_of(error)}")
            if not interrupt.wait(backoff.next(RETRY_SECONDS)):
                raise Interrupted from None
    return read()
