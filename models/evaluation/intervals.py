"""Paths of several steps, bootstrapped from out-of-sample errors, and their intervals."""

import math

import numpy as np
from torch import nn

from puffin.models.arrays import Floats
from puffin.models.evaluation.conformal import tail_rank
from puffin.models.scaling import Scaler
from puffin.models.training.fold_training import forecast_windows
from puffin.models.windows import to_tensor

# Fewest paths, and fewest paths in each tail: fewer leave the ends of an interval to chance.
_PATHS, _TAIL_PATHS = 1000, 10


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
    network: nn.Module,
    scaler: Scaler,
    known: Floats,
    horizon: int,
    noise: Floats,
    output: int = 0,
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
    output : int
        The output of the network that is fed back, such as the median among quantiles.

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
        forecast = forecast_windows(network, scaled)[:, output].double().cpu().numpy()  # (paths,)
        values[:, len(known) + step] = scaler.unscale_target(forecast) + noise[:, step]
    return values[:, len(known) :]


def path_interval(paths: Floats, residuals: int, outside: float) -> tuple[Floats, Floats]:
    """Return the ends (steps,) of the interval of paths (paths, steps).

    Each tail has the same share of residuals as in `residual_interval`, so that with many paths
    the interval of the first step converges to it.

    Parameters
    ----------
    paths : array, (paths, steps), whose noise was drawn from residuals
    residuals : int, number of these residuals
    outside : float, share of both tails; at 0 the interval is infinite
    """
    if outside <= 0:
        return np.full(paths.shape[1], -np.inf), np.full(paths.shape[1], np.inf)
    tail = (tail_rank(residuals, outside) - 0.5) / residuals
    low, high = np.quantile(paths, [tail, 1 - tail], axis=0)
    return low, high
