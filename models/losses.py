"""Losses of forecasts, each one entry of ``LOSSES``. Importable without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `tuner --help` reads the names of the losses, and does not wait for numpy
    from puffin.models.arrays import Floats


@dataclass(frozen=True)
class Loss:
    """One loss, in numpy for reports and in torch for training.

    Attributes
    ----------
    per_bar : callable
        Maps errors (n,), actual minus forecast, to the loss of each bar (n,).
    torch_name : str
        Function of ``torch.nn.functional`` that returns the mean of the same losses.
    """

    per_bar: "Callable[[Floats], Floats]"
    torch_name: str


def _absolute(errors: "Floats") -> "Floats":
    return abs(errors)


def _squared(errors: "Floats") -> "Floats":
    return errors**2


def _huber(errors: "Floats") -> "Floats":
    """Return the loss of Huber (1964), "Robust Estimation of a Location Parameter", with k = 1."""
    import numpy as np

    size = np.abs(errors)
    return np.where(size < 1.0, errors**2 / 2, size - 0.5)


LOSSES: dict[str, Loss] = {
    "mse": Loss(_squared, "mse_loss"),
    "mae": Loss(_absolute, "l1_loss"),
    "huber": Loss(_huber, "huber_loss"),
}


def losses_per_bar(errors: "Floats", loss: str) -> "Floats":
    """Return the loss of each error (n,); their mean is the loss that training minimises.

    Raises
    ------
    ValueError
        If `loss` is not a key of ``LOSSES``.
    """
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; known are {', '.join(LOSSES)}")
    return LOSSES[loss].per_bar(errors)
