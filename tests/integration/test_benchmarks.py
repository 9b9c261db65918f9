"""The comparisons are fair and run: the plain script has our folds, targets and windows."""

import numpy as np
import optuna
import pytest
import torch

from benchmarks import plain, quality
from studies.prices import load_prices
from studies.spec import load_spec
from studies.workload import Workload, cut_holdout

SMALL = {
    "cell": "gru",
    "hidden_dims": [4],
    "dropout": 0.0,
    "lookback": 10,
    "lr": 0.01,
    "weight_decay": 0.0,
    "batch_size": 128,
}


@pytest.fixture(scope="module")
def workload() -> Workload:
    spec = load_spec("volatility")
    search, _ = cut_holdout(load_prices("sample", "AAPL").frame, spec)
    return Workload.build(spec, search)


@pytest.mark.parametrize("number", range(plain.FOLDS))
def test_the_plain_script_trains_and_is_judged_on_what_ours_is(
    number: int, workload: Workload
) -> None:
    ours = workload.tensors(20, torch.device("cpu"))[number]
    train, valid = plain.fold(number, 20, plain.series())
    sides = [
        (ours.train_windows, train.tensors[0]),
        (ours.train_targets, train.tensors[1]),
        (ours.valid_windows, valid.tensors[0]),
        (ours.valid_targets, valid.tensors[1]),
    ]
    for own, theirs in sides:
        assert own.shape == theirs.shape
        # Their scaler has seen the first 60 bars as well.
        assert np.abs(own.numpy() - theirs.numpy()).max() < 0.15
        assert np.abs((own - theirs).numpy()).mean() < 0.01


def test_a_loss_of_the_plain_script_is_that_of_its_best_epoch_for_all_folds() -> None:
    torch.manual_seed(0)
    (trial,) = plain.work([SMALL], epochs=2)
    torch.manual_seed(0)
    curves = [
        plain.train_fold(SMALL, plain.fold(n, 10, plain.series()), 2, 2) for n in range(plain.FOLDS)
    ]
    means = [sum(losses) / plain.FOLDS for losses in zip(*curves, strict=True)]
    assert len(means) == 2
    assert trial["loss"] == pytest.approx(min(means))


def test_a_search_of_the_plain_script_tells_when_each_trial_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plain, "EPOCHS", 1)
    monkeypatch.setattr(plain, "suggest", lambda _: SMALL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    *trials, end = plain.search(2, seed=0)
    assert [t["config"] for t in trials] == [SMALL, SMALL]
    assert trials[0]["seconds"] < trials[1]["seconds"] <= end["seconds"]


def test_only_what_was_the_best_when_it_came_was_held() -> None:
    found = [quality.Held(t, loss, {}) for t, loss in ((3, 0.5), (1, 0.7), (2, 0.8), (4, 0.6))]
    assert [held.seconds for held in quality.incumbents(found)] == [1, 3]


def test_the_rule_that_judges_is_the_curve_of_our_own_training(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_spec("volatility", ["training.max_epochs=2"])
    monkeypatch.setattr(quality, "load_spec", lambda _: spec)
    searched, sealed = quality.judge(SMALL, seed=1)
    made = quality.train(workload, quality.Config(**SMALL), spec.training_config, seed=1)
    assert searched == min(made.curve)
    assert 0.3 < sealed < 1.5
