"""Standardisation of features and targets, fitted on the training part alone."""

from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import ROUNDING, Floats
from puffin.models.features import Series
from puffin.models.folds import Span


@dataclass(frozen=True)
class Scaler:
    """Means and standard deviations of a training part; features (feature,), target scalar."""

    feature_mean: Floats
    feature_std: Floats
    target_mean: float
    target_std: float

    @classmethod
    def fit(cls, series: Series, train: Span, max_lookback: int) -> "Scaler":
        """Measure the training part: its targets, and the bars that its windows may see.

        The bars are those of the longest lookback, so that the scale of a loss does not depend on
        the lookback that was sampled.
        """
        first = train.start - series.horizon - max_lookback + 1
        rows = series.features[first : train.stop - series.horizon]
        target = series.target[train.start : train.stop]
        return cls(
            feature_mean=rows.mean(axis=0),
            feature_std=safe_std(rows),
            target_mean=float(target.mean()),
            target_std=float(safe_std(target)),
        )

    def scale_target(self, values: Floats) -> Floats:
        """Standardise targets or forecasts of any shape."""
        return (values - self.target_mean) / self.target_std

    def unscale_target(self, values: Floats) -> Floats:
        """Give standardised forecasts of any shape in the target's unit again."""
        return values * self.target_std + self.target_mean


def safe_std(values: Floats) -> Floats:
    """Standard deviation along the first axis, 1 where a series does not move but for rounding."""
    std = np.asarray(values.std(axis=0))
    # The mean of equal numbers is a few bits off them.
    return np.where(std > ROUNDING * np.abs(values).max(axis=0), std, 1.0)
