"""Forecasters of one series: windows, fit, forecasts, and defects of the published original."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import ParameterGrid

from puffin.models.arrays import Floats
from puffin.models.estimators.univariate import TradingLSTM
from puffin.models.training.early_stopping import EarlyStopping
from tests.forecasters import (
    NETWORKS,
    OTHER,
    SEED,
    SEEN,
    UNIVARIATE,
    Recorder,
    Univariate,
    fit,
    fitted,
    mean_and_deviation,
    outputs,
    univariate,
    walk,
    weights,
)


def squared_errors(model: Any, series: Any) -> Floats:
    """Return the squared error of each window of a standardised series, by a loop."""
    values = (np.asarray(series) - model.mean) / model.std
    back = model.lookback
    windows = np.array([values[i - back : i, None] for i in range(back, len(values))])
    return (outputs(model, windows) - values[back:]) ** 2


class First(Recorder):
    """A `Recorder` that forecasts the oldest value of its window."""

    place = 0


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_an_unfitted_forecaster_has_the_published_attributes(cls: type[Univariate]) -> None:
    model = cls()
    assert [model.model, model.lookback, model.mean, model.std] == [None] * 4
    assert model.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_a_fitted_forecaster_has_its_network_lookback_mean_and_deviation(
    cls: type[Univariate],
) -> None:
    model = fitted(cls)
    assert type(model.model) is NETWORKS[cls]
    assert next(model.model.parameters()).device.type == model.device.type
    assert not model.model.training
    assert model.lookback == 5
    assert [type(model.mean), type(model.std)] == [float, float]


def test_a_window_is_followed_by_its_value() -> None:
    x, y = univariate().prepare_sequences(np.arange(6), 4)
    assert x.tolist() == [[[0], [1], [2], [3]], [[1], [2], [3], [4]]]
    assert y.tolist() == [4, 5]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_windows_are_copies_of_the_same_type(dtype: type) -> None:
    series = np.arange(6, dtype=dtype)
    x, y = univariate().prepare_sequences(series, 2)
    assert (x.dtype, y.dtype) == (dtype, dtype)
    assert (x.shape, y.shape) == ((4, 2, 1), (4,))
    assert not np.shares_memory(x, series)
    assert not np.shares_memory(y, series)


@pytest.mark.parametrize("series", [np.arange(4), []])
def test_windows_of_a_series_that_is_too_short_are_refused(series: Any) -> None:
    with pytest.raises(ValueError, match=f"too short: {len(series)} values .* lookback = 4"):
        univariate().prepare_sequences(series, 4)


def test_windows_of_a_column_are_refused() -> None:
    with pytest.raises(ValueError, match="one dimension, but has shape \\(9, 1\\)"):
        univariate().prepare_sequences(np.ones((9, 1)), 4)


@pytest.mark.parametrize(
    ("series", "settings", "message"),
    [
        # A division by zero in the original.
        (walk(5), {}, "too short: 5 values make 0 windows of lookback = 5"),
        (walk(3), {}, "too short: 3 values make 0 windows"),
        ([], {}, "too short: 0 values make 0 windows"),
        (walk(6), {}, "leaves 0 to train on and 1 to validate on"),
        (walk(), {"validation_split": 1}, "validation_split must be at least 0 and below 1"),
        (walk(), {"validation_split": 1.5}, "below 1, but is 1.5"),
        (walk(), {"validation_split": -0.1}, "below 1, but is -0.1"),
        (walk(), {"validation_split": math.nan}, "below 1, but is nan"),
        # Of 35 windows int(35 * (1 - 1e-20)) = 35 train, so that none is left to validate on.
        (walk(), {"validation_split": 1e-20}, "leaves 35 to train on and 0 to validate on"),
        # All losses were NaN in the original, and nothing said so.
        ([*walk(), math.nan], {}, "finite, but 1 of 41 values are not, first nan at position 40"),
        ([math.inf, *walk()], {}, "finite, but 1 of 41 values are not, first inf at position 0"),
        # Each window was held against the targets of all in the original.
        (walk()[:, None], {}, "one dimension, but has shape (40, 1): pass one column"),
        (3.0, {}, "one dimension, but has shape ()"),
        (["a", "b"], {}, "series must hold numbers only"),
        (pd.date_range("2020", periods=40), {}, "series must hold numbers only, but holds dates"),
        (walk(), {"lookback": 0}, "lookback must be at least 1, but is 0"),
        (walk(), {"lookback": 2.5}, "lookback must be a whole number, but is 2.5"),
        (walk(), {"epochs": -1}, "epochs must be at least 0, but is -1"),
        (walk(), {"epochs": 1.5}, "epochs must be a whole number, but is 1.5"),
        (walk(), {"lr": -0.1}, "lr must be at least 0, but is -0.1"),
        (walk(), {"batch_size": 0}, "batch_size must be at least 1, but is 0"),
        (walk(), {"noise": -1}, "noise must be at least 0, but is -1"),
        (
            walk(),
            {"validation_split": 0, "early_stopping": EarlyStopping()},
            "early_stopping needs validation data, but validation_split is 0",
        ),
    ],
)
@pytest.mark.parametrize("cls", UNIVARIATE)
def test_an_invalid_fit_is_refused(
    cls: type[Univariate], series: Any, settings: dict[str, Any], message: str
) -> None:
    model = univariate(cls)
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(model, series, **settings)
    assert [model.model, model.lookback, model.mean] == [None] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, but is 0"),
        ({"hidden_dim": 2.5}, "hidden_dim must be a whole number, but is 2.5"),
        ({"num_layers": 0}, "num_layers must be at least 1, but is 0"),
        ({"num_layers": 1.5}, "num_layers must be a whole number, but is 1.5"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, but is 1.0"),
        ({"weight_decay": -1e-5}, "weight_decay must be at least 0, but is -1e-05"),
    ],
)
def test_a_hyperparameter_out_of_bounds_is_refused_by_fit(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(univariate(**settings))


@pytest.mark.parametrize(
    "kind",
    [
        list,
        pd.Series,
        # A KeyError in the original.
        lambda s: pd.Series(s, index=pd.date_range("2020-01-01", periods=len(s), tz="UTC")),
        lambda s: pd.Series(s, index=range(len(s), 0, -1)),
        lambda s: s.astype(object),
        lambda s: s[::-1].copy()[::-1],
    ],
    ids=["list", "Series", "DatetimeIndex", "falling index", "objects", "reversed view"],
)
def test_every_kind_of_series_trains_and_forecasts_as_the_array_does(
    kind: Callable[[Floats], Any],
) -> None:
    expected, other = fitted(), fitted(data=kind(walk()))
    assert torch.equal(weights(other), weights(expected))
    # A Series was no input of the original's predict.
    assert other.predict(kind(walk()), 3).tolist() == expected.predict(walk(), 3).tolist()
    history = other.historical_forecasts(kind(walk()))
    np.testing.assert_array_equal(history, expected.historical_forecasts(walk()))


def test_whole_numbers_train_as_the_same_floats_do() -> None:
    numbers = np.arange(40) % 7
    expected = weights(fitted(data=numbers.astype(float)))
    assert torch.equal(weights(fitted(data=numbers)), expected)
    assert torch.equal(weights(fitted(data=numbers.tolist())), expected)


def test_zero_epochs_return_an_untrained_network_that_forecasts() -> None:
    model = univariate()
    assert fit(model, epochs=0) == {"train_loss": [], "val_loss": []}
    assert np.isfinite(model.predict(walk(), 2)).all()


def test_a_constant_series_trains_and_is_forecast_near_itself() -> None:
    model = fitted(data=[3.0] * 40, epochs=20, lr=0.05)
    assert (model.mean, model.std) == (3.0, 1.0)
    assert model.predict([3.0] * 5)[0] == pytest.approx(3.0, abs=0.1)


def test_the_shortest_series_has_one_training_and_one_validation_window() -> None:
    history = fit(univariate(), walk(7))
    assert [len(losses) for losses in history.values()] == [2, 2]
    assert np.isfinite([*history["train_loss"], *history["val_loss"]]).all()


@pytest.mark.parametrize(
    ("series", "steps", "message"),
    [
        (walk()[:4], 1, "series must have at least lookback = 5 values, but has 4"),
        ([], 1, "series must have at least lookback = 5 values, but has 0"),
        (walk(), -1, "steps must be at least 0, but is -1"),
        (walk(), 1.5, "steps must be a whole number, but is 1.5"),
        ([*walk(), math.nan], 1, "must be finite, but 1 of 5 values are not, first nan"),
        (walk()[:, None], 1, "one dimension, but has shape (40, 1)"),
        ("abc", 1, "series must hold numbers only"),
    ],
)
def test_an_invalid_forecast_is_refused(series: Any, steps: float, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted().predict(series, steps)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (walk(5), "too short: 5 values"),
        ([math.nan, *walk()], "finite, but 1 of 41 values are not, first nan at position 0"),
        (walk()[:, None], "one dimension, but has shape (40, 1)"),
    ],
)
def test_invalid_historical_forecasts_are_refused(series: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted().historical_forecasts(series)


def test_no_steps_are_an_empty_array_of_floats() -> None:
    out = fitted().predict(walk(), steps=0)
    assert (out.shape, out.dtype) == ((0,), np.float64)


@pytest.mark.parametrize("cls", UNIVARIATE)
@pytest.mark.parametrize("steps", [1, 2, 12])
def test_a_forecast_of_many_steps_uses_its_forecasts_as_input(
    cls: type[Univariate], steps: int
) -> None:
    model = fitted(cls, epochs=8)
    values = [(value - model.mean) / model.std for value in walk()]
    for _ in range(steps):
        window = np.array(values[-5:]).reshape(1, 5, 1)
        values.append(outputs(model, window)[0])
    expected = np.array(values[40:]) * model.std + model.mean
    out = model.predict(walk(), steps)
    assert out.dtype == np.float64
    assert out == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_historical_forecasts_equal_predictions_from_the_values_before(
    cls: type[Univariate],
) -> None:
    model = fitted(cls, epochs=8)
    series = walk(50)
    history = model.historical_forecasts(series)
    assert (history.shape, history.dtype) == ((50,), np.float64)
    assert np.isnan(history).tolist() == [True] * 5 + [False] * 45
    for t in (5, 6, 23, 40, 49):
        assert history[t] == pytest.approx(model.predict(series[:t])[0], rel=1e-5)
    assert len(set(history[5:])) > 40


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_a_sine_is_learnt(cls: type[Univariate]) -> None:
    series = np.tile([1.0, 5.0, 2.0, 8.0], 20)
    model = univariate(cls, hidden_dim=16, num_layers=1)
    history = fit(model, series, lookback=4, epochs=40, lr=0.03, batch_size=16)
    assert history["val_loss"][-1] < 0.01 * history["val_loss"][0]
    assert model.predict(series, 8) == pytest.approx(series[:8], abs=0.5)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_the_defaults_are_those_of_the_published_network(cls: type[Univariate]) -> None:
    params = cls().get_params()
    assert (params["hidden_dim"], params["num_layers"], params["dropout"]) == (64, 2, 0.2)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_every_point_of_a_grid_trains_its_network(cls: type[Univariate]) -> None:
    # 1: fit(hidden_dim=...) was a TypeError and the constructor took nothing, so that only
    # lookback and lr of a grid reached the network.
    grid = ParameterGrid({"hidden_dim": [3, 5], "num_layers": [2, 3], "dropout": [0.0, 0.4]})
    losses = set()
    for point in grid:
        model = univariate(cls).set_params(**point)
        losses.add(fit(model)["val_loss"][-1])
        hidden, layers = point["hidden_dim"], point["num_layers"]
        network = model.model
        assert (network.hidden_dim, network.num_layers) == (hidden, layers)
        recurrent = network.lstm if cls is TradingLSTM else network.gru
        assert recurrent.dropout == point["dropout"]
        gates = 4 if cls is TradingLSTM else 3
        assert recurrent.weight_ih_l0.shape == (gates * hidden, 1)
        assert len(recurrent.all_weights) == layers
        assert network.fc.weight.shape == (1, hidden)
    assert len(losses) == len(grid) == 8


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_the_series_is_standardised_by_the_values_of_training_windows(
    cls: type[Univariate],
) -> None:
    # 4: both were those of the whole series, validation and all.
    series = walk(30)
    series[SEEN:] += 50
    model = fitted(cls, series)
    assert (model.mean, model.std) == pytest.approx(mean_and_deviation(series[:SEEN]))
    assert model.mean < mean_and_deviation(series)[0] - 5


def overfitting(patience: int) -> tuple[Univariate, dict[str, list[float]], EarlyStopping, float]:
    """Learn a little noise by heart; give model, history, stopping and its validation loss."""
    series = np.random.default_rng(0).normal(size=40)
    model = univariate(hidden_dim=16, dropout=0.0)
    stopping = EarlyStopping(patience, verbose=False)
    history = fit(model, series, epochs=30, lr=0.02, early_stopping=stopping)
    # 35 windows, of which the first 28 train.
    return model, history, stopping, float(squared_errors(model, series)[28:].mean())


def test_training_stopped_early_restores_the_best_weights() -> None:
    # 6: no forecaster could be stopped, and what came out was the last epoch.
    _, history, stopping, loss = overfitting(patience=3)
    losses = history["val_loss"]
    best = losses.index(min(losses))
    assert best > 0
    assert len(history["train_loss"]) == len(losses) == best + 1 + 3 + 1 < 30
    assert stopping.should_stop
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > 1.05 * min(losses)


def test_training_to_the_last_epoch_restores_the_best_weights() -> None:
    # 6 and 12: the best weights came back only where the stopping really stopped.
    _, history, stopping, loss = overfitting(patience=100)
    losses = history["val_loss"]
    assert len(losses) == 30
    assert not stopping.should_stop
    assert 0 < losses.index(min(losses)) < 29
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > 1.05 * min(losses)


def test_without_early_stopping_the_weights_are_those_of_the_last_epoch() -> None:
    model = univariate(dropout=0.0)
    history = fit(model, epochs=4)
    loss = squared_errors(model, walk())[28:].mean()
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_training_that_diverges_at_once_stops_without_best_weights() -> None:
    # 12: a first loss of NaN stayed the best one; test_early_stopping.py has the table of losses.
    stopping = EarlyStopping(1, verbose=False)
    model, settings = univariate(), {"epochs": 9, "lr": 1e30, "early_stopping": stopping}
    with pytest.warns(UserWarning, match="training diverged") as caught:
        history = model.fit(walk(), lookback=5, batch_size=8, **settings)
    # It points to the line that trains.
    assert [warning.filename for warning in caught] == [__file__]
    assert [math.isnan(loss) for loss in history["val_loss"]] == [True, True]
    assert (stopping.best_loss, stopping.best_weights) == (None, None)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_training_pairs_a_window_with_the_next_value(
    cls: type[Univariate], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a period of lookback bars the value behind a window is the first one in it.
    monkeypatch.setattr(cls, "_network", First)
    series = np.tile(np.random.default_rng(0).normal(size=5), 8)
    history = fit(univariate(cls), series, lr=0.0, epochs=1)
    assert history == {name: [pytest.approx(0, abs=1e-12)] for name in history}


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_losses_are_means_over_samples_with_a_smaller_last_batch(
    cls: type[Univariate],
) -> None:
    # 11: the sum over batches was divided by n / batch_size: 4 / (28 / 8) = 1.14 times too much.
    # At a learning rate of 0 the network stays, and a price far off tells a mean of the batches'
    # means from the mean over windows.
    series = walk()
    series[12] += 40
    model = univariate(cls, dropout=0.0)
    history = fit(model, series, lr=0.0, epochs=1)
    errors = squared_errors(model, series)
    assert history["train_loss"][0] == pytest.approx(errors[:28].mean(), rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(errors[28:].mean(), rel=1e-5)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_every_epoch_takes_all_training_windows_in_a_new_order(
    cls: type[Univariate], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 13: the windows came in the order of time in every epoch.
    monkeypatch.setattr(cls, "_network", Recorder)
    model = univariate(cls)
    fit(model, np.arange(40.0), lr=0.0)
    seen = torch.cat(model.model.seen)[:, -1, 0].double().cpu().numpy() * model.std + model.mean
    # 28 windows train; they end with the bars 4 to 31.
    first, second = seen[:28].round().tolist(), seen[28:].round().tolist()
    expected = [float(bar) for bar in range(4, 32)]
    assert sorted(first) == sorted(second) == expected
    assert expected not in (first, second)
    assert first != second


def test_the_order_of_the_windows_follows_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2: the network here has no weights to draw, so that only the order can differ.
    monkeypatch.setattr(TradingLSTM, "_network", Recorder)
    orders = []
    for seed in (SEED, SEED, OTHER):
        model = univariate(seed=seed)
        fit(model)
        orders.append(torch.cat(model.model.seen)[:, -1, 0].tolist())
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
