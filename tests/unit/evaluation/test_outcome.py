"""Each outcome is said only if a test says so, and seldom if it is wrong."""

import math

import numpy as np
import pytest
from scipy.stats import binom, t

from puffin.models.arrays import Floats
from puffin.models.evaluation.long_run import LongRunTest, long_run_test
from puffin.models.evaluation.outcome import MARGIN, OUTCOMES, Evidence
from tests.leads import lead, lead_of_error


def evidence(first: LongRunTest, *others: LongRunTest, loss: float = 1.0) -> Evidence:
    rivals = {"first": first} | {f"other {n}": test for n, test in enumerate(others)}
    return Evidence(first, loss, rivals)


@pytest.mark.parametrize(
    ("first", "others", "outcome"),
    [
        (lead(0.1, 0.049), [], "better"),
        (lead(0.1, 0.05), [], "undecided"),
        (lead(0.1, 0.01), [lead(0.1, 0.049)], "better"),
        # Not told apart from another one, or worse than it: the lowest of several is no test.
        (lead(0.1, 0.01), [lead(0.1, 0.051)], "undecided"),
        (lead(0.1, 0.01), [lead(-0.1, 0.999)], "undecided"),
        (lead(0.1, 0.01), [lead(0.0, math.nan)], "undecided"),
        (lead(0.0, math.nan), [], "undecided"),
        (lead(-0.1, 0.8), [], "undecided"),
        # Not worse for sure, but the upper bound of the skill is 0.1 %.
        (lead(-0.1, 0.949), [], "no better"),
        (lead(-0.1, 0.951), [], "worse"),
        (lead(-0.1, 0.951), [lead(0.1, 0.001)], "worse"),
        # The upper bound of the skill is 0.2 % + 1.753 * 0.4 %, or 0.5 %.
        (lead_of_error(0.002, 0.004), [], "no better"),
        (lead_of_error(0.002, 0.005), [], "undecided"),
        (lead_of_error(-0.002, 0.004), [], "no better"),
        # Small, but for sure.
        (lead_of_error(0.002, 0.001), [], "better"),
        (lead_of_error(0.002, 0.001), [lead_of_error(0.0, 0.1)], "no better"),
    ],
)
def test_an_outcome_needs_a_test(
    first: LongRunTest, others: list[LongRunTest], outcome: str
) -> None:
    assert evidence(first, *others).outcome == outcome
    assert outcome in OUTCOMES


def test_the_closest_rival_is_the_one_that_the_lead_is_least_sure_of() -> None:
    found = evidence(lead(0.1, 0.01), lead(0.3, 0.2), lead(0.2, 0.04))
    assert (found.closest, found.p_of_all) == ("other 0", 0.2)
    untested = evidence(lead(0.1, 0.01), lead(0.3, 0.2), lead(0.0, math.nan))
    assert untested.closest == "other 1"
    assert math.isnan(untested.p_of_all)


def test_bounds_are_in_units_of_the_loss_of_the_rival() -> None:
    found = evidence(lead_of_error(0.02, 0.01), loss=4.0)
    assert found.most_skill == pytest.approx((0.02 + t.ppf(0.95, 15) * 0.01) / 4)
    assert found.detectable_skill == pytest.approx((t.ppf(0.95, 15) + t.ppf(0.8, 15)) * 0.01 / 4)
    never_wrong = evidence(lead(-0.1, 0.5), loss=0.0)
    assert math.isnan(never_wrong.most_skill)
    assert math.isnan(never_wrong.detectable_skill)


RUNS = 200


def outcomes(skill: float, ahead_of_others: float, spread: float) -> list[str]:
    """Return the outcomes of 200 forecasts of a true skill against the first of three rivals."""
    rng = np.random.default_rng(0)
    noise: Floats = rng.standard_normal((RUNS, 120, 4))
    losses = rng.chisquare(1, (RUNS, 120, 1)) + spread * noise
    losses[:, :, 0] -= skill
    losses[:, :, 2:] += ahead_of_others - skill
    return [_outcome(each) for each in losses]


def _outcome(losses: Floats) -> str:
    tests = [long_run_test(losses[:, rival] - losses[:, 0]) for rival in range(1, 4)]
    return evidence(*tests, loss=float(losses[:, 1].mean())).outcome


@pytest.mark.parametrize(
    ("skill", "ahead_of_others", "spread", "wrong"),
    [
        (0.0, 1.0, 0.3, "better"),  # as good as the first, far better than the others
        (0.0, 0.0, 0.3, "better"),  # as good as all
        (0.0, 1.0, 0.3, "worse"),
        (MARGIN, 1.0, 0.05, "no better"),
    ],
)
def test_an_outcome_is_seldom_wrong(
    skill: float, ahead_of_others: float, spread: float, wrong: str
) -> None:
    found = outcomes(skill, ahead_of_others, spread).count(wrong)
    assert found <= binom.ppf(0.999, RUNS, 0.055)
    if ahead_of_others:  # the level is used up where only one rival decides
        assert found >= binom.ppf(0.001, RUNS, 0.045)


@pytest.mark.parametrize(
    ("skill", "spread", "said"),
    [(0.1, 0.3, "better"), (-0.1, 0.3, "worse"), (0, 0.02, "no better")],
)
def test_an_outcome_that_is_true_is_mostly_said(skill: float, spread: float, said: str) -> None:
    assert outcomes(skill, 1.0, spread).count(said) > 0.7 * RUNS
