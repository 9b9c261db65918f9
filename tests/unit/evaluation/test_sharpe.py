"""Sharpe ratios with the search counted in: probabilistic and deflated."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from scipy.fft import dct
from scipy.signal import lfilter
from scipy.stats import binom, norm

from puffin.models.arrays import Floats
from puffin.models.evaluation.sharpe import (
    deflated_sharpe,
    expected_max_sharpe,
    probabilistic_sharpe,
    sharpe_errors,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("ratio", "count", "error"), [(0.5, 12, 0.306), (1.5, 60, 0.188), (3.0, 500, 0.105)]
)
def test_the_error_of_independent_returns_is_that_of_lo(
    ratio: float, count: int, error: float
) -> None:
    # sqrt((1 + 0.5² / 2) / 12) = 0.306, sqrt((1 + 1.5² / 2) / 60) = 0.188, and so on.
    returns = np.resize([1.0, -1.0], count)
    returns = returns / returns.std(ddof=1) + ratio
    assert sharpe_errors(returns).independent == pytest.approx(error, abs=5e-4)


def test_the_error_under_dependence_by_the_gradient_of_the_paper() -> None:
    """Gradient (1 / s, -mean / (2 s³)) and the long-run covariance of (r - mean, (r - mean)² - s²).

    Lo (2002), on stationary returns, with the cosines of Lazarus and others in place of lags.
    """
    returns = np.random.default_rng(0).standard_t(5, 125) + 0.3
    mean, spread = returns.mean(), returns.std()
    moments = np.column_stack([returns - mean, (returns - mean) ** 2 - spread**2])
    cosines = dct(moments, axis=0, norm="ortho")[1:11]  # ten, as 0.4 x 125^(2/3) = 10
    gradient = np.array([1 / spread, -mean / (2 * spread**3)])
    expected = math.sqrt(gradient @ (cosines.T @ cosines / 10) @ gradient / 125)
    assert sharpe_errors(returns).dependent == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("memory", [0.0, 0.4])
def test_the_error_is_how_far_ratios_of_many_samples_are_apart(memory: float) -> None:
    noise = np.random.default_rng(1).standard_normal((400, 550))
    returns = lfilter([1.0], [1.0, -memory], noise, axis=1)[:, 50:] + 0.1
    spread = np.std([row.mean() / row.std(ddof=1) for row in returns])
    errors = [sharpe_errors(row) for row in returns]
    # The spread of 400 ratios is known to 3.5 %.
    assert np.mean([e.dependent for e in errors]) == pytest.approx(spread, rel=0.1)
    independent = np.mean([e.independent for e in errors])
    # Of an autoregression of 0.4 the mean has 1.4 / 0.6 times the variance.
    assert independent == pytest.approx(spread * ((1 - memory) / (1 + memory)) ** 0.5, rel=0.1)


def test_the_error_of_three_returns_is_unknown_under_dependence() -> None:
    assert math.isnan(sharpe_errors(np.array([0.1, 0.2, 0.0])).dependent)


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


def test_the_expected_maximum_of_one_trial_is_zero() -> None:
    assert expected_max_sharpe(1.0, 1) == 0.0
    assert expected_max_sharpe(1.0, 2) > 0.0
    assert expected_max_sharpe(0.0, 10) == 0.0


def test_a_deflated_ratio_equals_its_formula() -> None:
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
    assert (found.threshold, found.trials, found.n_returns) == (pytest.approx(threshold), 6, 300)


def called_skilled(make: Callable[[np.random.Generator], Floats], runs: int = 200) -> int:
    """Count the searches through trials without skill whose best one passes at 5 %."""
    rng = np.random.default_rng(2)
    called = 0
    for _ in range(runs):
        trials = make(rng)
        best = trials[:, np.argmax(trials.mean(axis=0) / trials.std(axis=0))]
        called += deflated_sharpe(best, trials, trials.shape[1]).probability > 0.95
    return called


def alike(factors: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Make trials of which a share of the variance is that of a factor."""
    noise = rng.standard_normal(factors.shape)
    return np.sqrt(share) * factors + np.sqrt(1 - share) * noise


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.55, 0.7, 0.9])
def test_the_best_of_forty_trials_without_skill_passes_at_the_level(
    correlation: float,
) -> None:
    def make(rng: np.random.Generator) -> Floats:
        return alike(np.repeat(rng.standard_normal((250, 1)), 40, axis=1), correlation, rng)

    assert called_skilled(make) <= binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize("clusters", [2, 8])
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_the_best_of_clustered_trials_without_skill_passes_at_the_level(
    clusters: int, share: float
) -> None:
    def make(rng: np.random.Generator) -> Floats:
        return alike(np.repeat(rng.standard_normal((250, clusters)), 40 // clusters, 1), share, rng)

    assert called_skilled(make, 50) <= binom.ppf(0.999, 50, 0.05)


def test_without_counting_the_search_two_thirds_of_searches_would_pass() -> None:
    rng = np.random.default_rng(2)
    trials = rng.standard_normal((300, 250, 20))
    best = (trials.mean(axis=1) / trials.std(axis=1, ddof=1)).max(axis=1)
    plain = sum(probabilistic_sharpe(sharpe, 250) > 0.95 for sharpe in best)
    # 1 - 0.95 ** 20 = 64 %.
    assert plain == pytest.approx(0.64 * 300, abs=4 * math.sqrt(300 * 0.64 * 0.36))


def test_skill_that_all_trials_share_is_found() -> None:
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(50):
        trials = alike(np.repeat(rng.standard_normal((250, 1)), 40, axis=1), 0.6, rng)
        trials += 4 / np.sqrt(250)
        best = trials[:, np.argmax(trials.mean(axis=0) / trials.std(axis=0))]
        found += deflated_sharpe(best, trials, 40).probability > 0.95
    assert found >= 45


def test_copies_of_a_trial_do_not_raise_the_threshold() -> None:
    walk = 0.3 + np.random.default_rng(3).standard_normal(250)
    copies = np.column_stack([walk] * 40)
    found = deflated_sharpe(walk, copies, 40)
    assert found.threshold == pytest.approx(0.0, abs=1e-12)
    assert found.probability == pytest.approx(deflated_sharpe(walk, copies, 1).probability)


def test_returns_that_do_not_vary_have_no_ratio() -> None:
    trials = np.random.default_rng(0).standard_normal((50, 3))
    still = deflated_sharpe(np.zeros(50), trials, 3)
    assert math.isnan(still.probability)
    assert math.isnan(still.sharpe)
    # Nor do they count in the variance of the trials' ratios.
    added = np.column_stack([trials, np.zeros(50)])
    assert deflated_sharpe(trials[:, 0], added, 3) == deflated_sharpe(trials[:, 0], trials, 3)
    assert deflated_sharpe(trials[:, 0], trials[:, :1], 1).threshold == 0.0
    # Of one ratio among many trials nothing says how far they spread.
    assert math.isnan(deflated_sharpe(trials[:, 0], trials[:, :1], 40).threshold)
    assert math.isnan(deflated_sharpe(trials[:, 0], trials[:, :1], 40).probability)
    # Two values only, the ratio 1 and skewness 2: the variance is (1 - 1)² = 0.
    assert math.isnan(probabilistic_sharpe(1.0, 10, skewness=2.0, kurtosis=5.0))


NOISE = np.random.default_rng(0).random((40, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: deflated_sharpe([1.0], NOISE, 1), "returns must be at least 2 in number"),
        (lambda: deflated_sharpe([1.0, 2.0], NOISE, 0), "trials must be at least 1 in number"),
        (lambda: deflated_sharpe([1.0, NAN], NOISE, 1), "returns must be finite"),
        (lambda: deflated_sharpe(NOISE[:, 0], NOISE[:, :0], 1), "but has shape (40, 0)"),
    ],
)
def test_invalid_returns_are_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call()
