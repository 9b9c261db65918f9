"""Copies of a study in another database: equal in everything, complete or absent."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.studies import records, summary
from puffin.studies.copy import copy
from puffin.studies.export import write
from puffin.studies.lifecycle import delete, extend
from puffin.studies.storage import registry
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.optuna_internals import trial_id
from puffin.studies.study import StoredStudy, StudyError, load, study_names
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker
from tests.queues import take

MakeStudy = Callable[..., StoredStudy]
MakeWorker = Callable[..., Worker]
NewUrl = Callable[[str], str]


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: NewUrl) -> str:
    return new_url(getattr(request, "param", "sqlite"))


@pytest.fixture
def other(new_url: NewUrl, tmp_path: Path) -> RDBStorage:
    """Another database, of the other kind than the first."""
    del tmp_path
    return open_storage(new_url("postgresql"), create=True)


def rows(storage: RDBStorage) -> dict[str, int]:
    """Return the number of rows of every non-empty table except the heartbeats."""
    with storage.engine.connect() as connection:
        names = set(sa.inspect(connection).get_table_names())
        counts = {
            name: connection.execute(
                sa.select(sa.func.count()).select_from(sa.table(name))
            ).scalar_one()
            for name in names - {"alembic_version", "version_info", "trial_heartbeats"}
        }
    return {name: count for name, count in counts.items() if count}


def facts(trial: FrozenTrial) -> dict[str, Any]:
    """All that a trial is, but for the key of its row."""
    return {
        name: getattr(trial, name)
        for name in (
            "number",
            "state",
            "value",
            "params",
            "distributions",
            "intermediate_values",
            "user_attrs",
            "system_attrs",
            "datetime_start",
            "datetime_complete",
        )
    }


def artifacts(study: StoredStudy) -> list[tuple[str, str, bytes]]:
    """Name, key and bytes of each file, those of the study first."""
    storage = study.optuna_study._storage
    return [
        (meta.filename, meta.artifact_id, study.store.open_reader(meta.artifact_id).read())
        for owner in (study.optuna_study, *study.trials())
        for meta in get_all_artifact_meta(owner, storage=storage)
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def finished(make_study: MakeStudy, make_worker: MakeWorker) -> StoredStudy:
    """A study with trials of every kind: complete, pruned, failed, given back, and two to come."""
    handle = make_study(search={"trials": 12, "sampler": "random"})
    worker = make_worker()
    for _ in range(5):
        worker.step(handle)
    study, queue = handle.optuna_study, handle.queue
    for why in ("requeued", "failed"):
        trial = take(study, queue)
        trial.suggest_float("lr", 1e-3, 1e-2, log=True)
        trial.report(float("inf"), 1)
        if why == "failed":
            trial.set_user_attr(records.FAILURE, "ValueError: no")
            study.tell(trial, state=TrialState.FAIL)
        else:
            queue.requeue(trial_id(trial))
    queue.retry_or_fail(trial_id(take(study, queue, lookback=4)), "out of memory")
    registry.set_priority(handle.storage, handle.creation_id, 7)
    extend(handle.storage, "tiny", 3)
    return handle


@pytest.fixture
def small(make_study: MakeStudy, make_worker: MakeWorker) -> StoredStudy:
    """A study with one trial."""
    study = make_study(training={"max_epochs": 1})
    make_worker().step(study)
    return study


def test_a_copy_there_and_back_is_equal_in_all(
    finished: StoredStudy, other: RDBStorage, tmp_path: Path
) -> None:
    states = {t.state for t in finished.trials()}
    assert states == set(TrialState) - {TrialState.RUNNING}
    copied = copy(finished, other)
    assert (copied.trials, copied.in_training) == (len(finished.trials()), 0)
    back = open_storage(f"sqlite:///{tmp_path / 'back.db'}", create=True)
    assert copy(load(other, "tiny"), back) == copied
    for storage in (other, back):
        twin = load(storage, "tiny")
        assert [facts(t) for t in twin.trials()] == [facts(t) for t in finished.trials()]
        assert artifacts(twin) == artifacts(finished)
        assert len(artifacts(twin)) == copied.artifacts == 2 + 5
        assert twin.optuna_study.user_attrs == finished.optuna_study.user_attrs | {
            "creation_id": twin.creation_id
        }
        assert twin.creation_id != finished.creation_id
        assert twin.optuna_study.metric_names == finished.optuna_study.metric_names
        assert twin.optuna_study.direction == finished.optuna_study.direction
        assert summary.status(twin) == summary.status(finished)
        assert summary.best_record(twin) == summary.best_record(finished)
        own, theirs = (
            registry.budgets(h.storage)["tiny"].__dict__ | {"creation_id": ""}
            for h in (twin, finished)
        )
        assert own == theirs
    assert (own["tickets"], own["issued"], own["priority"]) == (15, 7, 7)
    exported = [
        files(write.export(study, tmp_path / name))
        for name, study in (("first", finished), ("last", load(back, "tiny")))
    ]
    assert exported[0] == exported[1]
    before = rows(finished.storage)
    assert rows(back) == before
    for storage in (other, back):
        delete(storage, "tiny")
        assert rows(storage) == {}
    assert rows(finished.storage) == before


def interrupted(worker: Worker, study: StoredStudy, epochs: int) -> None:
    """Leave a trial as it is in the midst of its training, its worker being elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        report = optuna.Trial.report

        def report_and_die(trial: optuna.Trial, value: float, step: int) -> None:
            report(trial, value, step)
            if step > epochs:
                raise KeyboardInterrupt

        patch.setattr(optuna.Trial, "report", report_and_die)
        with pytest.raises(KeyboardInterrupt):
            worker.step(study)


def test_a_running_trial_resumes_in_the_copy_bit_for_bit(
    make_study: MakeStudy, make_worker: MakeWorker, other: RDBStorage
) -> None:
    changes = {
        "training": {"max_epochs": 6, "patience": 6},
        "search": {"trials": 2, "pruner": "none"},
    }
    study, worker = make_study(**changes), make_worker()
    worker.checkpoint_seconds = 0.0
    interrupted(worker, study, epochs=3)
    (running,) = study.trials()
    assert running.state == TrialState.RUNNING
    copied = copy(study, other)
    assert (copied.trials, copied.in_training) == (1, 1)
    twin = load(other, "tiny")
    (waiting,) = twin.trials()
    assert (waiting.state, waiting.number) == (TrialState.WAITING, running.number)
    assert waiting.user_attrs == {records.TICKET: 0}
    assert waiting.system_attrs["fixed_params"] == running.params
    assert rows(other)["puffin_checkpoints"] == 1
    work(
        other.engine.url.render_as_string(hide_password=False),
        Interrupt(),
        WorkerOptions(device="cpu"),
    )
    undisturbed = make_study("alone", **changes)
    while worker.step(undisturbed):
        pass
    for own, theirs in zip(load(other, "tiny").trials(), undisturbed.trials(), strict=True):
        assert own.params == theirs.params
        assert own.intermediate_values == theirs.intermediate_values
        assert (own.value, own.state) == (theirs.value, theirs.state)
        assert own.user_attrs["fold_losses"] == theirs.user_attrs["fold_losses"]
    assert load(other, "tiny").trials()[0].user_attrs["run"]["resumed_after"] == 3
    assert [t.state for t in study.trials()] == [TrialState.RUNNING], "the original is left alone"
    assert "puffin_checkpoints" not in rows(other)


def test_an_unsampled_trial_keeps_fixed_parameters_and_notes_in_the_copy(
    make_study: MakeStudy, other: RDBStorage
) -> None:
    study = make_study()
    queue = study.queue
    for _ in range(2):
        queue.retry_or_fail(trial_id(take(study.optuna_study, queue, lookback=4)), "no memory")
    assert queue.claim() is not None
    copy(study, other)
    (waiting,) = [t for t in load(other, "tiny").trials() if t.state == TrialState.WAITING]
    assert waiting.system_attrs["fixed_params"] == {"lookback": 4}
    assert waiting.user_attrs == {
        records.TICKET: 0,
        records.RETRIES: 2,
        records.NOTES: ["no memory"] * 2,
    }


def test_a_copy_of_a_paused_study_is_open(make_study: MakeStudy, other: RDBStorage) -> None:
    study = make_study()
    registry.set_paused(study.storage, study.creation_id, paused=True)
    copy(study, other)
    assert not registry.budgets(other)["tiny"].paused
    assert registry.budgets(study.storage)["tiny"].paused


@pytest.mark.parametrize("theirs", ["a whole study", "the same database", "a study of Optuna"])
def test_a_copy_under_a_taken_name_writes_nothing(
    make_study: MakeStudy, other: RDBStorage, theirs: str
) -> None:
    study = make_study()
    target = study.storage if theirs == "the same database" else other
    if theirs == "a whole study":
        copy(study, other)
    elif theirs == "a study of Optuna":
        optuna.create_study(study_name="tiny", storage=other).set_user_attr("a", 1)
    before = rows(target)
    words = "was not made by Puffin" if theirs == "a study of Optuna" else "in that database alr"
    with pytest.raises(StudyError, match=words):
        copy(study, target)
    assert rows(target) == before


@pytest.mark.parametrize("place", ["_copy_artifacts", "_copy_checkpoints"])
def test_a_copy_that_fails_midway_leaves_nothing_behind(
    small: StoredStudy, other: RDBStorage, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"puffin.studies.copy.{place}", fail)
    with pytest.raises(KeyboardInterrupt):
        copy(small, other)
    assert rows(other) == {}


KILLED = """
import os, signal, sys
from puffin.studies import copy
from puffin.studies.storage.database import open_storage
from puffin.studies.study import load

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

copy._copy_checkpoints = die
copy.copy(load(open_storage(sys.argv[1]), "tiny"), open_storage(sys.argv[2], create=True))
"""


def test_a_killed_copy_leaves_nothing_and_can_be_repeated(
    small: StoredStudy, url: str, other: RDBStorage
) -> None:
    target = other.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, target],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert rows(other) == {}
    copy(small, other)
    assert [facts(t) for t in load(other, "tiny").trials()] == [facts(t) for t in small.trials()]
    assert rows(other) == rows(small.storage)


def test_the_command_copies_says_how_much_and_shows_no_password(
    make_study: MakeStudy, make_worker: MakeWorker, url: str, other: RDBStorage
) -> None:
    study = make_study()
    interrupted(make_worker(), study, epochs=0)
    target = other.engine.url.render_as_string(hide_password=False)
    target = target.replace("postgresql+psycopg://puffin@", "postgresql://puffin:secret@")
    assert "secret" in target
    copies = CliRunner(env={"TUNER_TO": target})
    done = copies.invoke(main, ["copy", "tiny", "--storage", url])
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    shown = target.replace("secret", "***")
    assert done.stderr.splitlines() == [
        f"copied study tiny to {shown}: 1 trials, 2 files",
        (
            "1 of the trials are running here and wait there; `tuner delete tiny` keeps "
            "workers from finishing them here"
        ),
    ]
    assert study_names(other) == ["tiny"]
    assert copies.invoke(main, ["copy", "tiny", "--storage", url]).stderr == (
        "error: a study 'tiny' is in that database already; `tuner delete` it there first\n"
    )


def test_a_study_with_a_missing_artifact_is_copied(small: StoredStudy, other: RDBStorage) -> None:
    """The dashboard writes down that there is one before it is there, and may die between."""
    (*_, last) = artifacts(small)
    small.store.remove(last[1])
    assert copy(small, other).artifacts == len(artifacts_there(small)) == 2


def artifacts_there(study: StoredStudy) -> list[bytes]:
    with study.storage.engine.connect() as connection:
        query = sa.text("SELECT body FROM puffin_artifacts")
        return [bytes(row.body) for row in connection.execute(query)]
