"""What the database bears: many workers at trials of no work, and studies with a long history.

The first table gives tickets a second of workers that train nothing: they claim, sample, report
five epochs, ask the pruner after each, and tell; `idle` counts how often one found no ticket,
since another took the one that it had issued; `pooler` is PostgreSQL behind PgBouncer in
transaction mode with 20 connections, if that is installed. The second gives the time of each step
of a trial while a study grows and 10,000 tickets are still to come.

    python -m benchmarks.storage --seconds 20 --workers 8 32 128 --filled 100 1000 5000
"""

import argparse
import contextlib
import itertools
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
import torch
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel, VersionInfoModel
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

import puffin.tuner.worker.worker
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.records import TrialRecord, is_finished, ticket_of
from puffin.studies.space import suggest
from puffin.studies.spec import parse_spec
from puffin.studies.storage import registry
from puffin.studies.storage.database import GRACE_SECONDS, open_storage, transaction
from puffin.studies.storage.optuna_internals import running_trial, trial_id
from puffin.studies.storage.tables import metadata
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy, load
from puffin.studies.versions import installed_versions
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.pgbouncer import PGBOUNCER, behind, running_pgbouncer
from tests.postgres import Postgres, running_postgres

NAME = "bench"
EPOCHS = 5
TO_COME = 10_000
POOL = 20
STEPS = ("look for lost", "start a trial", "sampler and suggest", "report and prune", "tell")


def make(url: str, sampler: str, trials: int) -> None:
    """Make a study of nine hyperparameters."""
    spec = parse_spec(
        {
            "name": NAME,
            "data": {"symbol": "AAPL", "start": "2011-06-01"},
            "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 20},
            "space": {
                "cell": ["lstm", "gru"],
                "layers": {"low": 1, "high": 2},
                "hidden_dim": {"low": 4, "high": 64},
                "dropout": {"low": 0.0, "high": 0.4},
                "lookback": {"low": 3, "high": 30},
                "lr": {"low": 1e-4, "high": 1e-2, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
                "batch_size": [16, 32, 64],
            },
            "search": {"trials": trials, "sampler": sampler, "pruner": "median"},
        },
        NAME,
    )
    storage = open_storage(url, create=True)
    submit(storage, spec, load_basket("sample", PriceRequest(start=spec.data.start), ["AAPL"]))
    storage.engine.dispose()  # before the workers are forked


def loss(config: dict[str, Any]) -> float:
    """Assign a value to a point, so that the sampler has something to learn."""
    return float((config["lookback"] - 12) ** 2 + config["dropout"])


def idle(trial: optuna.Trial, study: StoredStudy, *_args: object) -> float:
    """Take the place of `puffin.tuner.worker.objective.run_trial`, and train nothing."""
    value = loss(suggest(trial, study.spec.parsed_space).to_dict())
    for epoch in range(1, EPOCHS + 1):
        trial.report(value + 1 / epoch, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


# Many workers


def serve(url: str, seconds: float, barrier: Barrier, answers: Any) -> None:
    """Be a worker for some seconds, and put down what it came to."""
    storage = open_storage(url)
    study = load(storage, NAME)
    counts: Counter[str] = Counter()
    longest = 0.0
    me = Registration(storage, "cpu", installed_versions(), GRACE_SECONDS)
    with Heartbeat(storage, me) as heartbeat:
        worker = Worker(storage, torch.device("cpu"), Interrupt(), heartbeat)
        _ = study.dataset  # read before the clock runs
        barrier.wait(240)
        begin = time.monotonic()
        end = begin + seconds
        while (started := time.monotonic()) < end:
            try:
                counts["tickets" if worker.step(study) else "nothing"] += 1
            except (StorageInternalError, SQLAlchemyError) as error:
                counts[type(error).__name__] += 1
            longest = max(longest, time.monotonic() - started)
        took = time.monotonic() - begin
    answers.put((dict(counts), longest, took))


def crowd(url: str, workers: int, seconds: float) -> tuple[Counter[str], float, float]:
    """Run workers at the same time; return what they did, the longest ticket, and the seconds.

    Those are until the last ticket that was begun in time has ended.
    """
    make(url, "random", 10**6)
    context = multiprocessing.get_context("fork")  # one import for all
    barrier, answers = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=serve, args=(url, seconds, barrier, answers), daemon=True)
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    done = [answers.get(timeout=seconds + 240) for _ in processes]
    for process in processes:
        process.join()
    total: Counter[str] = Counter()
    for counts, _, _ in done:
        total.update(counts)
    return total, max(longest for _, longest, _ in done), max(took for _, _, took in done)


def check(url: str, total: Counter[str]) -> str:
    """Tell whether every ticket that was drawn was spent once, or waits."""
    with opened(url) as storage:
        trials = load(storage, NAME).trials()
        drawn = registry.budgets(storage)[NAME].issued
    held = Counter(ticket_of(t) for t in trials if is_finished(t) or t.state == TrialState.WAITING)
    spent = sum(is_finished(t) for t in trials)
    if held != dict.fromkeys(range(drawn), 1) or spent != total["tickets"]:
        return f"NOT EACH ONCE: {drawn} drawn, {len(held)} held, {spent} spent"
    return "each once"


def crowds(database: "Databases", sizes: list[int], seconds: float) -> None:
    """Print the first table."""
    print(f"{'database':12}{'workers':>9}{'tickets/s':>11}{'longest':>10}{'errors':>8}{'idle':>7}")
    for kind in database.kinds:
        for workers in sizes:
            url = database.new(kind)
            total, longest, took = crowd(url, workers, seconds)
            errors = sum(total.values()) - total["tickets"] - total["nothing"]
            print(
                f"{kind:12}{workers:9}{total['tickets'] / took:11.1f}{longest:8.1f} s"
                f"{errors:8}{total['nothing']:7}  {check(url, total)}",
                flush=True,
            )


# A long history


@contextlib.contextmanager
def opened(url: str, *, create: bool = False) -> Iterator[RDBStorage]:
    """Open a database and close it."""
    storage = open_storage(url, create=create)
    try:
        yield storage
    finally:
        storage.engine.dispose()


def past(study: StoredStudy, number: int, rng: random.Random) -> FrozenTrial:
    """Make up a finished trial: half of them were pruned at some epoch."""
    study.optuna_study.sampler = study.sampling.sampler_of(number)
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number)).ask()
    config = suggest(sampled, study.spec.parsed_space).to_dict()
    epochs = EPOCHS if rng.random() < 0.5 else rng.randint(1, EPOCHS)
    value = loss(config)
    return create_trial(
        state=TrialState.COMPLETE if epochs == EPOCHS else TrialState.PRUNED,
        value=value,
        params=sampled.params,
        distributions=sampled.distributions,
        user_attrs=TrialRecord(ticket=number, config=config).to_attrs(),
        intermediate_values={e: value + 1 / e for e in range(1, epochs + 1)},
    )


def fill(study: StoredStudy, count: int, rng: random.Random) -> None:
    """Put finished trials into the study until there are `count`."""
    there = len(study.trials())
    study.optuna_study.add_trials([past(study, n, rng) for n in range(there, count)])
    with transaction(study.storage) as connection:
        registry.set_budget(connection, study.creation_id, issued=count)


def carry(source: str, target: str) -> None:
    """Put all rows of a database into an empty PostgreSQL; there Optuna fills one in minutes."""
    tables = [t for m in (BaseModel.metadata, metadata) for t in m.sorted_tables]
    with (
        opened(source) as old,
        opened(target, create=True) as new,
        old.engine.connect() as reading,
        new.engine.begin() as writing,
    ):
        for table in tables:
            rows = [dict(row) for row in reading.execute(sa.select(table)).mappings()]
            if not rows or table.name == VersionInfoModel.__tablename__:  # it has its own
                continue
            writing.execute(sa.insert(table), rows)
            for column in table.primary_key:
                sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
                if writing.execute(sa.select(sequence)).scalar() is not None:
                    last = sa.func.setval(sequence, max(row[column.name] for row in rows))
                    writing.execute(sa.select(last))
        writing.execute(sa.text("ANALYZE"))


def step(study: StoredStudy) -> list[float]:
    """Do what a worker does with a ticket, by the same calls; return the seconds of each part."""
    clock = [time.perf_counter()]
    study.queue.retry_stale()
    clock.append(time.perf_counter())
    claimed = study.queue.claim() or study.queue.start_next()
    if claimed is None:
        msg = "no ticket is to come"
        raise RuntimeError(msg)
    clock.append(time.perf_counter())
    study.optuna_study.sampler = study.sampling.sampler_of(ticket_of(claimed))
    trial = running_trial(study.optuna_study, trial_id(claimed))
    value = loss(suggest(trial, study.spec.parsed_space).to_dict())
    clock.append(time.perf_counter())
    for epoch in range(1, EPOCHS + 1):
        trial.report(value + 1 / epoch, epoch)
        trial.should_prune()
    clock.append(time.perf_counter())
    study.optuna_study.tell(trial, value)
    clock.append(time.perf_counter())
    seconds = [b - a for a, b in itertools.pairwise(clock)]
    seconds[3] /= EPOCHS
    return seconds


def growth(database: "Databases", sizes: list[int], rounds: int) -> None:
    """Print the second table."""
    print(f"{'database':12}{'finished':>10}{'waiting':>9}{'first look':>12}", end="")
    print("".join(f"{name:>22}" for name in STEPS))
    url, rng = database.new("sqlite"), random.Random(0)  # noqa: S311  # not for secrets
    make(url, "tpe", max(sizes, default=0) + TO_COME)
    for size in sizes:
        with opened(url) as storage:
            fill(load(storage, NAME), size, rng)
        other = database.new("postgresql")
        carry(url, other)
        for kind, at in (("sqlite", url), ("postgresql", other)):
            with opened(at) as storage:  # as a worker that starts now
                study = load(storage, NAME)
                started = time.perf_counter()
                study.trials()
                first = time.perf_counter() - started
                times = [step(study) for _ in range(rounds)]
                waiting = sum(t.state == TrialState.WAITING for t in study.trials())
            medians = [statistics.median(column) * 1e3 for column in zip(*times, strict=True)]
            print(
                f"{kind:12}{size:10}{waiting:9}{first * 1e3:9.0f} ms"
                + "".join(f"{m:19.1f} ms" for m in medians),
                flush=True,
            )


class Databases:
    """New databases of each kind."""

    def __init__(self, folder: Path, server: Postgres, pooler: int | None = None) -> None:
        self._folder, self._server, self._pooler, self._count = folder, server, pooler, 0
        self.kinds = ["sqlite", "postgresql", *(["pooler"] if pooler else [])]

    def new(self, kind: str) -> str:
        """Make an empty one and give its URL."""
        if kind == "postgresql":
            return self._server.new_database()
        if kind == "pooler" and self._pooler:
            return behind(self._server.new_database(), self._pooler)
        self._count += 1
        return f"sqlite:///{self._folder / f'bench-{self._count}.db'}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, nargs="*", default=[8, 32, 128])
    parser.add_argument("--filled", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres() as server,
        running_pgbouncer(server.port, POOL) if PGBOUNCER else nullcontext() as pooler,
    ):
        databases = Databases(Path(folder), server, pooler)
        growth(databases, options.filled, options.rounds)
        puffin.tuner.worker.worker.run_trial = idle  # type: ignore[assignment]
        crowds(databases, options.workers, options.seconds)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
