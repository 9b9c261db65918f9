"""What workers without work ask of a database, by their own schedules.

Each of them has a scheduler and a heartbeat of its own, as a worker process has; this process calls
each when it is due, over one storage, and counts. `last trials`: others train the last trials of a
study; `no work`: all studies are finished. `behind` is how late the latest call was: the schedules
cannot be kept if it grows to seconds.

    python -m benchmarks.idle --workers 1000 --seconds 30
"""

import argparse
import heapq
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event

from benchmarks.storage import EPOCHS, NAME, Databases, make, opened
from puffin.studies.storage.database import GRACE_SECONDS
from puffin.studies.storage.optuna_internals import running_trial, trial_id
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy, load
from puffin.studies.versions import installed_versions
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.scheduler import StudyScheduler
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.postgres import Postgres, running_postgres

# Trials in training, and the time in which pauses reach their bound.
RUNNING, SETTLE = 8, 20.0
# Of a heartbeat, as `Heartbeat` divides the grace period.
BEAT = GRACE_SECONDS / 6

Act = Callable[[], float]


class Paced(Interrupt):
    """Notes how long a worker would wait."""

    pause = 0.0

    def wait(self, seconds: float) -> bool:
        """Return at once."""
        self.pause = seconds
        return True


def worker_acts(storage: RDBStorage, study: StoredStudy) -> tuple[Act, Act]:
    """Return the poll and the beat of a worker; each returns the seconds until its next."""
    paced = Paced()
    heartbeat = Heartbeat(
        storage, Registration(storage, "cpu", installed_versions(), GRACE_SECONDS)
    )
    worker = Worker(storage, torch.device("cpu"), paced, heartbeat)
    # The prices of the study are read once for all.
    scheduler = StudyScheduler(worker, None, forever=True, _studies={study.name: study})

    def poll() -> float:
        scheduler.run_one()
        return paced.pause

    def beat() -> float:
        heartbeat._beat()  # noqa: SLF001  # its thread does nothing else
        return BEAT

    return poll, beat


def prepare(study: StoredStudy, situation: str) -> None:
    """Leave the last trials in training, or none."""
    for _ in range(RUNNING):
        trial = running_trial(study.optuna_study, trial_id(study.queue.start_next()))  # type: ignore[arg-type]  # they are there
        for epoch in range(1, EPOCHS + 1):
            trial.report(1 / epoch, epoch)
        if situation == "no work":
            study.optuna_study.tell(trial, 1.0, state=TrialState.COMPLETE)


def server_seconds(server: Postgres) -> float:
    """Return the processor time that the processes of PostgreSQL have used."""
    ticks, parent = 0, (server.folder / "postmaster.pid").read_text().split("\n", 1)[0]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if fields[1] == parent:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def run(acts: list[tuple[str, Act]], seconds: float, counts: Counter[str]) -> float:
    """Call each when it is due, for some seconds; return how late the latest call was."""
    start = time.monotonic()
    due = [
        (start + random.uniform(0, BEAT), number)  # noqa: S311  # not for secrets
        for number in range(len(acts))
    ]
    heapq.heapify(due)
    behind, settled = 0.0, False
    while (now := time.monotonic()) < start + SETTLE + seconds:
        if not settled and now > start + SETTLE:
            settled, behind = True, 0.0
            counts.clear()
        moment, number = due[0]
        if moment > now:
            time.sleep(min(moment - now, 0.05))
            continue
        behind = max(behind, now - moment)
        kind, act = acts[number]
        heapq.heapreplace(due, (time.monotonic() + act(), number))
        counts[kind] += 1
    return behind


def measure(url: str, situation: str, workers: int, seconds: float, server: Postgres) -> str:
    """Return a row of the table."""
    make(url, "random", RUNNING)
    with opened(url) as storage:
        study, counts = load(storage, NAME), Counter[str]()
        prepare(study, situation)
        _ = study.dataset
        acts = [
            (kind, act)
            for _ in range(workers)
            for kind, act in zip(("polls", "beats"), worker_acts(storage, study), strict=True)
        ]

        @event.listens_for(storage.engine, "before_cursor_execute")
        def count(*_: Any) -> None:
            counts["statements"] += 1
            if counts["statements"] == 1:  # the first since the schedules have settled
                used[:] = [time.process_time(), server_seconds(server)]

        used = [0.0, 0.0]
        behind = run(acts, seconds, counts)
        client = (time.process_time() - used[0]) / seconds
        at_server = (server_seconds(server) - used[1]) / seconds
    rates = "".join(f"{counts[kind] / seconds:10.0f}" for kind in ("polls", "beats", "statements"))
    return f"{rates}{client:10.2f}{at_server:10.2f}{behind:8.1f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    print(
        f"{options.workers} workers           polls/s   beats/s  statem./s  client   server  behind"
    )
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        databases = Databases(Path(folder), server)
        for kind in ("sqlite", "postgresql"):
            for situation in ("last trials", "no work"):
                row = measure(
                    databases.new(kind), situation, options.workers, options.seconds, server
                )
                print(f"{kind:12}{situation:12}{row}", flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
