"""Real programs and what is done to them: killed, suspended, and left without their database."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from puffin.studies.storage import workers
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import StoredStudy
from tests.postgres import Postgres
from tests.soak.audit import Audit

TUNER = Path(sys.executable).with_name("tuner")
_TICK = 0.2


@contextlib.contextmanager
def opened(url: str) -> Iterator[RDBStorage]:
    """Open a database, and close it: connections left to the collector are warnings."""
    storage = open_storage(url)
    try:
        yield storage
    finally:
        storage.engine.dispose()


@dataclass(eq=False)
class Program:
    """A program that was started, with what it wrote."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def printed(self) -> str:
        return (self.folder / "out").read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float) -> int:
        """Wait for its end; give its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            msg = f"{self.process.args} still runs after {seconds} s; it wrote:\n{self.said}"
            raise AssertionError(msg) from None


class Programs:
    """Starts programs, each in a process group of its own, and ends all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Program] = []

    def start(self, url: str, *args: str | Path) -> Program:
        """Start ``tuner`` with some arguments on a database."""
        folder = self._folder / f"program-{len(self._started)}"
        folder.mkdir()
        env = {k: v for k, v in os.environ.items() if not k.startswith("TUNER_")}
        env |= {"TUNER_STORAGE": url, "TUNER_DEVICE": "cpu"}
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [TUNER, *args],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._started.append(Program(process, folder))
        return self._started[-1]

    def close(self) -> None:
        """Kill what still runs."""
        for program in self._started:
            if program.process.poll() is None:
                program.kill()


def until(
    condition: Callable[[], Any], what: str, programs: list[Program], seconds: float = 60.0
) -> Any:
    """Wait for something that programs do, none of which may end before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        for program in programs:
            assert program.process.poll() is None, f"{what}: one ended, with:\n{program.said}"
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s; {[p.said for p in programs]}")


def stop(programs: list[Program], seconds: float) -> list[float]:
    """Ask all to end at the same time; give the seconds that each took, at most `seconds`."""
    started = time.monotonic()
    for program in programs:
        program.send(signal.SIGTERM)
    took: dict[Program, float] = {}
    while len(took) < len(programs):
        now = time.monotonic() - started
        for program in programs:
            if program not in took and program.process.poll() is not None:
                took[program] = now
                assert program.process.returncode == 0, program.said
        running = [p.said for p in programs if p not in took]
        assert not running or now < seconds, f"still running after {seconds} s: {running}"
        time.sleep(0.01)
    return sorted(took.values())


@dataclass(frozen=True)
class Plan:
    """How a fleet is disturbed.

    Attributes
    ----------
    size : workers
    seconds : until the study must be done
    kills, suspensions : numbers of finished tickets at which a worker is hit that has trained
        epochs since its last checkpoint
    outages : finished tickets, and for how many seconds PostgreSQL is then away
    every : seconds between two kills of any worker, which go on until few tickets are left; then
        some worker is suspended at nearly any time as well
    """

    size: int
    seconds: float
    kills: tuple[int, ...] = ()
    suspensions: tuple[int, ...] = ()
    outages: tuple[tuple[int, float], ...] = ()
    every: float | None = None


@dataclass
class Storm:
    """Disturbs a fleet of ``tuner worker --forever`` until their study is done.

    Whoever is killed is replaced, and none may end by itself.
    """

    programs: Programs
    url: str
    plan: Plan
    options: tuple[str, ...]
    # A suspension lasts longer than this.
    grace: int
    server: Postgres | None
    rng: random.Random
    living: list[Program] = field(default_factory=list)
    killed: list[Program] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    _suspended: dict[Program, float] = field(default_factory=dict)
    _up_at: float | None = None

    def start(self) -> None:
        """Start the fleet."""
        self.living = [self._new() for _ in range(self.plan.size)]

    def run(self, study: StoredStudy) -> float:
        """Disturb the fleet until every ticket is spent; give the seconds it took."""
        plan, total = self.plan, study.spec.tickets
        kills, suspensions, outages = (
            list(events) for events in (plan.kills, plan.suspensions, plan.outages)
        )
        started = now = time.monotonic()
        next_kill, next_suspension, done = now + 2, now + 4, 0
        while done < total or self._suspended or kills or suspensions or outages:
            assert now - started < plan.seconds, f"{done} of {total} are done: {self._said}"
            self._look_after(now)
            if self._up_at is None:
                done = count_finished(study.trials())
                self._hit(study, done, now, kills, suspensions)
                if outages and done >= outages[0][0]:
                    self._strike(now, outages.pop(0)[1])
            if plan.every is not None and total - done > plan.size:
                if now >= next_kill:
                    self._kill(self._awake())
                    next_kill = now + plan.every
                if now >= next_suspension:
                    self._suspend(self._awake(), now)
                    next_suspension = now + self.grace + 5
            time.sleep(_TICK)
            now = time.monotonic()
        return now - started

    def _hit(
        self, study: StoredStudy, done: int, now: float, kills: list[int], suspensions: list[int]
    ) -> None:
        """Do what is due to a worker that has epochs to lose, if there is one."""
        if kills and done >= kills[0]:
            victims = self._caught(study)
            if victims:
                del kills[0]
                self._kill(victims)
        elif not kills and suspensions and done >= suspensions[0]:
            victims = self._at_work(study)
            if victims:
                del suspensions[0]
                self._suspend(victims, now)

    @property
    def _said(self) -> list[str]:
        return [program.said for program in self.living]

    def _new(self) -> Program:
        self.tally["started"] += 1
        return self.programs.start(self.url, "worker", "--forever", *self.options)

    def _look_after(self, now: float) -> None:
        """Wake who slept enough, have the database back in time, and see that nobody is gone."""
        for program in [p for p, end in self._suspended.items() if now >= end]:
            program.send(signal.SIGCONT)
            del self._suspended[program]
        if self.server is not None and self._up_at is not None and now >= self._up_at:
            self.server.start()
            self._up_at = None
        for program in self.living:
            code = program.process.poll()
            assert code is None, f"a worker ended by itself, with {code}:\n{program.said}"

    def _awake(self) -> list[Program]:
        return [p for p in self.living if p not in self._suspended]

    def _at_work(self, study: StoredStudy) -> list[Program]:
        """The workers that would lose epochs, were they killed."""
        unsaved = {h.ticket: bool(h.again) for h in Audit(study).handovers()}
        rows = workers.alive(study.storage)
        pids = {row.pid for row in rows if row.ticket is not None and unsaved.get(row.ticket)}
        return [p for p in self._awake() if p.pid in pids]

    def _caught(self, study: StoredStudy) -> list[Program]:
        """A worker at work, stopped so that it can save nothing more, or none."""
        for program in self._at_work(study):
            program.send(signal.SIGSTOP)
            if program in self._at_work(study):
                return [program]
            program.send(signal.SIGCONT)
        return []

    def _kill(self, candidates: list[Program]) -> None:
        victim = self.rng.choice(candidates)
        victim.kill()
        self.tally["killed"] += 1
        self.killed.append(victim)
        self.living[self.living.index(victim)] = self._new()

    def _suspend(self, candidates: list[Program], now: float) -> None:
        victim = self.rng.choice(candidates)
        victim.send(signal.SIGSTOP)
        self.tally["suspended"] += 1
        self._suspended[victim] = now + self.grace + 3

    def _strike(self, now: float, seconds: float) -> None:
        """Take the database away: at once back as after a crash, or gone for a while."""
        assert self.server is not None
        self.tally["outages"] += 1
        self.server.stop("fast" if seconds else "immediate")
        self._up_at = now + seconds
