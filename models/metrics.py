"""What a forecast is worth: losses against baselines, and direction."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def skill(loss: float, persistence_loss: float) -> float:
    """Give ``1 - loss / persistence_loss``: 0 equals persistence, 1 is perfect, below 0 is worse.

    The skill score of Murphy (1988), "Skill scores based on the mean square error", Monthly
    Weather Review 116(12), with persistence as the reference forecast. NaN where persistence is
    never wrong.
    """
    return 1.0 - loss / persistence_loss if persistence_loss > 0 else float("nan")


def direction_accuracy(forecast: Floats, actual: Floats, last: Floats) -> float:
    """Give the share of moves away from `last` whose sign was forecast.

    Parameters
    ----------
    forecast, actual, last : array, (n,), in one unit
        `last` is the persistence forecast: 0 for a return, the last price or range otherwise.

    Returns
    -------
    float
        In [0, 1]; bars that did not move are left out; NaN if none moved.
    """
    moved = actual != last
    if not moved.any():
        return float("nan")
    return float(np.mean(np.sign(forecast - last)[moved] == np.sign(actual - last)[moved]))
