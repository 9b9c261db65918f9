"""Simulated prices with a known signal, for `benchmarks/calibrate.py`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.stats import t as student

from puffin.models.arrays import Floats

BARS, VOLATILITY = 850, 0.01
# Eight years of daily bars, as in a daily study.
LONG = 2000
# Discarded first bars, so that a process has forgotten its initial values.
_WARMUP = 500
# HAR coefficients (Corsi, 2009) for day, week and month, close to those of daily ranges of shares.
_HAR = (0.30, 0.35, 0.28)


@dataclass(frozen=True, eq=False)
class Market:
    """Simulated prices.

    Attributes
    ----------
    frame : DataFrame, (bars, columns), the prices of a study
    signal : array, (bars,), the predictable part of each bar's target
    spread : array, (bars,), the standard deviation of the rest
    freedom : degrees of freedom of the rest, a Student's t; infinite of a normal distribution
    """

    frame: pd.DataFrame
    signal: Floats
    spread: Floats
    freedom: float = math.inf

    def quantiles(self, levels: Sequence[float]) -> Floats:
        """Return the true quantiles of each bar's target, (bars, level)."""
        unit = student.ppf(levels, self.freedom) / student.std(self.freedom)
        return self.signal[:, None] + self.spread[:, None] * unit


def market(planted: float, seed: int) -> Market:
    """Return prices of which a share `planted` of the variance of returns is predictable."""
    rng = np.random.default_rng([seed, round(planted * 100)])
    changes, noise = rng.standard_normal((2, BARS))
    # Mean 0, variance 1, and an even function, so that it is uncorrelated with volume changes.
    size = (np.abs(changes) - math.sqrt(2 / math.pi)) / math.sqrt(1 - 2 / math.pi)
    signal = VOLATILITY * math.sqrt(planted) * np.append(0.0, size[:-1])
    spread = np.full(BARS, VOLATILITY * math.sqrt(1 - planted))
    frame = _frame(signal + spread * noise, volume=1e9 * np.exp(0.1 * np.cumsum(changes)))
    return Market(frame, signal, spread)


def correlated_walks(seed: int, symbols: int = 8, correlation: float = 0.5) -> list[Market]:
    """Return prices of several symbols whose returns have a common part, and no signal.

    The common part has a volatility that lasts, as that of a stock market, so that calm and wild
    dates are the same for all symbols.
    """
    rng = np.random.default_rng([seed, 3])
    spread = np.exp(0.5 * lfilter([0.3], [1.0, -0.95], rng.standard_normal(BARS)))
    spread *= VOLATILITY
    common = spread * rng.standard_normal(BARS)
    share, rest = math.sqrt(correlation), math.sqrt(1 - correlation)
    own, changes = rng.standard_normal((2, symbols, BARS))
    returns = share * common + rest * spread * own
    volumes = 1e9 * np.exp(0.1 * np.cumsum(changes, axis=1))
    none = np.zeros(BARS)
    return [
        Market(_frame(each, volume=of), none, spread)
        for each, of in zip(returns, volumes, strict=True)
    ]


def garch_returns(seed: int, coefficient: float = 0.05) -> Market:
    """Return prices with AR(1) returns and GARCH(0.08, 0.90) errors of Student's t with 6 d.f."""
    rng = np.random.default_rng([seed, 1])
    count = LONG + _WARMUP
    freedom = 6
    shocks = rng.standard_t(freedom, count) / student.std(freedom)
    variances, errors = np.empty(count), np.empty(count)
    variance = VOLATILITY**2
    for t, shock in enumerate(shocks):
        variances[t], errors[t] = variance, math.sqrt(variance) * shock
        variance = 0.02 * VOLATILITY**2 + 0.08 * errors[t] ** 2 + 0.90 * variance
    returns = lfilter([1.0], [1.0, -coefficient], errors)
    signal = coefficient * np.append(0.0, returns[:-1])
    volume = 1e9 * np.exp(0.3 * rng.standard_normal(count))
    frame = _frame(returns[_WARMUP:], volume=volume[_WARMUP:])
    return Market(frame, signal[_WARMUP:], np.sqrt(variances[_WARMUP:]), freedom)


def long_memory_ranges(seed: int) -> Market:
    """Return bars whose log range is a HAR process with heteroscedastic errors."""
    rng = np.random.default_rng([seed, 2])
    count, level = LONG + _WARMUP, math.log(1.5 * VOLATILITY)
    # The standard deviation of the errors varies slowly, mostly between 0.3 and 0.6.
    spread = 0.42 * np.exp(0.3 * lfilter([0.14], [1.0, -0.99], rng.standard_normal(count)))
    log_range, signal = np.full(count, level), np.full(count, level)
    for t in range(22, count):
        means = [log_range[t - bars : t].mean() for bars in (1, 5, 22)]
        signal[t] = (1 - sum(_HAR)) * level + float(np.dot(_HAR, means))
        log_range[t] = signal[t] + spread[t] * rng.standard_normal()
    returns = 0.6 * np.exp(log_range) * rng.standard_normal(count)
    volume = 1e9 * np.exp(0.5 * (log_range - level) + 0.3 * rng.standard_normal(count))
    kept = slice(_WARMUP, None)
    frame = _frame(returns[kept], volume=volume[kept])
    half = np.exp(np.exp(log_range[kept]) / 2)
    frame = frame.assign(high=frame["close"] * half, low=frame["close"] / half)
    return Market(frame, signal[kept], spread[kept])


def _frame(returns: Floats, volume: Floats) -> pd.DataFrame:
    columns = {"close": 100 * np.exp(np.cumsum(returns)), "volume": volume}
    index = pd.bdate_range("2000-01-03", periods=len(returns))
    return pd.DataFrame(columns, index=index)
