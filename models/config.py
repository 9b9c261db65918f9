"""Hyperparameters of one network (`Config`) and settings of its training (`TrainingConfig`).

Importable without torch and numpy, because commands read the names of the hyperparameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from puffin.models.cells import CELLS
from puffin.models.losses import LOSSES, Loss, quantile_loss

CELL_NAMES = tuple(CELLS)
LOSS_NAMES = tuple(LOSSES)
# Levels that quantiles can have, so that each has a short name in tables.
_THOUSANDTHS = {number / 1000 for number in range(1, 1000)}


def _bounded(default: Any, low: float, below: float | None = None) -> Any:
    """Return a field of a number, with the bounds that study files are checked against."""
    return field(default=default, metadata={"low": low, "below": below})


def _categorical(default: str, choices: Sequence[str]) -> Any:
    """Return a field of one of several names."""
    return field(default=default, metadata={"choices": tuple(choices)})


def check_number(
    name: str, value: Any, low: float, below: float | None = None, *, whole: bool = False
) -> None:
    """Check that a number is ``low <= value < below``.

    Raises
    ------
    ValueError
        If the value is not a finite number within the bounds, or is not whole and `whole` is set.
    """
    if whole and not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, but is {value!r}")
    if not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, but is {value!r}")
    if not low <= float(value) < (math.inf if below is None else below):
        rule = f"at least {low:g}" + ("" if below is None else f" and below {below:g}")
        raise ValueError(f"{name} must be {rule}, but is {value!r}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Check that a value is one of several names.

    Raises
    ------
    ValueError
        If it is not; the message lists the names.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"unknown {name} {value!r}; known are {', '.join(choices)}")


def check_quantiles(loss: str, quantiles: Sequence[float]) -> None:
    """Check the levels of quantiles.

    Raises
    ------
    ValueError
        If the loss has none, or they are not two or more ascending thousandths with the median.
    """
    if not LOSSES[loss].levels:
        if quantiles:
            raise ValueError(f'quantiles are those of the loss "quantile", but loss is "{loss}"')
        return
    ascending = list(quantiles) == sorted(set(quantiles)) and len(quantiles) > 1
    if not (ascending and 0.5 in quantiles and set(quantiles) <= _THOUSANDTHS):
        raise ValueError(
            "quantiles must be two or more ascending thousandths between 0 and 1, 0.5 among them, "
            f"but are {', '.join(map(str, quantiles))}"
        )


def _check_fields(config: "Config | TrainingConfig") -> None:
    """Check every field that has bounds or choices, and convert numpy's numbers to Python's."""
    for f in fields(config):
        value = getattr(config, f.name)
        if "choices" in f.metadata:
            check_choice(f.name, value, f.metadata["choices"])
        elif f.metadata:
            check_number(f.name, value, **f.metadata, whole=f.type is int)
            # torch and JSON do not accept numpy's numbers everywhere.
            object.__setattr__(config, f.name, int(value) if f.type is int else float(value))


def feature_set(names: Sequence[str]) -> str:
    """Write a set of features as the value of a hyperparameter: ``return + range``."""
    return " + ".join(names)


@dataclass(frozen=True)
class Config:
    """The hyperparameters of one trial.

    A numeric hyperparameter is a field made by ``_bounded``, a categorical one a field made by
    ``_categorical``: the search space, its checks and the comparison of trials follow.

    Parameters
    ----------
    cell : str
        One of ``CELL_NAMES``.
    hidden_dims : tuple of int
        Width of each recurrent layer, input side first.
    dropout : float
        Share of units dropped between layers, in [0, 1). Set to 0 if there is one layer, which has
        no place for it, so that configurations that train the same network compare equal.
    lookback : int
        Bars in one window.
    lr : float
        Learning rate of Adam.
    weight_decay : float
        L2 penalty of Adam.
    batch_size : int
        Windows per training step.
    noise : float
        Standard deviation of Gaussian noise added to training windows, in standard deviations of
        the feature.
    features : str
        The features that the network reads, as `feature_set` writes them; empty for all of a study.

    Raises
    ------
    ValueError
        If a value is out of bounds or not one of the choices.
    """

    cell: str = _categorical("lstm", CELL_NAMES)
    hidden_dims: tuple[int, ...] = (64, 32)
    dropout: float = _bounded(0.2, low=0.0, below=1.0)
    lookback: int = _bounded(20, low=1)
    lr: float = _bounded(1e-3, low=0.0)
    weight_decay: float = _bounded(0.0, low=0.0)
    batch_size: int = _bounded(64, low=1)
    noise: float = _bounded(0.0, low=0.0)
    features: str = ""

    def __post_init__(self) -> None:
        """Check every field, and set dropout to 0 if there is one layer."""
        if not self.hidden_dims:
            raise ValueError("a network needs at least one layer, but got none")
        for width in self.hidden_dims:
            check_number("hidden_dim", width, 1, whole=True)
        object.__setattr__(self, "hidden_dims", tuple(map(int, self.hidden_dims)))
        _check_fields(self)
        if len(self.hidden_dims) == 1:
            object.__setattr__(self, "dropout", 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as values that JSON and TOML can store.

        `features` is left out if the network reads all of its study.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if not self.features:
            del values["features"]
        return values | {"hidden_dims": list(self.hidden_dims)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Read a configuration that `to_dict` returned."""
        return cls(**(values | {"hidden_dims": tuple(values["hidden_dims"])}))


# The hyperparameters that are single numbers.
NUMERIC_FIELDS = tuple(f.name for f in fields(Config) if "low" in f.metadata)
# Those that are one of several names, with these names.
CATEGORICAL_FIELDS: dict[str, tuple[str, ...]] = {
    f.name: f.metadata["choices"] for f in fields(Config) if "choices" in f.metadata
}


@dataclass(frozen=True)
class TrainingConfig:
    """How long a configuration may train, and on which loss: fixed for all trials of a study.

    Parameters
    ----------
    max_epochs : int
        Most passes over the training windows.
    patience : int
        Epochs in a row without a lower mean validation loss that do not stop the training.
    loss : str
        One of ``LOSS_NAMES``, on the standardised target.
    quantiles : sequence of float
        Levels of the loss ``quantile``, ascending and with the median; `losses.QUANTILES` if empty.

    Raises
    ------
    ValueError
        If a value is out of bounds or not one of the choices.
    """

    max_epochs: int = _bounded(50, low=1)
    patience: int = _bounded(8, low=0)
    loss: str = _categorical("mse", LOSS_NAMES)
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check every field."""
        _check_fields(self)
        if levels := LOSSES[self.loss].levels:
            object.__setattr__(self, "quantiles", tuple(self.quantiles) or levels)
        check_quantiles(self.loss, self.quantiles)

    @property
    def criterion(self) -> Loss:
        """The loss, at the levels of its quantiles if it has some."""
        return quantile_loss(self.quantiles) if self.quantiles else LOSSES[self.loss]
