"""What every forecaster does: attributes, scikit-learn conventions, seeds, history."""

import inspect
import math
import random
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from puffin.models.estimators import loops
from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.estimators.univariate import TradingGRU, TradingLSTM
from puffin.models.training.early_stopping import EarlyStopping
from tests.forecasters import (
    NETWORKS,
    OTHER,
    SEED,
    SEEN,
    UNIVARIATE,
    Univariate,
    fit,
    fitted,
    make,
    mean_and_deviation,
    table,
    univariate,
    walk,
    weights,
)

EVERY = list(NETWORKS)


@pytest.mark.parametrize("cls", EVERY)
def test_the_network_moves_to_the_device(cls: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.device] = []
    monkeypatch.setattr(NETWORKS[cls], "to", lambda _, device: moved.append(device))
    model = make(cls)
    model.device = torch.device("cpu")
    fit(model, epochs=0)
    assert moved == [model.device]


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_the_history_has_one_python_float_per_epoch_and_loss(cls: type[Any], epochs: int) -> None:
    history = fit(make(cls), epochs=epochs)
    assert list(history) == ["train_loss", "val_loss"]
    for losses in history.values():
        assert [type(loss) for loss in losses] == [float] * epochs
        assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("method", ["predict", "historical_forecasts"])
def test_a_forecast_before_fit_is_refused(cls: type[Any], method: str) -> None:
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
def test_a_second_fit_does_not_depend_on_the_first(cls: type[Any]) -> None:
    model = fitted(cls)
    first, before = model.model, weights(model)
    fit(model)
    assert model.model is not first
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("lookback", [0, -1])
def test_windows_of_less_than_one_bar_are_refused_with_the_rule(lookback: int) -> None:
    message = f"lookback must be at least 1, but is {lookback}"
    with pytest.raises(ValueError, match=message):
        univariate().prepare_sequences(walk(), lookback)
    with pytest.raises(ValueError, match=message):
        MultivariateLSTM().prepare_sequences(np.ones((9, 2)), np.ones(9), lookback)


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


def test_a_gap_before_the_last_window_does_not_disturb_a_forecast() -> None:
    model = fitted()
    assert model.predict([math.nan, *walk()]).tolist() == model.predict(walk()).tolist()
    rows = fitted(MultivariateLSTM)
    gap = pd.concat([table(1) * math.nan, table()])
    assert rows.predict(gap).tolist() == rows.predict(table()).tolist()


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


@pytest.mark.parametrize("cls", EVERY)
def test_set_params_takes_effect_in_the_next_fit(cls: type[Any]) -> None:
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
def test_repr_shows_the_changed_parameters(model: Any, text: str) -> None:
    assert repr(model) == text


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


def forecasts(model: Any) -> list[float]:
    values = model.historical_forecasts(walk() if isinstance(model, Univariate) else table())
    return values[~np.isnan(values)].tolist()


@pytest.mark.parametrize("cls", EVERY)
def test_equal_seeds_return_equal_models_bit_for_bit(
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


@pytest.mark.parametrize("cls", EVERY)
def test_without_a_seed_a_forecaster_uses_that_of_set_seed_or_zero(
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
def test_training_and_forecasting_leave_the_global_generators_unchanged(
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


@pytest.mark.parametrize("cls", EVERY)
def test_one_early_stopping_can_be_used_for_several_fits(cls: type[Any]) -> None:
    # 6: without a new start the best loss of the first fit would judge the second.
    stopping = EarlyStopping(1, verbose=False)
    runs = []
    for _ in range(2):
        model = make(cls)
        runs.append((fit(model, epochs=6, early_stopping=stopping), weights(model).tolist()))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("cls", EVERY)
def test_weight_decay_makes_weights_small(cls: type[Any]) -> None:
    # 13: Adam was made without it.
    sizes = []
    for weight_decay in (0.0, 1.0):
        model = make(cls, weight_decay=weight_decay)
        fit(model, epochs=8, lr=0.05)
        sizes.append(weights(model).norm().item())
    assert sizes[1] < 0.5 * sizes[0]
