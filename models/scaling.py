"""Standardisation of features and targets, fitted on the training part alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from puffin.models.arrays import ROUNDING, Floats
from puffin.models.features import Series
from puffin.models.folds import Span


@dataclass(frozen=True)
class Scaler:
    """Means and standard deviations of a training part.

    Attributes
    ----------
    feature_mean, feature_std : array, (feature,)
    target_mean, target_std : float
    """

    feature_mean: Floats
    feature_std: Floats
    target_mean: float
    target_std: float

    @classmethod
    def fit(cls, series: Series, train: Span, max_lookback: int) -> "Scaler":
        """Compute the scaler of a training part, from its targets and the bars of its windows.

        The bars are those of the longest lookback of the study, so that the scale of a loss does
        not depend on the sampled lookback.
        """
        rows = training_rows(series, train, max_lookback)
        target = series.target[train.start : train.stop]
        return cls(
            feature_mean=rows.mean(axis=0),
            feature_std=safe_std(rows),
            target_mean=float(target.mean()),
            target_std=float(safe_std(target)),
        )

    def with_inputs(self, places: Sequence[int]) -> "Scaler":
        """Return the scaler of some of the features."""
        return replace(
            self, feature_mean=self.feature_mean[places], feature_std=self.feature_std[places]
        )

    def centring_target(self) -> "Scaler":
        """Return the scaler that leaves the target in its unit, and only takes its mean away."""
        return replace(self, target_std=1.0)

    def scale_target(self, values: Floats) -> Floats:
        """Standardise targets or forecasts of any shape."""
        return (values - self.target_mean) / self.target_std

    def unscale_target(self, values: Floats) -> Floats:
        """Return standardised forecasts of any shape in the target's unit."""
        return values * self.target_std + self.target_mean


def training_rows(series: Series, train: Span, max_lookback: int) -> Floats:
    """Return the features of the bars of all windows of a training part, (bars, feature)."""
    first = train.start - series.horizon - max_lookback + 1
    return series.features[first : train.stop - series.horizon]


def safe_std(values: Floats) -> Floats:
    """Return the standard deviation along the first axis, or 1 if only rounding differs."""
    std = np.asarray(values.std(axis=0))
    # The mean of equal numbers can differ from them by rounding.
    return np.where(std > ROUNDING * np.abs(values).max(axis=0), std, 1.0)
