"""Losses of forecasts, each one entry of ``LOSSES``. Importable without torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
        Function of ``torch.nn.functional`` that returns the mean of the same losses, or "".
    of_tensors : callable, optional
        The same of tensors, forecasts and targets, if torch has no such function.
    unit : str
        What the errors are of.
    standardised : bool
        Whether a network learns the standardised target; otherwise its errors are in the target's
        unit, and the target is only centred.
    volatility : bool
        Whether it is only for targets that are the log of a volatility.
    statistic : str
        What the exponential of a forecast is, if the target is a logarithm: that of the mean or
        the median of logarithms is a median.
    best_shift : callable, optional
        Maps errors (n,) to the constant that lowers their mean loss most when it is added to the
        forecasts, for models that are fitted by least squares; None if that does no good.
    """

    per_bar: "Callable[[Floats], Floats]"
    torch_name: str = ""
    of_tensors: Callable[[Any, Any], Any] | None = None
    unit: str = "the standardised target"
    standardised: bool = True
    volatility: bool = False
    statistic: str = "median"
    best_shift: "Callable[[Floats], float] | None" = None


def _absolute(errors: "Floats") -> "Floats":
    return abs(errors)


def _squared(errors: "Floats") -> "Floats":
    return errors**2


def _huber(errors: "Floats") -> "Floats":
    """Return the loss of Huber (1964), "Robust Estimation of a Location Parameter", with k = 1."""
    import numpy as np

    size = np.abs(errors)
    return np.where(size < 1.0, errors**2 / 2, size - 0.5)


def _qlike(errors: "Floats") -> "Floats":
    """Return the QLIKE loss of the variance, of errors of the log of a volatility.

    It is ``r - log(r) - 1`` for the ratio r of actual to forecast variance, which is
    ``exp(2 * error)``. It ranks forecasts of a variance as the true variance would, although it
    sees only a noisy proxy, and weighs a large variance less than the squared error does.

    References
    ----------
    Patton (2011), "Volatility Forecast Comparison Using Imperfect Volatility Proxies", Journal of
    Econometrics 160(1), equation 24: the homogeneous robust loss with b = -2.
    """
    import numpy as np

    return np.expm1(2 * errors) - 2 * errors


def _qlike_of_tensors(forecast: Any, target: Any) -> Any:
    errors = target - forecast
    return ((2 * errors).expm1() - 2 * errors).mean()


def _qlike_shift(errors: "Floats") -> float:
    """Return half the log of the mean variance ratio: a mean of logs is below the log of a mean."""
    import numpy as np

    return float(np.log(np.exp(2 * errors).mean()) / 2)


LOSSES: dict[str, Loss] = {
    "mse": Loss(_squared, "mse_loss"),
    "mae": Loss(_absolute, "l1_loss"),
    "huber": Loss(_huber, "huber_loss"),
    "qlike": Loss(
        _qlike,
        of_tensors=_qlike_of_tensors,
        unit="the variance",
        standardised=False,
        volatility=True,
        statistic="root mean square",
        best_shift=_qlike_shift,
    ),
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
