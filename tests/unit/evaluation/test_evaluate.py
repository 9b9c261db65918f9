"""Walk-forward evaluation of one forecaster: training data, forecasts and scores."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from puffin.models.estimators.univariate import TradingLSTM
from puffin.models.evaluation.metrics import score
from puffin.models.evaluation.walk_forward import evaluate

NAN = math.nan


class Drift(BaseEstimator):
    """Forecasts the value before, plus the mean step of what it was trained on."""

    # On the class, because clones are what is trained.
    trained_on: ClassVar[list[list[float]]] = []
    settings: ClassVar[list[dict[str, Any]]] = []
    shown: ClassVar[list[int]] = []
    knew: ClassVar[list[bool]] = []

    def __init__(self, times: float = 1.0) -> None:
        self.times = times

    def fit(self, series: np.ndarray, **settings: Any) -> None:
        self.knew.append(hasattr(self, "step"))
        self.trained_on.append(series.tolist())
        self.settings.append(settings)
        self.step = self.times * float(np.diff(series).mean())

    def historical_forecasts(self, series: np.ndarray) -> np.ndarray:
        self.shown.append(len(series))
        return np.append(NAN, series[:-1] + self.step)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    for log in (Drift.trained_on, Drift.settings, Drift.shown, Drift.knew):
        log.clear()


SERIES = [0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0]


def random_series(bars: int = 30) -> np.ndarray:
    return np.random.default_rng(0).normal(size=bars).cumsum()


# Training


def test_without_retraining_the_model_is_trained_once_before_the_first_bar() -> None:
    found = evaluate(Drift(), SERIES, 3)
    assert Drift.trained_on == [[0.0, 1.0, 3.0]]
    assert found.fits == 1
    # Its mean step is 1.5, added to 3, 6, 10 and 15.
    assert found.forecasts == pytest.approx([NAN, NAN, NAN, 4.5, 7.5, 11.5, 16.5], nan_ok=True)


def test_retraining_uses_all_bars_so_far() -> None:
    found = evaluate(Drift(), SERIES, 3, retrain_every=2)
    assert Drift.trained_on == [[0.0, 1.0, 3.0], [0.0, 1.0, 3.0, 6.0, 10.0]]
    assert found.fits == 2
    # A mean step of 1.5 for the first two bars and of 2.5 for the rest.
    assert found.forecasts == pytest.approx([NAN, NAN, NAN, 4.5, 7.5, 12.5, 17.5], nan_ok=True)


@pytest.mark.parametrize(
    ("first", "retrain_every", "lengths"),
    [
        (20, None, [20]),
        (20, 1, list(range(20, 30))),
        (20, 3, [20, 23, 26, 29]),
        (20, 5, [20, 25]),
        (20, 9, [20, 29]),
        (20, 10, [20]),
        (20, 1000, [20]),
        (29, None, [29]),
        (29, 1, [29]),
        (2, 14, [2, 16]),
    ],
)
def test_training_happens_at_the_first_bar_and_every_retrain_every_bars(
    first: int, retrain_every: int | None, lengths: list[int]
) -> None:
    series = random_series()
    found = evaluate(Drift(), series, first, retrain_every)
    assert Drift.trained_on == [series[:length].tolist() for length in lengths]
    assert found.fits == len(lengths)
    # Nobody is shown more than the bars up to the next training.
    assert Drift.shown == [*lengths[1:], 30]


def test_keyword_arguments_are_passed_to_every_fit() -> None:
    evaluate(Drift(), SERIES, 3, retrain_every=2, epochs=7, validation_split=0.5)
    assert Drift.settings == [{"epochs": 7, "validation_split": 0.5}] * 2


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ({}, {"validation_split": 0.0}),
        ({"early_stopping": None}, {"early_stopping": None, "validation_split": 0.0}),
        # Early stopping has to look at something: the model's own default is left alone.
        ({"early_stopping": "so"}, {"early_stopping": "so"}),
    ],
)
def test_validation_split_is_zero_unless_early_stopping_needs_it(
    given: dict[str, Any], passed: dict[str, Any]
) -> None:
    evaluate(Drift(), SERIES, 3, **given)
    assert Drift.settings == [passed]


def test_a_number_as_persistence_is_used_for_every_bar() -> None:
    found = evaluate(Drift(), SERIES, 3, persistence=0)
    assert found.scores == score(found.forecasts[3:], SERIES[3:], np.zeros(4))


def test_clones_of_the_model_are_trained_with_its_parameters() -> None:
    model = Drift(times=0.0)
    found = evaluate(model, SERIES, 3, retrain_every=1)
    assert vars(model) == {"times": 0.0}
    # No drift: the value before.
    assert list(found.forecasts[3:]) == SERIES[2:-1]


def test_a_fitted_model_is_unchanged_and_its_clones_start_untrained() -> None:
    model = Drift()
    model.fit(np.array([0.0, 100.0]))
    found = evaluate(model, SERIES, 3, retrain_every=2)
    assert model.step == 100.0
    assert found.forecasts[3] == 4.5
    assert Drift.knew == [False] * 3


# Forecasts


def test_every_bar_after_the_first_is_forecast_with_retraining() -> None:
    # The chapter trained once in spite of its words, and left the first 20 test bars out.
    series, first = random_series(100), 60
    found = evaluate(Drift(), series, first, retrain_every=20)
    assert [len(values) for values in Drift.trained_on] == [60, 80]
    assert np.flatnonzero(np.isfinite(found.forecasts)).tolist() == list(range(60, 100))
    assert found.scores.count == 40


@pytest.mark.parametrize("retrain_every", [None, 1, 4])
@pytest.mark.parametrize("bar", [20, 23, 24, 29])
def test_a_forecast_does_not_depend_on_its_bar_or_later_ones(
    bar: int, retrain_every: int | None
) -> None:
    series = random_series()
    changed = series.copy()
    changed[bar:] += np.linspace(50, 90, 30 - bar)
    one = evaluate(Drift(), series, 20, retrain_every).forecasts
    two = evaluate(Drift(), changed, 20, retrain_every).forecasts
    assert np.array_equal(one[: bar + 1], two[: bar + 1], equal_nan=True)
    # And the next one sees it.
    assert (one[bar + 1 :] != two[bar + 1 :]).all()


@pytest.mark.parametrize(
    "form", [tuple, np.array, lambda v: pd.Series(v, pd.bdate_range("2024-01-01", periods=7))]
)
def test_tuples_arrays_and_dated_series_equal_lists(form: Any) -> None:
    found, expected = (evaluate(Drift(), values, 3, 2) for values in (form(SERIES), SERIES))
    assert type(found.forecasts) is np.ndarray
    assert np.array_equal(found.forecasts, expected.forecasts, equal_nan=True)
    assert found.scores == expected.scores


# Scores


@pytest.mark.parametrize("retrain_every", [None, 3])
def test_the_scores_are_those_of_the_forecast_bars_against_the_value_before(
    retrain_every: int | None,
) -> None:
    series = random_series()
    found = evaluate(Drift(), series, 20, retrain_every)
    assert found.scores == score(found.forecasts[20:], series[20:], series[19:-1])


def test_the_scores_of_four_bars_by_hand() -> None:
    scores = evaluate(Drift(), SERIES, 3).scores
    # 4.5, 7.5, 11.5, 16.5 for 6, 10, 15, 21: errors 1.5, 2.5, 3.5, 4.5.
    assert scores.mse == pytest.approx((2.25 + 6.25 + 12.25 + 20.25) / 4)
    assert scores.mae == pytest.approx(3.0)
    # The steps are 3, 4, 5, 6, all up, and so forecast.
    assert scores.persistence_mse == pytest.approx((9 + 16 + 25 + 36) / 4)
    assert (scores.direction.accuracy, scores.direction.moves) == (1.0, 4)


@pytest.mark.parametrize("form", [list, np.array, pd.Series])
def test_returns_are_compared_with_the_given_persistence(form: Any) -> None:
    series = random_series()
    found = evaluate(Drift(), series, 20, persistence=form([9.0] * 20 + [0.0] * 10))
    assert found.scores == score(found.forecasts[20:], series[20:], np.zeros(10))
    assert found.scores.persistence_mse == pytest.approx(np.mean(series[20:] ** 2))


# Bad input


@pytest.mark.parametrize("first", [-1, 0, 7, 8])
def test_a_first_bar_outside_the_series_is_refused(first: int) -> None:
    said = f"first must be from 1 to 6 for 7 bars, but is {first}"
    with pytest.raises(ValueError, match=said):
        evaluate(Drift(), SERIES, first)


@pytest.mark.parametrize("retrain_every", [0, -3])
def test_retrain_every_below_one_is_refused(retrain_every: int) -> None:
    said = f"retrain_every must be at least 1, but is {retrain_every}"
    with pytest.raises(ValueError, match=said):
        evaluate(Drift(), SERIES, 3, retrain_every)


@pytest.mark.parametrize("persistence", [[0.0] * 6, [0.0] * 8, [0.0], []])
def test_persistence_of_another_length_is_refused(persistence: list[float]) -> None:
    with pytest.raises(ValueError, match="persistence must be one number or one for each"):
        evaluate(Drift(), SERIES, 3, persistence=persistence)


def test_a_series_of_two_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match="series must have one dimension"):
        evaluate(Drift(), np.ones((7, 1)), 3)


@pytest.mark.parametrize("series", [[], [1.0]])
def test_a_series_of_fewer_than_two_bars_is_refused(
    series: list[float],
) -> None:
    with pytest.raises(ValueError, match="first must be from 1 to"):
        evaluate(Drift(), series, 1)
    assert Drift.trained_on == []


# The real thing


FIT: dict[str, Any] = {"lookback": 4, "epochs": 1, "lr": 0.01}


@pytest.mark.parametrize(("retrain_every", "starts"), [(None, [30]), (4, [30, 34, 38])])
def test_walk_forward_forecasts_of_a_network_equal_single_predictions(
    retrain_every: int | None, starts: list[int]
) -> None:
    series = random_series(40)
    model = TradingLSTM(hidden_dim=4, num_layers=1, verbose=False)

    found = evaluate(model, series, 30, retrain_every, **FIT)

    expected = []
    for start, stop in zip(starts, [*starts[1:], 40], strict=True):
        own = TradingLSTM(hidden_dim=4, num_layers=1, verbose=False)
        own.fit(series[:start], validation_split=0.0, **FIT)
        expected += [own.predict(series[:bar])[0] for bar in range(start, stop)]
    assert np.isnan(found.forecasts[:30]).all()
    assert found.forecasts[30:] == pytest.approx(expected, rel=1e-5)
    assert found.scores == score(found.forecasts[30:], series[30:], series[29:-1])
    assert found.fits == len(starts)
    assert (model.model, model.lookback, model.mean) == (None, None, None)


def test_an_error_of_the_network_is_raised_unchanged() -> None:
    model = TradingLSTM(hidden_dim=4, num_layers=1, verbose=False)
    with pytest.raises(ValueError, match="the series is too short: 4 values make 0 windows"):
        evaluate(model, random_series(), 4, **FIT)
    with pytest.raises(ValueError, match="series must be finite, but 1 of 20 values are not"):
        evaluate(model, np.append(NAN, random_series()), 20, **FIT)
    with pytest.raises(TypeError, match="hidden_dim"):
        evaluate(model, random_series(), 20, hidden_dim=8)
