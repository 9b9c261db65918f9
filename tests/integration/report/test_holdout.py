"""The holdout opens once the winner is fixed, openings are recorded, no trial learns from it."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

import puffin.studies.copy
import puffin.tuner.worker.refit
import puffin.tuner.worker.worker
from puffin.studies import records, retraining
from puffin.studies.copy import copy
from puffin.studies.dataset import Dataset
from puffin.studies.lifecycle import delete, extend, submit
from puffin.studies.openings import looks_at, new_opening
from puffin.studies.prices.basket import Basket
from puffin.studies.records import OPENED_FOR, RETRAINED_TRIAL
from puffin.studies.report import build, verdict
from puffin.studies.report.build import Report
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import attach
from puffin.studies.storage.database import open_storage, transaction
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import StoredStudy, StudyError, load, study_names
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.judging import judge
from tests.queues import take


def test_the_seal_stays_closed_until_every_trial_is_done(
    storage: RDBStorage, url: str, make_study: Callable[..., StoredStudy]
) -> None:
    study = make_study()
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu", max_trials=7))
    with pytest.raises(StudyError, match="has done 7 of 8 trials: the winner is fixed when"):
        open_seal(study)
    assert study_names(storage) == ["tiny"]


def test_the_best_are_retrained_with_every_seed_incumbents_with_one(
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


def test_the_holdout_is_the_end_of_the_series_and_unseen_by_trials(
    judged: Report, searched: StoredStudy, prices: Basket
) -> None:
    last = prices.frames["AAPL"].index[-20:]
    assert len(judged.dates) == 20
    assert (judged.first, judged.last) == (f"{last[0]:%Y-%m-%d}", f"{last[-1]:%Y-%m-%d}")
    assert searched.dataset.dates[-1] < last[0]


def test_holdout_prices_do_not_change_the_training_data(tiny: Spec, prices: Basket) -> None:
    spec = parse_spec(tiny.to_json() | {"data": tiny.to_json()["data"] | {"horizon": 3}}, "tiny")
    search, holdout = {"A": prices.frames["AAPL"].iloc[:-22]}, prices.frames["AAPL"].iloc[-22:]
    other = holdout * np.linspace(1.5, 4.0, len(holdout))[:, None]
    ours, theirs = (Dataset.for_holdout(spec, search, {"A": end}) for end in (holdout, other))
    for (one_part,), (other_part,) in zip(ours.parts, theirs.parts, strict=True):
        a, b = one_part.scaler, other_part.scaler
        assert (a.target_mean, a.target_std) == (b.target_mean, b.target_std)
        assert np.array_equal(a.feature_mean, b.feature_mean)
        assert np.array_equal(a.feature_std, b.feature_std)
    (one,), (two,) = (w.tensors(5, torch.device("cpu")) for w in (ours, theirs))
    assert torch.equal(one.train.inputs, two.train.inputs)
    assert torch.equal(one.train.outputs, two.train.outputs)
    assert not torch.equal(one.valid.outputs, two.valid.outputs)
    # The first two bars of the holdout are purged: their labels begin in the search part.
    (fold,) = ours.folds
    assert (fold.train.stop, fold.valid.start, fold.valid.stop) == (
        len(search["A"]),
        len(search["A"]) + 2,
        len(prices.frames["AAPL"]),
    )


def test_a_second_report_opens_and_enqueues_nothing_twice(
    judged: Report, searched: StoredStudy
) -> None:
    again = open_seal(searched, top=3)
    assert count_finished(again.trials()) == len(again.record.jobs) == len(judged.refits)
    more = open_seal(searched, top=4)
    (opening,) = looks_at(searched)
    assert (opening.study, opening.creation_id) == ("tiny", searched.creation_id)
    assert (opening.trial, opening.config) == (judged.winner, judged.config)
    assert pd.Timestamp(opening.time).tz is not None
    assert more.optuna_study.user_attrs[OPENED_FOR] == {str(judged.winner): opening.opening_id}
    assert more.optuna_study.metric_names == ["loss on the holdout"]
    seeds = load(searched.storage, "tiny.seeds").optuna_study.metric_names
    assert seeds == ["walk-forward loss with another seed"]
    ordered = more.record.jobs[len(judged.refits) :]
    assert len({job.trial for job in ordered}) == 1
    assert {1, 2} <= {job.seed for job in ordered} <= {0, 1, 2}
    assert registry.total(searched.storage, more.name) == len(judged.refits) + len(ordered)
    with pytest.raises(StudyError, match=r"trainings of study 'tiny\.holdout' are done"):
        build.build(searched)


def test_a_copy_keeps_openings_and_report(
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
    open_seal(load(target, "tiny"), top=3)
    assert looks_at(load(target, "tiny")) == judged.looks


def test_a_look_by_a_deleted_study_still_counts(
    judged: Report, searched: StoredStudy, url: str, make_study: Callable[..., StoredStudy]
) -> None:
    other = make_study(
        "other",
        data={"target": "range", "features": ["range"], "horizon": 2},
        search={"trials": 1, "pruner": "none"},
    )
    work(url, Interrupt(), WorkerOptions("other", device="cpu"))
    found = judge(other, url, top=1)
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
    said = verdict.sentences(judge(again, url, top=1))[2]
    assert "twice before, by study tiny and an earlier study of this name, so this" in said


def test_retraining_studies_belong_to_their_study_and_reserve_their_names(
    searched: StoredStudy, url: str, tiny: Spec, prices: Basket
) -> None:
    for again in (
        retrain_with_seeds(searched, top=1),
        open_seal(searched, top=1),
    ):
        for command in (["best"], ["compare"], ["report"], ["extend", "--trials", "1"]):
            result = CliRunner().invoke(main, [*command, again.name, "--storage", url])
            assert result.exit_code == 1
            assert "belongs to study 'tiny' and trains its best trials again" in result.output
        taken = parse_spec(tiny.to_json() | {"name": again.name.replace("tiny", "x")}, "x")
        with pytest.raises(
            StudyError, match=r"names that end in \.seeds or \.holdout are reserved"
        ):
            submit(searched.storage, taken, prices)
    delete(searched.storage, "tiny")
    assert study_names(open_storage(url)) == []


VICTIM = """
import sys, time
import puffin.tuner.worker.objective
import puffin.tuner.worker.refit
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.scheduler import WorkerOptions, work

train = puffin.tuner.worker.objective.FoldTraining.__iter__
refit = puffin.tuner.worker.refit.Refit.__iter__

def slowly(items):
    for item in items:
        yield item
        time.sleep(60)

puffin.tuner.worker.refit.Refit.__iter__ = lambda self: slowly(refit(self))
work(sys.argv[1], Interrupt(), WorkerOptions(sys.argv[2], device="cpu", grace_seconds=1))
"""


def test_retrainings_of_a_killed_worker_finish_with_identical_figures(
    searched: StoredStudy, url: str, tmp_path: Path, start: Callable[..., Any]
) -> None:
    other = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    copy(searched, open_storage(other, create=True))
    expected = judge(load(open_storage(other), "tiny"), other, top=1)
    script = tmp_path / "victim.py"
    script.write_text(VICTIM)
    for again in (
        retrain_with_seeds(searched, top=1),
        open_seal(searched, top=1),
    ):
        victim = start(url, sys.executable, script, url, again.name)
        victim.until(
            lambda: any(RETRAINED_TRIAL in t.user_attrs for t in again.trials()),  # noqa: B023
            "it trains",
        )
        os.kill(victim.process.pid, signal.SIGKILL)
        assert victim.end(10) == -signal.SIGKILL
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu", grace_seconds=1))
        ended = [t.user_attrs[records.TICKET] for t in again.trials() if records.is_finished(t)]
        assert sorted(ended) == list(range(len(again.record.jobs)))
        assert len(again.trials()) == len(ended) + 1, "the lost one"
    assert figures(build.build(searched)) == figures(expected)


def figures(found: Report) -> dict[str, Any]:
    """Return the report as JSON, without times of openings and the order of retrainings."""
    values = verdict.to_json(found)
    for look in values["holdout"]["opened"]:
        del look["time"]
    values["refits"].sort(key=lambda r: (r["trial"], r["seed"]))
    return values


def test_an_opening_for_an_earlier_winner_is_reported(
    judged: Report, searched: StoredStudy, url: str
) -> None:
    storage = searched.storage
    extend(storage, "tiny", 1)
    with pytest.raises(StudyError, match="has done 8 of 9 trials"):
        open_seal(searched)
    better, trial = searched.best(), take(searched.optuna_study, searched.queue)
    for key, value in better.user_attrs.items():
        if key != records.TICKET:
            trial.set_user_attr(key, value)
    loss = (better.value or 0.0) - 0.01
    trial.set_user_attr("best_loss", loss)
    trial.set_user_attr(records.CONFIG, better.user_attrs["config"] | {"lr": 0.002})
    body = build.read_artifact(searched, better)
    with transaction(storage) as connection:
        added = attach(connection, searched.creation_id, trial, "forecasts.csv", body)
    trial.set_user_attr("run", better.user_attrs["run"] | {"forecasts": added})
    searched.optuna_study.tell(trial, loss)
    after = load(storage, "tiny")
    with pytest.raises(StudyError, match="has not been opened for its best, trial 8"):
        build.build(after)
    found = judge(after, url, top=3)
    assert found.winner == 8
    assert [look.trial for look in found.looks] == [judged.winner, 8]
    said = verdict.sentences(found)[2]
    assert f"looked at once before, by this study for trial {judged.winner}, so this" in said
    assert verdict.to_json(found)["holdout"]["openings_before"] == 1
    assert judged.looks_before == []


def test_concurrent_reports_open_once_and_enqueue_each_retraining_once(
    searched: StoredStudy, url: str
) -> None:
    open_seal(searched, top=1)
    wishes = [1, 2, 3, 4, 1, 2]
    with ThreadPoolExecutor(len(wishes)) as pool:
        asked = [
            pool.submit(lambda top: open_seal(load(open_storage(url), "tiny"), top), wish)
            for wish in wishes
        ]
        for one in asked:
            one.result(timeout=120)
    holdout = load(searched.storage, "tiny.holdout")
    assert len(looks_at(searched)) == 1
    ordered = [(job.trial, job.seed) for job in holdout.record.jobs]
    assert len(set(ordered)) == len(ordered) == registry.total(searched.storage, holdout.name)
    assert {(searched.best().number, seed) for seed in range(3)} <= set(ordered)
    work(url, Interrupt(), WorkerOptions(holdout.name, device="cpu"))
    for trial in holdout.trials():
        attrs = trial.user_attrs
        assert ordered[attrs[records.TICKET]] == (attrs[RETRAINED_TRIAL], attrs["seed"])


def test_a_killed_copy_is_made_again_with_its_retrainings(
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


def test_adding_retrainings_is_all_or_nothing(
    judged: Report, searched: StoredStudy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: Any, **_values: Any) -> None:
        raise KeyboardInterrupt

    def known() -> list[Any]:
        names = ("tiny.seeds", "tiny.holdout")
        attrs = [load(searched.storage, name).optuna_study.user_attrs for name in names]
        return [(a["reruns"], a.get(OPENED_FOR), looks_at(searched)) for a in attrs]

    before = known()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_budget", die)
        for order in (retrain_with_seeds, open_seal):
            with pytest.raises(KeyboardInterrupt):
                order(searched, 4)
    assert known() == before
    assert len(judge(searched, url, top=4).refits) > len(judged.refits)


@pytest.mark.usefixtures("judged")
def test_concurrent_reports_for_two_winners_record_both_openings(
    searched: StoredStudy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them is suspended between reading the list of openings and writing it."""
    stored = load(searched.storage, "tiny.holdout").optuna_study.user_attrs[OPENED_FOR]
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
    openings = load(searched.storage, "tiny.holdout").optuna_study.user_attrs[OPENED_FOR]
    assert list(openings) == [*stored, "100", "200"]
    assert set(openings.values()) == {look.opening_id for look in looks_at(searched)}


def test_a_holdout_too_short_for_a_test_stays_sealed(
    url: str, storage: RDBStorage, make_study: Callable[..., StoredStudy]
) -> None:
    make_study(walk_forward={"holdout_bars": 2}, search={"trials": 1, "pruner": "none"})
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    with pytest.raises(
        StudyError, match=r"at least horizon \+ 2 = 3 bars .* has 2; its seal stays"
    ):
        open_seal(load(storage, "tiny"))
    assert study_names(storage) == ["tiny"]
