"""The verdict is seldom "better" on random walks, and mostly if there is a signal."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import calibrate
from benchmarks.markets import Market, garch_returns, long_memory_ranges, market
from puffin.models.arrays import Floats


def studies(planted: float, count: int, trials: int) -> list[calibrate.Run]:
    return [
        calibrate.run(calibrate.study_file(seed, trials), market(planted, seed))
        for seed in range(count)
    ]


def test_random_walks_are_beaten_no_more_often_than_chance() -> None:
    runs = studies(planted=0.0, count=12, trials=2)
    assert calibrate.count_better(runs) <= calibrate.most_by_chance(len(runs), 0.999)


def test_a_planted_nonlinear_signal_is_found() -> None:
    runs = studies(calibrate.PLANTED, count=8, trials=3)
    assert calibrate.count_better(runs) >= 6
    assert np.mean([run.truth for run in runs]) == pytest.approx(calibrate.PLANTED, abs=0.05)
    for name in ("ar", "ridge"):
        assert np.mean([run.skill_of(name) for run in runs]) == pytest.approx(0.0, abs=0.02)


def target_of(made: Market) -> Floats:
    if "high" in made.frame:
        return np.asarray(np.log(np.log(made.frame["high"] / made.frame["low"])))
    return np.diff(np.log(made.frame["close"]), prepend=np.nan)


@pytest.mark.parametrize(
    ("make", "least", "most"), [(garch_returns, 0.0, 0.02), (long_memory_ranges, 0.3, 0.7)]
)
def test_the_signal_is_the_predictable_part_of_the_target(
    make: Callable[[int], Market], least: float, most: float
) -> None:
    made = make(0)
    target = target_of(made)
    errors = (target - made.signal)[1:]
    assert least < 1 - np.var(errors) / np.var(target[1:]) < most
    for lag in (1, 5, 22):
        assert abs(np.corrcoef(errors[lag:], target[1:-lag])[0, 1]) < 4 / len(errors) ** 0.5


@pytest.mark.parametrize("make", [garch_returns, long_memory_ranges])
def test_so_many_targets_are_below_a_true_quantile(make: Callable[[int], Market]) -> None:
    levels, made = np.array([0.05, 0.5, 0.95]), make(0)
    below = (target_of(made)[:, None] < made.quantiles(levels.tolist()))[1:]
    calm, wild = np.array_split(np.argsort(made.spread[1:]), 2)
    for times in (calm, wild):
        errors = np.sqrt(levels * (1 - levels) / len(times))
        assert (np.abs(below[times].mean(axis=0) - levels) < 4 * errors).all()


def test_quantiles_are_judged_beside_the_true_ones() -> None:
    found = calibrate.run(calibrate.study_file(0, 2, loss="quantile"), market(0.0, 0))
    assert found.judgement.outcome in calibrate.OUTCOMES
    assert found.baseline("spread").forecasts.shape == (250, 5)
    assert abs(found.limit) < 0.1
    assert not found.passes_clark_west  # a test of squared errors


def test_a_range_has_no_tests_for_returns() -> None:
    found = calibrate.run(calibrate.range_study_file(0, 2), long_memory_ranges(0))
    assert found.judgement.outcome in calibrate.OUTCOMES
    assert math.isnan(found.deflated_sharpe)
    assert math.isnan(found.pesaran_timmermann)
    assert 0.1 < found.truth < 0.7
