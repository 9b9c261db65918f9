"""Forecasters of one series: the published interface, its edges, and the defects it once had."""

import contextlib
import inspect
import math
import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import ParameterGrid
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from puffin.models.arrays import Floats
from puffin.models.estimators import loops
from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.estimators.univariate import TradingGRU, TradingLSTM
from puffin.models.networks.rnn import CELLS, GRUNet, LSTMNet, StackedGRU, StackedLSTM
from puffin.models.training.early_stopping import EarlyStopping
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest

Univariate = TradingLSTM | TradingGRU
Multivariate = MultivariateLSTM | MultivariateGRU

NETWORKS: dict[type[Any], type[Any]] = {
    TradingLSTM: LSTMNet,
    TradingGRU: GRUNet,
    MultivariateLSTM: StackedLSTM,
    MultivariateGRU: StackedGRU,
}
UNIVARIATE = [TradingLSTM, TradingGRU]
MULTIVARIATE = [MultivariateLSTM, MultivariateGRU]
EVERY = list(NETWORKS)
SEED, OTHER = 0, 1


def walk(bars: int = 40) -> Floats:
    return 100 + np.random.default_rng(0).normal(size=bars).cumsum()


def table(bars: int = 40) -> pd.DataFrame:
    """Two features and a target that none of them knows."""
    values = np.random.default_rng(0).normal(size=(bars, 3))
    return pd.DataFrame(values, columns=["a", "b", "t"])


def univariate(cls: type[Univariate] = TradingLSTM, **settings: Any) -> Univariate:
    return cls(**{"hidden_dim": 4, "verbose": False, "seed": SEED, **settings})


def fit(model: Any, data: Any = None, **settings: Any) -> dict[str, list[float]]:
    """Train a forecaster of any kind, shortly."""
    settings = {"lookback": 5, "epochs": 2, "batch_size": 8, "lr": 0.01} | settings
    if isinstance(model, Univariate):
        return model.fit(walk() if data is None else data, **settings)
    settings = {"hidden_dims": [4, 3]} | settings
    return model.fit(table() if data is None else data, "t", **settings)


def make(cls: type[Any], **settings: Any) -> Any:
    """Make a forecaster of any kind."""
    if cls in UNIVARIATE:
        return univariate(cls, **settings)
    return cls(**{"verbose": False, "seed": SEED, **settings})


def fitted(cls: type[Any] = TradingLSTM, data: Any = None, **settings: Any) -> Any:
    model = make(cls)
    fit(model, data, **settings)
    return model


def weights(model: Any) -> Tensor:
    return nn.utils.parameters_to_vector(model.model.parameters()).detach().cpu()


def outputs(model: Any, windows: Any) -> Floats:
    """Run standardised windows (n, lookback, feature) through the network; (n,)."""
    x = torch.tensor(np.asarray(windows), dtype=torch.float32, device=model.device)
    with torch.no_grad():
        return model.model.eval()(x)[:, 0].double().cpu().numpy()


def mean_and_deviation(values: Any) -> tuple[float, float]:
    """Work both out by the book, with division by n."""
    numbers = [float(value) for value in values]
    mean = math.fsum(numbers) / len(numbers)
    return mean, math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / len(numbers))


def squared_errors(model: Any, series: Any) -> Floats:
    """Give the squared error of each window of a standardised series, by a loop."""
    values = (np.asarray(series) - model.mean) / model.std
    back = model.lookback
    windows = np.array([values[i - back : i, None] for i in range(back, len(values))])
    return (outputs(model, windows) - values[back:]) ** 2


class Recorder(nn.Module):
    """A network that forecasts one value of its window, plus a weight, and keeps its input."""

    place = -1

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return x[:, self.place, :1] + self.weight


class First(Recorder):
    """A `Recorder` that forecasts the oldest value of its window."""

    place = 0


# Attributes and history


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_an_unfitted_forecaster_has_the_published_attributes(cls: type[Univariate]) -> None:
    model = cls()
    assert [model.model, model.lookback, model.mean, model.std] == [None] * 4
    assert model.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_an_unfitted_forecaster_of_features_has_the_published_attributes(
    cls: type[Multivariate],
) -> None:
    model = cls()
    names = ["model", "lookback", "feature_cols", "target_col", "means", "stds"]
    assert [getattr(model, name) for name in names] == [None] * 6
    assert model.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert not hasattr(model, "target_mean")
    assert not hasattr(model, "target_std")


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


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_fitted_forecaster_of_features_has_its_columns_and_their_means_and_deviations(
    cls: type[Multivariate],
) -> None:
    model = fitted(cls)
    assert type(model.model) is NETWORKS[cls]
    assert model.model.hidden_dims == [4, 3]
    assert (model.lookback, model.feature_cols, model.target_col) == (5, ["a", "b"], "t")
    assert [model.means.shape, model.stds.shape] == [(2,), (2,)]
    assert [type(model.target_mean), type(model.target_std)] == [float, float]


@pytest.mark.parametrize("cls", EVERY)
def test_the_network_moves_to_the_device(cls: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.device] = []
    monkeypatch.setattr(NETWORKS[cls], "to", lambda _, device: moved.append(device))
    model = make(cls)
    model.device = torch.device("cpu")
    fit(model, epochs=0)
    assert moved == [model.device]


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_the_widths_are_the_published_ones_when_not_given(cls: type[Multivariate]) -> None:
    assert fitted(cls, hidden_dims=None, epochs=0).model.hidden_dims == [64, 32]


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_the_history_holds_two_lists_of_one_python_float_per_epoch(
    cls: type[Any], epochs: int
) -> None:
    history = fit(make(cls), epochs=epochs)
    assert list(history) == ["train_loss", "val_loss"]
    for losses in history.values():
        assert [type(loss) for loss in losses] == [float] * epochs
        assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("method", ["predict", "historical_forecasts"])
def test_a_forecast_before_the_training_is_refused(cls: type[Any], method: str) -> None:
    data = walk() if cls in UNIVARIATE else table()
    with pytest.raises(ValueError, match=r"^Model must be trained before prediction$") as caught:
        getattr(make(cls), method)(data)
    # A ValueError, as published, and what scikit-learn's users catch.
    assert isinstance(caught.value, NotFittedError)


@pytest.mark.parametrize("cls", EVERY)
def test_every_tenth_epoch_is_printed(cls: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cls().verbose is True
    model = make(cls).set_params(verbose=True)
    history = fit(model, epochs=25)
    train, valid = history["train_loss"], history["val_loss"]
    assert capsys.readouterr().out == (
        f"Epoch [10/25], Train Loss: {train[9]:.4f}, Val Loss: {valid[9]:.4f}\n"
        f"Epoch [20/25], Train Loss: {train[19]:.4f}, Val Loss: {valid[19]:.4f}\n"
    )


@pytest.mark.parametrize("cls", EVERY)
def test_a_silent_forecaster_prints_nothing(
    cls: type[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fit(make(cls), epochs=10)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("cls", EVERY)
def test_a_second_fit_makes_a_new_network_that_owes_nothing_to_the_first(cls: type[Any]) -> None:
    model = fitted(cls)
    first, before = model.model, weights(model)
    fit(model)
    assert model.model is not first
    assert torch.equal(weights(model), before)


# Windows


def test_a_window_is_followed_by_its_value() -> None:
    x, y = univariate().prepare_sequences(np.arange(6), 4)
    assert x.tolist() == [[[0], [1], [2], [3]], [[1], [2], [3], [4]]]
    assert y.tolist() == [4, 5]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_windows_keep_the_type_of_the_series_and_share_no_memory_with_it(dtype: type) -> None:
    series = np.arange(6, dtype=dtype)
    x, y = univariate().prepare_sequences(series, 2)
    assert (x.dtype, y.dtype) == (dtype, dtype)
    assert (x.shape, y.shape) == ((4, 2, 1), (4,))
    assert not np.shares_memory(x, series)
    assert not np.shares_memory(y, series)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_window_of_rows_ends_with_the_row_of_its_target(cls: type[Multivariate]) -> None:
    features = np.arange(8).reshape(4, 2)
    x, y = cls().prepare_sequences(features, np.array([10, 11, 12, 13]), 2)
    assert x.tolist() == [[[2, 3], [4, 5]], [[4, 5], [6, 7]]]
    assert y.tolist() == [12, 13]
    assert x.dtype == np.int64
    assert not np.shares_memory(x, features)


@pytest.mark.parametrize("series", [np.arange(4), []])
def test_windows_of_a_series_that_is_too_short_are_refused(series: Any) -> None:
    with pytest.raises(ValueError, match=f"too short: {len(series)} values .* lookback = 4"):
        univariate().prepare_sequences(series, 4)


def test_windows_of_a_column_are_refused() -> None:
    with pytest.raises(ValueError, match="one dimension, but has shape \\(9, 1\\)"):
        univariate().prepare_sequences(np.ones((9, 1)), 4)


@pytest.mark.parametrize(
    ("features", "target", "message"),
    [
        (np.ones((9, 2)), np.ones(8), "features have shape (9, 2) and target (8,)"),
        (np.ones(9), np.ones(9), "features have shape (9,) and target (9,)"),
        (np.ones((9, 2)), np.ones((9, 1)), "target must have one dimension, but has shape (9, 1)"),
        (np.ones((4, 2)), np.ones(4), "too short: 4 values"),
    ],
)
def test_windows_of_features_that_do_not_fit_their_target_are_refused(
    features: Floats, target: Floats, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MultivariateLSTM().prepare_sequences(features, target, 4)


@pytest.mark.parametrize("lookback", [0, -1])
def test_windows_of_less_than_one_bar_are_refused_with_the_rule(lookback: int) -> None:
    message = f"lookback must be at least 1, but is {lookback}"
    with pytest.raises(ValueError, match=message):
        univariate().prepare_sequences(walk(), lookback)
    with pytest.raises(ValueError, match=message):
        MultivariateLSTM().prepare_sequences(np.ones((9, 2)), np.ones(9), lookback)


# Edges of fit


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
def test_a_fit_that_cannot_be_right_is_refused_with_the_rule_and_the_value(
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
    ("data", "settings", "error", "message"),
    [
        (table(), {"target_col": "zzz"}, KeyError, "columns ['a', 'b', 't'], but is 'zzz'"),
        (table()[["t"]], {}, ValueError, "must have a feature beside 't', but has none"),
        (table().set_axis(list("aat"), axis=1), {}, ValueError, "but has more of ['a']"),
        (table().to_numpy(), {}, ValueError, "must be a DataFrame, but is a ndarray"),
        (table().a, {}, ValueError, "must be a DataFrame, but is a Series"),
        (table(5), {}, ValueError, "too short: 5 values make 0 windows of lookback = 5"),
        (table(6), {}, ValueError, "leaves 0 to train on and 1 to validate on"),
        # What a shift leaves behind must be dropped first.
        (
            table().assign(t=table().t.shift(-1)),
            {},
            ValueError,
            "column 't' must be finite, but 1 of 40 values are not, first nan at position 39",
        ),
        (table().assign(b=math.inf), {}, ValueError, "column 'b' must be finite, but 40 of 40"),
        (table().assign(b="x"), {}, ValueError, "column 'b' must hold numbers only"),
        (table(), {"hidden_dims": []}, ValueError, "at least one layer, but got none"),
        (table(), {"hidden_dims": [4, 0]}, ValueError, "hidden_dim must be at least 1, but is 0"),
        (table(), {"epochs": -1}, ValueError, "epochs must be at least 0, but is -1"),
        (table(), {"validation_split": 1}, ValueError, "below 1, but is 1"),
        (
            table(),
            {"validation_split": 0, "early_stopping": EarlyStopping()},
            ValueError,
            "early_stopping needs validation data",
        ),
    ],
)
@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_fit_on_features_that_cannot_be_right_is_refused_with_the_rule_and_the_value(
    cls: type[Multivariate],
    data: Any,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    model = make(cls)
    with pytest.raises(error, match=re.escape(message)):
        model.fit(data, **({"target_col": "t", "lookback": 5, "epochs": 1} | settings))
    assert [model.model, model.lookback, model.means] == [None] * 3


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


def test_the_index_and_the_order_of_the_columns_do_not_matter_to_a_forecast_of_rows() -> None:
    model = fitted(MultivariateLSTM)
    dated = table().set_index(pd.date_range("2020-01-01", periods=40))
    assert torch.equal(weights(fitted(MultivariateLSTM, dated)), weights(model))
    expected = model.predict(table())
    # The target is not needed, and what else is there is not looked at.
    assert model.predict(dated[["b", "a"]]).tolist() == expected.tolist()
    assert model.predict(dated.assign(t=math.nan, z="x")).tolist() == expected.tolist()


def test_zero_epochs_give_an_untrained_network_that_forecasts() -> None:
    model = univariate()
    assert fit(model, epochs=0) == {"train_loss": [], "val_loss": []}
    assert np.isfinite(model.predict(walk(), 2)).all()


def test_a_constant_series_trains_and_is_forecast_near_itself() -> None:
    model = fitted(data=[3.0] * 40, epochs=20, lr=0.05)
    assert (model.mean, model.std) == (3.0, 1.0)
    assert model.predict([3.0] * 5)[0] == pytest.approx(3.0, abs=0.1)


def test_constant_columns_train() -> None:
    model = fitted(MultivariateLSTM, table().assign(a=0.1, t=2.0))
    assert (model.stds[0], model.target_mean, model.target_std) == (1.0, 2.0, 1.0)
    assert np.isfinite(model.predict(table())).all()


@pytest.mark.parametrize("cls", EVERY)
def test_without_validation_the_validation_loss_is_nan_and_every_window_trains(
    cls: type[Any],
) -> None:
    model = make(cls)
    history = fit(model, validation_split=0)
    assert all(math.isfinite(loss) for loss in history["train_loss"])
    assert [math.isnan(loss) for loss in history["val_loss"]] == [True, True]
    mean = model.mean if cls in UNIVARIATE else model.target_mean
    whole = walk() if cls in UNIVARIATE else table().t
    assert mean == pytest.approx(mean_and_deviation(whole)[0])


@pytest.mark.parametrize("cls", EVERY)
def test_a_last_batch_of_one_window_trains_without_a_warning(cls: type[Any]) -> None:
    # 35 windows, of which int(35 * 0.8) = 28 train, in batches of 9, 9, 9 and 1.
    history = fit(make(cls), batch_size=9)
    assert all(math.isfinite(loss) for loss in history["train_loss"])


def test_the_smallest_series_trains_on_one_window_and_is_judged_by_one() -> None:
    history = fit(univariate(), walk(7))
    assert [len(losses) for losses in history.values()] == [2, 2]
    assert np.isfinite([*history["train_loss"], *history["val_loss"]]).all()


def test_a_lookback_of_one_bar_trains_and_forecasts() -> None:
    assert fitted(lookback=1).predict([101.0], 2).shape == (2,)
    assert fitted(MultivariateLSTM, lookback=1).historical_forecasts(table()).shape == (40,)


# Forecasts


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
def test_a_forecast_that_cannot_be_right_is_refused_with_the_rule_and_the_value(
    series: Any, steps: float, message: str
) -> None:
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
def test_historical_forecasts_that_cannot_be_right_are_refused(series: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted().historical_forecasts(series)


@pytest.mark.parametrize("method", ["predict", "historical_forecasts"])
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (table()[["a", "t"]], KeyError, "must have the columns ['a', 'b'], but lacks ['b']"),
        (table(4), ValueError, "must have at least lookback = 5 rows, but has 4"),
        (table().assign(a=math.nan), ValueError, "column 'a' must be finite"),
        (table().a, ValueError, "must be a DataFrame, but is a Series"),
        (table().set_axis(list("aab"), axis=1), ValueError, "but has more of ['a']"),
    ],
)
def test_forecasts_of_rows_that_cannot_be_right_are_refused(
    method: str, data: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        getattr(fitted(MultivariateLSTM), method)(data)


def test_a_gap_before_the_last_window_does_not_disturb_a_forecast() -> None:
    model = fitted()
    assert model.predict([math.nan, *walk()]).tolist() == model.predict(walk()).tolist()
    rows = fitted(MultivariateLSTM)
    gap = pd.concat([table(1) * math.nan, table()])
    assert rows.predict(gap).tolist() == rows.predict(table()).tolist()


def test_no_steps_are_an_empty_array_of_floats() -> None:
    out = fitted().predict(walk(), steps=0)
    assert (out.shape, out.dtype) == ((0,), np.float64)


@pytest.mark.parametrize("cls", UNIVARIATE)
@pytest.mark.parametrize("steps", [1, 2, 12])
def test_a_forecast_of_many_steps_feeds_on_its_own_forecasts(
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
def test_a_historical_forecast_is_the_one_that_was_made_from_the_values_before(
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


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_historical_forecast_of_rows_is_the_one_that_was_made_with_its_row(
    cls: type[Multivariate],
) -> None:
    model = fitted(cls, epochs=8)
    rows = table(50)
    history = model.historical_forecasts(rows)
    assert (history.shape, history.dtype) == ((50,), np.float64)
    assert np.isnan(history).tolist() == [True] * 4 + [False] * 46
    for t in (4, 5, 23, 40, 49):
        out = model.predict(rows.iloc[: t + 1])
        assert (out.shape, out.dtype) == ((1,), np.float64)
        assert history[t] == pytest.approx(out[0], rel=1e-5)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_forecast_of_rows_is_that_of_the_network_in_the_unit_of_the_target(
    cls: type[Multivariate],
) -> None:
    data = table().assign(a=table().a * 30 + 7, t=table().t * 5 - 900)
    model = fitted(cls, data, epochs=8)
    last = data[["a", "b"]].to_numpy()[-5:]
    window = (last - model.means) / model.stds
    expected = outputs(model, window[None])[0] * model.target_std + model.target_mean
    assert model.predict(data)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_a_cycle_is_learnt(cls: type[Univariate]) -> None:
    series = np.tile([1.0, 5.0, 2.0, 8.0], 20)
    model = univariate(cls, hidden_dim=16, num_layers=1)
    history = fit(model, series, lookback=4, epochs=40, lr=0.03, batch_size=16)
    assert history["val_loss"][-1] < 0.01 * history["val_loss"][0]
    assert model.predict(series, 8) == pytest.approx(series[:8], abs=0.5)


# Conventions of scikit-learn


SETTINGS = {
    TradingLSTM: ["dropout", "hidden_dim", "num_layers", "seed", "verbose", "weight_decay"],
    TradingGRU: ["dropout", "hidden_dim", "num_layers", "seed", "verbose", "weight_decay"],
    MultivariateLSTM: ["dropout", "seed", "verbose", "weight_decay"],
    MultivariateGRU: ["dropout", "seed", "verbose", "weight_decay"],
}


@pytest.mark.parametrize("cls", EVERY)
def test_the_parameters_are_those_of_the_constructor(cls: type[Any]) -> None:
    model = cls(dropout=0.4, seed=3)
    params = model.get_params()
    assert sorted(params) == SETTINGS[cls] == sorted(inspect.signature(cls).parameters)
    assert (params["dropout"], params["seed"], params["weight_decay"]) == (0.4, 3, 0.0)


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_the_defaults_are_those_of_the_published_network(cls: type[Univariate]) -> None:
    params = cls().get_params()
    assert (params["hidden_dim"], params["num_layers"], params["dropout"]) == (64, 2, 0.2)


@pytest.mark.parametrize("cls", EVERY)
def test_parameters_that_are_set_act_in_the_next_fit(cls: type[Any]) -> None:
    model = make(cls)
    assert model.set_params(seed=OTHER, dropout=0.0, weight_decay=0.1) is model
    fit(model)
    other = make(cls, seed=OTHER, dropout=0.0, weight_decay=0.1)
    fit(other)
    assert torch.equal(weights(model), weights(other))
    assert not torch.equal(weights(model), weights(fitted(cls)))


@pytest.mark.parametrize("cls", EVERY)
def test_an_unknown_parameter_is_refused(cls: type[Any]) -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'width'"):
        cls().set_params(width=3)


@pytest.mark.parametrize("cls", EVERY)
def test_a_clone_of_a_fitted_forecaster_has_its_parameters_and_no_network(cls: type[Any]) -> None:
    model = make(cls, dropout=0.3, seed=7)
    fit(model)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert (copy.model, copy.lookback) == (None, None)
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(model)
    fit(copy)
    assert torch.equal(weights(copy), weights(model))


@pytest.mark.parametrize("cls", EVERY)
def test_a_clone_trains_on_the_device_of_its_original(cls: type[Any]) -> None:
    model = cls()
    model.device = torch.device("meta")
    assert clone(model).device == torch.device("meta")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (TradingLSTM(), "TradingLSTM()"),
        (TradingGRU(hidden_dim=8, seed=3), "TradingGRU(hidden_dim=8, seed=3)"),
        (MultivariateLSTM(dropout=0.5), "MultivariateLSTM(dropout=0.5)"),
        (MultivariateGRU(), "MultivariateGRU()"),
    ],
)
def test_a_forecaster_is_written_as_it_was_made(model: Any, text: str) -> None:
    assert repr(model) == text


# Defects of the original, by their number in the list of them


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_every_point_of_a_grid_trains_the_network_that_it_names(cls: type[Univariate]) -> None:
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


@cache
def plain_weights(cls: type[Any]) -> Tensor:
    return weights(fitted(cls))


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize(
    ("made", "trained"),
    [
        ({"dropout": 0.5}, {}),
        ({"weight_decay": 0.1}, {}),
        ({}, {"noise": 0.5}),
        ({}, {"lr": 0.02}),
        ({}, {"batch_size": 7}),
        ({}, {"epochs": 3}),
        ({}, {"lookback": 6}),
    ],
)
def test_every_hyperparameter_changes_what_is_learnt(
    cls: type[Any], made: dict[str, Any], trained: dict[str, Any]
) -> None:
    # 1 and 13: there was no weight decay and no noise, and no way to set the dropout.
    model = make(cls, **made)
    fit(model, **trained)
    assert not torch.equal(weights(model), plain_weights(cls))


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_widths_and_dropout_reach_the_stack(cls: type[Multivariate]) -> None:
    # 1: the dropout was 0.2 whatever one wanted.
    model = make(cls, dropout=0.35)
    fit(model, hidden_dims=[6, 5, 2])
    assert model.model.hidden_dims == [6, 5, 2]
    assert model.model.dropout.p == 0.35
    assert model.model.fc.weight.shape == (1, 2)


def forecasts(model: Any) -> list[float]:
    values = model.historical_forecasts(walk() if isinstance(model, Univariate) else table())
    return values[~np.isnan(values)].tolist()


@pytest.mark.parametrize("cls", EVERY)
def test_the_same_seed_gives_the_same_model_bit_for_bit_and_another_seed_another(
    cls: type[Any],
) -> None:
    # 2: weights, dropout and order came from the global generator, which nobody seeded.
    runs = []
    for number, seed in enumerate([SEED, SEED, OTHER]):
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002  # nothing may depend on it
        random.seed(number)
        model = make(cls, seed=seed, dropout=0.3)
        runs.append((fit(model, noise=0.1), forecasts(model), weights(model).tolist()))
    assert runs[0] == runs[1]
    assert all(one != other for one, other in zip(runs[0], runs[2], strict=True))


@pytest.fixture
def _no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as if `set_seed` had not been called, and put back what it sets."""
    monkeypatch.setattr(loops._LastSeed, "value", 0)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


@pytest.mark.usefixtures("_no_seed")
@pytest.mark.parametrize("cls", EVERY)
def test_without_a_seed_of_its_own_a_forecaster_takes_that_of_set_seed_or_zero(
    cls: type[Any],
) -> None:
    def trained(seed: int | None = None) -> list[float]:
        model = make(cls, seed=seed)
        fit(model, noise=0.1)
        return weights(model).tolist()

    assert cls().seed is None
    assert trained() == trained(0)
    loops.set_seed(7)
    first = trained()
    torch.rand(3)
    assert first == trained() == trained(7)
    # Its own seed goes before.
    assert trained(0) != first


def global_draws() -> tuple[float, float, float]:
    return (random.random(), np.random.random(), torch.rand(()).item())  # noqa: NPY002  # those


@pytest.mark.parametrize("cls", EVERY)
def test_the_global_generators_go_on_as_if_nothing_had_been_trained_or_forecast(
    cls: type[Any],
) -> None:
    # 2: a fit drew its weights from torch's global generator and so moved it.
    draws = []
    for train in (False, True):
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002  # the one that must not move
        torch.manual_seed(5)
        if train:
            forecasts(fitted(cls, noise=0.1))
        draws.append(global_draws())
    assert draws[0] == draws[1]


# A lookback of 5, 30 bars and a validation split of 0.2: 25 windows, of which 20 train and see
# the first 5 + 20 bars.
SEEN = 25


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_mean_and_deviation_are_those_of_the_bars_that_training_sees(
    cls: type[Univariate],
) -> None:
    # 4: both were those of the whole series, validation and all.
    series = walk(30)
    series[SEEN:] += 50
    model = fitted(cls, series)
    assert (model.mean, model.std) == pytest.approx(mean_and_deviation(series[:SEEN]))
    assert model.mean < mean_and_deviation(series)[0] - 5


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_means_and_deviations_of_columns_are_those_of_the_rows_that_training_sees(
    cls: type[Multivariate],
) -> None:
    # 4: those of features and target were those of all rows.
    data = table(30)
    data.iloc[SEEN:] += 50
    model = fitted(cls, data)
    for column, mean, std in zip(["a", "b"], model.means, model.stds, strict=True):
        assert (mean, std) == pytest.approx(mean_and_deviation(data[column][:SEEN]))
    target = (model.target_mean, model.target_std)
    assert target == pytest.approx(mean_and_deviation(data.t[:SEEN]))


@pytest.mark.parametrize("cls", EVERY)
def test_validation_values_change_nothing_in_the_trained_weights(cls: type[Any]) -> None:
    # 4: through mean and deviation they changed the input of every training window.
    data = walk(30) if cls in UNIVARIATE else table(30)
    changed = data.copy()
    changed[SEEN:] = changed[SEEN:] * 3 + 11
    one, other = make(cls), make(cls)
    first, second = fit(one, data), fit(other, changed)
    assert torch.equal(weights(one), weights(other))
    assert first["train_loss"] == second["train_loss"]
    assert first["val_loss"] != second["val_loss"]


def overfitting(patience: int) -> tuple[Univariate, dict[str, list[float]], EarlyStopping, float]:
    """Learn a little noise by heart; give model, history, stopping and its validation loss."""
    series = np.random.default_rng(0).normal(size=40)
    model = univariate(hidden_dim=16, dropout=0.0)
    stopping = EarlyStopping(patience, verbose=False)
    history = fit(model, series, epochs=30, lr=0.02, early_stopping=stopping)
    # 35 windows, of which the first 28 train.
    return model, history, stopping, float(squared_errors(model, series)[28:].mean())


def test_training_stopped_early_ends_with_the_weights_of_the_best_epoch() -> None:
    # 6: no forecaster could be stopped, and what came out was the last epoch.
    _, history, stopping, loss = overfitting(patience=3)
    losses = history["val_loss"]
    best = losses.index(min(losses))
    assert best > 0
    assert len(history["train_loss"]) == len(losses) == best + 1 + 3 + 1 < 30
    assert stopping.should_stop
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > 1.05 * min(losses)


def test_training_that_was_never_stopped_ends_with_the_weights_of_the_best_epoch_too() -> None:
    # 6 and 12: the best weights came back only where the stopping really stopped.
    _, history, stopping, loss = overfitting(patience=100)
    losses = history["val_loss"]
    assert len(losses) == 30
    assert not stopping.should_stop
    assert 0 < losses.index(min(losses)) < 29
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert losses[-1] > 1.05 * min(losses)


@pytest.mark.parametrize("cls", EVERY)
def test_an_early_stopping_may_serve_one_fit_after_another(cls: type[Any]) -> None:
    # 6: without a new start the best loss of the first fit would judge the second.
    stopping = EarlyStopping(1, verbose=False)
    runs = []
    for _ in range(2):
        model = make(cls)
        runs.append((fit(model, epochs=6, early_stopping=stopping), weights(model).tolist()))
    assert runs[0] == runs[1]


def test_without_early_stopping_the_weights_are_those_of_the_last_epoch() -> None:
    model = univariate(dropout=0.0)
    history = fit(model, epochs=4)
    loss = squared_errors(model, walk())[28:].mean()
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_a_training_that_diverges_at_once_is_stopped_and_leaves_nothing_to_restore() -> None:
    # 12: a first loss of NaN became the best one for good; the table of losses is in
    # test_training, in test_early_stopping_stops_where_the_table_says.
    stopping = EarlyStopping(1, verbose=False)
    with pytest.warns(UserWarning, match="training diverged") as caught:
        history = fit(univariate(), epochs=9, lr=1e30, early_stopping=stopping)
    # It points to the line that trains.
    assert [warning.filename for warning in caught] == [__file__]
    assert [math.isnan(loss) for loss in history["val_loss"]] == [True, True]
    assert (stopping.best_loss, stopping.best_weights) == (None, None)


KNOWN = r"target_col 't' can be read off the features up to its row"


def known(bars: int = 120) -> pd.DataFrame:
    """A target that its own row knows, and no other row does."""
    noise = np.random.default_rng(0).normal(size=bars)
    return pd.DataFrame({"a": noise, "t": noise})


@pytest.mark.parametrize(("cls", "cell"), [(MultivariateLSTM, "lstm"), (MultivariateGRU, "gru")])
def test_training_pairs_the_window_that_ends_at_a_row_with_the_target_of_that_row(
    cls: type[Multivariate], cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 10: the window ended one row before, so that "the next return" was the one after it. A
    # network that says the newest feature then is wrong; here its loss is 0.
    monkeypatch.setitem(CELLS, cell, Recorder)
    model = make(cls)
    history = fit(model, known(30), lr=0.0, epochs=1)  # too few rows for a warning
    assert history == {name: [pytest.approx(0, abs=1e-12)] for name in history}
    # What is trained on are the first 20 windows that prepare_sequences cuts.
    rows = known(30)[["a"]].to_numpy()
    expected = model.prepare_sequences(rows, rows[:, 0], 5)[0][:20, :, 0]
    seen = torch.cat(model.model.seen)[:, :, 0].cpu().numpy() * model.stds + model.means
    np.testing.assert_allclose(np.sort(seen, axis=0), np.sort(expected, axis=0), atol=1e-5)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_target_that_only_the_newest_row_knows_is_learnt(cls: type[Multivariate]) -> None:
    # 10: with that row left out nothing could be learnt of noise, and the loss stayed about 1.
    model = make(cls)
    with pytest.warns(UserWarning, match=KNOWN):
        history = fit(
            model, known(), lookback=3, epochs=30, lr=0.05, batch_size=32, hidden_dims=[8]
        )
    assert history["val_loss"][-1] < 0.1


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_the_newest_row_changes_the_forecast_and_a_row_before_the_window_does_not(
    cls: type[Multivariate],
) -> None:
    model = fitted(cls)
    newest, old = table(), table()
    newest.loc[[39], "a"] += 1
    old.loc[[34], "a"] += 1
    expected = model.predict(table()).tolist()
    assert model.predict(newest).tolist() != expected
    assert model.predict(old).tolist() == expected


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_training_pairs_a_window_with_the_value_behind_it(
    cls: type[Univariate], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a period of lookback bars the value behind a window is the first one in it.
    monkeypatch.setattr(cls, "_network", First)
    series = np.tile(np.random.default_rng(0).normal(size=5), 8)
    history = fit(univariate(cls), series, lr=0.0, epochs=1)
    assert history == {name: [pytest.approx(0, abs=1e-12)] for name in history}


@pytest.mark.parametrize("cls", UNIVARIATE)
def test_the_losses_are_true_means_although_the_last_batch_is_smaller(
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


@pytest.mark.parametrize("cls", EVERY)
def test_weight_decay_makes_weights_small(cls: type[Any]) -> None:
    # 13: Adam was made without it.
    sizes = []
    for weight_decay in (0.0, 1.0):
        model = make(cls, weight_decay=weight_decay)
        fit(model, epochs=8, lr=0.05)
        sizes.append(weights(model).norm().item())
    assert sizes[1] < 0.5 * sizes[0]


# The warning of a target that its own row knows


@cache
def bars() -> pd.DataFrame:
    return load_prices("sample", PriceRequest("AAPL")).frame[["open", "high", "low", "close"]]


def train_on(data: pd.DataFrame, cls: type[Multivariate] = MultivariateLSTM) -> None:
    make(cls).fit(data, "t", lookback=5, epochs=0, hidden_dims=[2])


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_close_beside_its_own_open_high_and_low_is_warned_of(cls: type[Multivariate]) -> None:
    with pytest.warns(UserWarning, match=KNOWN) as caught:
        train_on(bars().rename(columns={"close": "t"}), cls)
    (warning,) = caught
    assert "features_df['t'].shift(-1)" in str(warning.message)
    # It points to the line that trains.
    assert warning.filename == __file__


@pytest.mark.parametrize(
    "target",
    [
        lambda frame: frame.close.shift(-1),
        lambda frame: frame.close.pct_change().shift(-1),
        lambda frame: np.log(frame.close).diff().shift(-1),
        lambda frame: (frame.high / frame.low - 1).shift(-1),
        lambda frame: frame.close * 0 + 1.0,
    ],
    ids=["next close", "next return", "next log return", "next range", "constant"],
)
def test_a_target_of_the_next_row_is_not_warned_of(
    target: Callable[[pd.DataFrame], pd.Series],
) -> None:
    frame = bars()
    features = frame.assign(r=frame.close.pct_change(), v=(frame.high / frame.low - 1))
    train_on(features.assign(t=target(frame)).dropna())


@pytest.mark.parametrize(
    "target",
    [
        lambda frame: frame.close,
        lambda frame: (frame.open + frame.high) / 2,
        lambda frame: -3 * frame.low + 8,
    ],
    ids=["feature itself", "mean of two", "scaled"],
)
def test_a_target_that_a_line_through_the_features_gives_is_warned_of(
    target: Callable[[pd.DataFrame], pd.Series],
) -> None:
    with pytest.warns(UserWarning, match=KNOWN):
        train_on(bars().assign(t=target(bars())))


@pytest.mark.parametrize("columns", [["close"], ["open", "high", "low", "close"]])
def test_a_return_beside_the_closes_that_it_is_made_of_is_warned_of(columns: list[str]) -> None:
    # The features of a row do not know its return, but those of it and of the row before do.
    data = bars()[columns].assign(t=bars().close.pct_change()).tail(500)
    with pytest.warns(UserWarning, match=KNOWN):
        train_on(data)


@pytest.mark.parametrize(("rows", "warns"), [(35, False), (36, True)])
def test_so_few_rows_that_any_target_fits_them_are_not_warned_of(
    rows: int,
    warns: bool,  # noqa: FBT001  # a parameter of the table
) -> None:
    # Two features, those of the row before and the mean are 5 columns: of 35 rows they leave 34 - 5
    # to judge by, of 36 they leave 30, which are asked for.
    data = table(rows).assign(t=lambda d: d.a)
    with pytest.warns(UserWarning, match=KNOWN) if warns else contextlib.nullcontext():
        make(MultivariateLSTM).fit(
            data, "t", lookback=2, epochs=0, validation_split=0, hidden_dims=[2]
        )
