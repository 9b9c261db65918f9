"""Luck of the search: overfitting, seeds and incumbents."""

import math
import re
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from puffin.models.arrays import Floats
from puffin.models.evaluation.selection import (
    OneStandardErrorChoice,
    incumbents,
    one_standard_error,
    overfitting,
    overtuning,
    ranks_over_seeds,
)

NAN = math.nan


# Probability of backtest overfitting


def cscv(losses: Floats, blocks: int) -> list[float]:
    """Return the logit of every split, one after the other."""
    parts = np.array_split(np.arange(len(losses)), blocks)
    logits = []
    for chosen in combinations(range(blocks), blocks // 2):
        own = np.concatenate([parts[i] for i in chosen])
        other = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        searched, after = losses[own].mean(axis=0), losses[other].mean(axis=0)
        best = int(np.argmin(searched))
        share = rankdata(-after)[best] / (losses.shape[1] + 1)
        logits.append(math.log(share / (1 - share)))
    return logits


@pytest.mark.parametrize(
    ("bars", "trials", "blocks"),
    [(40, 5, 4), (61, 8, 6), (90, 3, 8), (33, 2, 2), (53, 7, 10), (4, 3, 4)],
)
def test_overfitting_equals_a_loop_over_every_split(bars: int, trials: int, blocks: int) -> None:
    losses = np.random.default_rng(bars).chisquare(1, (bars, trials))
    logits = cscv(losses, blocks)
    found = overfitting(losses, blocks)
    assert found.logits == pytest.approx(logits, abs=1e-12)
    assert found.probability == np.mean(np.array(logits) <= 0)
    assert (found.blocks, len(found.logits)) == (blocks, math.comb(blocks, blocks // 2))
    assert found.trials == trials


def test_a_trial_that_is_better_on_every_bar_has_no_overfitting() -> None:
    losses = np.random.default_rng(0).chisquare(1, (320, 30))
    losses[:, 7] -= 1.0
    found = overfitting(losses)
    assert found.probability == 0.0
    assert np.all(found.logits == pytest.approx(math.log(30 / 1)))


def test_trials_whose_losses_reverse_have_certain_overfitting() -> None:
    # What a trial wins in some bars it loses in the others: its whole loss is that of all.
    noise = np.random.default_rng(1).standard_normal((160, 20))
    losses = noise - noise.mean(axis=0)
    found = overfitting(losses)
    assert found.probability == 1.0
    assert np.all(found.logits == pytest.approx(math.log(1 / 20)))


def test_equal_trials_have_a_probability_of_overfitting_of_one_half() -> None:
    rng = np.random.default_rng(2)
    found = [overfitting(rng.standard_normal((120, 20)), 8).probability for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / math.sqrt(200))


@pytest.mark.parametrize(
    ("trials", "expected"), [(2, 1 / 2), (3, 2 / 3), (4, 1 / 2), (5, 3 / 5), (20, 1 / 2)]
)
def test_the_chance_level_counts_the_median_of_an_odd_number_of_trials(
    trials: int, expected: float
) -> None:
    losses = np.random.default_rng(4).standard_normal((20, trials))
    assert overfitting(losses, 2).chance_level == expected


def test_trials_that_were_stopped_early_would_hide_overfitting() -> None:
    rng = np.random.default_rng(3)
    trained = rng.chisquare(1, (360, 1)) + 0.2 * rng.standard_normal((360, 6))
    stopped = trained[:, :1] + 0.1 + 0.2 * rng.standard_normal((360, 34))
    assert overfitting(trained).probability > 0.3
    assert overfitting(np.column_stack([trained, stopped])).probability < 0.01


@pytest.mark.parametrize(
    ("bars", "blocks"), [(600, 16), (160, 16), (159, 14), (100, 10), (59, 4), (39, 2), (20, 2)]
)
def test_blocks_are_sixteen_or_as_many_as_leave_ten_bars_to_each(bars: int, blocks: int) -> None:
    assert overfitting(np.random.default_rng(0).random((bars, 2))).blocks == blocks


def test_a_trial_among_copies_of_itself_is_the_median() -> None:
    found = overfitting(np.ones((40, 3)))
    assert np.all(found.logits == 0.0)
    assert found.probability == 1.0


# Seeds and sizes


def test_the_smallest_network_within_one_standard_error_is_chosen() -> None:
    # Means 2.0, 2.5, 2.0, 1.9; the best is the last, with values 1.7, 1.9, 2.1: error 0.2 / sqrt 3.
    losses = [[1.9, 2.0, 2.1], [2.4, 2.5, 2.6], [1.0, 2.0, 3.0], [1.7, 1.9, 2.1]]
    found = one_standard_error(losses, [300, 10, 200, 900])
    assert (found.chosen, found.best) == (2, 3)
    assert found.standard_error == pytest.approx(0.2 / math.sqrt(3))
    assert found.bound == pytest.approx(1.9 + 0.2 / math.sqrt(3))


@pytest.mark.parametrize(
    ("losses", "sizes", "chosen"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], [5, 4], 1),  # equal losses: the smaller
        ([[1.0, 1.0], [1.0, 1.0]], [4, 4], 0),  # and equal sizes: the first
        ([[1.0, 3.0], [1.1, 2.8]], [4, 4], 1),  # of equal size: the better
        ([[1.0, 1.0], [1.1, 1.1]], [5, 1], 0),  # no spread: only the best is good enough
    ],
)
def test_ties_go_to_the_smaller_the_better_and_the_first(
    losses: list[list[float]], sizes: list[int], chosen: int
) -> None:
    found = one_standard_error(losses, sizes)
    assert isinstance(found, OneStandardErrorChoice)
    assert found.chosen == chosen


def test_a_candidate_has_a_rank_for_each_seed() -> None:
    losses = [[1.0, 5.0, 2.0], [2.0, 4.0, 2.0], [3.0, 3.0, 9.0]]
    assert ranks_over_seeds(losses, 0).tolist() == [1, 3, 1]
    assert ranks_over_seeds(losses, 2).tolist() == [3, 1, 3]


# Incumbents


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0, 4.0, 2.0, 2.0, 1.0], [0, 2, 4]),
        ([NAN, NAN, 5.0, NAN, 4.0, 6.0], [2, 4]),
        ([math.inf, 1.0], [1]),
        ([NAN, math.inf], []),
        ([], []),
    ],
)
def test_incumbents_are_the_trials_that_were_best_when_they_ended(
    losses: list[float], expected: list[int]
) -> None:
    assert incumbents(losses).tolist() == expected


def test_the_overtuning_curve_of_four_incumbents() -> None:
    search = [5.0, 6.0, 4.0, NAN, 3.0, 2.0]
    holdout = [10.0, NAN, 8.0, NAN, 9.0, 11.0]
    found = overtuning(search, holdout)
    assert found.trials.tolist() == [0, 2, 4, 5]
    assert found.search_losses.tolist() == [5.0, 4.0, 3.0, 2.0]
    assert found.holdout_losses.tolist() == [10.0, 8.0, 9.0, 11.0]
    assert found.overtuning.tolist() == [0.0, 0.0, 1.0, 3.0]
    # Won 2 at most: half of it lost again, then one and a half times as much.
    assert found.relative_overtuning[1:].tolist() == [0.0, 0.5, 1.5]
    assert math.isnan(found.relative_overtuning[0])


def test_relative_overtuning_does_not_depend_on_the_unit_of_the_loss() -> None:
    found = overtuning([0.03, 0.02, 0.01], [0.03, 0.01, 0.02])
    assert found.relative_overtuning[1:].tolist() == [0.0, pytest.approx(0.5)]


def test_relative_overtuning_is_nan_without_improvement() -> None:
    found = overtuning([3.0, 2.0], [1.0, 2.0])
    assert found.overtuning.tolist() == [0.0, 1.0]
    assert np.isnan(found.relative_overtuning).all()


NOISE = np.random.default_rng(0).random((40, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: overfitting(NOISE[:, :1]), "at least 2 trials, but hold 1"),
        (lambda: overfitting(NOISE[:19]), "at least 20 bars, but hold 19"),
        (
            lambda: overfitting(NOISE, 5),
            "an even number from 2 to the number of bars, 40, but is 5",
        ),
        (lambda: overfitting(NOISE, 0), "but is 0"),
        (lambda: overfitting(NOISE, 42), "but is 42"),
        (lambda: overfitting(NOISE * NAN), "losses must be finite, but 120 of 120"),
        (lambda: overfitting(NOISE[0]), "losses must be (bar, trial), but has shape (3,)"),
        (lambda: one_standard_error(NOISE[:, :1], np.ones(40)), "at least 2 seeds, but hold 1"),
        (lambda: one_standard_error(NOISE, [1.0]), "each of the 40 candidates, but there are 1"),
        (lambda: one_standard_error(NOISE[:1], [NAN]), "sizes must be finite"),
        (lambda: ranks_over_seeds(NOISE, 40), "candidate must be from 0 to 39, but is 40"),
        (lambda: overtuning([1.0], [1.0, 2.0]), "one length, but have 1 and 2"),
        (lambda: overtuning([NAN], [1.0]), "must hold a number, but all 1 are NaN"),
        (lambda: overtuning([1.0], [NAN]), "holdout_losses of the incumbents must be finite"),
    ],
)
def test_invalid_losses_are_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call()
