"""A fleet of real workers, and its disturbances: kills, suspensions, outages of the database."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from optuna.storages import RDBStorage

from puffin.studies.storage import workers
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import StoredStudy
from tests.postgres import Postgres
from tests.processes import Program, Programs
from tests.soak.audit import Audit

_TICK = 0.2


@contextlib.contextmanager
def opened(url: str) -> Iterator[RDBStorage]:
    """Open a database and close it, because open connections at exit are warnings."""
    storage = open_storage(url)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def stop(programs: list[Program], seconds: float) -> list[float]:
    """Ask all programs to stop at once; return the seconds that each took, at most `seconds`."""
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
        """Disturb the fleet until every ticket is finished; return the seconds it took."""
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
        """Kill or suspend, if due, a worker with unsaved epochs."""
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
        return self.programs.tuner(self.url, "worker", "--forever", *self.options)

    def _look_after(self, now: float) -> None:
        """Resume workers and the database when due, and check that no worker has ended."""
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
        """Return the workers that have unsaved epochs."""
        unsaved = {h.ticket: bool(h.again) for h in Audit(study).handovers()}
        rows = workers.alive(study.storage)
        pids = {row.pid for row in rows if row.ticket is not None and unsaved.get(row.ticket)}
        return [p for p in self._awake() if p.pid in pids]

    def _caught(self, study: StoredStudy) -> list[Program]:
        """Return a suspended worker with unsaved epochs, or an empty list."""
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
        """Stop the database: restart it at once as after a crash, or after some seconds."""
        assert self.server is not None
        self.tally["outages"] += 1
        self.server.stop("fast" if seconds else "immediate")
        self._up_at = now + seconds
