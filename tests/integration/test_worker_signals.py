"""Workers that are killed, stopped or hung up: their trials resume bit for bit."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from puffin.studies import records
from puffin.studies.lifecycle import submit
from puffin.studies.space import suggest
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_by_state
from puffin.studies.study import load
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.integration.helpers import (
    TUNER,
    Start,
    aapl,
    checkpoint_rows,
    curves,
    endless,
    on_both,
    running,
    spec_of,
    spent,
    undisturbed,
)
from tests.queues import take


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


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


WITH_HANGUP = """
import os
import signal
import sys

*command, how = sys.argv[1:]
signal.signal(signal.SIGHUP, getattr(signal, how))
os.execv(command[0], command)
"""


@on_both
def test_a_trial_of_a_killed_worker_resumes_from_its_checkpoint(
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
def test_a_stopped_trial_resumes_bit_for_bit(start: Start, url: str, tmp_path: Path) -> None:
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


def test_sigterm_ends_a_worker_and_requeues_its_ticket(start: Start, url: str) -> None:
    spec = endless("long")
    submit(open_storage(url, create=True), spec, aapl(spec))
    program = start(url, TUNER, "worker")
    study = load(open_storage(url), "long")
    (trial,) = program.until(lambda: running(study), "it trains")
    program.process.send_signal(signal.SIGTERM)
    assert program.end(10) == 0, program.said
    assert program.said.splitlines()[2].endswith(
        f" long trial {trial.number}: stopped, waits for a worker again"
    )
    assert program.said.endswith(" 0 failed, 1 stopped; it was asked to stop\n")
    study = load(open_storage(url), "long")
    assert count_by_state(study.trials()) == {"waiting": 1}
    again = take(study.optuna_study, study.queue)
    assert again.user_attrs == {records.TICKET: trial.user_attrs[records.TICKET]}
    asked = suggest(again, spec.parsed_space)
    assert asked.to_dict() == trial.user_attrs["config"]


def test_sighup_ends_a_worker_unless_it_was_started_by_nohup(start: Start, url: str) -> None:
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


def test_a_long_epoch_is_interrupted_after_five_seconds(
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
