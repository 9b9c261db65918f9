"""Features that use the future, for the tests that must detect them."""

from collections.abc import Callable

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.features import Bars


def tomorrow(columns: Bars) -> Floats:
    """Return the return of the next bar, NaN at the last."""
    return np.append(np.diff(np.log(columns["close"])), 0.0)


def rolled(columns: Bars) -> Floats:
    """Return the return of the next bar, and at the last that of the first, as `np.roll`."""
    return np.roll(np.diff(np.log(columns["close"]), prepend=np.log(columns["close"][:1])), -1)


def centred(columns: Bars) -> Floats:
    """Return the mean of three returns, including the next one."""
    ahead = tomorrow(columns)
    return (np.append(np.zeros(2), ahead[:-2]) + np.append(np.zeros(1), ahead[:-1]) + ahead) / 3


def standardised(columns: Bars) -> Floats:
    """Return the closes in standard deviations of the whole series."""
    close = columns["close"]
    return (close - close.mean()) / (close.std() or 1.0)


def scaled(columns: Bars) -> Floats:
    """Return the closes relative to the highest of all: a new high changes all earlier ones."""
    return columns["close"] / columns["close"].max()


def sometimes(columns: Bars) -> Floats:
    """Return the return of the next bar, but only at every seventh bar."""
    return np.where(np.arange(len(columns["close"])) % 7 == 3, tomorrow(columns), 0.0)


def lately(columns: Bars) -> Floats:
    """Return the return of the next bar, but only if the close is a new high."""
    close = columns["close"]
    return np.where(close >= np.maximum.accumulate(close), tomorrow(columns), 0.0)


LEAKS: dict[str, Callable[[Bars], Floats]] = {
    f.__name__: f for f in (tomorrow, rolled, centred, standardised, scaled, sometimes, lately)
}
