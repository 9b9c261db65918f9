"""The seal opens once the winner is fixed, each opening is noted, and nothing learns from it."""

import json
import math
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy as copy_trial
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from safetensors.torch import load_file

import puffin.studies.copy
import puffin.tuner.worker.refit
import puffin.tuner.worker.worker
from puffin.models.config import Config
from puffin.models.evaluation.sharpe import expected_max_sharpe
from puffin.models.networks.rnn import build_network
from puffin.models.training.fold_training import forecast_windows
from puffin.studies import retraining
from puffin.studies.copy import copy
from puffin.studies.dataset import Dataset
from puffin.studies.export import write
from puffin.studies.openings import looks_at, new_opening
from puffin.studies.prices.load import Prices
from puffin.studies.report import build, verdict
from puffin.studies.report.build import Report
from puffin.studies.report.files import report_files
from puffin.studies.retraining import (
    OPENED_FOR,
    RETRAINED_TRIAL,
    RetrainingJob,
    open_seal,
    retrain_with_seeds,
)
from puffin.studies.seeds import one_se_choice
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage import tickets
from puffin.studies.storage.artifacts import attach
from puffin.studies.storage.database import open_storage, transaction
from puffin.studies.study import (
    StoredStudy,
    StudyError,
    _delete_all,
    delete,
    extend,
    load,
    study_names,
    submit,
)
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.queues import take


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    return new_url("sqlite")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of databases that were worked on once; each test has its own copy of one."""
    return tmp_path_factory.mktemp("done")


@pytest.fixture
def searched(
    storage: RDBStorage, url: str, make_study: Callable[..., StoredStudy], done: Path
) -> StoredStudy:
    """A search that is done."""

    def search() -> None:
        make_study(search={"pruner": "none"})
        work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))

    once(done / "searched.db", url, search)
    return load(storage, "tiny")


@pytest.fixture
def judged(searched: StoredStudy, url: str, done: Path) -> Report:
    """Its holdout, judged with three seeds of the best three."""
    once(done / "judged.db", url, lambda: judge(searched, url, top=3, seeds=3))
    return build.build(searched)


def once(done: Path, url: str, work_on: Callable[[], object]) -> None:
    """Have a database as it was worked on before, or work on it and keep a copy."""
    path = url.removeprefix("sqlite:///")
    if done.exists():
        source, target = str(done), path
    else:
        work_on()
        source, target = path, str(done)
    with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(target)) as theirs:
        ours.backup(theirs)


def judge(searched: StoredStudy, url: str, top: int, seeds: int) -> Report:
    for again in (retrain_with_seeds(searched, top, seeds), open_seal(searched, top, seeds)):
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu"))
    return build.build(searched)


def test_the_seal_stays_closed_until_every_trial_is_done(
    storage: RDBStorage, url: str, make_study: Callable[..., StoredStudy]
) -> None:
    study = make_study()
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu", max_trials=7))
    with pytest.raises(StudyError, match="has done 7 of 8 trials: the winner is not fixed"):
        open_seal(study)
    assert study_names(storage) == ["tiny"]


def test_the_best_are_trained_with_every_seed_and_the_incumbents_with_one(
    judged: Report, searched: StoredStudy
) -> None:
    complete = [t for t in searched.trials() if t.state == TrialState.COMPLETE]
    ranked = [t.number for t in sorted(complete, key=lambda t: t.value)]
    assert judged.winner == ranked[0]
    lowest, so_far = math.inf, []
    for trial in sorted(complete, key=lambda t: t.datetime_complete):
        if trial.value < lowest:
            lowest = trial.value
            so_far.append(trial.number)
    expected = {(n, seed) for n in ranked[:3] for seed in (0, 1, 2)} | {(n, 0) for n in so_far}
    done = list(zip(judged.refits.trial, judged.refits.seed, strict=True))
    assert set(done) == expected
    assert len(done) == len(expected)
    assert list(judged.overtuning.trials) == so_far


def test_the_winner_that_is_judged_is_the_one_that_is_exported(
    judged: Report, searched: StoredStudy, tmp_path: Path
) -> None:
    folder = write.export(searched, tmp_path / "best")
    opened = searched.holdout_dataset
    config = Config.from_dict(judged.config)
    network = build_network(config, opened.series.features.shape[1])
    network.load_state_dict(load_file(folder / write.WEIGHTS_FILE))
    (fold,) = opened.tensors(config.lookback, torch.device("cpu"))
    loss = float(((forecast_windows(network, fold.valid_windows) - fold.valid_targets) ** 2).mean())
    assert loss == pytest.approx(judged.loss, rel=1e-6)
    persistence = opened.persistence_losses[0]
    # Of a skill near zero a rounding of the loss is a larger share: it is held to the loss judged.
    assert judged.skill == pytest.approx(1 - judged.loss / persistence, rel=1e-12)


def test_what_is_judged_is_the_end_of_the_series_and_no_trial_was_scored_on_it(
    judged: Report, searched: StoredStudy, prices: Prices
) -> None:
    last = prices.frame.index[-20:]
    assert len(judged.dates) == 20
    assert (judged.first, judged.last) == (f"{last[0]:%Y-%m-%d}", f"{last[-1]:%Y-%m-%d}")
    assert searched.dataset.dates[-1] < last[0]


def test_no_price_of_the_holdout_changes_what_a_refit_is_trained_on(
    tiny: Spec, prices: Prices
) -> None:
    spec = parse_spec(tiny.to_json() | {"data": tiny.to_json()["data"] | {"horizon": 3}}, "tiny")
    search, holdout = prices.frame.iloc[:-22], prices.frame.iloc[-22:]
    other = holdout * np.linspace(1.5, 4.0, len(holdout))[:, None]
    ours, theirs = (Dataset.for_holdout(spec, search, end) for end in (holdout, other))
    for a, b in zip(ours.scalers, theirs.scalers, strict=True):
        assert (a.target_mean, a.target_std) == (b.target_mean, b.target_std)
        assert np.array_equal(a.feature_mean, b.feature_mean)
        assert np.array_equal(a.feature_std, b.feature_std)
    (one,), (two,) = (w.tensors(5, torch.device("cpu")) for w in (ours, theirs))
    assert torch.equal(one.train_windows, two.train_windows)
    assert torch.equal(one.train_targets, two.train_targets)
    assert not torch.equal(one.valid_targets, two.valid_targets)
    # The first two bars of the holdout are purged: their labels begin in the search part.
    (fold,) = ours.folds
    assert (fold.train.stop, fold.valid.start, fold.valid.stop) == (
        len(search),
        len(search) + 2,
        len(prices.frame),
    )


def test_an_opening_is_the_first_for_a_winner_and_orders_nothing_twice(
    judged: Report, searched: StoredStudy
) -> None:
    again = open_seal(searched, top=3, seeds=3)
    assert tickets.finished(again.trials()) == len(again.attrs["reruns"]) == len(judged.refits)
    more = open_seal(searched, top=3, seeds=4)
    (opening,) = looks_at(searched)
    assert (opening.study, opening.creation_id) == ("tiny", searched.creation_id)
    assert (opening.trial, opening.config) == (judged.winner, judged.config)
    assert pd.Timestamp(opening.time).tz is not None
    assert more.attrs[OPENED_FOR] == {str(judged.winner): opening.opening_id}
    assert more.optuna_study.metric_names == ["loss on the holdout"]
    seeds = load(searched.storage, "tiny.seeds").optuna_study.metric_names
    assert seeds == ["walk-forward loss with another seed"]
    ordered = more.attrs["reruns"][len(judged.refits) :]
    assert [r["seed"] for r in ordered] == [3, 3, 3]
    assert tickets.total(searched.storage, more.name) == len(judged.refits) + 3
    with pytest.raises(StudyError, match=r"trainings of study 'tiny\.holdout' are done"):
        build.build(searched)


def test_a_report_says_in_plain_values_what_it_says_in_words(judged: Report) -> None:
    values = json.loads(json.dumps(verdict.to_json(judged), allow_nan=False))
    what = values["forecast_of"]
    assert (what["symbol"], what["target"], what["horizon"]) == ("AAPL", "return", 1)
    assert what["target_in_words"] == "the return of AAPL over the next bar"
    assert (what["bars"], what["features"], len(what["folds"])) == (440, ["return"], 2)
    assert what["holdout"]["bars"] == 20
    assert {"puffin-tuner", "optuna", "torch"} <= set(what["made_with"])
    assert values["verdict"]["beats_baseline"] is judged.comparison.beats_baseline
    assert values["holdout"]["openings"] == 1
    assert values["holdout"]["loss"] == judged.loss
    assert values["holdout"]["skill"] == judged.skill
    assert 0 <= values["selection_bias"]["pbo"] <= 1
    deflated = values["selection_bias"]["deflated_sharpe"]
    held = judged.deflated_sharpe
    assert held is not None
    assert deflated is None if math.isnan(held.probability) else 0 <= deflated <= 1
    assert values["backtest"]["buy_and_hold"]["total_return"] is not None
    assert values["verdict"]["sentences"] == verdict.sentences(judged)
    losses = [b["search_loss"] for b in values["baselines"]]
    assert losses == sorted(losses)
    assert "nobody had looked at these bars before" in values["verdict"]["sentences"][2]


def test_pruned_trials_count_as_tries_and_not_as_what_a_trained_one_may_get(
    judged: Report, searched: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = build.trials_with_forecasts(searched)
    pruned = [copy_trial(trial) for trial, _ in trials]
    for trial in pruned:
        trial.state = TrialState.PRUNED
    worse = [(t, [f + 0.01 for f in own]) for t, (_, own) in zip(pruned, trials, strict=True)]
    monkeypatch.setattr(build, "trials_with_forecasts", lambda _: [*worse, *trials])
    found = build.build(searched)
    assert (found.n_networks, found.n_complete) == (2 * judged.n_networks, judged.n_complete)
    assert judged.overfitting is not None
    assert found.overfitting is not None
    assert found.overfitting.trials == judged.n_complete
    assert found.overfitting.logits.tolist() == judged.overfitting.logits.tolist()
    assert judged.deflated_sharpe is not None
    assert found.deflated_sharpe is not None
    assert found.deflated_sharpe.trials == 2 * judged.deflated_sharpe.trials == found.n_networks
    spread = judged.deflated_sharpe.threshold / expected_max_sharpe(1.0, judged.n_networks)
    expected = spread * expected_max_sharpe(1.0, found.n_networks)
    assert found.deflated_sharpe.threshold == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "p", "outcome"),
    [
        (0.5, 0.01, "better"),
        (0.5, 0.04, "better"),
        (0.5, 0.05, "undecided"),
        (0.5, math.nan, "undecided"),
        # Below the rival for sure, and above another one: the lowest of several is no test.
        (0.95, 0.01, "undecided"),
        (0.95, 0.5, "undecided"),
        (1.001, 0.55, "undecided"),
        (1.5, 0.95, "undecided"),
        (1.5, 0.951, "worse"),
        (1.5, 0.99, "worse"),
        (1.5, math.nan, "undecided"),
    ],
)
def test_better_and_worse_need_a_test_against_the_best_on_search_data(
    judged: Report, loss: float, p: float, outcome: str
) -> None:
    first = judged.comparison.reference
    rival = replace(
        first,
        label="rival",
        holdout_losses=np.ones(20),
        skill=1 - loss,
        diebold_mariano=replace(first.diebold_mariano, p_better=p),
    )
    other = replace(rival, label="other", holdout_losses=np.full(20, 0.9), skill=1 - loss / 0.9)
    found = replace(
        judged, comparison=replace(judged.comparison, loss=loss, baselines=[rival, other])
    )
    assert found.comparison.outcome == outcome
    assert found.comparison.beats_baseline is (outcome == "better")
    assert verdict.sentences(found)[0].startswith(f"{outcome.capitalize()}: forecasts of the ")


def test_a_range_is_judged_without_a_backtest_that_nobody_could_trade(
    url: str, storage: RDBStorage, tiny: Spec, prices: Prices
) -> None:
    values = tiny.to_json()
    values["data"] |= {"target": "range", "features": ["range"]}
    values["search"] |= {"pruner": "none", "trials": 3}
    study = submit(storage, parse_spec(values, "tiny"), prices)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    found = judge(study, url, top=1, seeds=3)
    assert (found.backtest, found.deflated_sharpe) == (None, None)
    assert verdict.to_json(found)["selection_bias"]["deflated_sharpe"] is None
    assert verdict.sentences(found)[1].endswith(": a range cannot be bought.")


def test_a_copy_has_the_holdout_with_its_openings_and_says_the_same(
    judged: Report, searched: StoredStudy, tmp_path: Path
) -> None:
    target = open_storage(f"sqlite:///{tmp_path / 'other.db'}", create=True)
    copied = copy(searched, target)
    assert (
        copied.trials
        == len(searched.trials()) + len(judged.refits) + judged.seed_sensitivity.losses.size
    )
    again = build.build(load(target, "tiny"))
    assert verdict.to_json(again) == verdict.to_json(judged)
    open_seal(load(target, "tiny"), top=3, seeds=3)
    assert looks_at(load(target, "tiny")) == judged.looks


def test_a_look_by_another_study_counts_against_this_one_even_after_its_deletion(
    judged: Report, searched: StoredStudy, url: str, make_study: Callable[..., StoredStudy]
) -> None:
    other = make_study(
        "other",
        data={"target": "range", "features": ["range"], "horizon": 2},
        search={"trials": 1, "pruner": "none"},
    )
    work(url, Interrupt(), WorkerOptions("other", device="cpu"))
    found = judge(other, url, top=1, seeds=3)
    assert "these bars had been looked at once before, by study tiny" in verdict.sentences(found)[2]
    values = verdict.to_json(found)["holdout"]
    assert (values["openings"], values["openings_before"]) == (2, 1)
    assert [look["study"] for look in values["opened"]] == ["tiny", "other"]
    # What came later does not change what was found before.
    assert verdict.sentences(build.build(searched)) == verdict.sentences(judged)
    delete(searched.storage, "tiny")
    delete(searched.storage, "other")
    again = make_study("other", search={"trials": 1, "pruner": "none"})
    work(url, Interrupt(), WorkerOptions("other", device="cpu"))
    said = verdict.sentences(judge(again, url, top=1, seeds=3))[2]
    assert "twice before, by study tiny and an earlier study of this name, so this" in said


def test_reruns_are_no_search_go_with_their_study_and_keep_their_names_for_themselves(
    searched: StoredStudy, url: str, tiny: Spec, prices: Prices
) -> None:
    for again in (
        retrain_with_seeds(searched, top=1, seeds=3),
        open_seal(searched, top=1, seeds=1),
    ):
        for command in (["best"], ["compare"], ["report"], ["extend", "--trials", "1"]):
            result = CliRunner().invoke(main, [*command, again.name, "--storage", url])
            assert result.exit_code == 1
            assert "trains the best of study 'tiny' again and searches for" in result.output
        taken = parse_spec(tiny.to_json() | {"name": again.name.replace("tiny", "x")}, "x")
        with pytest.raises(StudyError, match=r"names that end in \.seeds or \.holdout are kept"):
            submit(searched.storage, taken, prices)
    delete(searched.storage, "tiny")
    assert study_names(open_storage(url)) == []


VICTIM = """
import sys, time
import puffin.tuner.worker.objective
import puffin.tuner.worker.refit
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.scheduler import WorkerOptions, work

train, refit = puffin.tuner.worker.objective.FoldTraining.__iter__, puffin.tuner.worker.refit.refit

def slowly(items):
    for item in items:
        yield item
        time.sleep(60)

def slow_refit(*args):
    network, steps = refit(*args)
    return network, slowly(steps)

puffin.tuner.worker.objective.FoldTraining.__iter__ = lambda self: slowly(train(self))
puffin.tuner.worker.refit.refit = slow_refit
work(sys.argv[1], Interrupt(), WorkerOptions(sys.argv[2], device="cpu", grace_seconds=1))
"""


def test_what_a_killed_worker_was_training_again_is_trained_by_another_to_the_same_figures(
    searched: StoredStudy, url: str, tmp_path: Path, start: Callable[..., Any]
) -> None:
    other = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    copy(searched, open_storage(other, create=True))
    expected = judge(load(open_storage(other), "tiny"), other, top=1, seeds=3)
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    for again in (
        retrain_with_seeds(searched, top=1, seeds=3),
        open_seal(searched, top=1, seeds=3),
    ):
        victim = start(url, sys.executable, script, url, again.name)
        victim.until(
            lambda: any(RETRAINED_TRIAL in t.user_attrs for t in again.trials()),  # noqa: B023
            "it trains",
        )
        os.kill(victim.process.pid, signal.SIGKILL)
        assert victim.end(10) == -signal.SIGKILL
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu", grace_seconds=1))
        ended = [t.user_attrs[tickets.TICKET] for t in again.trials() if tickets.is_finished(t)]
        assert sorted(ended) == list(range(len(again.attrs["reruns"])))
        assert len(again.trials()) == len(ended) + 1, "the lost one"
    assert figures(build.build(searched)) == figures(expected)


def figures(found: Report) -> dict[str, Any]:
    """What a report says but for when the seal was opened, and which of its trials ended first."""
    values = verdict.to_json(found)
    for look in values["holdout"]["opened"]:
        del look["time"]
    values["refits"].sort(key=lambda r: (r["trial"], r["seed"]))
    return values


def test_a_refit_that_diverges_is_told_and_leaves_the_others_their_report(
    searched: StoredStudy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second best diverges on the holdout; then the winner does."""
    whole = judge(searched, url, top=2, seeds=3)
    winner, second = whole.seed_sensitivity.trials
    holdout = load(searched.storage, "tiny.holdout")
    real = puffin.tuner.worker.refit.run_refit

    def diverging(number: int) -> Callable[..., float]:
        def run(trial: optuna.Trial, rerun: RetrainingJob, *args: Any) -> float:
            value = real(trial, rerun, *args)
            if rerun.trial == number:
                raise puffin.tuner.worker.refit.DivergedError(
                    "diverged: the loss on the holdout is nan"
                )
            return value

        return run

    for number in (second, winner):
        delete_holdout(searched)
        monkeypatch.setattr(puffin.tuner.worker.worker, "run_refit", diverging(number))
        holdout = open_seal(searched, top=2, seeds=3)
        work(url, Interrupt(), WorkerOptions(holdout.name, device="cpu"))
        if number == second:
            found = build.build(searched)
            assert set(found.refits.trial) == set(whole.refits.trial) - {second}
            assert found.loss == whole.loss
            assert second not in found.overtuning.trials
        else:
            with pytest.raises(StudyError, match=r"the best of study 'tiny', failed: DivergedErr"):
                build.build(searched)


def delete_holdout(searched: StoredStudy) -> None:
    """Forget that the seal was opened, which no command does."""
    storage, name = searched.storage, searched.name + ".holdout"
    with pytest.raises(StudyError, match=r"belongs to study 'tiny' and records when its seal was"):
        delete(storage, name)
    with transaction(storage) as connection:
        creation_id = tickets.close(connection, name)
    _delete_all(storage, {name: str(creation_id)})


def test_an_opening_for_another_winner_is_held_against_the_later_one(
    judged: Report, searched: StoredStudy, url: str
) -> None:
    storage = searched.storage
    extend(storage, "tiny", 1)
    with pytest.raises(StudyError, match="has done 8 of 9 trials"):
        open_seal(searched)
    better, trial = searched.best(), take(searched.optuna_study, searched.queue)
    for key, value in better.user_attrs.items():
        if key not in (tickets.TICKET, "best_loss"):
            trial.set_user_attr(key, value)
    trial.set_user_attr(tickets.CONFIG, better.user_attrs["config"] | {"lr": 0.002})
    body = build.read_artifact(searched, better)
    with transaction(storage) as connection:
        added = attach(connection, searched.creation_id, trial, "forecasts.csv", body)
    trial.set_user_attr("run", better.user_attrs["run"] | {"forecasts": added})
    searched.optuna_study.tell(trial, (better.value or 0.0) - 0.01)
    after = load(storage, "tiny")
    with pytest.raises(StudyError, match="has not been opened for its best, trial 8"):
        build.build(after)
    found = judge(after, url, top=3, seeds=3)
    assert found.winner == 8
    assert [look.trial for look in found.looks] == [judged.winner, 8]
    said = verdict.sentences(found)[2]
    assert f"looked at once before, by this study for trial {judged.winner}, so this" in said
    assert verdict.to_json(found)["holdout"]["openings_before"] == 1
    assert judged.looks_before == []


def test_reports_at_once_are_one_opening_and_order_each_refit_once(
    searched: StoredStudy, url: str
) -> None:
    open_seal(searched, top=1, seeds=3)
    wishes = [(1, 3), (2, 3), (3, 3), (1, 4), (2, 4), (3, 5)]
    with ThreadPoolExecutor(len(wishes)) as pool:
        asked = [
            pool.submit(lambda w: open_seal(load(open_storage(url), "tiny"), *w), wish)
            for wish in wishes
        ]
        for one in asked:
            one.result(timeout=120)
    holdout = load(searched.storage, "tiny.holdout")
    assert len(looks_at(searched)) == 1
    ordered = [(r["trial"], r["seed"]) for r in holdout.attrs["reruns"]]
    assert len(set(ordered)) == len(ordered) == tickets.total(searched.storage, holdout.name)
    assert {(searched.best().number, seed) for seed in range(5)} <= set(ordered)
    work(url, Interrupt(), WorkerOptions(holdout.name, device="cpu"))
    for trial in holdout.trials():
        attrs = trial.user_attrs
        assert ordered[attrs[tickets.TICKET]] == (attrs[RETRAINED_TRIAL], attrs["seed"])


def test_a_copy_that_was_killed_before_its_reruns_were_whole_is_made_anew_with_them(
    judged: Report, searched: StoredStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_storage(f"sqlite:///{tmp_path / 'other.db'}", create=True)
    with monkeypatch.context() as patch:
        patch.setattr(puffin.studies.copy, "load", lambda *_args: os._exit(9))
        pid = os.fork()
        if not pid:
            copy(searched, target)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert study_names(target) == []
    copy(searched, target)
    assert len(study_names(target)) == 3
    again = build.build(load(target, "tiny"))
    assert verdict.to_json(again) == verdict.to_json(judged)


def test_the_points_of_a_grid_are_trained_again_as_they_were(
    url: str, storage: RDBStorage, tiny: Spec, prices: Prices
) -> None:
    values = tiny.to_json()
    values["search"] = {"sampler": "grid", "pruner": "none", "seed": 0}
    values["space"] = {"cell": "lstm", "layers": 1, "hidden_dim": 4, "lr": [0.001, 0.01]}
    searched = submit(storage, parse_spec(values, "tiny"), prices)
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    found = judge(searched, url, top=2, seeds=5)
    assert len(found.refits) == 10
    assert {t.user_attrs["config"]["lr"] for t in load(storage, "tiny.holdout").trials()} == {
        0.001,
        0.01,
    }


def test_whoever_dies_while_adding_retrainings_has_added_none(
    judged: Report, searched: StoredStudy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: Any, **_values: Any) -> None:
        raise KeyboardInterrupt

    def known() -> list[Any]:
        names = ("tiny.seeds", "tiny.holdout")
        attrs = [load(searched.storage, name).attrs for name in names]
        return [(a["reruns"], a.get(OPENED_FOR), looks_at(searched)) for a in attrs]

    before = known()
    with monkeypatch.context() as patch:
        patch.setattr(tickets, "set_budget", die)
        for order in (retrain_with_seeds, open_seal):
            with pytest.raises(KeyboardInterrupt):
                order(searched, 3, 4)
    assert known() == before
    assert len(judge(searched, url, top=3, seeds=4).refits) == len(judged.refits) + 3


@pytest.mark.usefixtures("judged")
def test_two_reports_at_once_for_two_winners_record_both_openings(
    searched: StoredStudy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if one is suspended between reading the list of openings and writing it."""
    stored = load(searched.storage, "tiny.holdout").attrs[OPENED_FOR]
    reading, write = threading.Event(), optuna.Study.set_user_attr

    def write_late(study: optuna.Study, key: str, value: Any) -> None:
        if not reading.is_set():
            reading.set()
            time.sleep(0.5)
        write(study, key, value)

    def add(trial: int) -> None:
        holdout = load(open_storage(url), "tiny.holdout")
        if trial == 200:
            reading.wait(30)
        retraining._add(holdout, [], new_opening(searched, trial, {}))

    monkeypatch.setattr(optuna.Study, "set_user_attr", write_late)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, (100, 200)))
    openings = load(searched.storage, "tiny.holdout").attrs[OPENED_FOR]
    assert list(openings) == [*stored, "100", "200"]
    assert set(openings.values()) == {look.opening_id for look in looks_at(searched)}


def test_forecasts_further_ahead_than_the_search_has_bars_are_judged_all_the_same(
    url: str, make_study: Callable[..., StoredStudy]
) -> None:
    searched = make_study(
        data={"horizon": 45},
        walk_forward={"holdout_bars": 60},
        search={"pruner": "none", "trials": 2},
    )
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    found = judge(searched, url, top=1, seeds=3)
    assert (found.spa, found.deflated_sharpe, found.backtest) == (None, None, None)
    assert found.no_deflated_sharpe == (
        "it needs at least 3 returns that do not overlap, and the search bars have only 1"
    )
    assert "this study forecasts 45 bars ahead" in verdict.sentences(found)[1]
    page = report_files(searched, found)["report.md"].decode()
    assert "too few" in page


def test_a_holdout_too_short_to_tell_forecasts_apart_stays_sealed(
    url: str, storage: RDBStorage, make_study: Callable[..., StoredStudy]
) -> None:
    make_study(walk_forward={"holdout_bars": 2}, search={"trials": 1, "pruner": "none"})
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    with pytest.raises(StudyError, match=r"horizon \+ 2 = 3 bars or more .* has 2; its seal stays"):
        open_seal(load(storage, "tiny"))
    assert study_names(storage) == ["tiny"]


def test_seeds_have_their_own_ranks_and_the_choice_of_the_smallest_is_theirs(
    judged: Report, searched: StoredStudy
) -> None:
    seeds = load(searched.storage, "tiny.seeds")
    spread = judged.seed_sensitivity
    assert spread.seeds == [1, 2]
    assert spread.trials[0] == judged.winner
    by_hand = {
        (t.user_attrs[RETRAINED_TRIAL], t.user_attrs["seed"]): t.value
        for t in seeds.trials()
        if t.state == TrialState.COMPLETE
    }
    expected = [[by_hand[number, seed] for seed in (1, 2)] for number in spread.trials]
    assert spread.losses.tolist() == expected
    columns = list(zip(*expected, strict=True))
    assert spread.ranks.tolist() == [1 + sum(v < c[0] for v in c) for c in columns]
    means = {n: float(np.mean(row)) for n, row in zip(spread.trials, expected, strict=True)}
    lowest = min(means, key=lambda n: means[n])
    row = expected[spread.trials.index(lowest)]
    bound = means[lowest] + abs(row[0] - row[1]) / 2  # the standard error of two
    assert spread.one_se_bound == pytest.approx(bound)
    sizes = dict(zip(spread.trials, spread.parameters, strict=True))
    within = [n for n in spread.trials if means[n] <= bound]
    assert spread.one_se_choice == min(within, key=lambda n: (sizes[n], means[n]))
    assert one_se_choice(searched).number == spread.one_se_choice
    # The search's own seed is none of them: with it the loss is the trial's to the last bit.
    assert judged.search_loss not in expected[0]


def test_a_folder_that_cannot_be_written_is_found_while_the_seal_is_closed(
    searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "pages")
    said = CliRunner().invoke(main, ["report", "tiny", "--out", out, "--storage", url])
    assert said.exit_code == 1
    assert f"cannot write the report to {out}: Not a directory; choose another" in said.output
    assert study_names(searched.storage) == ["tiny"]


def test_the_command_has_workers_train_the_refits_and_shows_a_finished_report_again(
    searched: StoredStudy, url: str, tmp_path: Path
) -> None:
    pages = tmp_path / "pages"
    options = ["--workers", "1", "--top", "2", "--seeds", "3", "--out", str(pages)]
    command = ["report", "tiny", *options, "--storage", url]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    assert "the holdout of study tiny is open" in first.stderr
    written = {path: path.stat().st_mtime_ns for path in pages.rglob("*")}
    count = len(list((pages / "pictures").iterdir()))
    done = f"wrote {pages}/report.html, report.md, report.json and {count} figures"
    assert first.stderr.splitlines()[-1] == done

    again = CliRunner().invoke(main, [*command, "--json"])
    assert again.exit_code == 0, again.output
    message = "the report of study tiny is finished: nothing is trained or opened again"
    assert again.stderr.splitlines() == [message]
    assert {path: path.stat().st_mtime_ns for path in pages.rglob("*")} == written
    values = json.loads(again.stdout)
    assert values["holdout"]["openings"] == 1
    assert all(sentence in first.stdout for sentence in values["verdict"]["sentences"])
    assert all(f" {b['label']} " in first.stdout for b in values["baselines"])
    assert json.loads((pages / "report.json").read_text("utf-8")) == values
    holdout = load(searched.storage, "tiny.holdout")
    assert tickets.finished(holdout.trials()) == len(values["refits"])
