"""Intervals from scores, worked out by hand and by loops, and the promises of their theory."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from puffin.models.evaluation.conformal import (
    STEP,
    IntervalError,
    adapt,
    recent_deviation,
    residual_interval,
    scores_of,
)


@pytest.mark.parametrize(
    ("count", "level", "low", "high"),
    [
        # Of 1, 2, ..., n the k-th from either end, k = floor((n + 1) (1 - level) / 2).
        (19, 0.9, 1, 19),
        (20, 0.9, 1, 20),
        (38, 0.9, 1, 38),
        (39, 0.9, 2, 38),
        (39, 0.95, 1, 39),
        (99, 0.8, 10, 90),
        (99, 0.5, 25, 75),
        (100, 0.8, 10, 91),
        (999, 0.99, 5, 995),
        (3, 0.5, 1, 3),
        (3, 1e-6, 1, 3),
        (4, 1e-6, 2, 3),
    ],
)
def test_interval_ends_are_residuals_of_the_expected_rank(
    count: int, level: float, low: float, high: float
) -> None:
    residuals = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert residual_interval(residuals, level) == (low, high)


def test_the_two_tails_can_differ_in_size() -> None:
    assert residual_interval(np.exp(np.linspace(0, 5, 19)) - 3, 0.9) == pytest.approx(
        (-2.0, math.exp(5) - 3)
    )


@pytest.mark.parametrize(
    ("count", "level", "words"),
    [
        (38, 0.95, "0.95 needs at least 39 .* tail of 0.025, but there are 38; .* at most 0.948"),
        (18, 0.9, "0.9 needs at least 19 .* there are 18; give a level of at most 0.894"),
        (998, 0.998, "needs at least 999 .* there are 998"),
        (1, 0.5, "needs at least 3 .* there are 1; search with more bars"),
        (0, 0.9, "there are 0; search with more bars"),
        (99, 0.0, "level must be above 0 and below 1, but is 0"),
        (99, 1.0, "level must be above 0 and below 1, but is 1"),
        (99, math.nan, "level must be above 0 and below 1, but is nan"),
    ],
)
def test_a_level_too_high_for_the_residuals_is_refused(
    count: int, level: float, words: str
) -> None:
    with pytest.raises(IntervalError, match=words):
        residual_interval(np.zeros(count), level)


@pytest.mark.parametrize("count", [18, 38, 150, 998])
def test_the_level_suggested_by_the_error_is_accepted(count: int) -> None:
    with pytest.raises(IntervalError) as caught:
        residual_interval(np.arange(count), 0.9999)
    offered = float(str(caught.value).rsplit(" ", 1)[1])
    assert residual_interval(np.arange(count), offered) == (0, count - 1)


@pytest.mark.parametrize(("count", "level"), [(19, 0.9), (39, 0.9), (60, 0.8), (200, 0.95)])
def test_the_interval_covers_the_next_residual_at_its_level(count: int, level: float) -> None:
    draws = np.random.default_rng(1).gamma(2.0, size=(4000, count + 1))
    held = np.mean(
        [
            low <= row[-1] <= high
            for row in draws
            for low, high in [residual_interval(row[:-1], level)]
        ]
    )
    rank = math.floor((count + 1) * (1 - level) / 2 + 1e-9)
    exact = 1 - 2 * rank / (count + 1)
    assert held == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    assert exact >= level - 1e-9


# Deviation


def target_of(count: int, horizon: int = 1, seed: int = 0) -> NDArray[np.float64]:
    values = np.random.default_rng(seed).normal(3.0, 0.5, count).cumsum()
    values[:horizon] = np.nan
    return values


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_deviation_is_that_of_weighted_means(horizon: int) -> None:
    target = target_of(40, horizon)
    known = pd.Series(target[horizon:])
    average = known.ewm(alpha=0.06).mean()
    distance = (known - average.shift(horizon)).abs().dropna()
    expected = distance.ewm(alpha=0.03).mean()
    assert recent_deviation(target, horizon)[2 * horizon :] == pytest.approx(expected.to_numpy())


@pytest.mark.parametrize("horizon", [1, 4])
def test_a_later_target_changes_no_deviation_before(horizon: int) -> None:
    target = target_of(60, horizon)
    before = recent_deviation(target, horizon)
    for bar in range(horizon, 60):
        changed = target.copy()
        changed[bar] += 7.0
        after = recent_deviation(changed, horizon)
        assert (after[:bar] == before[:bar]).all()
        assert after[bar] > before[bar] or bar < 2 * horizon


def test_the_deviation_has_the_unit_of_the_target() -> None:
    target = target_of(50)
    for scale, shift in ((100.0, 0.0), (1e-6, 0.0), (1.0, 1e3)):
        found = recent_deviation(scale * target + shift)[2:]
        assert found == pytest.approx(scale * recent_deviation(target)[2:])


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9])
def test_the_deviation_of_what_never_moves_is_one(value: float) -> None:
    assert (recent_deviation(np.full(200, value)) == 1).all()
    moved = np.append(np.full(200, value), value + 2.0)
    assert recent_deviation(moved)[-1] < 1


def test_too_few_bars_have_no_deviation() -> None:
    for count in range(6):
        assert (recent_deviation(target_of(count, 3), 3) == 1).all()


def test_scores_are_errors_over_the_deviation_when_forecast() -> None:
    target, horizon = target_of(30, 2), 2
    found = scores_of(np.array([1.0, 2.0, 3.0]), target, np.array([10, 20, 29]), horizon)
    scale = recent_deviation(target, horizon)
    expected = [error / scale[bar - 2] for bar, error in ((10, 1), (20, 2), (29, 3))]
    assert found == pytest.approx(expected)


# Adaptation


def by_loop(scores: list[float], level: float, horizon: int) -> list[tuple[float, float, float]]:
    """Go through the scores as on paper, with sorted lists."""
    outside, found = 1 - level, list[tuple[float, float, float]]()
    for place in range(len(scores) + horizon):
        known = scores[: max(place - horizon + 1, 0)]
        if known and not math.isnan(found[place - horizon][0]):
            low, high, _ = found[place - horizon]
            outside += STEP * (1 - level - (not low <= scores[place - horizon] <= high))
        rank = int((len(known) + 1) * outside / 2 + 1e-9)
        if (len(known) + 1) * (1 - level) / 2 < 1 - 1e-9:
            found.append((math.nan, math.nan, math.nan))
            continue
        rank = min(max(rank, 1), (len(known) + 1) // 2)
        found.append((sorted(known)[rank - 1], sorted(known)[-rank], outside))
    return found


@pytest.mark.parametrize(("level", "horizon"), [(0.5, 1), (0.8, 1), (0.9, 3), (0.95, 5)])
def test_adaptation_equals_a_loop(level: float, horizon: int) -> None:
    scores = np.random.default_rng(horizon).standard_t(3, size=150)
    adapted = adapt(scores, level, horizon)
    found = np.column_stack([adapted.low, adapted.high, adapted.outside])
    assert found == pytest.approx(np.array(by_loop(scores.tolist(), level, horizon)), nan_ok=True)
    assert len(found) == 150 + horizon


def test_the_first_steps_are_those_worked_out_by_hand() -> None:
    # Of 0.5, three scores are enough: the interval is that of the outermost ones.
    adapted = adapt(np.array([1.0, 2.0, 3.0, 9.0, 2.5]), 0.5)
    assert adapted.low.tolist()[3:] == [1.0, 1.0, 1.0]
    assert adapted.high.tolist()[3:] == [3.0, 9.0, 9.0]
    assert np.isnan(adapted.low[:3]).all()
    # 9 is a miss, and 2.5 a hit.
    assert adapted.outside[3:] == pytest.approx([0.5, 0.5 - STEP / 2, 0.5])


def test_enough_scores_for_the_level_have_the_interval_of_residuals() -> None:
    scores = np.random.default_rng(0).normal(size=39)
    adapted = adapt(scores, 0.95)
    assert (adapted.low[-1], adapted.high[-1]) == residual_interval(scores, 0.95)
    assert np.isnan(adapted.low[:-1]).all()
    with pytest.raises(IntervalError, match=r"0\.95 needs at least 39 .* there are 38"):
        adapt(scores[1:], 0.95)


@pytest.mark.parametrize(("least", "level"), [(19, 0.9), (9, 0.8)])
def test_the_first_interval_covers_exchangeable_scores_exactly(least: int, level: float) -> None:
    draws = np.random.default_rng(2).gamma(2.0, size=(2000, least + 1))
    held = [
        a.low[least] <= row[least] <= a.high[least] for row in draws for a in [adapt(row, level)]
    ]
    exact = 1 - 2 / (least + 1)
    assert np.mean(held) == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 2000))


def growing(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.exp(np.arange(2000) * 0.3) * rng.choice([-1, 1], 2000)


def shrinking(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=2000) * np.exp(-np.arange(2000) * 0.3)


def bursts(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=2000) * np.where(np.arange(2000) % 400 < 60, 1e6, 1.0)


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("draw", [growing, shrinking, bursts])
def test_the_long_run_coverage_is_within_its_bound_whatever_the_scores(
    draw: object, level: float, horizon: int
) -> None:
    assert callable(draw)
    scores = draw(np.random.default_rng(3))
    adapted = adapt(scores, level, horizon)
    low, high = adapted.low[: len(scores)], adapted.high[: len(scores)]
    made = ~np.isnan(low)
    missed = ~((low <= scores) & (scores <= high))[made]
    bound = (max(level, 1 - level) + horizon * STEP) / (made.sum() * STEP)
    assert bound < 0.11
    assert missed.mean() == pytest.approx(1 - level, abs=bound)
    # One interval from the first 200 would hold none, all, or only the calm ones.
    fixed = residual_interval(scores[:200], level)
    plain = np.mean((scores[200:] < fixed[0]) | (scores[200:] > fixed[1]))
    assert draw is bursts or abs(plain - (1 - level)) > bound


def test_scores_that_outgrow_all_before_end_in_an_infinite_interval() -> None:
    adapted = adapt(2.0 ** np.arange(200), 0.9)
    infinite = np.isinf(adapted.high)
    assert infinite.any()
    assert (np.isneginf(adapted.low) == infinite).all()
    assert (adapted.outside[infinite] <= 0).all()


def test_scores_that_always_fit_end_in_the_middle_one() -> None:
    adapted = adapt(np.zeros(1200), 0.5)
    assert adapted.outside[-1] > 1
    assert (adapted.low[-1], adapted.high[-1]) == (0.0, 0.0)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_later_score_changes_no_interval_before(horizon: int) -> None:
    scores = np.random.default_rng(4).normal(size=80)
    before = adapt(scores, 0.8, horizon)
    for place in (0, 30, 79):
        changed = scores.copy()
        changed[place] = 50.0
        after = adapt(changed, 0.8, horizon)
        same = slice(0, place + horizon)
        np.testing.assert_array_equal(after.low[same], before.low[same])
        np.testing.assert_array_equal(after.high[same], before.high[same])
        np.testing.assert_array_equal(after.outside[same], before.outside[same])
    assert after.high[-1] > before.high[-1] or after.outside[-1] < before.outside[-1]


def test_intervals_have_the_unit_of_the_scores() -> None:
    scores = np.random.default_rng(5).normal(size=100)
    one, other = adapt(scores, 0.8), adapt(-1000 * scores, 0.8)
    np.testing.assert_allclose(other.low, -1000 * one.high)
    np.testing.assert_allclose(other.high, -1000 * one.low)
    np.testing.assert_array_equal(other.outside, one.outside)
