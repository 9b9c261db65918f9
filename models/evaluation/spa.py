"""Superior predictive ability: whether the best of many models beats a benchmark.

The loss differentials are resampled in blocks of bars, and the best model of each sample gives the
distribution of the statistic: of many models, one looks good by chance in most samples.

Why own code: ``arch`` 8.0 accepts ``studentize`` in its ``SPA`` and ignores it, so that its
p-values are those of the reality check (tests/unit/evaluation/test_spa.py compares). It also brings
statsmodels, for two functions of this module that it could replace: the bootstrap and the length of
its blocks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import (
    Floats,
    as_matrix,
    as_series,
    require_finite,
    require_same_index,
    require_time_order,
    varies,
)

# Fewest bars: the dependence of a shorter series cannot be estimated.
MIN_BARS = 16


@dataclass(frozen=True)
class SpaResult:
    """Tests of the null hypothesis that no model is better than the benchmark.

    Attributes
    ----------
    consistent : float, p-value of Hansen's test, which ignores models that are far worse than the
        benchmark
    lower, upper : float, p-values that bound it: ignoring every worse model, and ignoring none
    reality_check : float, p-value of White's test: as `upper`, but without standardising
    statistic : float, the best model's mean loss differential in standard errors, at least 0
    best : int, position of that model; -1 if no model's loss differentials vary
    block_length : float, mean length of the blocks, in bars
    reps : int, bootstrap samples
    """

    consistent: float
    lower: float
    upper: float
    reality_check: float
    statistic: float
    best: int
    block_length: float
    reps: int


def spa(
    benchmark_losses: Any,
    model_losses: Any,
    horizon: int = 1,
    *,
    seed: int = 0,
    reps: int = 2000,
    block_length: float | None = None,
) -> SpaResult:
    """Test for superior predictive ability over all models that were tried.

    Models whose loss differentials do not vary, such as copies of the benchmark, are left out. The
    p-values count the data themselves as one sample, so none is 0.

    Parameters
    ----------
    benchmark_losses : array, list or pandas Series, (n,), in units of the loss
        In order of time.
    model_losses : array, (n, model), in units of the loss
    horizon : int
        Bars ahead; the mean length of a block is at least this.
    seed : int
    reps : int
        Bootstrap samples.
    block_length : float, optional
        Mean length of a block; by default the median over models of `optimal_block_length`.

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than 16 bars, a value is not finite, `horizon` or
        `reps` is below 1, or `block_length` is not between 1 and n.

    Notes
    -----
    In simulations of 10 models without skill, `consistent` is below 0.05 at a horizon of 1 in 9 %
    of series of 120 bars and 4 % of 600; at a horizon of 3 in 17 % of series of 250 bars and 9 % of
    600, whatever the length of the blocks. With few bars and overlapping labels, use a stricter
    level.

    References
    ----------
    Hansen (2005), "A Test for Superior Predictive Ability", Journal of Business & Economic
    Statistics 23(4), sections 2 and 3.
    White (2000), "A Reality Check for Data Snooping", Econometrica 68(5).
    Politis and Romano (1994), "The Stationary Bootstrap", Journal of the American Statistical
    Association 89(428).
    """
    loss_differentials = _checked(benchmark_losses, model_losses, horizon, reps)
    count = len(loss_differentials)
    kept = np.flatnonzero(varies(loss_differentials))
    loss_differentials = loss_differentials[:, kept]
    if block_length is None:
        block_length = _block_length(loss_differentials, horizon)
    if not 1 <= block_length <= count:
        raise ValueError(f"block_length must be between 1 and {count} bars, but is {block_length}")
    if not len(kept):
        nan = float("nan")
        return SpaResult(nan, nan, nan, nan, nan, -1, block_length, reps)
    rng = np.random.default_rng(seed)
    samples = stationary_bootstrap(count, reps, block_length, rng)  # (rep, bar)
    drawn = _drawn_means(loss_differentials, samples)  # (rep, model)
    scale = np.sqrt(_bootstrap_variance(loss_differentials, block_length) / count)  # (model,)
    scores = loss_differentials.mean(axis=0) / scale
    consistent, lower, upper, reality_check = _p_values(loss_differentials, drawn, scale)
    return SpaResult(
        consistent=consistent,
        lower=lower,
        upper=upper,
        reality_check=reality_check,
        statistic=max(float(scores.max()), 0.0),
        best=int(kept[scores.argmax()]),
        block_length=float(block_length),
        reps=reps,
    )


def _p_values(
    loss_differentials: Floats, drawn: Floats, scale: Floats
) -> tuple[float, float, float, float]:
    """Return the p-values of the consistent, lower and upper test and of White's.

    Parameters
    ----------
    loss_differentials : array, (bar, model)
    drawn : array, (rep, model), mean loss differentials of the bootstrap samples
    scale : array, (model,), standard errors of the mean loss differentials
    """
    mean = loss_differentials.mean(axis=0)  # (model,)
    statistic = max(float((mean / scale).max()), 0.0)
    # A model below Hansen's threshold of -sqrt(2 log log n) standard errors is not centred, so that
    # its samples stay negative and never count.
    near = mean / scale >= -np.sqrt(2 * np.log(np.log(len(loss_differentials))))
    consistent, lower, upper = (
        _share(np.maximum(((drawn - centre) / scale).max(axis=1), 0.0), statistic)
        for centre in (np.where(near, mean, 0.0), np.maximum(mean, 0.0), mean)
    )
    return consistent, lower, upper, _share((drawn - mean).max(axis=1), float(mean.max()))


def _checked(benchmark: Any, models: Any, horizon: int, reps: int) -> Floats:
    """Return the loss differentials, (n, model)."""
    baseline = as_series("benchmark_losses", benchmark)
    require_finite("benchmark_losses", baseline)
    losses = as_matrix("model_losses", models, "bar", "model")
    require_time_order("model_losses", models)
    require_same_index(benchmark_losses=benchmark, model_losses=models)
    if len(baseline) != len(losses):
        raise ValueError(
            "benchmark_losses and model_losses must have one length, but have "
            f"{len(baseline)} and {len(losses)}"
        )
    rules = (("bars", len(baseline), MIN_BARS), ("horizon", horizon, 1), ("reps", reps, 1))
    for name, value, least in rules:
        if value < least:
            raise ValueError(f"{name} must be at least {least}, but is {value}")
    return baseline[:, None] - losses


def _share(draws: Floats, statistic: float) -> float:
    """Return the share of samples (rep,) at or above the statistic, which counts as one itself."""
    return float((1 + np.sum(draws >= statistic)) / (1 + len(draws)))


def _block_length(loss_differentials: Floats, horizon: int) -> float:
    lengths = [optimal_block_length(column) for column in loss_differentials.T]
    return max(float(np.median(lengths)) if lengths else 1.0, float(horizon), 1.0)


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


def _drawn_means(loss_differentials: Floats, draws: NDArray[np.int64]) -> Floats:
    """Return the mean loss differential of each model in each sample, (rep, model)."""
    count = len(loss_differentials)
    # How often each bar was drawn suffices; the drawn values (rep, bar, model) would not fit in
    # memory.
    weights = np.stack([np.bincount(draw, minlength=count) for draw in draws])  # (rep, bar)
    return np.asarray(weights @ loss_differentials / count)


def _bootstrap_variance(loss_differentials: Floats, block_length: float) -> Floats:
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
