"""Sharpe ratios with the search counted in: probabilistic, deflated, and independent trials."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from models.sharpe import (
    deflated_sharpe,
    effective_trials,
    expected_max_sharpe,
    probabilistic_sharpe,
)

Floats = NDArray[np.float64]
NAN = math.nan


# Bailey and Lopez de Prado (2012), table 1 and below: monthly ratio 0.458 over two years.
HEDGE_FUND = {"skewness": -2.448, "kurtosis": 10.164}


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [({}, 24, 0.982), (HEDGE_FUND, 24, 0.913), (HEDGE_FUND, 36, 0.953)],
)
def test_the_probabilistic_sharpe_ratio_of_the_papers_hedge_fund(
    shape: dict[str, float], count: int, expected: float
) -> None:
    assert probabilistic_sharpe(0.458, count, **shape) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(
    ("trials", "skewness", "kurtosis", "threshold", "expected"),
    [
        (100, -3.0, 10.0, 0.1132, 0.9004),
        (46, -3.0, 10.0, None, 0.9505),
        (88, 0.0, 3.0, None, 0.9505),
    ],
)
def test_the_deflated_sharpe_ratio_of_the_papers_example(
    trials: int, skewness: float, kurtosis: float, threshold: float | None, expected: float
) -> None:
    """Bailey and Lopez de Prado (2014), "A numerical example": annual 2.5 over 1250 days of 250."""
    benchmark = expected_max_sharpe(0.5 / 250, trials)
    if threshold is not None:
        assert benchmark == pytest.approx(threshold, abs=5e-5)
    found = probabilistic_sharpe(2.5 / math.sqrt(250), 1250, skewness, kurtosis, benchmark)
    assert found == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("trials", [5, 50, 500])
def test_the_expected_maximum_is_that_of_normal_draws(trials: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((4000, trials)) * 0.3
    assert expected_max_sharpe(0.09, trials) == pytest.approx(drawn.max(axis=1).mean(), rel=0.03)


def test_one_trial_is_expected_to_have_no_luck() -> None:
    assert expected_max_sharpe(1.0, 1) == 0.0
    assert expected_max_sharpe(1.0, 2) > 0.0
    assert expected_max_sharpe(0.0, 10) == 0.0


def test_a_deflated_ratio_from_returns_worked_out_by_other_means() -> None:
    rng = np.random.default_rng(1)
    trials = rng.standard_t(5, (300, 12)) * 0.01 + 0.0005
    own = trials[:, 4]
    found = deflated_sharpe(own, trials, 6)
    centred = own - own.mean()
    second, third, fourth = (np.mean(centred**k) for k in (2, 3, 4))
    sharpe = own.mean() / (math.sqrt(second * 300 / 299))
    ratios = trials.mean(axis=0) / trials.std(axis=0, ddof=1)
    threshold = expected_max_sharpe(float(np.var(ratios, ddof=1)), 6)
    spread = 1 - third / second**1.5 * sharpe + (fourth / second**2 - 1) / 4 * sharpe**2
    expected = norm.cdf((sharpe - threshold) * math.sqrt(299) / math.sqrt(spread))
    assert found.probability == pytest.approx(expected, rel=1e-9)
    assert found.sharpe == pytest.approx(sharpe)
    assert (found.threshold, found.trials, found.count) == (pytest.approx(threshold), 6, 300)


def test_the_best_of_trials_without_skill_is_rarely_called_skilled() -> None:
    rng = np.random.default_rng(2)
    called = plain = 0
    for _ in range(300):
        trials = rng.standard_normal((250, 20)) * 0.01
        best = trials[:, np.argmax(trials.mean(axis=0) / trials.std(axis=0))]
        found = deflated_sharpe(best, trials, 20)
        called += found.probability > 0.95
        plain += probabilistic_sharpe(found.sharpe, 250) > 0.95
    assert called <= 15
    # Without counting the search, two thirds of them would be: 1 - 0.95 ** 20 = 64 %.
    assert plain == pytest.approx(0.64 * 300, abs=4 * math.sqrt(300 * 0.64 * 0.36))


def test_returns_that_do_not_vary_have_no_ratio() -> None:
    trials = np.random.default_rng(0).standard_normal((50, 3))
    still = deflated_sharpe(np.zeros(50), trials, 3)
    assert math.isnan(still.probability)
    assert math.isnan(still.sharpe)
    # Nor do they count in the variance of the trials' ratios.
    added = np.column_stack([trials, np.zeros(50)])
    assert deflated_sharpe(trials[:, 0], added, 3) == deflated_sharpe(trials[:, 0], trials, 3)
    assert deflated_sharpe(trials[:, 0], trials[:, :1], 1).threshold == 0.0
    # Two values only, the ratio 1 and skewness 2: the variance is (1 - 1)² = 0.
    assert math.isnan(probabilistic_sharpe(1.0, 10, skewness=2.0, kurtosis=5.0))


# Independent trials


def test_groups_of_trials_that_do_the_same_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    factors = np.repeat(rng.standard_normal((500, 4)), [3, 8, 5, 10], axis=1)
    found = effective_trials(factors + 0.5 * rng.standard_normal((500, 26)))
    assert found.count == 4
    groups = [set(found.labels[a:b]) for a, b in ((0, 3), (3, 11), (11, 16), (16, 26))]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == 4
    assert found.silhouette > 0.5


@pytest.mark.parametrize(("noise", "expected"), [(0.3, 1), (1e-9, 1), (30.0, 40)])
def test_trials_without_groups_count_as_one_or_each_for_itself(noise: float, expected: int) -> None:
    rng = np.random.default_rng(1)
    common = rng.standard_normal((500, 1))
    found = effective_trials(common + noise * rng.standard_normal((500, 40)))
    assert found.count == expected
    assert len(set(found.labels)) == expected


def test_copies_count_once_and_trials_that_never_traded_not_at_all() -> None:
    rng = np.random.default_rng(2)
    three = rng.standard_normal((300, 3))
    returns = np.column_stack([three, three, three, np.zeros(300)])
    found = effective_trials(returns)
    assert found.count == 3
    assert found.labels[:3].tolist() == found.labels[3:6].tolist()
    assert found.labels[9] == 0


@pytest.mark.parametrize(("trials", "expected"), [(0, 0), (1, 1), (2, 2)])
def test_fewer_than_three_trials_need_no_clusters(trials: int, expected: int) -> None:
    returns = np.zeros((100, 3))
    returns[:, :trials] = np.random.default_rng(3).standard_normal((100, trials))
    assert effective_trials(returns).count == expected
    assert math.isnan(effective_trials(returns).silhouette)


def test_two_trials_that_do_the_same_are_one() -> None:
    walk = np.random.default_rng(3).standard_normal(100)
    assert effective_trials(np.column_stack([walk, 2 * walk])).count == 1


NOISE = np.random.default_rng(0).random((40, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: deflated_sharpe([1.0], NOISE, 1), "returns must be at least 2 in number"),
        (lambda: deflated_sharpe([1.0, 2.0], NOISE, 0), "trials must be at least 1 in number"),
        (lambda: deflated_sharpe([1.0, NAN], NOISE, 1), "returns must be finite"),
        (lambda: effective_trials(NOISE[:1]), "at least 2 bars, but hold 1"),
        (lambda: effective_trials(NOISE[:, :0]), "but has shape (40, 0)"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_words(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call()
