"""Prediction intervals, from out-of-sample residuals and from bootstrapped paths.

A residual is actual - forecast, of a bar that the forecasting network was not trained on.
"""

import math

import numpy as np
from torch import nn

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.scaling import Scaler
from puffin.models.training.fold_training import forecast_windows
from puffin.models.windows import to_tensor

# A share of a count that is a whole number, such as 5 % of 20, can be off by rounding.
_RANK_TOLERANCE = 1e-9
# Fewest paths, and fewest paths in each tail: fewer leave the ends of an interval to chance.
_PATHS, _TAIL_PATHS = 1000, 10


class IntervalError(PuffinError):
    """The residuals are too few for an interval."""


def residual_interval(residuals: Floats, level: float) -> tuple[float, float]:
    """Return the offsets from a forecast between which the actual lies with probability `level`.

    If residuals are exchangeable, the rank of the next one among n others is uniform, so it is
    below their k-th smallest with probability ``k / (n + 1)``. Each tail has the largest k for
    which that is at most ``(1 - level) / 2``. The two offsets can differ in size. Residuals of a
    changing market are not exchangeable, so only a holdout shows the real coverage.

    Parameters
    ----------
    residuals : array, (n,)
        actual - forecast, in any unit and order.
    level : float
        In (0, 1).

    Raises
    ------
    IntervalError
        If `level` is out of bounds, or there are too few residuals for it.

    References
    ----------
    Papadopoulos, Proedrou, Vovk and Gammerman (2002), "Inductive Confidence Machines for
    Regression", ECML; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman (2018), "Distribution-Free
    Predictive Inference for Regression", JASA 113(523), algorithm 2; with signed errors:
    Linusson, Johansson and Löfström (2014), "Signed-Error Conformal Regression", PAKDD.
    """
    rank = _tail_rank(len(residuals), level)
    ordered = np.sort(residuals)
    return float(ordered[rank - 1]), float(ordered[-rank])


def _tail_rank(count: int, level: float) -> int:
    """Return the rank, from either end of `count` residuals, at which a tail begins, from 1."""
    if not 0 < level < 1:
        raise IntervalError(f"level must be above 0 and below 1, but is {level}; 0.9 is usual")
    tail = (1 - level) / 2
    rank = math.floor((count + 1) * tail + _RANK_TOLERANCE)
    if rank < 1:
        least = math.ceil(1 / tail - _RANK_TOLERANCE) - 1
        widest = math.floor(1000 * (1 - 2 / (count + 1))) / 1000
        fix = f"give a level of at most {widest:g}" if widest > 0 else "search with more bars"
        raise IntervalError(
            f"level {level:g} needs at least {least} out-of-sample residuals, to have one in each "
            f"tail of {tail:.4g}, but there are {count}; {fix}"
        )
    return rank


def draw_residuals(
    residuals: Floats, level: float, steps: int, block: int = 1, seed: int = 0
) -> Floats:
    """Draw residuals (n,) with replacement for paths of `steps`, (paths, steps).

    Blocks of `block` neighbours stay together, because forecasts h bars ahead overlap and their
    errors are correlated over h bars. The number of paths suffices for an interval of `level`.

    References
    ----------
    Künsch (1989), "The Jackknife and the Bootstrap for General Stationary Observations", Annals of
    Statistics 17(3), section 2.3.
    """
    paths = max(_PATHS, math.ceil(2 * _TAIL_PATHS / (1 - level)))
    generator = np.random.default_rng(seed)
    size = min(block, len(residuals))
    starts = generator.integers(len(residuals) - size + 1, size=(paths, -(-steps // size)))
    places = starts[:, :, None] + np.arange(size)  # (paths, blocks, size)
    drawn: Floats = residuals[places.reshape(paths, -1)[:, :steps]]
    return drawn


def forecast_recursively(
    network: nn.Module, scaler: Scaler, known: Floats, horizon: int, noise: Floats
) -> Floats:
    """Forecast several steps of a series that is its only feature, each step fed back with noise.

    With noise of 0 this is the point forecast. With drawn residuals each row is one possible path,
    and the quantiles over rows are an interval.

    Parameters
    ----------
    network : nn.Module
        Forecasts the bar `horizon` after the end of a window.
    scaler : Scaler, of one feature
    known : array, (lookback + horizon - 1,)
        The last values of the series, in its unit.
    horizon : int
        Bars ahead of one forecast.
    noise : array, (paths, steps)
        Added to each forecast, in the unit of the series.

    Returns
    -------
    array, (paths, steps), in the unit of the series

    References
    ----------
    Hyndman and Athanasopoulos (2021), "Forecasting: Principles and Practice", 3rd edition, section
    5.5, "Prediction intervals from bootstrapped residuals".
    """
    paths, steps = noise.shape
    lookback = len(known) - horizon + 1
    values = np.hstack([np.tile(known, (paths, 1)), np.empty((paths, steps))])
    device = next(network.parameters()).device
    for step in range(steps):
        window = values[:, step : step + lookback, None]  # (paths, lookback, 1)
        scaled = to_tensor((window - scaler.feature_mean) / scaler.feature_std, device)
        forecast = forecast_windows(network, scaled)[:, 0].double().cpu().numpy()  # (paths,)
        values[:, len(known) + step] = scaler.unscale_target(forecast) + noise[:, step]
    return values[:, len(known) :]


def path_interval(paths: Floats, residuals: int, level: float) -> tuple[Floats, Floats]:
    """Return the ends (steps,) of the interval of paths (paths, steps).

    Each tail has the same share of residuals as in `residual_interval`, so that with many paths
    the interval of the first step converges to it.

    Parameters
    ----------
    paths : array, (paths, steps), whose noise was drawn from residuals
    residuals : int, number of these residuals
    level : float, in (0, 1)
    """
    tail = (_tail_rank(residuals, level) - 0.5) / residuals
    low, high = np.quantile(paths, [tail, 1 - tail], axis=0)
    return low, high
