"""Look-ahead check: features, targets and persistence forecasts must not use future bars.

A value that is known at a bar does not change if the bars after it are removed. Therefore every
series is computed from all bars and again from truncated bars, cut off at many places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.features import TARGETS, Bars, feature
from puffin.models.scaling import safe_std

# Number of truncation points. A formula that leaks one bar on 3 % of the bars is caught with a
# probability of 95 %, one that leaks more often nearly always. It takes 0.1 s for 3,500 bars.
TRUNCATIONS = 100
# In standard deviations of the series: sums of another length may round differently, by less than
# the single precision of the networks.
TOLERANCE = 1e-9


def require_causal(
    columns: Bars,
    features: Sequence[str],
    target: str,
    horizon: int,
    truncations: int = TRUNCATIONS,
) -> None:
    """Raise if a feature, the target or its persistence uses a bar that is not known yet.

    Parameters
    ----------
    columns : mapping of array, (bars,)
    features : sequence of str
        Names that `features.feature` knows; each may use its bar and those before.
    target : str
        A key of ``TARGETS``; it may use its bar and those before, and its persistence those up to
        `horizon` bars before.
    horizon : int
        Bars ahead.
    truncations : int
        Number of truncation points, at least 2.

    Raises
    ------
    PuffinError
        With the name, the bar, the values with and without the later bars, and the fix.
    """
    formulas = [
        _Formula(f"data.features {name!r}", "FEATURES", chosen.compute, chosen.warmup)
        for name, chosen in ((name, feature(name)) for name in features)
    ]
    target_, label = TARGETS[target], f"data.target {target!r}"
    formulas += [
        _Formula(label, "TARGETS", lambda c: target_.compute(c, horizon), horizon),
        _Formula(
            f"the persistence of {label}",
            "TARGETS",
            lambda c: target_.persistence(c, horizon),
            horizon,
            ahead=horizon,
        ),
    ]
    for formula in formulas:
        _check(formula, columns, truncations)


@dataclass(frozen=True)
class _Formula:
    """A series computed from columns, (bars,) or (bars, series).

    Attributes
    ----------
    label : its name in an error
    registry : the dict of `puffin.models.features` that has its formula
    warmup : bars before its first value
    ahead : bars between the last one that a value may use and the value
    """

    label: str
    registry: str
    compute: Callable[[Bars], Floats]
    warmup: int
    ahead: int = 0


def _check(formula: _Formula, columns: Bars, truncations: int) -> None:
    whole = formula.compute(columns)
    start, ahead, bars = formula.warmup, formula.ahead, len(whole)
    tolerance = TOLERANCE * _spread(whole[start:])
    for cutoff in _cutoffs(start + 1, bars - max(ahead, 1), truncations):
        recomputed = formula.compute(_truncated(columns, cutoff, ahead))
        equal = np.isclose(
            recomputed[start:],
            whole[start : cutoff + ahead],
            rtol=0.0,
            atol=tolerance,
            equal_nan=True,
        )
        equal_bars = equal.reshape(len(equal), -1).all(axis=1)  # (bars,), over series of `extra`
        if not equal_bars.all():
            bar = start + int(equal_bars.argmin())
            raise PuffinError(
                f"{formula.label} looks into the future: at bar {bar} it may use the bars up to "
                f"{bar - ahead}, but is {_described(whole[bar])} with all {bars} bars and "
                f"{_described(recomputed[bar])} with those up to {cutoff - 1}; fix its formula in "
                f"puffin.models.features.{formula.registry}, or choose another"
            )


def _described(value: Floats) -> str:
    return " and ".join(f"{number:.6g}" for number in np.atleast_1d(value))


def _spread(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(safe_std(finite)) if len(finite) else 1.0


def _cutoffs(least: int, most: int, count: int) -> NDArray[np.int64]:
    """Return how many bars to keep, ascending: `count` numbers from `least` to `most`.

    `most` is one of them; all are, if there are no more. The others are drawn with a fixed seed, so
    that a periodic leak, say on Fridays, cannot fall between regular cutoffs.
    """
    lengths = np.arange(least, most + 1)
    if len(lengths) <= count:
        return lengths
    drawn = np.random.default_rng(0).choice(lengths[:-1], count - 1, replace=False)
    return np.sort(np.append(drawn, most))


def _truncated(columns: Bars, cutoff: int, ahead: int) -> dict[str, Floats]:
    """Return the first `cutoff` bars, the last of them repeated in place of `ahead` more."""
    bars = np.minimum(np.arange(cutoff + ahead), cutoff - 1)
    return {name: values[bars] for name, values in columns.items()}
