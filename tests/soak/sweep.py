"""Kills and suspends every command at each of its commits, and looks for what was lost.

For each k a fresh database is made, the command runs, and at its k-th commit it is killed
(SIGKILL) or suspended (SIGSTOP), before or after the commit. Then the plain command runs, a
suspended one wakes up, and the audit compares the database with one that nobody disturbed.

    python -m tests.soak.sweep --every 1
    python -m tests.soak.sweep --commands worker delete --databases postgresql --signals STOP

Processes are forked from one that has imported the program, so that a run takes a second or two.
"""

import argparse
import contextlib
import os
import pickle
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine.default import DefaultDialect

import puffin.studies.storage.database
import puffin.tuner.commands.report
from puffin.studies import records
from puffin.studies.openings import looks_at
from puffin.studies.storage import registry
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.optuna_internals import ARTIFACT_PREFIX
from puffin.studies.study import StoredStudy, load, study_names
from puffin.tuner.cli import main as tuner_main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.postgres import Postgres, running_postgres
from tests.studies import write_tiny

WORKER = ("worker", "--grace-seconds", "1", "--checkpoint-seconds", "0")
# A suspended process sleeps at least so long: longer than the grace time of the others.
SLEEP_SECONDS = 3.0
# Until then every process must have ended by itself.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Blow:
    """A signal to a command at its k-th commit."""

    number: signal.Signals
    commit: int
    before: bool

    def __str__(self) -> str:
        side = "before" if self.before else "after"
        return f"{self.number.name} {side} commit {self.commit}"


@dataclass
class Process:
    """A forked command and what it wrote."""

    pid: int
    folder: Path
    code: int | None = None
    stopped: bool = False

    @property
    def output(self) -> str:
        return (self.folder / "err").read_text() + (self.folder / "out").read_text()

    def poll(self) -> bool:
        """Return whether the process has ended or is suspended."""
        if self.code is None and not self.stopped:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid and os.WIFSTOPPED(status):
                self.stopped = True
            elif pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None or self.stopped

    def wait(self) -> None:
        """Wait until it has ended or is suspended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.poll():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                msg = f"still running after {PATIENCE_SECONDS:.0f} s: {self.output}"
                raise AssertionError(msg)
            time.sleep(0.01)

    def wake(self) -> None:
        """Resume a suspended process."""
        if self.stopped:
            self.stopped = False
            os.kill(self.pid, signal.SIGCONT)


@dataclass
class Place:
    """A database and a folder for one run."""

    kind: str
    folder: Path
    server: Postgres | None
    url: str = ""
    expected: Any = None
    _started: int = 0

    def start(self, *args: str, blow: Blow | None = None, url: str | None = None) -> Process:
        """Fork a command of the program."""
        self._started += 1
        folder = self.folder / f"process-{self._started}"
        folder.mkdir(parents=True)
        sys.stdout.flush()
        if (pid := os.fork()) == 0:
            run_command(folder, args, url or self.url, blow)
        return Process(pid, folder)

    def run(self, *args: str, allowed: tuple[int, ...] = (0,)) -> Process:
        """Run a command to its end."""
        process = self.start(*args)
        process.wait()
        assert process.code in allowed, f"{args} ended with {process.code}: {process.output}"
        return process


def run_command(
    folder: Path, args: Sequence[str], url: str, blow: Blow | None
) -> None:  # never returns
    """Run a command in this forked process."""
    code = 1
    try:
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        os.environ |= {"TUNER_STORAGE": url, "TUNER_DEVICE": "cpu"}
        puffin.studies.storage.database._IDLE_IN_TRANSACTION_SECONDS = 2
        puffin.tuner.commands.report.run_workers_until_done = train_here
        commits = strike_at_commits(blow)
        try:
            tuner_main(args=list(args))
        except SystemExit as end:
            code = int(end.code or 0)
        Path("commits").write_text(str(len(commits)))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def train_here(
    study: StoredStudy,
    storage_url: str,
    devices: Sequence[str],
    timeout: float | None = None,
    *,
    quiet: bool = False,
) -> bool:
    """Train what a report has ordered in this process, where its commits are counted."""
    del devices, timeout, quiet
    options = WorkerOptions(study.name, device="cpu", checkpoint_seconds=0.0, grace_seconds=1)
    work(storage_url, Interrupt(), options)
    return True


def strike_at_commits(blow: Blow | None) -> list[None]:
    """Send this process a signal at one of its commits; return a list that counts them."""
    commits: list[None] = []
    commit = DefaultDialect.do_commit

    def strike(dialect: DefaultDialect, connection: Any) -> None:
        commits.append(None)
        due = blow is not None and len(commits) == blow.commit
        if blow is not None and due and blow.before:
            os.kill(os.getpid(), blow.number)
        commit(dialect, connection)
        if blow is not None and due and not blow.before:
            os.kill(os.getpid(), blow.number)

    DefaultDialect.do_commit = strike  # type: ignore[method-assign]
    return commits


def in_child(act: Callable[..., Any], *args: Any) -> Any:
    """Return what a function returns in a forked process, which takes its connections along."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            answer: Any = act(*args)
        except BaseException as error:  # noqa: BLE001  # it is told to the parent
            answer = AssertionError(f"{type(error).__name__}: {error}")
        with os.fdopen(writing, "wb") as out:
            pickle.dump(answer, out)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        answer = pickle.load(source)  # noqa: S301  # of our own process
    os.waitpid(pid, 0)
    if isinstance(answer, AssertionError):
        raise answer
    return answer


# What a database holds


def losses(url: str, name: str = "tiny") -> dict[int, Any]:
    """Require that every ticket is finished once, and nothing else is left; return the losses."""
    storage = open_storage(url)
    study = load(storage, name)
    found: dict[int, Any] = {}
    for trial in study.trials():
        assert trial.state.is_finished(), f"trial {trial.number} is {trial.state.name}"
        if not records.is_finished(trial):
            continue
        number = trial.user_attrs[records.TICKET]
        assert number not in found, f"ticket {number} is finished twice"
        assert trial.state == TrialState.COMPLETE, f"ticket {number}: {trial.user_attrs}"
        curve = list(trial.intermediate_values.items())
        assert curve == sorted(curve), f"the curve of ticket {number} is out of order"
        found[number] = (trial.params, curve, trial.value)
        forecasts = study.store.read(trial.user_attrs["run"]["forecasts"])
        assert forecasts.startswith(b"fold,") or b"forecast" in forecasts[:200]
    total = registry.total(storage, name)
    assert sorted(found) == list(range(total or 0)), f"of {total} tickets: {sorted(found)}"
    nothing_left_over(storage)
    storage.engine.dispose()
    return found


def nothing_left_over(storage: Any) -> None:
    """Require that each file has an owner, and that no checkpoint is left."""
    with storage.engine.connect() as connection:
        bodies = {
            row[0]
            for row in connection.execute(sa.text("SELECT artifact_id FROM puffin_artifacts"))
        }
        left = connection.execute(sa.text("SELECT count(*) FROM puffin_checkpoints")).scalar()
        assert left == 0, f"{left} checkpoints are left"
        owned: set[str] = set()
        for table in ("study_system_attributes", "trial_system_attributes"):
            query = f"SELECT key FROM {table} WHERE key LIKE '{ARTIFACT_PREFIX}%'"  # noqa: S608
            owned |= {
                r[0].removeprefix(ARTIFACT_PREFIX) for r in connection.execute(sa.text(query))
            }
        assert bodies == owned, f"files without an owner, or the reverse: {bodies ^ owned}"


def counts(url: str) -> dict[str, int]:
    """Return the number of rows of each table that has any, except for those of workers."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        names = set(sa.inspect(connection).get_table_names())
        skipped = {"alembic_version", "version_info", "puffin_workers"}
        rows = {
            name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()  # noqa: S608
            for name in names - skipped
        }
    engine.dispose()
    return {name: count for name, count in rows.items() if count}


# The commands


@dataclass(frozen=True)
class Scenario:
    """A command, what must be there before it, and what must hold in the end.

    Attributes
    ----------
    prepare : makes what the command needs; done once for each kind of database
    command : its arguments
    recover : does the rest, while the command is dead or suspended
    audit : raises AssertionError for what was lost
    worker : whether a worker trains while the command runs
    """

    prepare: Callable[[Place], None]
    command: Callable[[Place], tuple[str, ...]]
    recover: Callable[[Place], None]
    audit: Callable[[Place], None]
    worker: bool = False


def submitted(epochs: int, trials: int) -> Callable[[Place], None]:
    def prepare(place: Place) -> None:
        place.run("submit", spec(place, "AAPL", epochs, trials))

    return prepare


def searched(place: Place) -> None:
    place.run("submit", spec(place, "AAPL", 2, 3))
    place.run(*WORKER)


def spec(place: Place, symbol: str, epochs: int, trials: int) -> str:
    path = write_tiny(
        place.folder / f"{symbol}-{epochs}-{trials}.toml",
        data={"symbol": symbol, "start": date(2012, 1, 1)},
        training={"max_epochs": epochs, "patience": 1000},
        space={"layers": 1, "dropout": None, "lr": None},
        search={"trials": trials, "sampler": "random", "pruner": "none"},
    )
    return str(path)


def audit_losses(place: Place) -> None:
    assert in_child(losses, place.url) == place.expected["losses"], "other losses"


def audit_deleted(place: Place) -> None:
    """The name is free, and nothing of the deleted study reaches the next one."""
    left = in_child(counts, place.url)
    assert left == {}, f"rows are left: {left}"
    place.run("submit", spec(place, "IBM", 2, 3))
    place.run(*WORKER)
    assert in_child(losses, place.url) == place.expected["of IBM"], "other losses"


def audit_copy(place: Place) -> None:
    assert in_child(losses, target_of(place)) == place.expected["losses"], "other losses"
    ours, theirs = in_child(counts, place.url), in_child(counts, target_of(place))
    ours.pop("trial_heartbeats", None)
    theirs.pop("trial_heartbeats", None)
    assert ours == theirs, f"{ours} here, {theirs} there"


def target_of(place: Place) -> str:
    """Return the database that a study is copied to."""
    return f"sqlite:///{place.folder / 'copy.db'}"


def audit_report(place: Place) -> None:
    def look(url: str) -> tuple[list[str], int]:
        storage = open_storage(url)
        names, looks = study_names(storage), looks_at(load(storage, "tiny"))
        storage.engine.dispose()
        return names, len(looks)

    names, openings = in_child(look, place.url)
    assert sorted(names) == ["tiny", "tiny.holdout", "tiny.seeds"], names
    assert openings == 1, f"{openings} openings for one winner"
    for name in names:
        in_child(losses, place.url, name)


def audit_extend(place: Place) -> None:
    place.run(*WORKER)
    found = in_child(losses, place.url)
    assert len(found) in (3, 5), f"{len(found)} tickets"
    assert {n: found[n] for n in range(3)} == place.expected["losses"], "other losses"


SCENARIOS: dict[str, Scenario] = {
    "worker": Scenario(
        submitted(2, 3), lambda _: WORKER, lambda place: void(place.run(*WORKER)), audit_losses
    ),
    "submit": Scenario(
        lambda place: void(place.run("init")),
        lambda place: ("submit", spec(place, "AAPL", 2, 3)),
        lambda place: void((place.run("submit", spec(place, "AAPL", 2, 3)), place.run(*WORKER))),
        audit_losses,
    ),
    "delete": Scenario(
        submitted(100_000, 3),
        lambda _: ("delete", "tiny", "--yes"),
        lambda place: void(place.run("delete", "tiny", "--yes", allowed=(0, 1))),
        audit_deleted,
        worker=True,
    ),
    "copy": Scenario(
        searched,
        lambda place: ("copy", "tiny", "--to", target_of(place)),
        lambda place: void(place.run("copy", "tiny", "--to", target_of(place), allowed=(0, 1))),
        audit_copy,
    ),
    "report": Scenario(
        searched,
        lambda _: ("report", "tiny", "--workers", "1", "--top", "1"),
        lambda place: void(place.run("report", "tiny", "--workers", "1", "--top", "1")),
        audit_report,
    ),
    "extend": Scenario(
        searched,
        lambda _: ("extend", "tiny", "--trials", "2"),
        lambda _: None,
        audit_extend,
    ),
    "export": Scenario(
        searched,
        lambda place: ("export", "tiny", str(place.folder / "export")),
        lambda place: void(place.run("export", "tiny", str(place.folder / "export"))),
        lambda place: void(place.run("predict", str(place.folder / "export"))),
    ),
}


def void(_: object) -> None:
    """Return nothing."""


# The sweep


@dataclass
class Templates:
    """Databases that were prepared once, and copied for each run."""

    folder: Path
    server: Postgres | None
    _made: dict[tuple[str, str], str] = field(default_factory=dict)
    _runs: int = 0

    def place(self, kind: str, command: str) -> Place:
        """Return a fresh copy of what a command needs."""
        self._runs += 1
        place = Place(kind, self.folder / f"run-{self._runs}", self.server)
        place.folder.mkdir()
        template = self._made.get((kind, command))
        if template is None:
            template = self._new(kind, f"template-{len(self._made)}")
            place.url = template
            SCENARIOS[command].prepare(place)
            self._made[kind, command] = template
        place.url = self._copy(kind, template, place.folder)
        return place

    def _new(self, kind: str, name: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{self.folder / name}.db"
        assert self.server is not None
        return self.server.new_database()

    def _copy(self, kind: str, template: str, folder: Path) -> str:
        if kind == "sqlite":
            source, target = template.removeprefix("sqlite:///"), folder / "test.db"
            with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
                old.backup(new)
            return f"sqlite:///{target}"
        base, _, name = template.rpartition("/")
        copy = f"{name}_{self._runs}"
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {copy} TEMPLATE {name}".encode())
        return f"{base}/{copy}"


def undisturbed(templates: Templates, kind: str) -> dict[str, Any]:
    """Return the results of undisturbed searches."""
    found: dict[str, Any] = {}
    for symbol, key in (("AAPL", "losses"), ("IBM", "of IBM")):
        place = templates.place(kind, "submit")
        place.run("submit", spec(place, symbol, 2, 3))
        place.run(*WORKER)
        found[key] = in_child(losses, place.url)
    return found


def disturb(place: Place, command: str, blow: Blow | None) -> int:
    """Run a command, do something to it, recover and look; return its number of commits."""
    scenario = SCENARIOS[command]
    worker = None
    if scenario.worker:
        worker = place.start(*WORKER, "--forever")
        wait_for_epochs(place)
    victim = place.start(*scenario.command(place), blow=blow)
    victim.wait()
    if victim.stopped and holds_write_lock(place):
        time.sleep(SLEEP_SECONDS)
        victim.wake()
        victim.wait()
    scenario.recover(place)
    if victim.stopped:
        victim.wake()
        victim.wait()
    if worker is not None:
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait()
        assert worker.code == 0, worker.output
    hit = blow is not None and blow.number == signal.SIGKILL
    assert victim.code in ((0, 1, -signal.SIGKILL) if hit else (0, 1)), victim.output
    for words in ("Traceback", "unexpected ", "UNIQUE", "IntegrityError"):
        assert words not in victim.output, victim.output
    scenario.audit(place)
    commits = victim.folder / "commits"
    return int(commits.read_text()) if commits.exists() else 0


def holds_write_lock(place: Place) -> bool:
    """Return whether a suspended process keeps all others from writing into an SQLite file.

    PostgreSQL ends such a transaction after a while, but a copy goes to an SQLite file.
    """
    files = [url.removeprefix("sqlite:///") for url in (place.url, target_of(place))]
    return any(_is_locked(path) for path in files if Path(path).exists())


def _is_locked(path: str) -> bool:
    with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return True
    return False


def wait_for_epochs(place: Place) -> None:
    """Wait until a worker has reported a few epochs."""
    end = time.monotonic() + PATIENCE_SECONDS
    while in_child(counts, place.url).get("trial_intermediate_values", 0) < 3:
        assert time.monotonic() < end, "no epoch was reported"
        time.sleep(0.05)


def blows(commits: int, every: int, signals: Sequence[str]) -> Iterator[Blow]:
    """Yield what is done to a command of so many commits."""
    for name in signals:
        for commit in range(1, commits + 1, every):
            for before in (True, False):
                yield Blow(signal.Signals[f"SIG{name}"], commit, before)


def sweep(
    templates: Templates, kind: str, command: str, every: int, signals: Sequence[str]
) -> list[tuple[Blow, str]]:
    """Disturb a command at its commits; print a row; return what did not survive, and why."""
    expected = undisturbed(templates, kind)
    first = templates.place(kind, command)
    first.expected = expected
    commits = disturb(first, command, None)
    failures, runs, started = [], 0, time.monotonic()
    for blow in blows(commits, every, signals):
        place = templates.place(kind, command)
        place.expected = expected
        runs += 1
        try:
            disturb(place, command, blow)
        except AssertionError as error:
            failures.append((blow, str(error)))
        else:
            shutil.rmtree(place.folder, ignore_errors=True)
    seconds = time.monotonic() - started
    print(
        f"| {command} | {kind} | {'/'.join(signals)} | {commits} | {runs} | "
        f"{runs - len(failures)} | {seconds:.0f} |",
        flush=True,
    )
    for blow, reason in failures:
        print(f"    {blow}: {reason}", flush=True)
    return failures


@contextlib.contextmanager
def templates(kinds: Sequence[str]) -> Iterator[Templates]:
    """Create a temporary folder, and start a PostgreSQL if requested."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="puffin-sweep-")))
        server = stack.enter_context(running_postgres()) if "postgresql" in kinds else None
        yield Templates(folder, server)


def main() -> None:
    """Sweep what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="only every n-th commit")
    parser.add_argument("--commands", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    kinds = ["sqlite", "postgresql"]
    parser.add_argument("--databases", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--signals", nargs="+", choices=["KILL", "STOP"], default=["KILL", "STOP"])
    args = parser.parse_args()
    print("| command | database | signals | commits | runs | survived | s |")
    print("|---|---|---|---|---|---|---|")
    failures = []
    with templates(args.databases) as made:
        for kind in args.databases:
            for command in args.commands:
                failures += sweep(made, kind, command, args.every, args.signals)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
