"""Folds, first targets and scored targets, worked out by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.models.errors import PuffinError
from puffin.models.folds import Fold, Span, WalkForward, first_target, split
from puffin.studies.dataset import Dataset
from puffin.studies.spec import Spec

Edges = tuple[int, int, int, int]


def edges(fold: Fold) -> Edges:
    return fold.train.start, fold.train.stop, fold.valid.start, fold.valid.stop


@pytest.mark.parametrize(
    ("bars", "first", "layout", "expected"),
    [
        # Expanding: every training part starts at the first target.
        (100, 10, WalkForward(2, 10), [(10, 80, 80, 90), (10, 90, 90, 100)]),
        (
            103,
            21,
            WalkForward(3, 10),
            [(21, 73, 73, 83), (21, 83, 83, 93), (21, 93, 93, 103)],
        ),
        # A purge ends each training part early, and moves no validation part.
        (100, 10, WalkForward(2, 10, purge=3), [(10, 77, 80, 90), (10, 87, 90, 100)]),
        # Rolling: the training part keeps its length.
        (
            100,
            10,
            WalkForward(2, 10, train_bars=30),
            [(50, 80, 80, 90), (60, 90, 90, 100)],
        ),
        # Rolling and purged: it keeps its length, and moves with its end.
        (
            100,
            10,
            WalkForward(2, 10, purge=4, train_bars=30),
            [(46, 76, 80, 90), (56, 86, 90, 100)],
        ),
        # Rolling with exactly the history that is needed: 15 + 25 + 2 + 2 * 5 = 52.
        (
            52,
            15,
            WalkForward(2, 5, purge=2, train_bars=25),
            [(15, 40, 42, 47), (20, 45, 47, 52)],
        ),
        # Three bars ahead, lookback 10, one bar of warm-up: the first target is bar 13.
        (
            120,
            first_target(10, 1, 3),
            WalkForward(2, 20, purge=2),
            [(13, 78, 80, 100), (13, 98, 100, 120)],
        ),
    ],
)
def test_folds_are_those_worked_out_by_hand(
    bars: int, first: int, layout: WalkForward, expected: list[Edges]
) -> None:
    assert [edges(fold) for fold in split(bars, first, layout)] == expected


@pytest.mark.parametrize(
    ("lookback", "warmup", "horizon", "expected"),
    [
        (1, 0, 1, 1),  # the window is bar 0, the target bar 1
        (20, 1, 1, 21),  # the window is bars 1 to 20
        (20, 1, 5, 25),
        (60, 0, 3, 62),
    ],
)
def test_the_first_target_is_a_horizon_after_the_first_window(
    lookback: int, warmup: int, horizon: int, expected: int
) -> None:
    assert first_target(lookback, warmup, horizon) == expected


def test_a_span_counts_its_targets() -> None:
    assert len(Span(3, 10)) == 7


@pytest.mark.parametrize(
    ("layout", "least", "need"),
    [
        (WalkForward(2, 10), 50, 80),
        (WalkForward(3, 7, purge=3), 50, 84),
        (WalkForward(2, 10, train_bars=30), 30, 60),
        (WalkForward(2, 10, purge=4, train_bars=200), 200, 234),
    ],
)
def test_one_bar_too_few_is_refused_with_the_arithmetic(
    layout: WalkForward, least: int, need: int
) -> None:
    with pytest.raises(PuffinError, match="too few bars") as caught:
        split(need - 1, 10, layout)
    message = str(caught.value)
    assert "10 in front" in message
    assert f"+ {least} to train on + {layout.purge} purged + " in message
    assert f"{layout.folds} folds x {layout.valid_bars} = {need} are needed" in message
    assert f"but {need - 1} are there" in message
    assert "take a longer series" in message
    folds = split(need, 10, layout)
    assert edges(folds[0])[:2] == (10, 10 + least)
    assert folds[-1].valid.stop == need


def test_an_expanding_training_part_has_at_least_fifty_targets() -> None:
    # One validation part of 10 targets after 50 to train on, without bars in front.
    assert [edges(fold) for fold in split(60, 0, WalkForward(1, 10))] == [(0, 50, 50, 60)]
    with pytest.raises(PuffinError, match="too few bars"):
        split(59, 0, WalkForward(1, 10))


# What is scored


def dataset(bars: int = 140, *, start: str = "2020-01-01", seed: int = 0, **cut: Any) -> Dataset:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
    frame = pd.DataFrame({"close": close}, index=pd.bdate_range(start, periods=bars))
    spec = Spec.model_validate(
        {
            "name": "t",
            "data": {"symbol": "X", "features": ["return"], "horizon": cut.pop("horizon", 1)},
            "walk_forward": {"folds": 2, "valid_bars": 20} | cut,
            "space": {"lookback": {"low": 2, "high": 10}},
        }
    )
    return Dataset.build(spec, {"X": frame})


def scored(made: Dataset, lookback: int = 10) -> str:
    return made.scored_sha256(made.tensors(lookback, torch.device("cpu")))


def test_the_scored_targets_are_the_same_for_every_lookback() -> None:
    made = dataset(horizon=3)
    assert len({scored(made, lookback) for lookback in (2, 5, 10)}) == 1


def test_the_scored_targets_change_with_a_time_and_with_their_order() -> None:
    made = dataset()
    tensors = made.tensors(10, torch.device("cpu"))
    different = {
        scored(made),
        scored(dataset(start="2020-01-02")),
        scored(dataset(valid_bars=19)),
        made.scored_sha256(tensors[::-1]),
    }
    assert len(different) == 4


def test_the_scored_targets_do_not_depend_on_a_value() -> None:
    assert scored(dataset(seed=0)) == scored(dataset(seed=1))


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("lookback", [2, 10])
def test_the_times_of_the_scored_targets_are_those_of_the_validation_parts(
    horizon: int, lookback: int
) -> None:
    made = dataset(horizon=horizon)
    times = [list(*t.valid_bars) for t in made.tensors(lookback, torch.device("cpu"))]
    assert times == [list(range(100, 120)), list(range(120, 140))]


def test_a_dataset_reserves_the_longest_lookback() -> None:
    made = dataset(horizon=3)
    # Longest lookback 10, one bar of warm-up, two more for the horizon; the purge is 2.
    assert [edges(fold) for fold in made.folds] == [(13, 98, 100, 120), (13, 118, 120, 140)]
    for lookback in (2, 10):
        sizes = [len(t.train.inputs) for t in made.tensors(lookback, torch.device("cpu"))]
        assert sizes == [85, 105]


def test_a_dataset_scales_each_fold_by_its_training_part() -> None:
    made = dataset(horizon=3)
    series = made.members[0].series
    returns, targets = series.features[:, 0], series.target
    for (part,), stop in zip(made.parts, (98, 118), strict=True):
        scaler = part.scaler
        # The longest window of target 13 is bars 1 to 10; the last one ends at bar stop - 4.
        assert scaler.feature_mean[0] == pytest.approx(np.mean(returns[1 : stop - 3]))
        assert scaler.feature_std[0] == pytest.approx(np.std(returns[1 : stop - 3]))
        assert scaler.target_mean == pytest.approx(np.mean(targets[13:stop]))
        assert scaler.target_std == pytest.approx(np.std(targets[13:stop]))
