"""Superior predictive ability: block lengths, bootstrap and p-values, compared with `arch`."""

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from puffin.models.arrays import Floats
from puffin.models.evaluation.bootstrap import (
    bootstrap_variance,
    drawn_means,
    optimal_block_length,
    stationary_bootstrap,
)
from puffin.models.evaluation.spa import spa


def autoregressive(count: int, phi: float) -> Floats:
    values = np.random.default_rng(count).standard_normal(count)
    for i in range(1, count):
        values[i] += phi * values[i - 1]
    return values


def losses(seed: int = 3) -> tuple[Floats, Floats]:
    """Return the losses of a benchmark, (250,), and of 12 models of different scale, (250, 12)."""
    rng = np.random.default_rng(seed)
    benchmark = rng.chisquare(1, 250)
    loss_differentials = rng.standard_normal((250, 12)) + np.linspace(-0.25, 0.12, 12)
    return benchmark, benchmark[:, None] - loss_differentials * np.linspace(0.3, 3, 12)


@pytest.mark.parametrize(
    ("count", "phi", "expected"),
    [
        (60, 0.0, 1.0215878897227084),
        (250, 0.3, 4.411463540010279),
        (250, 0.7, 10.28954186387636),
        (600, 0.95, 35.525240305071584),
        (600, -0.5, 9.00749286679898),
    ],
)
def test_block_lengths_are_those_of_arch(count: int, phi: float, expected: float) -> None:
    # optimal_block_length of arch 8.0.0, column "stationary".
    assert optimal_block_length(autoregressive(count, phi)) == pytest.approx(expected, rel=1e-9)


def test_block_lengths_stay_between_one_bar_and_a_third_of_the_series() -> None:
    assert optimal_block_length(np.tile([1.0, -1.0], 50)) <= 30
    assert optimal_block_length(np.sin(np.arange(60) / 3)) == 20.0
    assert optimal_block_length(autoregressive(20, 0.0)) >= 1.0


def test_the_variance_of_a_drawn_mean_is_that_of_arch() -> None:
    # SPA(..., block_size=4)._loss_diff_var of arch 8.0.0.
    benchmark, models = losses()
    expected = [0.08657899, 0.29248603, 0.48031095, 1.166806, 1.72854969, 1.87393406]
    expected += [3.03465806, 4.01242756, 5.16401344, 7.58463079, 7.69057445, 5.65315209]
    found = bootstrap_variance(benchmark[:, None] - models, 4.0)
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_variance_over_samples_equals_its_formula() -> None:
    values = autoregressive(100, 0.6)[:, None]
    draws = stationary_bootstrap(100, 20000, 5.0, np.random.default_rng(0))
    means = drawn_means(values, draws)
    assert 100 * means.var() == pytest.approx(float(bootstrap_variance(values, 5.0)[0]), rel=0.04)
    assert means[:3, 0] == pytest.approx([values[draw].mean() for draw in draws[:3]])


def test_bootstrap_blocks_wrap_around_and_have_the_mean_length() -> None:
    draws = stationary_bootstrap(50, 4000, 8.0, np.random.default_rng(1))
    follows = (np.diff(draws, axis=1) - 1) % 50 == 0
    # A new block may begin by chance with the bar that follows: 7/8 and 1/8 of 1/50.
    assert follows.mean() == pytest.approx(7 / 8 + 1 / 400, abs=0.003)
    assert np.bincount(draws.ravel()).min() > 0.9 * 4000
    alone = stationary_bootstrap(50, 2000, 1.0, np.random.default_rng(1))
    assert ((np.diff(alone, axis=1) - 1) % 50 == 0).mean() == pytest.approx(1 / 50, abs=0.003)


def test_p_values_are_those_of_arch() -> None:
    """Compare with `arch.bootstrap.SPA` 8.0.0, block size 4, 100,000 draws.

    arch takes `studentize` and does not use it. So its p-values for these losses are the reality
    check's, and for Hansen's test it was given gains divided by their standard deviations.
    """
    found = spa(*losses(), block_length=4.0, reps=20000, seed=1)
    expected = {"lower": 0.02300, "consistent": 0.03522, "upper": 0.05901, "reality_check": 0.02513}
    for name, p in expected.items():
        # Four standard errors of both together.
        assert abs(getattr(found, name) - p) < 4 * math.sqrt(p * (1 - p) * (1 / 20000 + 1e-5)), name
    assert found.best == 11
    loss_differentials = losses()[0] - losses()[1][:, 11]
    assert found.statistic == pytest.approx(
        loss_differentials.mean() / math.sqrt(5.65315209 / 250), rel=1e-6
    )


def test_equal_models_are_rejected_at_the_level() -> None:
    rng = np.random.default_rng(2)
    results = [
        spa(np.zeros(200), rng.standard_normal((200, 10)), seed=seed, reps=99)
        for seed in range(200)
    ]
    for name, most in (("consistent", 0.07), ("upper", 0.07), ("reality_check", 0.05)):
        rejected = sum(getattr(r, name) <= 0.05 for r in results)
        # Hansen's test rejects a little too often: its standard errors are taken as known.
        assert binom.ppf(0.0005, 200, 0.05) <= rejected <= binom.ppf(0.9995, 200, most), name


def test_bad_models_hide_a_good_one_least_in_the_consistent_test() -> None:
    rng = np.random.default_rng(6)
    worse = rng.standard_normal((250, 60)) * 3 + 2
    good = rng.standard_normal((250, 1)) - 0.19
    found = spa(np.zeros(250), np.hstack([worse, good]), block_length=1.0)
    assert found.best == 60
    assert found.lower <= found.consistent < found.upper
    assert found.consistent < 0.02
    # On one scale the wild models drown it.
    assert found.reality_check > 0.5


def test_p_is_one_if_no_model_is_better_than_the_benchmark() -> None:
    rng = np.random.default_rng(7)
    found = spa(np.zeros(50), rng.standard_normal((50, 5)) + 3)
    assert (found.statistic, found.lower, found.consistent, found.upper) == (0.0, 1.0, 1.0, 1.0)


def test_copies_of_the_benchmark_are_left_out() -> None:
    benchmark, models = losses()
    copies = np.column_stack([benchmark, models, benchmark])
    one = spa(benchmark, models, reps=500)
    other = spa(benchmark, copies, reps=500)
    assert (other.consistent, other.reality_check) == (one.consistent, one.reality_check)
    assert other.best == one.best + 1
    none = spa(benchmark, np.column_stack([benchmark, benchmark]))
    assert none.best == -1
    assert math.isnan(none.consistent)


def test_the_same_seed_gives_the_same_result_and_no_p_is_zero() -> None:
    benchmark, models = losses()
    assert spa(benchmark, models, seed=5, reps=99) == spa(benchmark, models, seed=5, reps=99)
    assert spa(benchmark, models, seed=5, reps=99) != spa(benchmark, models, seed=6, reps=99)
    sure = spa(benchmark, models - 10, reps=99)
    assert (sure.consistent, sure.reality_check) == (0.01, 0.01)


def test_the_block_length_is_the_median_and_at_least_the_horizon() -> None:
    # Of arch, as above: 4.41 bars with a coefficient of 0.3, at any scale, and 10.29 with 0.7.
    short, long = autoregressive(250, 0.3), autoregressive(250, 0.7)
    models = np.column_stack([short, long, 3 * short])
    assert spa(np.zeros(250), models, reps=9).block_length == pytest.approx(4.411463540010279)
    assert spa(np.zeros(250), models, 20, reps=9).block_length == 20.0


NOISE = np.random.default_rng(0).random((20, 3))


@pytest.mark.parametrize(
    ("values", "settings", "said"),
    [
        ((NOISE[:, 0], NOISE[:19]), {}, "must have one length, but have 20 and 19"),
        ((NOISE[:15, 0], NOISE[:15]), {}, "bars must be at least 16, but is 15"),
        ((NOISE[:, 0], NOISE[:, 0]), {}, "model_losses must be (bar, model), but has shape (20,)"),
        ((NOISE[:, 0] * np.inf, NOISE), {}, "benchmark_losses must be finite"),
        ((NOISE[:, 0], NOISE * np.inf), {}, "first inf of model 0 at bar 0"),
        ((NOISE[:, 0], NOISE), {"horizon": 0}, "horizon must be at least 1, but is 0"),
        ((NOISE[:, 0], NOISE), {"reps": 0}, "reps must be at least 1, but is 0"),
        ((NOISE[:, 0], NOISE), {"horizon": 21}, "between 1 and 20 bars, but is 21"),
        ((NOISE[:, 0], NOISE), {"block_length": 0.5}, "between 1 and 20 bars, but is 0.5"),
    ],
)
def test_invalid_losses_are_refused(values: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        spa(*values, **settings)
