"""Programs that tests start in processes of their own, and waiting for what they do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

TUNER = Path(sys.executable).with_name("tuner")


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of this process without the settings of a user, and `extra`."""
    return {k: v for k, v in os.environ.items() if not k.startswith("TUNER_")} | extra


@dataclass(eq=False)
class Program:
    """A program that was started, with what it wrote to files of its folder."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """Its stderr so far."""
        return (self.folder / "err").read_text()

    @property
    def printed(self) -> str:
        """Its stdout so far."""
        return (self.folder / "out").read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill its whole process group."""
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float) -> int:
        """Wait for its end; return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            msg = f"{self.process.args} still runs after {seconds} s; it wrote:\n{self.said}"
            raise AssertionError(msg) from None

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        """Wait for something that the program does; return what `condition` then returns."""
        return until(condition, what, [self], seconds)


def until(
    condition: Callable[[], Any],
    what: str,
    programs: Iterable[Program] = (),
    seconds: float = 60.0,
) -> Any:
    """Wait until a condition is true, and return its value.

    Parameters
    ----------
    condition : callable
    what : str
        Names the condition in the message of a failure.
    programs : iterable of Program
        None of them may end before.
    seconds : float
        Fail after so long.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        for program in programs:
            assert program.process.poll() is None, f"{what}: it ended before, with:\n{program.said}"
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s; {[p.said for p in programs]}")


class Programs:
    """Starts programs, each in a process group and folder of its own; kills all at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._started:
            if program.process.poll() is None:
                program.kill()

    def start(self, url: str, *command: str | Path, cwd: Path | None = None) -> Program:
        """Start a command on a database."""
        folder = self._folder / f"program-{len(self._started)}"
        folder.mkdir()
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                command,
                env=environment(TUNER_STORAGE=url, TUNER_DEVICE="cpu"),
                cwd=cwd or folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._started.append(Program(process, folder))
        return self._started[-1]

    def tuner(self, url: str, *args: str | Path) -> Program:
        """Start ``tuner`` with some arguments on a database."""
        return self.start(url, TUNER, *args)
