"""The stationary bootstrap of losses that depend on each other over time.

Bars are resampled in blocks of geometric length, whose mean the data decide. docs/adr/0003 says why
this is own code.
"""

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats

# Fewest bars: the dependence of a shorter series cannot be estimated.
MIN_BARS = 16


def check_samples(bars: int, horizon: int, reps: int) -> None:
    """Raise if there are too few bars, or a horizon or a number of samples below 1.

    Raises
    ------
    ValueError
        With the value and the rule.
    """
    for name, value, least in (
        ("bars", bars, MIN_BARS),
        ("horizon", horizon, 1),
        ("reps", reps, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, but is {value}")


def mean_block_length(differentials: Floats, horizon: int, given: float | None = None) -> float:
    """Return the mean length of a block for differentials (bar, model), in bars.

    It is the median over models of `optimal_block_length`, and at least the horizon.

    Raises
    ------
    ValueError
        If the length, or the given one instead, is not between 1 and the number of bars.
    """
    lengths = [optimal_block_length(column) for column in differentials.T] or [1.0]
    length = max(float(np.median(lengths)), float(horizon)) if given is None else float(given)
    if not 1 <= length <= len(differentials):
        raise ValueError(
            f"block_length must be between 1 and {len(differentials)} bars, but is {length:g}"
        )
    return length


def optimal_block_length(values: Floats) -> float:
    """Return the optimal mean block length for the dependence in values (n,), in bars.

    It is at least 1 and at most ``min(3 sqrt(n), n / 3)``. The bandwidth is twice the first lag
    after which five autocorrelations in a row are small.

    References
    ----------
    Politis and White (2004), "Automatic Block-Length Selection for the Dependent Bootstrap",
    Econometric Reviews 23(1), section 3.2; corrected by Patton, Politis and White (2009), the same
    28(4).
    """
    count = len(values)
    centred = values - values.mean()
    run = max(5, int(np.log10(count)))
    last = min(int(np.ceil(np.sqrt(count))) + run, count - 1)
    covariance = np.array([centred[k:] @ centred[: count - k] for k in range(last + 1)]) / count
    small = np.abs(covariance) < 2 * np.sqrt(np.log10(count) / count) * covariance[0]
    quiet = [k for k in range(1, last - run + 1) if small[k : k + run].all()]
    bandwidth = min(2 * quiet[0], last) if quiet else last
    lags = np.arange(1, bandwidth + 1)
    weighted = np.minimum(1.0, 2 * (1 - lags / bandwidth)) * covariance[1 : bandwidth + 1]
    spectrum = covariance[0] + 2 * weighted.sum()
    ratio = (2 * lags @ weighted / spectrum) ** 2 if spectrum else np.inf
    longest = np.ceil(min(3 * np.sqrt(count), count / 3))
    return float(np.clip((ratio * count) ** (1 / 3), 1.0, longest))


def stationary_bootstrap(
    count: int, reps: int, block_length: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw bars (reps, count) in blocks of geometric length; the first bar follows the last."""
    begins = rng.random((reps, count)) < 1 / block_length  # whether a block begins here
    begins[:, 0] = True
    place = np.arange(count)
    # All (reps, count): where the block of each place began, and the bar that it began with.
    block_start = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    first_bar = np.take_along_axis(rng.integers(count, size=(reps, count)), block_start, axis=1)
    return (first_bar + place - block_start) % count


def drawn_means(loss_differentials: Floats, draws: NDArray[np.int64]) -> Floats:
    """Return the mean loss differential of each model in each sample, (rep, model)."""
    count = len(loss_differentials)
    # How often each bar was drawn suffices; the drawn values (rep, bar, model) would not fit in
    # memory.
    weights = np.stack([np.bincount(draw, minlength=count) for draw in draws])  # (rep, bar)
    return np.asarray(weights @ loss_differentials / count)


def bootstrap_variance(loss_differentials: Floats, block_length: float) -> Floats:
    """Return the variance of sqrt(n) times the mean loss differential of a sample, (model,).

    It is exact, over all samples that the stationary bootstrap can draw: with q = 1 / block length,
    the sum over lags i of the autocovariances times the kernel
    ``(1 - i / n) (1 - q)^i + (i / n) (1 - q)^(n - i)``.

    References
    ----------
    Politis and Romano (1994), lemma 1; Hansen (2005), section 3, the kernel.
    """
    count = len(loss_differentials)
    centred = loss_differentials - loss_differentials.mean(axis=0)
    stays = 1 - 1 / block_length
    variance = (centred**2).sum(axis=0) / count
    for lag in range(1, count):
        share = lag / count
        kernel = (1 - share) * stays**lag + share * stays ** (count - lag)
        variance += 2 * kernel * (centred[lag:] * centred[:-lag]).sum(axis=0) / count
    return np.asarray(variance)


def share_of_samples(draws: Floats, statistic: float) -> float:
    """Return the share of samples (rep,) at or above the statistic, which counts as one itself."""
    return float((1 + np.sum(draws >= statistic)) / (1 + len(draws)))
