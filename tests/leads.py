"""Tests of a lead that come out as wanted."""

import math

from scipy.stats import t

from puffin.models.evaluation.long_run import LongRunTest

DEGREES = 15


def lead(mean: float, p_better: float, count: int = 250) -> LongRunTest:
    """Return a test of a mean with a p-value, NaN if there is nothing to test."""
    statistic = float(t.isf(p_better, DEGREES))
    error = mean / statistic if statistic else math.nan
    return LongRunTest(mean, error, statistic, p_better, math.nan, DEGREES, count)


def lead_of_error(mean: float, error: float) -> LongRunTest:
    """Return a test of a mean with a standard error."""
    return lead(mean, float(t.sf(mean / error, DEGREES)))
