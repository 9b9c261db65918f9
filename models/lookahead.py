"""Whether a feature, a target or a persistence forecast looks into the future.

What is known at a bar does not change when the bars after it are taken away. So everything is
computed from all bars, and again from the first of them alone, cut off at many places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.features import TARGETS, Bars, feature
from puffin.models.scaling import safe_std

# Places to cut at. What looks one bar ahead at one bar in 33 is caught 19 times in 20, and what
# does so more often nearly always. A study of 3,500 bars waits 0.1 s for it.
TRUNCATIONS = 100
# In standard deviations of all bars. Sums of other lengths may round otherwise, and the networks
# read single precision, which would not show it.
TOLERANCE = 1e-9


def require_causal(columns: Bars, features: Sequence[str], target: str, horizon: int) -> None:
    """Refuse what uses a bar that is not known yet.

    Parameters
    ----------
    columns : mapping of array, (bars,)
    features : sequence of str
        Names that `features.feature` knows; each may use its own bar and those before.
    target : str
        A key of ``TARGETS``; so may its values, and its persistence only those up to `horizon` bars
        before.
    horizon : int
        Bars ahead.

    Raises
    ------
    PuffinError
        With the name, the bar, what it gives with the later bars and without, and what to do.
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
        _check(formula, columns)


@dataclass(frozen=True)
class _Formula:
    """What is computed from columns at every bar, (bars,) or (bars, series).

    Attributes
    ----------
    label : what an error calls it
    registry : where it stands in `puffin.models.features`
    warmup : bars before its first value
    ahead : bars that its value stands after the last one that it may use
    """

    label: str
    registry: str
    compute: Callable[[Bars], Floats]
    warmup: int
    ahead: int = 0


def _check(formula: _Formula, columns: Bars) -> None:
    whole = formula.compute(columns)
    start, ahead, bars = formula.warmup, formula.ahead, len(whole)
    near = TOLERANCE * _spread(whole[start:])
    for known in _cuts(start + 1, bars - max(ahead, 1)):
        own = formula.compute(_truncated(columns, known, ahead))
        alike = np.isclose(
            own[start:], whole[start : known + ahead], rtol=0.0, atol=near, equal_nan=True
        )
        each = alike.reshape(len(alike), -1).all(axis=1)  # over the series of `extra`
        if not each.all():
            bar = start + int(each.argmin())
            raise PuffinError(
                f"{formula.label} looks into the future: at bar {bar} it may use the bars up to "
                f"{bar - ahead}, but is {_described(whole[bar])} with all {bars} bars and "
                f"{_described(own[bar])} with those up to {known - 1}; mend its formula in "
                f"puffin.models.features.{formula.registry}, or choose another"
            )


def _described(value: Floats) -> str:
    return " and ".join(f"{number:.6g}" for number in np.atleast_1d(value))


def _spread(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(safe_std(finite)) if len(finite) else 1.0


def _cuts(least: int, most: int) -> NDArray[np.int64]:
    """Choose how many bars are left: `most` among them, and every number where they are few.

    Drawn, lest a leak with a beat, on Fridays say, falls between them; the same each time.
    """
    lengths = np.arange(least, most + 1)
    if len(lengths) <= TRUNCATIONS:
        return lengths
    drawn = np.random.default_rng(0).choice(lengths[:-1], TRUNCATIONS - 1, replace=False)
    return np.sort(np.append(drawn, most))


def _truncated(columns: Bars, known: int, ahead: int) -> dict[str, Floats]:
    """Give the first `known` bars, and the last of them again in place of `ahead` more."""
    bars = np.minimum(np.arange(known + ahead), known - 1)
    return {name: values[bars] for name, values in columns.items()}
