"""Losses of forecasts, each one entry of ``LOSSES``. Importable without torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `tuner --help` reads the names of the losses, and does not wait for numpy
    from puffin.models.arrays import Floats


# Levels of the quantiles that are forecast if the study file names none.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Loss:
    """One loss, in numpy for reports and in torch for training.

    Attributes
    ----------
    per_bar : callable
        Maps errors (n,), actual minus forecast, to the loss of each bar (n,); of quantiles those of
        (n, levels).
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
    levels : tuple of float
        If forecasts are quantiles, (n, levels), and not one number, (n,): their levels.
    """

    per_bar: "Callable[[Floats], Floats]"
    torch_name: str = ""
    of_tensors: Callable[[Any, Any], Any] | None = None
    unit: str = "the standardised target"
    standardised: bool = True
    volatility: bool = False
    statistic: str = "median"
    best_shift: "Callable[[Floats], float] | None" = None
    levels: tuple[float, ...] = ()

    @property
    def middle(self) -> int:
        """The place of the median among the levels, which is the point forecast."""
        return middle_of(self.levels)


def middle_of(levels: Sequence[float]) -> int:
    """Return the place of the median among levels."""
    return list(levels).index(0.5)


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


def _pinball(errors: "Floats", levels: Sequence[float]) -> "Floats":
    """Return the mean over levels of the pinball loss of quantiles, of errors (n, levels).

    At level a it is ``a * error`` where the actual is above the forecast and ``(a - 1) * error``
    below. Its mean is lowest at the quantile that a share of a of the actuals is below.

    References
    ----------
    Koenker and Bassett (1978), "Regression Quantiles", Econometrica 46(1).
    """
    import numpy as np

    share = np.asarray(levels)
    losses: Floats = np.maximum(share * errors, (share - 1) * errors).mean(axis=1)
    return losses


def _pinball_of_tensors(forecast: Any, target: Any, levels: Sequence[float]) -> Any:
    errors = target - forecast  # (n, levels): the target is (n, 1)
    share = errors.new_empty(len(levels))
    for place, level in enumerate(levels):
        share[place].fill_(level)  # a CUDA graph cannot record the copy of a list
    return (share * errors).maximum((share - 1) * errors).mean()


def quantile_loss(levels: Sequence[float]) -> Loss:
    """Return the loss of quantiles at the levels of a study."""
    return Loss(
        partial(_pinball, levels=levels),
        of_tensors=partial(_pinball_of_tensors, levels=levels),
        levels=tuple(levels),
    )


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
    "quantile": quantile_loss(QUANTILES),
}
