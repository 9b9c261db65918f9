"""Bounds of every hyperparameter and training setting, and conversion to JSON."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from puffin.models.config import Config, TrainingConfig

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dropout", -0.1, "at least 0 and below 1"),
        ("dropout", 1.0, "at least 0 and below 1"),
        ("dropout", NAN, "at least 0 and below 1"),
        ("dropout", INF, "at least 0 and below 1"),
        ("lookback", 0, "at least 1"),
        ("lookback", -3, "at least 1"),
        ("lr", -1e-9, "at least 0"),
        ("lr", NAN, "at least 0"),
        ("weight_decay", -1.0, "at least 0"),
        ("weight_decay", NAN, "at least 0"),
        ("batch_size", 0, "at least 1"),
        ("noise", -0.01, "at least 0"),
        ("noise", NAN, "at least 0"),
        ("lr", "0.1", "a number"),
        ("dropout", None, "a number"),
        ("lookback", 20.0, "a whole number"),
        ("lookback", 2.5, "a whole number"),
        ("lookback", NAN, "a whole number"),
        ("lookback", "20", "a whole number"),
        ("lookback", None, "a whole number"),
        ("batch_size", 32.0, "a whole number"),
        ("batch_size", NAN, "a whole number"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        Config(**{name: value})
    assert str(caught.value) == f"{name} must be {rule}, but is {value!r}"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_epochs", 0, "max_epochs must be at least 1, but is 0"),
        ("max_epochs", -3, "max_epochs must be at least 1, but is -3"),
        ("max_epochs", 2.0, "max_epochs must be a whole number, but is 2.0"),
        ("patience", -1, "patience must be at least 0, but is -1"),
        ("patience", "8", "patience must be a whole number, but is '8'"),
        ("loss", "nonsense", "unknown loss 'nonsense'; known are mse, mae, huber, qlike, quantile"),
        ("loss", None, "unknown loss None; known are mse, mae, huber, qlike, quantile"),
    ],
)
def test_training_out_of_bounds_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainingConfig(**{name: value})


def test_training_at_its_bounds_is_accepted() -> None:
    training = TrainingConfig(max_epochs=np.int64(1), patience=0, loss="huber")
    assert training == TrainingConfig(1, 0, "huber")
    assert type(training.max_epochs) is int


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((), "a network needs at least one layer, but got none"),
        ((0,), "hidden_dim must be at least 1, but is 0"),
        ((8, -1), "hidden_dim must be at least 1, but is -1"),
        ((8, 4.0), "hidden_dim must be a whole number, but is 4.0"),
        ((NAN,), "hidden_dim must be a whole number, but is nan"),
        (("8",), "hidden_dim must be a whole number, but is '8'"),
    ],
)
def test_widths_that_are_not_positive_whole_numbers_are_refused(
    widths: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Config(hidden_dims=widths)


@pytest.mark.parametrize("name", ["lr", "weight_decay", "noise"])
def test_an_infinite_value_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, but is inf"):
        Config(**{name: INF})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_dims", (1,)),
        ("hidden_dims", (np.int64(3), np.int32(2))),
        ("dropout", 0.0),
        ("dropout", 0.999),
        ("dropout", np.float32(0.5)),
        ("lookback", 1),
        ("lookback", np.int64(7)),
        ("lr", 0.0),
        ("lr", 0),
        ("lr", np.float64(0.1)),
        ("weight_decay", 0.0),
        ("batch_size", 1),
        ("batch_size", np.int16(5)),
        ("noise", 0.0),
        ("noise", 3),
    ],
)
def test_values_at_their_bounds_and_of_numpy_are_accepted(name: str, value: Any) -> None:
    assert getattr(Config(**{name: value}), name) == value


def test_one_layer_has_no_dropout_so_that_equal_networks_compare_equal() -> None:
    assert Config(hidden_dims=(8,), dropout=0.5).dropout == 0.0
    assert Config(hidden_dims=(8,), dropout=0.5) == Config(hidden_dims=(8,), dropout=0.1)
    assert Config(hidden_dims=(8, 8), dropout=0.5) != Config(hidden_dims=(8, 8), dropout=0.1)


def test_dropout_of_one_layer_is_checked_too() -> None:
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1, but is 2"):
        Config(hidden_dims=(8,), dropout=2)


def test_the_defaults_are_a_configuration_of_two_lstm_layers() -> None:
    assert Config().to_dict() == {
        "cell": "lstm",
        "hidden_dims": [64, 32],
        "dropout": 0.2,
        "lookback": 20,
        "lr": 0.001,
        "weight_decay": 0.0,
        "batch_size": 64,
        "noise": 0.0,
    }


@pytest.mark.parametrize(
    "values",
    [
        {
            "cell": "gru",
            "hidden_dims": (8, 4, 2),
            "dropout": 0.3,
            "lookback": 7,
            "lr": 0.01,
            "weight_decay": 1e-5,
            "batch_size": 16,
            "noise": 0.1,
        },
        {"hidden_dims": (np.int64(8),), "lookback": np.int64(5)},
        {"dropout": np.float32(0.5), "lr": np.float32(0.5), "noise": np.int64(1)},
    ],
    ids=["python", "whole numbers of numpy", "other numbers of numpy"],
)
def test_a_configuration_survives_json(values: dict[str, Any]) -> None:
    config = Config(**values)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
