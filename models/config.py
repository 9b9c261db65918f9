"""One sampled point: everything about a network and its training that a search may vary.

And `TrainingConfig`, what it may not.
"""

import math
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any


def _bounded(default: Any, low: float, below: float | None = None) -> Any:
    """Give a dataclass field its default and the bounds that a study file is checked against."""
    return field(default=default, metadata={"low": low, "below": below})


def check_number(
    name: str, value: Any, low: float, below: float | None = None, *, whole: bool = False
) -> None:
    """Hold a number to ``low <= value < below``.

    Raises
    ------
    ValueError
        If it is out of bounds, no number, not finite, or not whole where it must be.
    """
    if whole and not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, but is {value!r}")
    if not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, but is {value!r}")
    if not low <= float(value) < (math.inf if below is None else below):
        rule = f"at least {low:g}" + ("" if below is None else f" and below {below:g}")
        raise ValueError(f"{name} must be {rule}, but is {value!r}")


# The keys of `rnn.CELLS` and of `training.LOSSES`, readable without importing torch.
CELL_NAMES = ("lstm", "gru")
LOSS_NAMES = ("mse", "mae", "huber")


@dataclass(frozen=True)
class Config:
    """The hyperparameters of one trial.

    Parameters
    ----------
    cell : str
        One of ``CELL_NAMES``.
    hidden_dims : tuple of int
        Width of each recurrent layer, input side first.
    dropout : float
        Share of units dropped between layers, in [0, 1). Inert with one layer, and set to 0 there,
        so that configurations that train the same network compare equal.
    lookback : int
        Bars that one window sees.
    lr : float
        Learning rate of Adam.
    weight_decay : float
        L2 penalty of Adam.
    batch_size : int
        Windows per training step.
    noise : float
        Gaussian noise added to training windows, in standard deviations of the feature.

    Raises
    ------
    ValueError
        If a value is out of bounds.
    """

    cell: str = "lstm"
    hidden_dims: tuple[int, ...] = (64, 32)
    dropout: float = _bounded(0.2, low=0.0, below=1.0)
    lookback: int = _bounded(20, low=1)
    lr: float = _bounded(1e-3, low=0.0)
    weight_decay: float = _bounded(0.0, low=0.0)
    batch_size: int = _bounded(64, low=1)
    noise: float = _bounded(0.0, low=0.0)

    def __post_init__(self) -> None:
        """Check the bounds; drop what cannot act: one layer has no place for dropout."""
        if not self.hidden_dims:
            raise ValueError("a network needs at least one layer, but got none")
        for width in self.hidden_dims:
            check_number("hidden_dim", width, 1, whole=True)
        object.__setattr__(self, "hidden_dims", tuple(map(int, self.hidden_dims)))
        for f in fields(self):
            if f.metadata:
                value = getattr(self, f.name)
                check_number(f.name, value, **f.metadata, whole=f.type is int)
                # numpy's numbers are as good as any, but not to torch and JSON.
                object.__setattr__(self, f.name, int(value) if f.type is int else float(value))
        if len(self.hidden_dims) == 1:
            object.__setattr__(self, "dropout", 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Give the configuration as plain values that JSON and TOML can hold."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {"hidden_dims": list(self.hidden_dims)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Config":
        """Read back what `to_dict` gave."""
        return cls(**(values | {"hidden_dims": tuple(values["hidden_dims"])}))


# The hyperparameters that are plain numbers.
NUMERIC_FIELDS = tuple(f.name for f in fields(Config) if f.metadata)


@dataclass(frozen=True)
class TrainingConfig:
    """How long a configuration may train, and on which loss.

    Parameters
    ----------
    max_epochs : int
        Passes over the training windows at most.
    patience : int
        Epochs without a better mean validation loss that are tolerated.
    loss : str
        One of ``LOSS_NAMES``, on the standardised target.
    """

    max_epochs: int = 50
    patience: int = 8
    loss: str = "mse"
