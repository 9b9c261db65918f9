"""The last layer of a network that forecasts quantiles."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from puffin.models.losses import middle_of


class QuantileHead(nn.Linear):
    """A linear layer and the sums that turn its outputs into quantiles, which never cross.

    The output of the median is the median, as in a network of one number. Each other output becomes
    a distance above 0 from the quantile beside it.

    Parameters
    ----------
    in_features : int
    levels : sequence of float
        Ascending, with the median.

    References
    ----------
    Park, Maddix, Aubet, Kan, Gasthaus and Wang (2022), "Learning Quantile Functions without
    Quantile Crossing for Distribution-free Time Series Forecasting", AISTATS, which sums the
    distances from the lowest quantile upwards.
    """

    def __init__(self, in_features: int, levels: Sequence[float]) -> None:
        super().__init__(in_features, len(levels))
        self._middle = middle_of(levels)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """Map states (n, unit) to quantiles (n, level)."""
        out, middle = super().forward(input), self._middle
        median, gaps = out[:, middle : middle + 1], softplus(out)
        above = median + gaps[:, middle + 1 :].cumsum(1)
        # From the median downwards, and back into ascending order.
        below = median - gaps[:, :middle].flip(1).cumsum(1).flip(1)
        return torch.cat([below, median, above], 1)
