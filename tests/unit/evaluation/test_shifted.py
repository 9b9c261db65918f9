"""The level of a baseline that is fitted by least squares, for a loss of variances."""

from collections.abc import Sequence

import numpy as np
import pytest

from puffin.models.evaluation.baseline import Baseline
from puffin.models.evaluation.shifted import shifted
from puffin.models.features import Series
from puffin.models.folds import Fold, Span
from puffin.models.losses import LOSSES
from puffin.models.panel import Member, Part
from puffin.models.scaling import Scaler

BARS, HORIZON = 130, 3
SHIFT = LOSSES["qlike"].best_shift


def part(seed: int) -> Part:
    random = np.random.default_rng(seed)
    target = random.normal(-4, 0.5, BARS)
    series = Series(target[:, None], target, target, 0, HORIZON)
    dates = np.arange(BARS).astype("M8[D]")
    scaler = Scaler(np.zeros(1), np.ones(1), 0.0, 1.0)
    return Part(
        Member(str(seed), dates, series, target), Fold(Span(10, 110), Span(112, 130)), scaler
    )


def mean_of_training(parts: Sequence[Part], _lookback: int) -> Baseline:
    """Forecast the mean of the training part, and remember what was fitted."""
    values = []
    for each in parts:
        train, valid = each.fold.train, each.fold.valid
        mean = each.member.series.target[train.start : train.stop].mean()
        values.append(np.full(len(valid), mean))
    return Baseline("mean", np.concatenate(values))


def test_the_last_fifth_tells_the_shift_of_each_symbol() -> None:
    assert SHIFT is not None
    parts = [part(0), part(1)]
    found = shifted(mean_of_training, SHIFT, parts, 5)
    expected = []
    for each in parts:
        target = each.member.series.target
        # 100 targets: 20 are held out, and the labels of 2 before them reach into these.
        before, held = target[10:88].mean(), target[90:110]
        shift = np.log(np.mean(np.exp(held - before) ** 2)) / 2
        expected += [target[10:110].mean() + shift] * 18
    assert found.forecasts == pytest.approx(expected)
    assert found.label == "mean"


def test_the_shift_lowers_the_loss_most() -> None:
    assert SHIFT is not None
    errors = np.random.default_rng(2).normal(0.3, 0.6, 500)
    best, losses = SHIFT(errors), LOSSES["qlike"].per_bar

    def mean(shift: float) -> float:
        return float(losses(errors - shift).mean())

    assert mean(best) < min(mean(best + 0.01), mean(best - 0.01), mean(errors.mean()))


def test_nothing_of_the_scored_part_is_seen() -> None:
    assert SHIFT is not None
    one, other = part(0), part(0)
    other.member.series.target[110:] += 5.0
    pair = [shifted(mean_of_training, SHIFT, [each], 5).forecasts for each in (one, other)]
    assert np.array_equal(*pair)
