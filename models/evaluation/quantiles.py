"""Quantiles around a point forecast, from its past errors in units of a volatility.

They are what a study of quantiles compares its networks with, so they have to be good: quantiles of
one width lose to any model that has seen the volatility of the last weeks.

References
----------
Barone-Adesi, Giannopoulos and Vosper (1999), "VaR without Correlations for Portfolios of Derivative
Securities", Journal of Futures Markets 19(5), filtered historical simulation, with the weighted
deviation of `conformal.recent_deviation` as the filter.
"""

from collections.abc import Sequence

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.conformal import recent_deviation
from puffin.models.folds import Span
from puffin.models.losses import middle_of
from puffin.models.panel import Part


def quantiles_around(
    forecasts: Floats, scale: Floats, scores: Floats, levels: Sequence[float]
) -> Floats:
    """Return quantiles around forecasts, (targets, level).

    Parameters
    ----------
    forecasts : array, (targets,)
    scale : array, (targets,)
        The volatility that is expected of each target.
    scores : array, (n,)
        Actual minus forecast of earlier targets, in units of the volatility expected of each.
    levels : sequence of float, ascending
    """
    return forecasts[:, None] + scale[:, None] * np.quantile(scores, levels)


def deviation_before(part: Part, bars: Span) -> Floats:
    """Return the recent deviation of the target as it is known when each bar is forecast, (n,)."""
    horizon = part.member.series.horizon
    deviation = recent_deviation(part.member.series.target, horizon)
    return deviation[bars.start - horizon : bars.stop - horizon]


def persistence_quantiles(part: Part, levels: Sequence[float]) -> Floats:
    """Return quantiles around persistence, (targets, level), of which the median is persistence.

    Its errors are those of the whole training part, because it is not fitted.
    """
    series, train = part.member.series, part.fold.train
    # The deviation of the first bars is not known.
    known = Span(max(train.start, min(3 * series.horizon, train.stop - 1)), train.stop)
    errors = (series.target - series.persistence)[known.start : known.stop]
    scores = errors / deviation_before(part, known)
    scores -= np.median(scores)
    forecasts, scale = part.scored(series.persistence), deviation_before(part, part.fold.valid)
    found = quantiles_around(forecasts, scale, scores, levels)
    found[:, middle_of(levels)] = forecasts  # without what rounding adds
    return found
