"""`tuner run` after Ctrl-C and after SIGKILL."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.trial import TrialState

from puffin.studies import records
from puffin.studies.lifecycle import submit
from puffin.studies.storage import registry, workers
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_by_state
from puffin.studies.study import StoredStudy, load
from puffin.tuner import pool as pool_module
from puffin.tuner.cli import main
from puffin.tuner.pool import Pool
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.integration.helpers import TUNER, Start, aapl, running, spec_of, spent
from tests.studies import write_tiny

if TYPE_CHECKING:
    from tests.processes import Program


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


@dataclass
class InterruptedRun:
    """A `tuner run` that got Ctrl-C, and the runs that finished its study together."""

    folder: Path
    url: str
    first: "Program"
    after_ctrl_c: Counter[str]
    early: dict[int, int]
    pair: "list[Program]"


@pytest.fixture(scope="module")
def interrupted_run(start: Start, tmp_path_factory: pytest.TempPathFactory) -> InterruptedRun:
    folder = tmp_path_factory.mktemp("run")
    url = f"sqlite:///{folder / 'run.db'}"
    write_tiny(
        folder / "study.toml",
        "run",
        data={"start": date(2012, 1, 1)},
        training={"max_epochs": 25, "patience": 25},
        search={"pruner": "none"},
    )
    command = (TUNER, "run", folder / "study.toml", "--workers")
    first = start(url, *command, "2", cwd=folder)

    def midway() -> bool:
        try:
            study = load(open_storage(url), "run")
        except Exception:  # noqa: BLE001  # it does not exist yet
            return False
        fresh = [t for t in running(study) if len(t.intermediate_values) < 10]
        return count_by_state(study.trials())["complete"] >= 2 and bool(fresh)

    first.until(midway, "it is in the middle of the search", 120)
    os.killpg(first.process.pid, signal.SIGINT)  # as the terminal does
    assert first.end(20) == 130, first.said
    trials = load(open_storage(url), "run").trials()
    counts = count_by_state(trials)
    early = {t.user_attrs[records.TICKET]: t.number for t in trials if t.value is not None}
    pair = [start(url, *command, "1", cwd=folder) for _ in range(2)]
    assert [run.end(120) for run in pair] == [0, 0], [run.said for run in pair]
    return InterruptedRun(folder, url, first, counts, early, pair)


def is_alive(pid: int) -> bool:
    """Return whether a process runs and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_that_gets_ctrl_c_requeues_its_trials(interrupted_run: InterruptedRun) -> None:
    first, counts = interrupted_run.first, interrupted_run.after_ctrl_c
    assert "study run starts with 8 trials on 2 workers (cpu)" in first.said
    assert "Traceback" not in first.said
    assert counts["running"] == counts["failed"] == 0
    assert counts["waiting"] >= 1
    done = counts["complete"]
    assert 2 <= done < 8
    assert f"stopped with {done} of 8 trials done; the same command resumes" in first.said
    assert first.printed == ""


def test_two_runs_at_once_finish_an_interrupted_study(interrupted_run: InterruptedRun) -> None:
    pair, done = interrupted_run.pair, interrupted_run.after_ctrl_c["complete"]
    assert f"study run resumes with {8 - done} trials on 1 worker (cpu)" in pair[0].said
    trials = spent(load(open_storage(interrupted_run.url), "run"))
    assert {t.state for t in trials.values()} == {TrialState.COMPLETE}
    assert interrupted_run.early.items() <= {n: t.number for n, t in trials.items()}.items()
    assert pair[0].printed == pair[1].printed
    exports = interrupted_run.folder / "exports"
    assert {p.name for p in (exports / "run").iterdir()} == {
        "config.toml",
        "model.safetensors",
        "README.md",
        "prices-search.csv",
        "forecasts.csv",
        "SHA256SUMS",
    }
    assert [p.name for p in exports.iterdir()] == ["run"], "scratch folders remain"


def test_workers_of_a_killed_run_end_and_requeue_their_tickets(
    start: Start, tmp_path: Path, url: str
) -> None:
    storage = open_storage(url, create=True)
    longest = [f"training.{key}=1000000" for key in ("max_epochs", "patience")]
    values = ["name=long", "walk_forward.folds=2", "search.pruner=none", *longest]
    sets = [word for value in values for word in ("--set", value)]
    program = start(url, TUNER, "run", "demo", "--workers", "2", *sets, cwd=tmp_path)

    def both_train() -> StoredStudy | None:
        study = load(storage, "long") if "long" in registry.budgets(storage) else None
        return study if study and len(running(study)) == 2 else None

    study = program.until(both_train, "both workers train")
    pids = [worker.pid for worker in workers.alive(storage)]
    assert len(pids) == 2
    program.process.kill()
    program.process.wait()
    end = time.monotonic() + 60
    while time.monotonic() < end and any(map(is_alive, pids)):
        time.sleep(0.1)
    assert not any(map(is_alive, pids)), "a worker outlived its `tuner run`"
    assert count_by_state(study.trials()) == {"waiting": 2}
    assert workers.alive(storage) == []


def test_a_run_stops_after_its_timeout_with_a_code_of_its_own(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class IdlePool(Pool):
        def __enter__(self) -> Self:
            return self

        def poll(self) -> bool:
            return True

    monkeypatch.setattr(pool_module, "Pool", IdlePool)
    write_tiny(tmp_path / "study.toml", "slow")
    args = ["run", str(tmp_path / "study.toml"), "--timeout", "1s", "--storage", url]
    done = CliRunner().invoke(main, args)
    assert (done.exit_code, done.stdout) == (124, "")
    last = done.stderr.splitlines()[-1]
    assert last == (
        "stopped after 1 s (--timeout) with 0 of 8 trials done; the same command resumes"
    )


def test_a_trial_that_ends_while_the_workers_stop_is_counted(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class PoolThatEndsATrial(Pool):
        polls = 0

        def __enter__(self) -> Self:
            return self

        def poll(self) -> bool:
            self.polls += 1
            if self.polls == 2:
                signal.raise_signal(signal.SIGINT)
            return True

        def __exit__(self, *_: object) -> None:
            work(url, Interrupt(), WorkerOptions("tiny", device="cpu", max_trials=1))

    spec = spec_of("tiny")
    study = submit(open_storage(url, create=True), spec, aapl(spec))
    monkeypatch.setattr(pool_module, "Pool", PoolThatEndsATrial)
    with pytest.raises(KeyboardInterrupt):
        pool_module.run_workers_until_done(study, url, ["cpu"])
    assert "stopped with 1 of 3 trials done; the same command resumes" in capsys.readouterr().err


def test_ctrl_c_during_an_sql_statement_takes_effect_after_it(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # There it has SQLAlchemy write a traceback about a cursor that it cannot close.
    spec = spec_of("tiny")
    study = submit(open_storage(url, create=True), spec, aapl(spec))
    gone_through, before = [], signal.getsignal(signal.SIGINT)

    def press(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        gone_through.append(True)

    class PoolThenCtrlC(Pool):
        def __enter__(self) -> Self:
            entered = super().__enter__()
            engine = study.storage.engine
            sa.event.listen(engine, "after_cursor_execute", press, once=True)
            return entered

    monkeypatch.setattr(pool_module, "Pool", PoolThenCtrlC)
    with pytest.raises(KeyboardInterrupt):
        pool_module.run_workers_until_done(study, url, ["cpu"])
    assert gone_through == [True]
    assert "stopped with 0 of 3 trials done; the same command resumes" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
