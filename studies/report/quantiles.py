"""The quantiles of a winner on the holdout: how many actual values were below each of them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.coverage import Share, share_inside
from puffin.models.evaluation.metrics import skill
from puffin.models.losses import quantile_loss
from puffin.models.panel import mean_by_date
from puffin.studies.dataset import Dataset
from puffin.studies.report.document import Section, Table, Text
from puffin.studies.text import level_in_percent, loss, percent, signed


@dataclass(frozen=True)
class HeldQuantile:
    """One quantile on the holdout.

    Attributes
    ----------
    level : float
    below : Share, of the bars whose actual value is below the quantile
    loss, reference_loss : pinball loss of the winner, and of the first baseline
    """

    level: float
    below: Share
    loss: float
    reference_loss: float


def held_quantiles(holdout: Dataset, forecasts: Floats, reference: Floats) -> list[HeldQuantile]:
    """Return each quantile (targets, level) on the holdout; none for another loss."""
    levels = holdout.spec.training.quantiles
    if not levels:
        return []
    (own,), (other,) = (holdout.errors([values]) for values in (forecasts, reference))
    dates = holdout.scored_dates[0].to_numpy()
    return [
        HeldQuantile(
            level,
            share_inside(own[:, place] < 0, holdout.horizon, dates),
            *(_loss(errors[:, [place]], level, dates) for errors in (own, other)),
        )
        for place, level in enumerate(levels)
    ]


def _loss(errors: Floats, level: float, dates: "np.ndarray[Any, Any]") -> float:
    """Return the mean over dates of the loss at one level, of errors (targets, 1)."""
    return float(mean_by_date(dates, quantile_loss([level]).per_bar(errors)).mean())


def in_words(found: Sequence[HeldQuantile]) -> str:
    """Return whether the quantiles held, in a sentence for each that did not."""
    failed = [one for one in found if not one.below.holds(one.level)]
    said = [
        f"The {level_in_percent(one.level)} quantile did not hold: {percent(one.below.share)} of "
        f"the actual values were below it ({percent(one.below.low)} to {percent(one.below.high)})."
        for one in failed
    ]
    if not failed:
        return "Every quantile held: the share of values below it is its level, up to chance."
    return f"{' '.join(said)} Each is tested alone, so that one in twenty fails by chance."


def quantile_sections(found: Sequence[HeldQuantile], reference: str) -> Iterator[Section]:
    """Yield the section on quantiles, if there are any, beside a baseline of that label."""
    if not found:
        return
    rows = [
        (
            level_in_percent(one.level),
            f"{percent(one.below.share)} ({percent(one.below.low)} to {percent(one.below.high)})",
            loss(one.loss),
            loss(one.reference_loss),
            signed(skill(one.loss, one.reference_loss)),
        )
        for one in found
    ]
    text = (
        "The networks forecast these quantiles themselves; each is averaged over the networks. The "
        "second column has the share of the actual values that were below the quantile, which "
        "should be its level, with its 95 % confidence interval (Wilson). The loss is the pinball "
        "loss at that level, in units of the standardised target. The quantiles of "
        f"{reference}, as of all simple models, are its forecasts with the quantiles of its past "
        "errors around them, which are scaled by recent volatility, or by a ridge regression of "
        "it. "
        "The intervals of the section above are built from errors out of sample, around the "
        "median: they adapt after misses, which quantiles of a network do not."
    )
    header = ("quantile", "values below", "loss", "loss of the first baseline", "skill")
    yield Section("Quantiles", [Text(in_words(found)), Table(header, rows), Text(text)])


def to_json(found: Sequence[HeldQuantile]) -> list[dict[str, Any]]:
    """Return the figures of the quantiles."""
    return [asdict(one) | {"held": one.below.holds(one.level)} for one in found]
