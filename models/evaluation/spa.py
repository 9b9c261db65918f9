"""Superior predictive ability: whether the best of many models beats a benchmark.

The loss differentials are resampled in blocks of bars, and the best model of each sample gives the
distribution of the statistic: of many models, one looks good by chance in most samples.

Why own code: ``arch`` 8.0 accepts ``studentize`` in its ``SPA`` and ignores it, so that its
p-values are those of the reality check (tests/unit/evaluation/test_spa.py compares).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from puffin.models.arrays import (
    Floats,
    as_matrix,
    as_series,
    require_finite,
    require_same_index,
    require_time_order,
    varies,
)
from puffin.models.evaluation.bootstrap import (
    bootstrap_variance,
    check_samples,
    drawn_means,
    mean_block_length,
    share_of_samples,
    stationary_bootstrap,
)


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
    block_length = mean_block_length(loss_differentials, horizon, block_length)
    if not len(kept):
        nan = float("nan")
        return SpaResult(nan, nan, nan, nan, nan, -1, block_length, reps)
    rng = np.random.default_rng(seed)
    samples = stationary_bootstrap(count, reps, block_length, rng)  # (rep, bar)
    drawn = drawn_means(loss_differentials, samples)  # (rep, model)
    scale = np.sqrt(bootstrap_variance(loss_differentials, block_length) / count)  # (model,)
    scores = loss_differentials.mean(axis=0) / scale
    consistent, lower, upper, reality_check = _p_values(loss_differentials, drawn, scale)
    return SpaResult(
        consistent=consistent,
        lower=lower,
        upper=upper,
        reality_check=reality_check,
        statistic=max(float(scores.max()), 0.0),
        best=int(kept[scores.argmax()]),
        block_length=block_length,
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
        share_of_samples(np.maximum(((drawn - centre) / scale).max(axis=1), 0.0), statistic)
        for centre in (np.where(near, mean, 0.0), np.maximum(mean, 0.0), mean)
    )
    return consistent, lower, upper, share_of_samples((drawn - mean).max(axis=1), float(mean.max()))


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
    check_samples(len(baseline), horizon, reps)
    return baseline[:, None] - losses
