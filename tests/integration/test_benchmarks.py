"""The comparisons are fair and run: the plain script has our folds, targets and windows."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from torch.utils.data import TensorDataset

from benchmarks import plain, quality
from puffin.models.windows import FoldTensors
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.spec import load_spec

SMALL = {
    "cell": "gru",
    "hidden_dims": [4],
    "dropout": 0.0,
    "lookback": 10,
    "lr": 0.01,
    "weight_decay": 0.0,
    "batch_size": 128,
}


SINCE = date(2005, 1, 1)


def task_of(target: str, *symbols: str) -> quality.Task:
    return quality.Task(target, SINCE.isoformat(), trials=2, symbols=symbols or ("AAPL",))


def workload(task: quality.Task) -> Dataset:
    spec = load_spec(task.preset, task.settings)
    frames = load_basket("sample", spec.data.request(), spec.data.symbols).frames
    search, _ = cut_holdout(frames, spec)
    return Dataset.build(spec, search)


@pytest.mark.parametrize(
    ("task", "space"),
    [
        (task_of("range"), plain.ONE),
        (task_of("return", "IBM"), plain.ONE),
        (task_of("range", *quality.SAMPLE), plain.SEVERAL),
    ],
    ids=lambda given: given.preset if isinstance(given, quality.Task) else "",
)
def test_the_plain_script_trains_and_is_judged_on_what_ours_is(
    task: quality.Task, space: plain.Space
) -> None:
    arrays = plain.basket(task.target, SINCE, task.symbols)
    dataset = workload(task)
    for number, ours in enumerate(dataset.tensors(20, torch.device("cpu"))):
        same(ours, *plain.pooled_fold(number, 20, arrays, space.longest))


@pytest.mark.parametrize(
    ("preset", "space"),
    [("volatility", plain.ONE), ("daily", plain.ONE), ("basket", plain.SEVERAL)],
)
def test_the_plain_script_has_the_space_and_the_epochs_of_the_preset(
    preset: str, space: plain.Space
) -> None:
    spec = load_spec(preset)
    assert (space.epochs, space.patience) == (spec.training.max_epochs, spec.training.patience)
    assert spec.space == {
        "cell": ["lstm", "gru"],
        "layers": {"low": 1, "high": space.layers},
        "hidden_dim": {"low": 16, "high": space.widest, "log": True},
        "dropout": {"low": 0.0, "high": space.dropout},
        "lookback": {"low": 10, "high": space.longest, "step": 5},
        "lr": {"low": space.slowest, "high": 1e-2, "log": True},
        "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
        "batch_size": list(space.batch_sizes),
    }


def same(ours: FoldTensors, train: TensorDataset, valid: TensorDataset) -> None:
    sides = [
        (ours.train.inputs, train.tensors[0]),
        (ours.train.outputs, train.tensors[1]),
        (ours.valid.inputs, valid.tensors[0]),
        (ours.valid.outputs, valid.tensors[1]),
    ]
    for own, theirs in sides:
        assert own.shape == theirs.shape
        # Their scaler has seen the first 60 bars as well.
        assert np.abs(own.numpy() - theirs.numpy()).max() < 0.15
        assert np.abs((own - theirs).numpy()).mean() < 0.01


def test_a_loss_of_the_plain_script_is_that_of_its_best_epoch_for_all_folds() -> None:
    torch.manual_seed(0)
    (trial,) = plain.work([plain.series()], plain.ONE, [SMALL], epochs=2)
    torch.manual_seed(0)
    curves = [
        plain.train_fold(SMALL, plain.fold(n, 10, plain.series(), plain.ONE.longest), 2, 2)
        for n in range(plain.FOLDS)
    ]
    means = [sum(losses) / plain.FOLDS for losses in zip(*curves, strict=True)]
    assert len(means) == 2
    assert trial["loss"] == pytest.approx(min(means))


def test_a_search_of_the_plain_script_tells_when_each_trial_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plain, "suggest", lambda *_: SMALL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = replace(plain.ONE, epochs=1)
    *trials, end = plain.search([plain.series()], space, 2, seed=0)
    assert [t["config"] for t in trials] == [SMALL, SMALL]
    assert trials[0]["seconds"] < trials[1]["seconds"] <= end["seconds"]


def test_a_kept_run_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run, task = quality.Run(9.0, [quality.Held(3.0, 0.5, SMALL)]), task_of("range", "IBM")
    calls = []

    def search(_folder: Path, *given: object) -> quality.Run:
        calls.append(given)
        return run

    monkeypatch.setattr(quality, "plain", search)
    monkeypatch.setattr(quality, "ours", search)
    assert quality.plain_run(None, task, 1) == run
    calls.clear()
    for _ in range(2):
        assert quality.plain_run(tmp_path / "runs", task, 1) == run
    assert len(calls) == 1
    quality.plain_run(tmp_path / "runs", task_of("return", "IBM"), 1)
    quality.plain_run(tmp_path / "runs", task, 2)
    quality.plain_run(tmp_path / "runs", replace(task, threads=1), 1)
    assert len(calls) == 4
    # What changes only ours leaves the script's run as it is.
    changed = replace(task, changes=("training.patience=4",))
    quality.plain_run(tmp_path / "runs", changed, 1)
    assert len(calls) == 4
    for each in (task, changed, task, changed):
        assert quality.our_run(tmp_path / "runs", each, 1, run.seconds) == run
    assert calls[4:] == [(task, 1, 9.0), (changed, 1, 9.0)]


def test_only_what_was_the_best_when_it_came_was_held() -> None:
    found = [quality.Held(t, loss, {}) for t, loss in ((3, 0.5), (1, 0.7), (2, 0.8), (4, 0.6))]
    assert [held.seconds for held in quality.incumbents(found)] == [1, 3]


def test_what_came_after_one_that_is_as_good_is_not_judged() -> None:
    held = [quality.Held(t, 0.0, {}) for t in (1, 2, 3, 4)]
    worth = {1: 0.9, 2: 0.7, 3: 0.6, 4: 0.1}

    def score(search: float) -> quality.Score:
        return quality.Score(search, (), 0.0, 0.0, 0.0)

    def judged(one: quality.Held) -> quality.Score:
        return score(worth[int(one.seconds)])

    def until(bar: float) -> tuple[float | None, int]:
        found, scores = quality.first_as_good(held, score(bar), judged)
        return None if found is None else found.seconds, len(scores)

    assert until(0.7) == (2, 2)
    assert until(0.05) == (None, 4)


def test_the_distance_of_two_scores_is_taken_seed_by_seed() -> None:
    def score(*losses: float) -> quality.Score:
        return quality.Score(sum(losses) / len(losses), losses, 0.0, 0.0, 0.0)

    # 1 and 3 % above: 2 %, with a standard error of 1 %, though the seeds are far apart.
    assert quality.above(score(1.01, 2.06), score(1.0, 2.0)) == pytest.approx((0.02, 0.01))


def test_two_standard_errors_above_are_within_the_noise() -> None:
    bar = quality.Score(1.0, (1.0, 1.0), 0.0, 0.0, 0.0)
    # The mean is 1 % above, with a standard error of 1 % and of 0.4 %.
    assert quality.within_noise(replace(bar, by_seed=(1.0, 1.02)), bar)
    assert not quality.within_noise(replace(bar, by_seed=(1.006, 1.014)), bar)
    assert quality.within_noise(replace(bar, by_seed=(0.9, 0.9)), bar)


def test_a_summary_counts_a_search_that_never_gets_there() -> None:
    def row(reached: float | None, near: float, end: float) -> dict[str, Any]:
        run = {"seconds": 100.0, "held": [{"loss": 0.5}]}
        score = dict.fromkeys(("search", "holdout", "mean_search", "mean_holdout"), 1.0)
        return {
            "plain": run,
            "plain_score": score,
            "plain_reached": 50.0,
            "ours": run,
            "our_end": score | {"search": end},
            "above": (end - 1, 0.01),
            "reached": reached,
            "within_noise": near,
        }

    rows = [row(10.0, 5.0, 0.97), row(20.0, 5.0, 0.99), row(None, 30.0, 1.04)]
    whole = "of the script's whole time"
    assert quality.summary(rows)[:5] == [
        f"as good in 2 of 3, at 0.200 (from 0.100) {whole}",
        "as good in 2 of 3, at 0.400 (from 0.200) of the script's time to as good",
        f"not above by two standard errors in 3 of 3, at 0.050 (from 0.050) {whole}",
        "above by two standard errors at the end 1, below 1",
        "ours ends +0.00% (s.e. 2.08%, -3.00% to +4.00%) above the script's: search",
    ]


def test_the_rule_that_judges_is_the_curve_of_our_own_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = task_of("range")
    spec = load_spec(task.preset, [*task.settings, "training.max_epochs=2"])
    monkeypatch.setattr(quality, "load_spec", lambda *_: spec)
    quality.datasets.cache_clear()  # other tests know the task with its own settings
    judged = [quality.judge(SMALL, task, seed) for seed in (1, 2)]
    first, second = (each for each in judged if each is not None)
    searched, sealed = first.losses
    made = quality.train(workload(task), quality.Config(**SMALL), spec.training_config, seed=1)
    assert searched == min(made.curve)
    assert 0.3 < sealed < 1.5
    monkeypatch.setattr(quality, "JUDGES", (1, 2))
    with ThreadPoolExecutor(1) as pool:
        score = quality.score(pool, SMALL, task)
    assert score.by_seed == (searched, second.losses[0])
    assert score.search == pytest.approx((searched + second.losses[0]) / 2)
    assert score.holdout == pytest.approx((sealed + second.losses[1]) / 2)
    # The mean of two forecasts has the mean of their squared errors less a quarter of the square
    # of their distance.
    alone, means = (score.search, score.holdout), (score.mean_search, score.mean_holdout)
    for i, dataset in enumerate(quality.datasets(task)):
        units = [part.scaler.target_std for (part,) in dataset.parts]
        pairs = zip(first.forecasts[i], second.forecasts[i], units, strict=True)
        apart = np.mean([np.mean(((a - b) / unit) ** 2) for a, b, unit in pairs])
        assert means[i] == pytest.approx(alone[i] - apart / 4, rel=1e-4)
    quality.datasets.cache_clear()
