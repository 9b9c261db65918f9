"""No forecast depends on its bar or a later one, no trained weight on a validation value."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.estimators.univariate import TradingGRU, TradingLSTM

BARS = 24
UNIVARIATE = [TradingLSTM, TradingGRU]
MULTIVARIATE = [MultivariateLSTM, MultivariateGRU]
# Large enough to be no price of the series, small enough for single precision.
VALUES = st.floats(-1e6, 1e6)
ROWS = np.random.default_rng(0).normal(size=(BARS, 3)).cumsum(axis=0) + 50


def table(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["a", "b", "t"])


@pytest.fixture(scope="module", params=UNIVARIATE)
def univariate(request: pytest.FixtureRequest) -> Any:
    model = request.param(hidden_dim=4, verbose=False)
    model.fit(ROWS[:, 0], lookback=4, epochs=2)
    return model


@pytest.fixture(scope="module", params=MULTIVARIATE)
def multivariate(request: pytest.FixtureRequest) -> Any:
    model = request.param(verbose=False)
    model.fit(table(ROWS), "t", lookback=4, epochs=2, hidden_dims=[4, 3])
    return model


@settings(deadline=None)
@given(start=st.integers(0, BARS - 1), values=st.lists(VALUES, min_size=BARS, max_size=BARS))
def test_values_from_a_bar_on_change_no_forecast_up_to_it(
    univariate: Any, start: int, values: list[float]
) -> None:
    changed = ROWS[:, 0].copy()
    changed[start:] = values[start:]
    before = univariate.historical_forecasts(ROWS[:, 0])
    after = univariate.historical_forecasts(changed)
    np.testing.assert_array_equal(after[: start + 1], before[: start + 1])


@settings(deadline=None)
@given(start=st.integers(0, BARS - 1), values=st.lists(VALUES, min_size=BARS, max_size=BARS))
def test_rows_change_no_earlier_forecast_and_targets_change_none(
    multivariate: Any, start: int, values: list[float]
) -> None:
    changed = ROWS.copy()
    changed[start:, :2] = np.array(values)[start:, None]
    changed[:, 2] = values
    before = multivariate.historical_forecasts(table(ROWS))
    after = multivariate.historical_forecasts(table(changed))
    np.testing.assert_array_equal(after[:start], before[:start])


def test_a_value_changes_the_forecasts_after_it(univariate: Any, multivariate: Any) -> None:
    changed = ROWS.copy()
    changed[10] += 1
    before = univariate.historical_forecasts(ROWS[:, 0])
    after = univariate.historical_forecasts(changed[:, 0])
    assert np.flatnonzero(before[4:] != after[4:]).tolist() == [7, 8, 9, 10]
    before = multivariate.historical_forecasts(table(ROWS))
    after = multivariate.historical_forecasts(table(changed))
    assert np.flatnonzero(before[3:] != after[3:]).tolist() == [7, 8, 9, 10]


def state(model: Any) -> list[bytes]:
    """Return everything that a model learnt, bit for bit."""
    names = ("mean", "std", "means", "stds", "target_mean", "target_std")
    weights = nn.utils.parameters_to_vector(model.model.parameters()).detach().cpu().numpy()
    known = [getattr(model, name) for name in names if hasattr(model, name)]
    return [np.asarray(value).tobytes() for value in (*known, weights)]


LAYOUTS = st.tuples(st.integers(1, 6), st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.9]))


@pytest.mark.parametrize("cls", UNIVARIATE)
@settings(deadline=None, max_examples=25)
@given(layout=LAYOUTS, values=st.lists(VALUES, min_size=BARS, max_size=BARS))
def test_validation_values_do_not_change_the_weights_for_a_series(
    cls: type[Any], layout: tuple[int, float], values: list[float]
) -> None:
    lookback, split = layout
    seen = lookback + int((BARS - lookback) * (1 - split))
    learnt = []
    for tail in (ROWS[seen:, 0], values[seen:]):
        model = cls(hidden_dim=3, num_layers=1, verbose=False)
        series = np.concatenate([ROWS[:seen, 0], tail])
        model.fit(series, lookback=lookback, epochs=1, validation_split=split, batch_size=8)
        learnt.append(state(model))
    assert learnt[0] == learnt[1]


@pytest.mark.parametrize("cls", MULTIVARIATE)
@settings(deadline=None, max_examples=25)
@given(layout=LAYOUTS, values=st.lists(VALUES, min_size=BARS, max_size=BARS))
def test_validation_rows_do_not_change_the_weights_for_a_table(
    cls: type[Any], layout: tuple[int, float], values: list[float]
) -> None:
    lookback, split = layout
    seen = lookback + int((BARS - lookback) * (1 - split))
    changed = ROWS.copy()
    changed[seen:] = np.outer(values, [1, -2, 3])[seen:]
    learnt = []
    for rows in (ROWS, changed):
        model = cls(verbose=False)
        model.fit(
            table(rows),
            "t",
            lookback=lookback,
            epochs=1,
            validation_split=split,
            batch_size=8,
            hidden_dims=[3],
        )
        learnt.append(state(model))
    assert learnt[0] == learnt[1]
