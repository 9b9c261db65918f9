"""The model confidence set: draw for draw that of `arch`, and what must hold for any losses."""

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from puffin.models.arrays import Floats
from puffin.models.evaluation.bootstrap import stationary_bootstrap
from puffin.models.evaluation.mcs import mcs


def losses(seed: int = 0, models: int = 6, bars: int = 200, gap: float = 0.1) -> Floats:
    """Return losses with a common part, of models that are worse one after the other."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((bars, models)) * np.linspace(0.5, 2.0, models)
    return rng.chisquare(1, bars)[:, None] + own + gap * np.arange(models)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gap", [0.0, 0.1, 0.4])
def test_order_and_p_values_are_those_of_arch_on_the_same_samples(seed: int, gap: float) -> None:
    arch = pytest.importorskip("arch.bootstrap")
    given = losses(seed, gap=gap)
    found = mcs(given, seed=seed, reps=500, block_length=4.0)
    draws = stationary_bootstrap(len(given), 500, 4.0, np.random.default_rng(seed))
    theirs = arch.MCS(given, 0.05, reps=500, method="R")
    theirs.bootstrap = SimpleNamespace(bootstrap=lambda _: (((draw,), {}) for draw in draws))
    theirs.compute()
    assert list(found.order) == theirs.pvalues.index.tolist()
    # They do not count the data as a sample.
    expected = ((1 + 500 * theirs.pvalues.Pvalue) / 501).tolist()
    assert [found.p_values[model] for model in found.order[:-1]] == pytest.approx(expected[:-1])
    assert found.p_values[found.order[-1]] == 1.0


def test_p_values_are_those_of_arch_within_the_error_of_their_samples() -> None:
    """Compare with its own bootstrap and its own draws."""
    arch = pytest.importorskip("arch.bootstrap")
    given = losses(1)
    theirs = arch.MCS(given, 0.05, reps=4000, block_size=4, method="R", seed=1)
    theirs.compute()
    found = mcs(given, reps=4000, block_length=4.0)
    for model, p in theirs.pvalues.Pvalue.items():
        error = math.sqrt(p * (1 - p) * 2 / 4000)
        assert abs(found.p_values[model] - p) <= 4 * error + 1e-3


def test_p_values_rise_in_the_order_of_elimination() -> None:
    found = mcs(losses())
    in_order = [found.p_values[model] for model in found.order]
    assert in_order == sorted(in_order)
    assert in_order[-1] == 1.0
    assert in_order[0] < 0.05


def test_what_is_added_to_all_losses_of_a_bar_changes_nothing() -> None:
    given = losses()
    common = 10 * np.random.default_rng(9).standard_normal((200, 1))
    one, other = mcs(given), mcs(given + common)
    assert one.order == other.order
    assert one.p_values == pytest.approx(other.p_values)
    assert mcs(3 * given).p_values == pytest.approx(one.p_values)


def test_a_model_that_equals_another_shares_its_fate_and_changes_no_other() -> None:
    given = losses()
    found, twice = mcs(given), mcs(np.column_stack([given, given[:, 2]]))
    assert twice.p_values == (*found.p_values, found.p_values[2])
    assert [model for model in twice.order if model < 6] == list(found.order)


def test_the_order_of_the_models_does_not_matter() -> None:
    given = losses()
    found, turned = mcs(given), mcs(given[:, ::-1])
    assert turned.p_values[::-1] == pytest.approx(found.p_values)
    assert [5 - model for model in turned.order] == list(found.order)


def test_a_far_worse_model_is_out_and_changes_nothing_for_the_others() -> None:
    given = losses()
    worse = np.insert(given, 3, given[:, 3] + 5, axis=1)
    one, other = mcs(given, block_length=3.0), mcs(worse, block_length=3.0)
    assert other.order[0] == 3
    assert other.p_values[3] == pytest.approx(1 / 2001)
    assert np.delete(other.p_values, 3) == pytest.approx(one.p_values)


def test_one_that_is_better_than_several_alike_is_alone() -> None:
    rng = np.random.default_rng(2)
    given = rng.standard_normal((250, 8)) + np.append(0.0, np.full(7, 0.4))
    assert max(mcs(given).p_values[1:]) < 0.05


def test_a_difference_that_is_the_same_on_every_bar_is_not_significant() -> None:
    given = losses(models=1)
    assert mcs(np.column_stack([given, given + 0.5])).p_values == (1.0, 1.0)
    assert mcs(given).p_values == (1.0,)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_best_models_are_seldom_out(correlation: float) -> None:
    """Of four equally good models, all are in a set of 95 % in nearly 95 % of series."""
    rng = np.random.default_rng(4)
    common = correlation**0.5 * rng.standard_normal((150, 200, 1))
    made = common + (1 - correlation) ** 0.5 * rng.standard_normal((150, 200, 4))
    out = sum(min(mcs(each, reps=199, seed=n).p_values) < 0.05 for n, each in enumerate(made))
    assert binom.ppf(0.0005, 150, 0.04) <= out <= binom.ppf(0.9995, 150, 0.07)


NOISE = np.random.default_rng(0).random((20, 3))


@pytest.mark.parametrize(
    ("values", "settings", "said"),
    [
        (NOISE[:15], {}, "bars must be at least 16, but is 15"),
        (NOISE[:, 0], {}, "model_losses must be (bar, model), but has shape (20,)"),
        (NOISE * np.inf, {}, "first inf of model 0 at bar 0"),
        (NOISE, {"horizon": 0}, "horizon must be at least 1, but is 0"),
        (NOISE, {"reps": 0}, "reps must be at least 1, but is 0"),
        (NOISE, {"horizon": 21}, "between 1 and 20 bars, but is 21"),
    ],
)
def test_invalid_losses_are_refused(values: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        mcs(values, **settings)
