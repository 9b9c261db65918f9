"""Starts worker processes on this machine, watches over them, and stops them cleanly."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from puffin.models.errors import PuffinError

_MAX_RESTARTS = 3
# A worker that lived this long was well: its end counts for itself.
_HEALTHY_SECONDS = 600.0
# Longer than the longest statement a worker may be in, shorter than a user's patience.
_STOP_SECONDS = 30.0


class WorkerError(PuffinError):
    """Workers that do not stay alive."""


@dataclass
class _Slot:
    """The place of one worker, which may be started again."""

    index: int
    device: str
    process: subprocess.Popen[str]
    restarts: int = 0
    since: float = field(default_factory=time.monotonic)
    last_stderr_line: list[str] = field(default_factory=list)


class Pool:
    """Worker processes of one study.

    Parameters
    ----------
    url : str
        Database; handed over in the environment, so that no process title shows a password.
    study : str
        The study to serve.
    devices : sequence of str
        One worker for each.
    say : callable
        Takes each line that a worker writes to stderr, and what happens to workers.
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
            # One thread per worker beats one worker with all threads; torch reads these once.
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            # Without a fixed workspace cuBLAS may sum in another order from run to run.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            env["TUNER_DEBUG"] = "1"
        share = f"{self._shares[device]:.6f}"
        command = [_script(), "worker", "--study", self._study, "--device", device]
        return subprocess.Popen(  # noqa: S603  # our own console script
            [*command, "--memory-share", share, "--quiet", "--stop-with-parent"],
            env=env,
            # Never written to: the kernel closes it when this process ends, however it ends.
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

    def poll(self) -> bool:
        """Look after the workers: start lost ones again; False when all have ended their work.

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
            words = f": {slot.last_stderr_line[0]}" if slot.last_stderr_line else ""
            msg = f"worker {slot.index + 1} ended {slot.restarts + 1} times, with {_cause(code)}"
            raise WorkerError(msg + words)
        slot.restarts += 1
        slot.since = time.monotonic()
        self._say(f"worker {slot.index + 1} ended with {_cause(code)}; starting it again")
        _close_stdin(slot.process)
        slot.process = self._start(slot.device)
        self._listen(slot)

    def stop(self) -> None:
        """Ask all workers to give their tickets back and end; kill those that do not."""
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
    """Find the console script beside this interpreter: a folder `models` of a user cannot hide it.

    Raises
    ------
    WorkerError
        If it is not there.
    """
    beside = str(Path(sys.executable).parent)
    script = shutil.which("tuner", path=beside) or shutil.which("tuner")
    if script is None:
        msg = "the console script `tuner` is not installed; run pip install . in this project"
        raise WorkerError(msg)
    return script
