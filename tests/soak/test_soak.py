"""Real workers that are killed, suspended and cut off from their database.

`make soak` runs the long form and prints what the audits found; plain `pytest` runs a short one.
"""

import random
import signal
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from puffin.studies import records
from puffin.studies.lifecycle import delete, submit
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import Spec
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_by_state, count_finished
from puffin.studies.study import StoredStudy, load
from tests.postgres import Postgres
from tests.processes import Program, Programs, until
from tests.soak.audit import Audit, keep_log, learnt, said
from tests.soak.fleet import Plan, Storm, opened, stop
from tests.studies import tiny_spec, write_tiny

NAME = "soak"
GRACE_SECONDS = 4
CHECKPOINT_SECONDS = 0.5
OPTIONS = (
    "--quiet",
    "--grace-seconds",
    str(GRACE_SECONDS),
    "--checkpoint-seconds",
    str(CHECKPOINT_SECONDS),
)
SHORT = {
    "postgresql": Plan(3, 90, kills=(1, 3), outages=((4, 0),), suspensions=(5,)),
    "sqlite": Plan(2, 90, kills=(1, 3), suspensions=(5,)),
}
# PostgreSQL crashes once, and is kept down for a while once.
LONG = {
    "postgresql": Plan(8, 1500, outages=((40, 0), (80, 10)), every=2),
    "sqlite": Plan(4, 1500, every=2),
}

Undisturbed = Callable[[int, int], dict[int, list[Any]]]
both_kinds = pytest.mark.parametrize("kind", ["postgresql", "sqlite"])


@pytest.fixture(scope="session")
def undisturbed(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Return the results of one undisturbed worker, computed once for each length."""
    known: dict[tuple[int, int], dict[int, list[Any]]] = {}

    def run(epochs: int, trials: int) -> dict[int, list[Any]]:
        if (epochs, trials) not in known:
            url = f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'soak.db'}"
            make(url, epochs, trials)
            assert programs.tuner(url, "worker").end(600) == 0
            with opened(url) as storage:
                known[epochs, trials] = learnt(load(storage, NAME).trials())
            assert len(known[epochs, trials]) == trials
        return known[epochs, trials]

    return run


def make(url: str, epochs: int, trials: int) -> None:
    """Create a study in a database with a log."""
    spec = study(epochs, trials)
    storage = open_storage(url, create=True)
    prices = load_basket("sample", PriceRequest(start=spec.data.start), spec.data.symbols)
    submit(storage, spec, prices)
    keep_log(storage)
    storage.engine.dispose()


def study(epochs: int, trials: int) -> Spec:
    return tiny_spec(NAME, **changes(epochs, trials))


def changes(epochs: int, trials: int) -> dict[str, dict[str, Any]]:
    """Return the settings that differ from those of the tiny study."""
    return {
        "data": {"start": date(2012, 1, 1)},
        "training": {"max_epochs": epochs, "patience": 1000},
        "search": {"trials": trials, "sampler": "random", "pruner": "none"},
    }


def in_training(study: StoredStudy, epochs: int) -> int:
    """Count the running trials with at least so many epochs."""
    trials = study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return sum(1 for t in trials if len(t.intermediate_values) >= epochs)


def show(title: str, lines: list[str]) -> None:
    """Print the findings of an audit; pytest shows them with `-s`."""
    print(f"\n{title}", *lines, sep="\n  ", flush=True)  # noqa: T201


@both_kinds
def test_every_ticket_is_spent_once_and_to_the_same_bits_whatever_is_done_to_the_workers(
    kind: str,
    new_url: Callable[[str], str],
    request: pytest.FixtureRequest,
    programs: Programs,
    undisturbed: Undisturbed,
    *,
    long: bool,
) -> None:
    plan = (LONG if long else SHORT)[kind]
    epochs, trials = (40, 120) if long else (30, 12)
    expected = undisturbed(epochs, trials)
    server = request.getfixturevalue("own_postgres") if plan.outages else None
    url = server.new_database() if server else new_url(kind)
    make(url, epochs, trials)
    seed = random.randrange(1000) if long else 0
    storm = Storm(programs, url, plan, OPTIONS, GRACE_SECONDS, server, random.Random(seed))
    storm.start()
    with opened(url) as storage:
        study = load(storage, NAME)
        seconds = storm.run(study)
        ends = stop(storm.living, 30)
        time.sleep(GRACE_SECONDS + 1)
        audit = Audit(load(storage, NAME))
        audit.tickets_are_spent_once()
        audit.values_are_those_of(expected)
        audit.training_went_on(CHECKPOINT_SECONDS)
        audit.nothing_is_left_over()
        audit.no_worker_seems_alive({program.pid for program in storm.killed})
        delete(storage, NAME)
        audit.a_deletion_leaves_nothing()
    words = said(program.said for program in storm.living + storm.killed)
    show(
        f"{kind}, {plan.size} workers, seed {seed}: {seconds:.0f} s, {dict(storm.tally)}, "
        f"stopped within {ends[-1]:.1f} s",
        [*audit.lines, *(f"said {count:4} x: {line}" for line, count in words.most_common())],
    )
    assert not [line for line in words if "Traceback" in line or "rror:" in line]
    assert len(audit.failed) <= 0.05 * trials, "too few tickets came through"
    assert [h for h in audit.handovers() if h.again], "nothing was lost: nothing was tested"


@both_kinds
def test_workers_that_are_all_asked_to_stop_end_soon_and_others_go_on(
    kind: str,
    new_url: Callable[[str], str],
    programs: Programs,
    undisturbed: Undisturbed,
    *,
    long: bool,
) -> None:
    if not long:
        pytest.skip("with --long only; tests/integration does it with one worker")
    epochs, trials, size = 300, 8, 4
    expected = undisturbed(epochs, trials)
    url = new_url(kind)
    make(url, epochs, trials)
    ends = []
    with opened(url) as storage:
        for epoch in (50, 150):
            fleet = [programs.tuner(url, "worker", *OPTIONS) for _ in range(size)]
            study = load(storage, NAME)
            until(lambda: in_training(study, epoch) == size, "all train", fleet, 120)  # noqa: B023
            ends += stop(fleet, 10)
            assert count_by_state(load(storage, NAME).trials())["running"] == 0
        fleet = [programs.tuner(url, "worker", *OPTIONS) for _ in range(size)]
        assert [worker.end(300) for worker in fleet] == [0] * size
        audit = Audit(load(storage, NAME))
        audit.tickets_are_spent_once()
        audit.values_are_those_of(expected)
        audit.training_went_on(CHECKPOINT_SECONDS)
        audit.nothing_is_left_over()
        audit.no_worker_seems_alive(set())
    show(f"{kind}, SIGTERM: ended after {[f'{s:.2f} s' for s in ends]}", audit.lines)
    assert sum(1 for _ in audit.handovers()) == 2 * size
    assert not audit.failed


@both_kinds
def test_workers_and_submits_that_start_together_on_an_empty_database_all_do_their_work(
    kind: str, new_url: Callable[[str], str], programs: Programs, tmp_path: Path, *, long: bool
) -> None:
    count, trials = (8, 24) if long else (2, 4)
    url = new_url(kind)
    file = write_tiny(tmp_path / "soak.toml", NAME, **changes(4, trials))
    started = time.monotonic()
    fleet: list[Program] = []
    submits: list[Program] = []
    for _ in range(count):
        fleet.append(programs.tuner(url, "worker", "--quiet", "--study", NAME))
        submits.append(programs.tuner(url, "submit", file))
    for program in submits + fleet:
        assert program.end(120) == 0, program.said
    for program in submits:
        assert "trials to do" in program.said
        assert len(program.said.splitlines()) == 1, program.said
    for program in fleet:
        assert len(program.said.splitlines()) <= 2, program.said
        assert "Traceback" not in program.said
    with opened(url) as storage:
        study = load(storage, NAME)
        numbers = sorted(t.user_attrs[records.TICKET] for t in study.trials())
        assert numbers == list(range(trials))
        assert {t.state for t in study.trials()} == {TrialState.COMPLETE}
        at_work = {t.user_attrs[records.WORKER] for t in study.trials()}
    words = said(program.said for program in submits + fleet)
    show(
        f"{kind}, {count} workers and {count} submits at once: {time.monotonic() - started:.0f} s, "
        f"{len(at_work)} workers had tickets",
        [f"said {number:4} x: {line}" for line, number in words.most_common()],
    )


def test_a_worker_that_comes_before_its_database_says_so_once_and_works_when_it_is_there(
    own_postgres: Postgres, programs: Programs, tmp_path: Path
) -> None:
    url = own_postgres.new_database().replace("puffin@", "puffin:secret@")
    own_postgres.stop()
    worker = programs.tuner(url, "worker", "--forever", *OPTIONS)
    until(lambda: "waiting for it" in worker.said, "it says that it waits", [worker])
    time.sleep(2.5)  # it has looked again
    own_postgres.start()
    file = write_tiny(tmp_path / "soak.toml", NAME, **changes(4, 3))
    submitted = programs.tuner(url, "submit", file)
    assert submitted.end(60) == 0, submitted.said
    with opened(url) as storage:
        study = load(storage, NAME)
        until(lambda: count_finished(study.trials()) == 3, "the study is done", [worker])
    worker.send(signal.SIGTERM)
    assert worker.end(10) == 0
    (line,) = worker.said.splitlines()
    assert "does not answer: " in line
    assert "secret" not in line
