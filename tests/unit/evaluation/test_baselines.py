"""Simple forecasts, against what the textbooks say written out another way."""

import math
import re

import numpy as np
import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit

from puffin.models.arrays import Floats
from puffin.models.evaluation.baseline import LeftOutError, TooShortError
from puffin.models.evaluation.baselines import (
    ALPHAS,
    BASELINES,
    autoregression,
    drift,
    flat_windows,
    persistence,
    ridge,
    training_mean,
)
from puffin.models.features import TARGETS, Series, build_series
from puffin.models.folds import Fold, Span
from puffin.models.scaling import Scaler
from puffin.models.windows import fold_tensors
from tests.folds import part_of
from tests.rivals import FITTED, forecasts

FEATURES = ["return", "range"]


def columns(bars: int = 300, seed: int = 0) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0.001, 0.02, bars)))
    reach = np.exp(rng.exponential(0.01, (2, bars)))
    return {"close": close, "high": close * reach[0], "low": close / reach[1]}


def series_of(target: str, horizon: int, features: list[str] | None = None) -> Series:
    return build_series(columns(), features or FEATURES, target, horizon)


def series_from(target: Floats, horizon: int = 1) -> Series:
    """Wrap a target known at every bar, whose own value is the one feature."""
    return Series(
        target[:, None], target, np.append(np.zeros(horizon), target[:-horizon]), 0, horizon
    )


TRAIN, SCORE = Span(50, 240), Span(250, 300)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("name", FITTED)
def test_every_baseline_forecasts_every_scored_target_and_no_other(
    name: str, target: str, horizon: int
) -> None:
    series = series_of(target, horizon)
    if not forecasts(name, target):
        with pytest.raises(LeftOutError, match="a range or a volatility alone"):
            BASELINES[name](series, 10, TRAIN, SCORE)
        return
    found = BASELINES[name](series, 10, TRAIN, SCORE).forecasts
    assert found.shape == (50,)
    assert np.isfinite(found).all()
    part = BASELINES[name](series, 10, TRAIN, Span(260, 270)).forecasts
    assert part == pytest.approx(found[10:20], rel=1e-9)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    ("horizon", "train", "score", "said"),
    [
        (1, Span(50, 251), SCORE, "at bar 250, must be known at bar 249, when the first forecast"),
        (3, Span(50, 249), SCORE, "bar 248, must be known at bar 247, when the first forecast"),
        (3, Span(50, 249), SCORE, "purge at least horizon - 1 = 2 targets"),
        (1, Span(50, 50), SCORE, "train and score must hold targets"),
        (1, TRAIN, Span(250, 250), "train and score must hold targets"),
        (
            3,
            Span(12, 240),
            SCORE,
            "lookback 10 needs 13 bars before the first target, but there are 12",
        ),
    ],
)
def test_a_training_label_that_is_not_known_yet_is_refused(
    name: str, horizon: int, train: Span, score: Span, said: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        BASELINES[name](series_of("range", horizon), 10, train, score)


@pytest.mark.parametrize("name", FITTED)
def test_the_last_known_label_is_accepted_for_training(name: str) -> None:
    series = series_of("range", 3)
    assert len(BASELINES[name](series, 10, Span(13, 248), SCORE).forecasts) == 50


# Persistence, mean, drift


def test_persistence_and_the_mean_are_those_of_the_series() -> None:
    series = series_of("range", 2)
    assert persistence(series, 10, TRAIN, SCORE).forecasts.tolist() == [
        series.target[t - 2] for t in range(250, 300)
    ]
    mean = math.fsum(series.target[50:240]) / 190
    assert training_mean(series, 10, TRAIN, SCORE).forecasts == pytest.approx(np.full(50, mean))


@pytest.mark.parametrize("horizon", [1, 4])
def test_drift_of_a_price_is_last_price_plus_mean_move(horizon: int) -> None:
    close = columns()["close"]
    found = drift(series_of("price", horizon), 10, TRAIN, SCORE).forecasts
    move = sum(close[t] - close[t - horizon] for t in range(50, 240)) / 190
    assert found == pytest.approx([close[t - horizon] + move for t in range(250, 300)])
    if horizon == 1:
        # The line from the first bar to the last, as Hyndman and Athanasopoulos draw it.
        assert move == pytest.approx((close[239] - close[49]) / 190)


@pytest.mark.parametrize("horizon", [1, 4])
def test_the_drift_of_a_return_is_the_mean_return(horizon: int) -> None:
    series = series_of("return", horizon)
    found = drift(series, 10, TRAIN, SCORE).forecasts
    assert found == pytest.approx(training_mean(series, 10, TRAIN, SCORE).forecasts)
    one_step = np.log(columns()["close"][240 - 1] / columns()["close"][49]) / 190
    assert found[0] == pytest.approx(horizon * one_step, abs=horizon * 2e-3)


# Autoregression


def autoregressive(weights: list[float], bars: int = 2000, seed: int = 0) -> Floats:
    values = np.random.default_rng(seed).standard_normal(bars)
    for i in range(len(weights), bars):
        values[i] += 0.5 + sum(w * values[i - 1 - j] for j, w in enumerate(weights))
    return values


@pytest.mark.parametrize("horizon", [1, 3])
def test_an_autoregression_solves_the_normal_equations_of_known_lags(horizon: int) -> None:
    values = autoregressive([0.5, -0.3], 300)
    found = autoregression(series_from(values, horizon), 10, TRAIN, SCORE, max_order=4)
    order = int(found.label.removeprefix("AR(").removesuffix(")"))

    def known(t: int) -> list[float]:
        return [1.0, *(values[t - horizon - lag] for lag in range(order))]

    rows = np.array([known(t) for t in range(50, 240)])
    weights = np.linalg.solve(rows.T @ rows, rows.T @ values[50:240])
    assert found.forecasts == pytest.approx([known(t) @ weights for t in range(250, 300)])


@pytest.mark.parametrize("weights", [[0.6], [0.4, 0.3], [0.2, 0.0, 0.5]])
def test_order_and_weights_of_a_simulated_autoregression_are_recovered(
    weights: list[float],
) -> None:
    values = autoregressive(weights)
    found = autoregression(series_from(values), 20, Span(50, 1900), Span(1900, 2000))
    assert found.label == f"AR({len(weights)})"
    truth = [
        0.5 + sum(w * values[t - 1 - j] for j, w in enumerate(weights)) for t in range(1900, 2000)
    ]
    assert np.abs(found.forecasts - truth).max() < 0.25


def test_orders_are_compared_on_the_same_targets_by_bic() -> None:
    values = autoregressive([0.3, 0.25], 300, seed=12)
    train = Span(12, 200)
    found = autoregression(series_from(values), 1, train, SCORE, max_order=15)
    # 15 lags reach back to bar 1 at the earliest from bar 16.
    criteria = []
    for order in range(1, 16):
        rows = np.array([[1.0, *values[t - order : t][::-1]] for t in range(16, 200)])
        residuals = values[16:200] - rows @ np.linalg.pinv(rows) @ values[16:200]
        fit = 184 * math.log(np.mean(residuals**2))
        criteria.append([fit + (order + 1) * math.log(184), fit + 2 * (order + 1)])
    by_bic, by_aic = 1 + np.argmin(criteria, axis=0)
    assert found.label == f"AR({by_bic})"
    assert by_aic > by_bic, "these values tell the two criteria apart"


def test_a_short_training_part_allows_few_lags_or_none() -> None:
    values = autoregressive([0.1] * 3, 300)
    assert autoregression(series_from(values), 1, Span(20, 39), SCORE).label == "AR(1)"
    said = "an autoregression needs 10 training targets with a known lag, but there are 9"
    with pytest.raises(ValueError, match=said):
        autoregression(series_from(values), 1, Span(20, 29), SCORE)
    with pytest.raises(ValueError, match="but there are 5"):
        autoregression(series_from(values, 50), 1, Span(50, 105), SCORE)


def test_a_deterministic_series_is_fitted_exactly() -> None:
    found = autoregression(series_from(np.tile([1.0, 2.0], 150)), 5, TRAIN, SCORE)
    assert found.forecasts == pytest.approx(np.tile([1.0, 2.0], 25))


# Ridge


def alpha_of(label: str) -> float:
    said = float(label.removeprefix("ridge, alpha "))
    return min(ALPHAS, key=lambda alpha: abs(math.log(alpha / said)))


def closed_form(windows: Floats, target: Floats, alpha: float, ahead: Floats) -> Floats:
    """Solve ``(X'X + alpha I) w = X'y`` for centred X and y."""
    middle, level = windows.mean(axis=0), target.mean()
    centred = windows - middle
    gram = centred.T @ centred + alpha * np.eye(windows.shape[1])
    return level + (ahead - middle) @ np.linalg.solve(gram, centred.T @ (target - level))


@pytest.mark.parametrize(
    ("target", "horizon", "lookback"), [("range", 1, 8), ("return", 3, 8), ("price", 2, 30)]
)
def test_ridge_equals_its_closed_form_with_the_cross_validated_penalty(
    target: str, horizon: int, lookback: int
) -> None:
    series = series_of(target, horizon)
    found = ridge(series, lookback, TRAIN, SCORE)
    bars = {8: 22, 30: 30}[lookback]
    features, truth = series.features, series.target

    def windows(span: Span) -> Floats:
        rows = [
            features[t - horizon - bars + 1 : t - horizon + 1].ravel()
            for t in range(*astuple(span))
        ]
        seen = features[TRAIN.start - horizon - lookback + 1 : TRAIN.stop - horizon]
        middle, unit = (np.tile(row, bars) for row in (seen.mean(axis=0), seen.std(axis=0)))
        return (np.array(rows) - middle) / unit

    x, ahead = windows(TRAIN), windows(SCORE)
    mean, std = truth[50:240].mean(), truth[50:240].std()
    y = (truth[50:240] - mean) / std
    alpha = alpha_of(found.label)
    assert found.forecasts == pytest.approx(closed_form(x, y, alpha, ahead) * std + mean, rel=1e-6)
    errors = {
        penalty: np.mean(
            [
                np.mean((y[valid] - closed_form(x[train], y[train], penalty, x[valid])) ** 2)
                for train, valid in TimeSeriesSplit(5, gap=horizon - 1).split(x)
            ]
        )
        for penalty in ALPHAS
    }
    assert min(errors, key=lambda penalty: errors[penalty]) == alpha


def test_ridge_leaves_out_training_targets_without_a_month_of_bars_before_them() -> None:
    series = series_of("range", 2)
    # The first return is at bar 1, so that 22 bars end at bar 22, 2 bars before the target at 24.
    late, early = (ridge(series, 5, Span(start, 240), SCORE) for start in (24, 7))
    assert early.forecasts == pytest.approx(late.forecasts, rel=0.05)
    with pytest.raises(TooShortError, match="need more than 0 training targets"):
        ridge(series, 5, Span(7, 24), SCORE)


def test_ridge_refuses_a_training_part_too_short_for_its_folds() -> None:
    series, score = series_from(np.random.default_rng(0).normal(size=600), 45), Span(500, 550)
    walks = TimeSeriesSplit(5, gap=44)
    fits, short = Span(100, 345), Span(100, 344)
    assert len(list(walks.split(np.zeros(len(fits))))) == 5
    assert len(ridge(series, 10, fits, score).forecasts) == 50
    with pytest.raises(ValueError, match="Too many splits"):
        list(walks.split(np.zeros(len(short))))
    with pytest.raises(TooShortError, match="need more than 244 training targets"):
        ridge(series, 10, short, score)


def astuple(span: Span) -> tuple[int, int]:
    return span.start, span.stop


@pytest.mark.parametrize("horizon", [1, 4])
def test_ridge_sees_the_windows_that_the_networks_see(horizon: int) -> None:
    series = series_of("range", horizon)
    scaler = Scaler.fit(series, TRAIN, 12)
    tensors = fold_tensors([part_of(series, Fold(TRAIN, SCORE), scaler)], 12, torch.device("cpu"))
    for span, seen in ((TRAIN, tensors.train.inputs), (SCORE, tensors.valid.inputs)):
        flat = flat_windows(series, scaler, 12, span)
        assert flat == pytest.approx(seen.flatten(1).numpy(), abs=1e-5)


def test_ar_and_ridge_find_a_linear_signal_and_none_in_noise() -> None:
    values = autoregressive([0.6])
    train, score = Span(50, 1500), Span(1500, 2000)
    for fit in (autoregression, ridge):
        series = series_from(values)
        truth = values[1500:]
        error = np.mean((truth - fit(series, 10, train, score).forecasts) ** 2)
        # Of a variance of 1 / (1 - 0.36) the noise leaves 1.
        assert 1 - error / truth.var() == pytest.approx(0.36, abs=0.06)
        noise = series_from(np.random.default_rng(1).standard_normal(2000))
        error = np.mean((noise.target[1500:] - fit(noise, 10, train, score).forecasts) ** 2)
        assert 1 - error / noise.target[1500:].var() < 0.01
