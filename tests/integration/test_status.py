"""`tuner status` and `tuner report` of searches with retraining studies, and their estimates."""

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.storages import RDBStorage

from puffin.studies.overview import overview
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.retraining_cost import retraining_cost
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy, load
from puffin.studies.summary import status
from puffin.tuner.cli import main
from puffin.tuner.worker.worker import Worker

HOSTILE = "[/x]\x1b[2J\u202e"


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    return new_url("sqlite")


@pytest.fixture
def searched(
    make_study: Callable[..., StoredStudy], make_worker: Callable[..., Worker]
) -> StoredStudy:
    """Search three trials to their end."""
    study = make_study(search={"trials": 3, "pruner": "none"}, training={"max_epochs": 2})
    worker = make_worker()
    while worker.step(study):
        pass
    return study


def shown(url: str, *args: str) -> str:
    done = CliRunner().invoke(main, ["status", *args, "--storage", url])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_status_shows_retraining_with_its_study_without_a_best(
    searched: StoredStudy, make_worker: Callable[..., Worker], url: str
) -> None:
    assert "retraining" not in shown(url)
    seeds, _ = retrain_with_seeds(searched, 1), open_seal(searched, 1)
    worker = make_worker()
    assert worker.step(seeds)
    out = shown(url)
    assert "tiny.seeds" not in out
    (row,) = [line for line in out.splitlines() if line.startswith("tiny ")]
    total = status(load(searched.storage, "tiny.holdout")).tickets + 2
    assert f"1 of {total}" in row
    everything = shown(url, "--all").splitlines()
    (own,) = [line.split() for line in everything if line.startswith("tiny.seeds ")]
    assert own[1:5] == ["open", "1", "of", "2"]
    assert own[-2:] == ["-", "-"]
    state = status(seeds)
    assert (state.best_loss, state.best_skill, state.best_trial) == (None, None, None)
    assert (state.search, state.complete) == ("tiny", 1)
    names = {
        each["name"]: each["best_loss"] for each in json.loads(shown(url, "--json"))["studies"]
    }
    assert names == {"tiny": status(searched).best_loss, "tiny.seeds": None, "tiny.holdout": None}
    about = shown(url, "tiny")
    assert "tiny.seeds: 1 of 2 trainings: 1 complete" in about
    assert "opened 1 time" in about


def test_names_from_a_shared_database_are_shown_and_not_obeyed(
    searched: StoredStudy, storage: RDBStorage, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("puffin.studies.storage.workers.socket.gethostname", lambda: HOSTILE)
    Registration(storage, HOSTILE, {"torch": HOSTILE}, 60).write(HOSTILE, 0)
    with storage.engine.begin() as connection:
        for table, column in (("studies", "study_name"), ("puffin_studies", "name")):
            query = sa.text(f"UPDATE {table} SET {column} = :name")  # noqa: S608
            connection.execute(query, {"name": HOSTILE})
    for out in (shown(url), shown(url, HOSTILE)):
        assert "[/x]\\x1b[2J\\u202e" in out
        assert not {"\x1b", "\u202e"} & set(out)
    assert json.loads(shown(url, "--json"))["studies"][0]["name"] == HOSTILE
    assert searched.trials()


def test_the_cost_of_a_report_counts_remaining_trainings(
    searched: StoredStudy, make_worker: Callable[..., Worker]
) -> None:
    best = searched.best()
    run, epoch = best.user_attrs["run"], best.user_attrs["best_epoch"]
    cost = retraining_cost(searched, 1)
    assert cost.seeds == 2
    assert cost.holdout >= 3
    # Folds train on all but the last 40 and the last 20 targets; a refit on all of them.
    targets = len(searched.load_search_prices()) - 5 - 1
    share = targets / ((targets - 40) + (targets - 20))
    least = 2 * run["seconds"] + 3 * run["seconds"] / run["epochs"] * epoch * share
    assert cost.worker_seconds is not None
    assert cost.worker_seconds >= least - 1e-9
    only = 2 * run["seconds"] + cost.holdout * run["seconds"] * 5
    assert cost.worker_seconds <= only
    assert cost.seconds(2) == pytest.approx(cost.worker_seconds / 2 + 15)
    seeds = retrain_with_seeds(searched, 1)
    assert make_worker().step(seeds)
    left = retraining_cost(searched, 1)
    assert (left.seeds, left.holdout) == (1, cost.holdout)


def test_a_search_without_measurements_has_no_estimate(searched: StoredStudy) -> None:
    assert status(searched).seconds_left is None
    found = overview(searched)
    assert (found.bars, found.failures, found.openings) == (440, {}, 0)
    assert [trial.trial for trial in found.last_trials] == [2, 1, 0]
