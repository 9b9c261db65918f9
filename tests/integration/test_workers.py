"""Worker processes: every ticket finishes exactly once, whatever is killed, stopped or raised."""

import logging
import math
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import optuna
import pytest
import sqlalchemy as sa
import torch
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import Config
from puffin.models.training import fold_training
from puffin.studies import records, summary, versions
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.lifecycle import delete, submit
from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.space import suggest
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage import database as storage_module
from puffin.studies.storage import registry, workers
from puffin.studies.storage.checkpoints import Checkpoint
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.optuna_internals import RUNG_PREFIX, running_trial, study_id
from puffin.studies.storage.queue import count_by_state, count_finished
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy, StudyError, load
from puffin.tuner import pool as pool_module
from puffin.tuner.pool import Pool
from puffin.tuner.worker import worker as worker_module
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.scheduler import StudyScheduler, WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.queues import lose, take

Start = Callable[..., Any]
TUNER = Path(sys.executable).with_name("tuner")
CPU = torch.device("cpu")
SAMPLED = {
    "cell": ["lstm", "gru"],
    "layers": {"low": 1, "high": 2},
    "hidden_dim": [4, 8],
    "dropout": {"low": 0.0, "high": 0.4},
    "lookback": {"low": 3, "high": 5},
    "lr": {"low": 1e-3, "high": 1e-2, "log": True},
}
# Twelve networks, four of which come twice: dropout is inert at one layer.
GRID = {
    "layers": [1, 2],
    "hidden_dim": {"choices": [4, 8], "tied": True},
    "dropout": [0.1, 0.3],
    "lookback": [3, 5],
}
PAIRS = [(s, p) for s in SAMPLERS for p in PRUNERS if s != "gp" or p == "none"]
# Samplers that learn do so after ten trials.
BUDGET = {"tpe": 12, "gp": 11, "random": 6, "grid": 12}


# What a worker does is the same on both kinds of database but where processes die.
on_both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


def spec_of(name: str, **sections: Any) -> Spec:
    """Make a study whose trials take a blink, with some values changed."""
    values: dict[str, Any] = {
        "name": name,
        "data": {"symbol": "AAPL", "start": "2012-01-01", "features": ["return"]},
        "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 20},
        "training": {"max_epochs": 4, "patience": 4},
        "space": SAMPLED,
        "search": {"trials": 3},
    }
    for section, changes in sections.items():
        values[section] = changes if section == "space" else values[section] | changes
    if values["search"].get("sampler") == "grid":
        del values["search"]["trials"]
        values["space"] = GRID
    return parse_spec(values, name)


def endless(name: str) -> Spec:
    """A study whose trials never end by themselves."""
    return spec_of(name, training={"max_epochs": 10**6, "patience": 10**6})


def aapl(spec: Spec) -> Prices:
    return load_prices("sample", PriceRequest("AAPL", None, spec.data.start))


def running(study: StoredStudy, epochs: int = 2) -> list[FrozenTrial]:
    """The trials that are in the midst of their training."""
    trials = study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [t for t in trials if len(t.intermediate_values) >= epochs]


def spent(study: StoredStudy) -> dict[int, FrozenTrial]:
    """The trial that spent each ticket; fails if not every ticket was spent exactly once."""
    trials = study.trials()
    finished = [t for t in trials if records.is_finished(t)]
    times = Counter(t.user_attrs[records.TICKET] for t in finished)
    assert times == dict.fromkeys(range(study.spec.tickets), 1)
    open_states = (TrialState.RUNNING, TrialState.WAITING)
    assert not [t for t in trials if t.state in open_states], "something is left open"
    return {t.user_attrs[records.TICKET]: t for t in finished}


# Two workers serve all studies of a database


@dataclass
class Fleet:
    url: str
    workers: list[Any]
    codes: list[int]

    def handle(self, name: str) -> StoredStudy:
        return load(open_storage(self.url), name)


@pytest.fixture(scope="module")
def fleet(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Every sampler with every pruner, and a study that diverges, served by a pool of two."""
    url = f"sqlite:///{tmp_path_factory.mktemp('fleet') / 'fleet.db'}"
    storage = open_storage(url, create=True)
    specs = [
        spec_of(f"{s}-{p}", search={"sampler": s, "pruner": p, "trials": BUDGET[s]})
        for s, p in PAIRS
    ]
    hot = {"lr": {"low": 1e30, "high": 1e31, "log": True}, "cell": ["lstm", "gru"]}
    specs.append(spec_of("diverges", space=hot, search={"trials": 4}))
    for spec in specs:
        submit(storage, spec, aapl(spec))
    workers = [start(url, TUNER, "worker") for _ in range(2)]
    return Fleet(url, workers, [worker.end(120) for worker in workers])


def test_a_pool_ends_cleanly_with_a_line_for_each_trial(fleet: Fleet) -> None:
    assert fleet.codes == [0, 0], [worker.said for worker in fleet.workers]
    assert [worker.printed for worker in fleet.workers] == ["", ""]
    packages = versions.installed_versions().items()
    listed = ", ".join(f"{name} {number}" for name, number in packages)
    written: Counter[str] = Counter()
    for worker in fleet.workers:
        first, *trials, last = worker.said.splitlines()
        name = f"worker {socket.gethostname()}:{worker.process.pid}"
        assert first == f"{name} on cpu, {fleet.url}; {listed}"
        assert last.startswith(f"{name} ends after ")
        assert last.endswith(" 0 failed; no work is left")
        written.update(line for line in trials if not line.endswith("; waiting"))
    ended = {
        f"trial {t.number} of study {name}: {t.state.name.lower()}, "
        f"loss {t.user_attrs['best_loss']:#.4g} at epoch {t.user_attrs['best_epoch']}, "
        for name in ("tpe-asha", "grid-none")
        for t in spent(fleet.handle(name)).values()
    }
    lines = [line for line in written if " of study tpe-asha: " in line or " grid-none: " in line]
    assert {line.rpartition(", ")[0] + ", " for line in lines} == ended
    assert set(written.values()) == {1}
    assert len(written) == sum(BUDGET[s] for s, _ in PAIRS) + 4


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_two_workers_finish_every_ticket_once_with_any_sampler_and_pruner(
    fleet: Fleet, sampler: str, pruner: str
) -> None:
    study = fleet.handle(f"{sampler}-{pruner}")
    trials = spent(study)
    states = Counter(t.state for t in trials.values())
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert states[TrialState.COMPLETE] >= 1
    assert len(study.trials()) == BUDGET[sampler], "no other trial may be there"
    assert all(t.params and t.intermediate_values for t in trials.values())
    if pruner == "none":
        assert states[TrialState.PRUNED] == 0


def test_the_workers_of_a_pool_share_the_work(fleet: Fleet) -> None:
    pids = Counter(
        int(t.user_attrs[records.WORKER].split(":")[-1])
        for sampler, pruner in PAIRS
        for t in spent(fleet.handle(f"{sampler}-{pruner}")).values()
    )
    assert set(pids) == {worker.process.pid for worker in fleet.workers}
    assert min(pids.values()) > len(PAIRS)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_two_workers_cover_a_grid_exactly_once(fleet: Fleet, pruner: str) -> None:
    trials = spent(fleet.handle(f"grid-{pruner}")).values()
    points = [
        (len(c["hidden_dims"]), c["hidden_dims"][0], c["dropout"], c["lookback"])
        for c in (t.user_attrs["config"] for t in trials)
    ]
    one = [(1, width, 0.0, lookback) for width in (4, 8) for lookback in (3, 5)]
    two = [(2, w, drop, lb) for w in (4, 8) for drop in (0.1, 0.3) for lb in (3, 5)]
    assert sorted(points) == sorted(one + two)


def test_a_trial_keeps_its_configuration_scores_run_and_forecasts(fleet: Fleet) -> None:
    study = fleet.handle("tpe-asha")
    trials = spent(study).values()
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        attrs = trial.user_attrs
        curve = trial.intermediate_values
        fixed = optuna.trial.FixedTrial(trial.params)
        assert Config.from_dict(attrs["config"]) == suggest(fixed, study.spec.parsed_space)
        assert list(curve) == list(range(1, attrs["run"]["epochs"] + 1))
        assert attrs["best_loss"] == min(curve.values()) == curve[attrs["best_epoch"]]
        assert attrs["best_loss"] == pytest.approx(sum(attrs["fold_losses"]) / 2, rel=1e-12)
        assert attrs["run"]["targets_sha256"] == study.record.targets_sha256
        metas = get_all_artifact_meta(trial, storage=study.storage)
        assert [m.filename for m in metas] == ["forecasts.csv"]
        body = study.store.open_reader(metas[0].artifact_id).read().decode()
        assert len(body.splitlines()) == 1 + 2 * 20
        if trial.state == TrialState.COMPLETE:
            assert trial.value == attrs["best_loss"]
        else:
            assert attrs["reason"] == f"pruned at epoch {attrs['run']['epochs']}"


def test_pruned_trials_feed_the_sampler(fleet: Fleet) -> None:
    study = fleet.handle("tpe-asha")
    states = Counter(t.state for t in study.trials())
    assert states[TrialState.COMPLETE] < 10 <= sum(states.values()), "TPE starts after ten trials"
    study.optuna_study.sampler = study.sampling.sampler_of(99)
    key = study.storage.create_new_trial(study_id(study.optuna_study))
    trial = running_trial(study.optuna_study, key)
    assert {"cell", "layers", "lr", "lookback"} <= set(trial.relative_params or {})
    study.optuna_study.tell(trial, state=TrialState.FAIL)


def test_a_study_that_only_diverges_spends_its_tickets_as_infeasible_prunings(
    fleet: Fleet,
) -> None:
    trials = spent(fleet.handle("diverges")).values()
    assert len(trials) == 4
    for trial in trials:
        assert trial.state == TrialState.PRUNED
        assert trial.user_attrs["reason"].startswith("diverged: the loss is ")
        assert trial.constraints == {"finite_loss": 1.0}
        assert trial.params


# The same configuration in two processes; a worker that comes first


def test_two_processes_give_equal_losses_to_the_last_bit_and_one_waits_for_its_study(
    start: Start, tmp_path: Path
) -> None:
    spec = spec_of("twin", search={"sampler": "random", "pruner": "none", "trials": 6})
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("early", "late")]
    early = start(urls[0], TUNER, "worker", "--study", "twin")
    early.until(lambda: "waiting for it" in early.said, "it says that it waits")
    submit(open_storage(urls[1], create=True), spec, aapl(spec))
    late = start(urls[1], TUNER, "worker", "--study", "twin")
    other = spec_of("another", search={"trials": 2})
    submit(open_storage(urls[0], create=True), other, aapl(other))  # the file, but not the study
    time.sleep(1.5)
    assert early.process.poll() is None, early.said
    submit(open_storage(urls[0]), spec, aapl(spec))
    assert [program.end(60) for program in (early, late)] == [0, 0]
    twins = [spent(load(open_storage(url), "twin")) for url in urls]
    assert count_by_state(load(open_storage(urls[0]), "another").trials()) == {}
    kept: list[list[Any]] = [[], []]
    for side, trials in zip(kept, twins, strict=True):
        for number in range(6):
            trial = trials[number]
            attrs = trial.user_attrs
            curve = [loss.hex() for loss in trial.intermediate_values.values()]
            folds = [loss.hex() for loss in attrs["fold_losses"]]
            side.append([attrs["config"], folds, curve, attrs["best_epoch"]])
    assert kept[0] == kept[1]
    pids = [
        {int(t.user_attrs[records.WORKER].split(":")[-1]) for t in trials.values()}
        for trials in twins
    ]
    assert pids == [{early.process.pid}, {late.process.pid}]
    assert len({str(folds) for _, folds, *_ in kept[0]}) > 1, "the trials must differ"


# Deaths


VICTIM = """
import sys, time
import puffin.tuner.worker.objective
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.scheduler import WorkerOptions, work

train = puffin.tuner.worker.objective.FoldTraining.__iter__

def slowly(self):
    for epoch in train(self):
        yield epoch
        time.sleep(2 if epoch.number > 1 else 0)

puffin.tuner.worker.objective.FoldTraining.__iter__ = slowly
options = WorkerOptions("tiny", device="cpu", checkpoint_seconds=0, grace_seconds=3)
work(sys.argv[1], Interrupt(), options)
"""


def curves(study: StoredStudy) -> dict[int, list[Any]]:
    """What each ticket's trial has learnt, to the last bit."""
    return {
        ticket: [
            [(n, loss.hex()) for n, loss in sorted(trial.intermediate_values.items())],
            [loss.hex() for loss in trial.user_attrs["fold_losses"]],
            trial.user_attrs["best_epoch"],
            trial.user_attrs["run"]["epochs"],
        ]
        for ticket, trial in spent(study).items()
    }


def undisturbed(folder: Path, spec: Spec) -> dict[int, list[Any]]:
    """The curves of a study whose only worker is left alone."""
    other = f"sqlite:///{folder / 'undisturbed.db'}"
    submit(open_storage(other, create=True), spec, aapl(spec))
    work(other, Interrupt(), WorkerOptions(spec.name, device="cpu"))
    return curves(load(open_storage(other), spec.name))


def checkpoint_rows(storage: RDBStorage) -> int:
    with storage.engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM puffin_checkpoints")).scalar())


@on_both
def test_a_ticket_of_a_killed_worker_is_retried_with_its_point_and_finished(
    start: Start, url: str, tmp_path: Path
) -> None:
    spec = spec_of("tiny", search={"trials": 2, "pruner": "none"})
    submit(open_storage(url, create=True), spec, aapl(spec))
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    victim = start(url, sys.executable, script, url)
    study = load(open_storage(url), "tiny")
    (lost,) = victim.until(lambda: running(study), "it trains")
    time.sleep(0.5)  # for the checkpoint, which follows on the report
    os.kill(victim.process.pid, signal.SIGKILL)
    assert victim.end(10) == -signal.SIGKILL
    (row,) = load(open_storage(url), "tiny").trials()
    assert row.state == TrialState.RUNNING, "a killed worker leaves its trial as it is"

    started = time.monotonic()
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu", grace_seconds=3))
    assert time.monotonic() - started < 20
    trials = spent(load(open_storage(url), "tiny"))
    assert trials[0].state == TrialState.COMPLETE
    assert trials[0].user_attrs[records.RETRIES] == 1
    assert trials[0].params == lost.params
    assert trials[0].number != lost.number
    assert records.RETRIES not in trials[1].user_attrs
    # It went on where the other one was, and ends as if nothing had happened.
    assert trials[0].user_attrs["run"]["resumed_after"] >= 2
    assert trials[1].user_attrs["run"]["resumed_after"] == 0
    assert curves(load(open_storage(url), "tiny")) == undisturbed(tmp_path, spec)
    assert checkpoint_rows(open_storage(url)) == 0


@on_both
def test_a_trial_that_was_stopped_goes_on_from_its_checkpoint_to_the_same_bits(
    start: Start, url: str, tmp_path: Path
) -> None:
    spec = spec_of(
        "long",
        training={"max_epochs": 80, "patience": 80},
        search={"trials": 1, "pruner": "none"},
    )
    submit(open_storage(url, create=True), spec, aapl(spec))
    program = start(url, TUNER, "worker")
    study = load(open_storage(url), "long")
    program.until(lambda: running(study, epochs=10), "it trains")
    stopped = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    assert program.end(10) == 0, program.said
    assert time.monotonic() - stopped < 10
    assert checkpoint_rows(study.storage) == 1
    work(url, Interrupt(), WorkerOptions("long", device="cpu"))
    study = load(open_storage(url), "long")
    stopped_at = len(study.trials()[0].intermediate_values)
    assert spent(study)[0].user_attrs["run"]["resumed_after"] == stopped_at >= 10
    assert curves(study) == undisturbed(tmp_path, spec)
    assert checkpoint_rows(study.storage) == 0


def test_sigterm_ends_a_worker_at_once_and_its_ticket_waits_again(start: Start, url: str) -> None:
    spec = endless("long")
    submit(open_storage(url, create=True), spec, aapl(spec))
    program = start(url, TUNER, "worker")
    study = load(open_storage(url), "long")
    (trial,) = program.until(lambda: running(study), "it trains")
    program.process.send_signal(signal.SIGTERM)
    assert program.end(10) == 0, program.said
    assert program.said.splitlines()[1] == (
        f"trial {trial.number} of study long: stopped, waits for a worker again"
    )
    assert program.said.endswith(" 0 failed, 1 requeued; it was asked to stop\n")
    study = load(open_storage(url), "long")
    assert count_by_state(study.trials()) == {"waiting": 1}
    again = take(study.optuna_study, study.queue)
    assert again.user_attrs == {records.TICKET: trial.user_attrs[records.TICKET]}
    asked = suggest(again, spec.parsed_space)
    assert asked.to_dict() == trial.user_attrs["config"]


WITH_HANGUP = """
import os
import signal
import sys

*command, how = sys.argv[1:]
signal.signal(signal.SIGHUP, getattr(signal, how))
os.execv(command[0], command)
"""


def test_a_worker_ends_with_its_terminal_unless_it_was_started_to_outlive_it(
    start: Start, url: str
) -> None:
    spec = endless("long")
    submit(open_storage(url, create=True), spec, aapl(spec))
    # The tests themselves may have been started by nohup.
    command = (sys.executable, "-c", WITH_HANGUP, str(TUNER), "worker")
    plain, outliving = (start(url, *command, how) for how in ("SIG_DFL", "SIG_IGN"))
    study = load(open_storage(url), "long")
    plain.until(lambda: len(running(study)) == 2, "both train")
    for program in (plain, outliving):
        os.killpg(program.process.pid, signal.SIGHUP)
    assert plain.end(10) == 0, plain.said
    (trial,) = running(study)
    epochs = len(trial.intermediate_values)
    outliving.until(lambda: running(study, epochs + 1), "the other trains on")
    outliving.process.send_signal(signal.SIGTERM)
    assert outliving.end(10) == 0, outliving.said


# tuner run


def test_an_interrupted_run_gives_back_goes_on_in_two_runs_at_once_and_says_when_complete(
    start: Start, tmp_path: Path, url: str
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        """
        name = "run"
        [data]
        symbol = "AAPL"
        start = 2012-01-01
        features = ["return"]
        [walk_forward]
        folds = 2
        valid_bars = 20
        holdout_bars = 20
        [training]
        max_epochs = 25
        patience = 25
        [space]
        hidden_dim = { choices = [4, 8], tied = true }
        lr = { low = 1e-3, high = 1e-2, log = true }
        lookback = [3, 4, 5]
        [search]
        trials = 8
        pruner = "none"
        """
    )
    command = (TUNER, "run", file, "--workers")
    first = start(url, *command, "2", cwd=tmp_path)

    def midway() -> bool:
        try:
            study = load(open_storage(url), "run")
        except Exception:  # noqa: BLE001  # it is not there yet
            return False
        fresh = [t for t in running(study) if len(t.intermediate_values) < 10]
        return count_by_state(study.trials())["complete"] >= 2 and bool(fresh)

    first.until(midway, "it is in the midst of the search")
    os.killpg(first.process.pid, signal.SIGINT)  # as the terminal does
    assert first.end(20) == 130, first.said
    assert "study run starts with 8 trials on 2 workers (cpu)" in first.said
    assert "Traceback" not in first.said
    study = load(open_storage(url), "run")
    before = count_by_state(study.trials())
    assert before["running"] == before["failed"] == 0
    assert before["waiting"] >= 1
    done = before["complete"]
    assert 2 <= done < 8
    assert f"stopped with {done} of 8 trials done; the same command resumes" in first.said
    assert first.printed == ""
    early = {t.user_attrs[records.TICKET]: t.number for t in study.trials() if t.value is not None}

    pair = [start(url, *command, "1", cwd=tmp_path) for _ in range(2)]
    assert [run.end(60) for run in pair] == [0, 0], [run.said for run in pair]
    assert f"study run resumes with {8 - done} trials on 1 worker (cpu)" in pair[0].said
    trials = spent(load(open_storage(url), "run"))
    assert {t.state for t in trials.values()} == {TrialState.COMPLETE}
    assert early.items() <= {n: t.number for n, t in trials.items()}.items()
    assert pair[0].printed == pair[1].printed
    assert {p.name for p in (tmp_path / "exports" / "run").iterdir()} == {
        "config.toml",
        "model.safetensors",
        "README.md",
        "prices-search.csv",
        "forecasts.csv",
        "SHA256SUMS",
    }
    assert [p.name for p in (tmp_path / "exports").iterdir()] == ["run"], "scratch folders remain"

    last = start(url, *command, "1", cwd=tmp_path)
    assert last.end(30) == 0, last.said
    assert last.said == "study run is complete: 8 trials\n"
    assert last.printed == pair[0].printed
    assert "Best of study run: trial " in last.printed


def test_a_killed_run_takes_its_workers_along_and_their_tickets_wait_again(
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


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits for its parent's notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_is_not_heard_within_a_statement_of_sql(
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


def test_an_epoch_that_takes_long_does_not_keep_a_worker_from_its_end(
    start: Start, url: str, tmp_path: Path
) -> None:
    spec = spec_of("tiny", search={"trials": 1, "pruner": "none"})
    submit(open_storage(url, create=True), spec, aapl(spec))
    script = tmp_path / "slow.py"
    script.write_text(
        # In slices, as an epoch is: a signal just before a sleep is seen at its end.
        VICTIM.replace("time.sleep(2 if", "for _ in range(3000 if")
        .replace("else 0)", "else 0):\n            time.sleep(0.1)")
        .replace("Interrupt()", "interrupt")
        .replace("options =", "interrupt = Interrupt()\ninterrupt.install()\noptions =")
    )
    program = start(url, sys.executable, script, url)
    study = load(open_storage(url), "tiny")
    program.until(lambda: running(study, epochs=1), "it trains")
    time.sleep(0.5)
    stopped = time.monotonic()
    program.process.send_signal(signal.SIGINT)
    program.process.send_signal(signal.SIGTERM)
    assert program.end(30) == 0, program.said
    # 5 s are given to it; this one goes on for 300 s.
    assert 4 < time.monotonic() - stopped < 30, "a moment is given to an epoch that ends soon"
    assert [t.state for t in study.trials()] == [TrialState.FAIL, TrialState.WAITING]


# Trials that are pruned


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_a_trial_that_trained_to_its_end_is_complete_even_where_the_pruner_has_a_rung(
    storage: RDBStorage, pruner: str
) -> None:
    spec = spec_of(
        "tiny",
        training={"max_epochs": 2},
        search={"trials": 6, "sampler": "random", "pruner": pruner},
    )
    study = submit(storage, spec, aapl(spec))
    worker = worker_of(storage)
    while worker.step(study):
        pass
    assert Counter(t.state for t in study.trials()) == {TrialState.COMPLETE: 6}
    assert any(k.startswith(RUNG_PREFIX) for t in study.trials() for k in t.system_attrs), (
        "the pruner was not asked, so nothing was tested"
    )


# Trials that raise


def worker_of(storage: RDBStorage, interrupt: Interrupt | None = None) -> Worker:
    """A worker that lives only in this process: nobody sees that it beats."""
    heartbeat = Heartbeat(storage, Registration(storage, "cpu", {}, 60))
    return Worker(storage, CPU, interrupt or Interrupt(), heartbeat)


@pytest.fixture
def worker(storage: RDBStorage) -> Worker:
    return worker_of(storage)


def serve(worker: Worker, study: StoredStudy) -> int:
    """Run steps until the study is done; their number."""
    for steps in range(100):
        summary = worker.step(study)
        if summary is None:
            return steps
        assert summary, "nothing else holds a ticket"
    return pytest.fail("the study does not end")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("wrong\nsecond line"), "ValueError: wrong"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError: no message"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_trial_that_raises_is_failed_with_the_reason_and_the_study_goes_on(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    reason: str,
) -> None:
    spec = spec_of("tiny", search={"trials": 3})
    study = submit(worker.storage, spec, aapl(spec))
    run_trial = worker_module.run_trial

    def run_or_raise(trial: optuna.Trial, *args: Any) -> float:
        value = run_trial(trial, *args) if trial.user_attrs[records.TICKET] != 1 else None
        if value is None:
            suggest(trial, spec.parsed_space)
            raise error
        return value

    monkeypatch.setattr(worker_module, "run_trial", run_or_raise)
    with caplog.at_level(logging.WARNING):
        assert serve(worker, study) == 3
    trials = spent(study)
    assert trials[1].state == TrialState.FAIL
    assert trials[1].user_attrs[records.FAILURE] == reason
    assert trials[1].params
    assert {trials[0].state, trials[2].state} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert count_by_state(study.trials())["failed"] == 1
    assert [record.getMessage() for record in caplog.records] == [f"trial 1 failed: {reason}"]


def test_a_divergence_after_good_epochs_keeps_the_best_of_them_and_is_infeasible(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate, calls = fold_training._validate, Counter[int]()

    def diverge(networks: torch.nn.ModuleList, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        calls[id(networks)] += 1
        forecasts, losses = validate(networks, *args)
        return forecasts, losses * (math.nan if calls[id(networks)] == 3 else 1.0)

    monkeypatch.setattr(fold_training, "_validate", diverge)
    spec = spec_of("tiny", search={"trials": 2, "pruner": "none"})
    study = submit(worker.storage, spec, aapl(spec))
    assert serve(worker, study) == 2
    for trial in spent(study).values():
        assert trial.state == TrialState.PRUNED
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.constraints == {"finite_loss": 1.0}
        assert trial.user_attrs["reason"] == "diverged: the loss is nan at epoch 3"
        assert trial.user_attrs["best_loss"] == min(trial.intermediate_values.values())


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("targets_sha256", "0" * 64, "scores the targets 0000"),
        ("data", {"prices-search.csv": "0" * 64}, "has sha256 .* but 0000"),
    ],
)
def test_a_worker_that_would_score_something_else_refuses_and_spends_no_ticket(
    worker: Worker, key: str, value: Any, words: str
) -> None:
    spec = spec_of("tiny", search={"trials": 3})
    study = submit(worker.storage, spec, aapl(spec))
    if key == "data":
        value = study.optuna_study.user_attrs["data"] | {"sha256": value}
    study.optuna_study.set_user_attr(key, value)
    with pytest.raises(StudyError, match=words):
        worker.step(study)
    assert study.trials() == []
    assert registry.budgets(worker.storage)["tiny"].issued == 0


@pytest.mark.parametrize(
    "changes", [{"training": {"max_epochs": 1}}, {"walk_forward": {"folds": 3}}]
)
def test_a_study_made_anew_under_a_used_name_and_key_is_served_by_its_own_settings(
    storage: RDBStorage, changes: dict[str, Any]
) -> None:
    old = spec_of("tiny", search={"trials": 1})
    submit(storage, old, aapl(old))
    scheduler = StudyScheduler(worker_of(storage), "tiny", forever=True)
    scheduler.run_one()
    scheduler._studies.clear()  # as for another worker
    delete(storage, "tiny")
    new = spec_of("tiny", search={"trials": 1}, **changes)
    study = submit(storage, new, aapl(new))
    scheduler.run_one()
    (trial,) = study.trials()
    assert trial.state in (TrialState.COMPLETE, TrialState.PRUNED), trial.user_attrs
    assert trial.user_attrs["run"]["epochs"] <= new.training.max_epochs
    assert len(trial.user_attrs["fold_losses"]) == new.walk_forward.folds


def test_a_trial_that_was_taken_for_dead_is_left_to_its_retry(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a suspension: others have failed and retried the trial that goes on here."""
    spec = spec_of("tiny", search={"trials": 2, "pruner": "none"})
    study = submit(worker.storage, spec, aapl(spec))
    run_trial = worker_module.run_trial
    times = iter([True])

    def suspended(trial: optuna.Trial, *args: Any) -> float:
        if next(times, False):
            lose(study.queue)
        return run_trial(trial, *args)

    monkeypatch.setattr(worker_module, "run_trial", suspended)
    with caplog.at_level(logging.WARNING):
        serve(worker, study)
    assert "trial 0 was ended already; this worker continues" in caplog.text
    trials = spent(study)
    assert {t.state for t in trials.values()} == {TrialState.COMPLETE}
    assert trials[0].user_attrs[records.RETRIES] == 1


@pytest.mark.parametrize("end", ["complete", "pruned", "failed"])
def test_a_trial_that_was_taken_at_its_very_end_leaves_the_checkpoint_to_its_retry(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    spec = spec_of("tiny", search={"trials": 1, "pruner": "none"})
    study = submit(worker.storage, spec, aapl(spec))
    queue = study.queue

    def run_trial(trial: optuna.Trial, *_args: Any) -> float:
        trial.report(0.5, 1)
        lose(queue)  # while this process is suspended
        taken = take(study.optuna_study, queue)
        Checkpoint(worker.storage, study.creation_id, 0, taken._trial_id, 0.0).save({}, b"its own")
        if end == "pruned":
            raise optuna.TrialPruned
        if end == "failed":
            raise ValueError
        return 0.5

    monkeypatch.setattr(worker_module, "run_trial", run_trial)
    worker.step(study)
    assert count_by_state(study.trials()) == {"running": 1}
    assert checkpoint_rows(worker.storage) == 1


def test_a_request_to_stop_gives_the_ticket_back_between_epochs(
    storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt = Interrupt()
    worker = worker_of(storage, interrupt)
    spec = endless("long")
    study = submit(storage, spec, aapl(spec))
    report = optuna.Trial.report

    def report_and_stop(trial: optuna.Trial, value: float, step: int) -> None:
        report(trial, value, step)
        if step == 3:
            interrupt._handle(signal.SIGTERM, None)

    monkeypatch.setattr(optuna.Trial, "report", report_and_stop)
    assert worker.step(study) is True
    assert interrupt.requested
    lost, again = study.trials()
    assert list(lost.intermediate_values) == [1, 2, 3]
    assert (lost.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
    assert records.FAILURE not in lost.user_attrs


# Waiting and ending


def test_a_worker_that_must_not_wait_says_that_there_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(storage_module.StorageError, match="there is no database"):
        work(f"sqlite:///{tmp_path / 'gone.db'}", Interrupt(), WorkerOptions())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("wrong", ["nonsense", "mysql://host/db", "sqlite:///{}/no.db"])
def test_a_worker_does_not_wait_for_a_database_that_can_never_come(
    tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "no.db").write_text("some notes and no database")
    with pytest.raises(storage_module.StorageError, match=r"sqlite|not a database"):
        work(wrong.format(tmp_path), Interrupt(), WorkerOptions("tiny", device="cpu"))


@pytest.mark.parametrize("study", [None, "tiny"])
def test_a_worker_that_was_asked_to_stop_touches_nothing(url: str, study: str | None) -> None:
    spec = spec_of("tiny")
    submit(open_storage(url, create=True), spec, aapl(spec))
    interrupt = Interrupt()
    interrupt._handle(signal.SIGINT, None)
    work(url, interrupt, WorkerOptions(study, device="cpu"))
    assert load(open_storage(url), "tiny").trials() == []


def test_a_worker_says_when_its_study_is_deleted(
    url: str, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("tiny")
    submit(storage, spec, aapl(spec))
    step = Worker.step

    def step_and_delete(worker: Worker, study: StoredStudy) -> bool | None:
        summary = step(worker, study)
        delete(storage, "tiny")
        return summary

    monkeypatch.setattr(Worker, "step", step_and_delete)
    with pytest.raises(StudyError, match="study 'tiny' was deleted while this worker served it"):
        work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))


def test_a_pool_goes_on_with_other_studies_when_one_is_deleted(
    url: str, storage: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "stays"):
        spec = spec_of(name, search={"trials": 3})
        submit(storage, spec, aapl(spec))
    step = Worker.step

    def step_and_delete(worker: Worker, study: StoredStudy) -> bool | None:
        summary = step(worker, study)
        if study.name == "gone":
            delete(storage, "gone")
        return summary

    monkeypatch.setattr(Worker, "step", step_and_delete)
    work(url, Interrupt(), WorkerOptions(None, device="cpu"))
    assert len(spent(load(open_storage(url), "stays"))) == 3


def test_a_trial_of_a_deleted_study_cannot_touch_the_next_study(storage: RDBStorage) -> None:
    old = spec_of("old", search={"trials": 1})
    study = submit(storage, old, aapl(old))
    held = take(study.optuna_study, study.queue)
    delete(storage, "old")
    new = spec_of("new", search={"trials": 1})
    other = submit(storage, new, aapl(new))
    take(other.optuna_study, other.queue)
    with pytest.raises(KeyError):
        held.report(0.001, 1)
    assert [t.intermediate_values for t in other.optuna_study.trials] == [{}]


def test_a_pool_serves_its_other_studies_when_one_cannot_be_read(
    storage: RDBStorage, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = (spec_of(name, search={"trials": 1}) for name in ("broken", "sound"))
    bad = submit(storage, broken, aapl(broken))
    bad.optuna_study.set_user_attr("spec", broken.to_json() | {"made_by_a_later_version": 1})
    good = submit(storage, sound, aapl(sound))
    scheduler = StudyScheduler(worker_of(storage), None, forever=False)
    while scheduler.run_one():
        pass
    assert count_finished(good.trials()) == 1
    assert [r.message for r in caplog.records if "not serving study 'broken'" in r.message]


def test_a_trial_that_diverged_and_was_then_lost_does_not_break_the_result(
    storage: RDBStorage,
) -> None:
    spec = spec_of("tiny", search={"trials": 1})
    study = submit(storage, spec, aapl(spec))
    take(study.optuna_study, study.queue).set_constraint("finite_loss", 1.0)
    lose(study.queue)
    assert summary.failure_reasons(study) == {}
