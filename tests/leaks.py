"""Features that know the future, for the tests that have to notice."""

from collections.abc import Callable

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.features import Bars


def tomorrow(columns: Bars) -> Floats:
    """Give the return of the next bar, and none at the last."""
    return np.append(np.diff(np.log(columns["close"])), 0.0)


def rolled(columns: Bars) -> Floats:
    """Give the return of the next bar, and at the last that of the first, as `np.roll` does."""
    return np.roll(np.diff(np.log(columns["close"]), prepend=np.log(columns["close"][:1])), -1)


def centred(columns: Bars) -> Floats:
    """Give the mean of three returns, the next one among them."""
    ahead = tomorrow(columns)
    return (np.append(np.zeros(2), ahead[:-2]) + np.append(np.zeros(1), ahead[:-1]) + ahead) / 3


def standardised(columns: Bars) -> Floats:
    """Give the closes in standard deviations of the whole series."""
    close = columns["close"]
    return (close - close.mean()) / (close.std() or 1.0)


def scaled(columns: Bars) -> Floats:
    """Give the closes as shares of the highest of all: a new high changes every one before."""
    return columns["close"] / columns["close"].max()


def sometimes(columns: Bars) -> Floats:
    """Give the return of the next bar at every seventh, and none elsewhere."""
    return np.where(np.arange(len(columns["close"])) % 7 == 3, tomorrow(columns), 0.0)


def lately(columns: Bars) -> Floats:
    """Give the return of the next bar when the close is above all before, and else none."""
    close = columns["close"]
    return np.where(close >= np.maximum.accumulate(close), tomorrow(columns), 0.0)


LEAKS: dict[str, Callable[[Bars], Floats]] = {
    f.__name__: f for f in (tomorrow, rolled, centred, standardised, scaled, sometimes, lately)
}
