"""The prediction intervals on the holdout: whether they held, at which width."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.evaluation.conformal import (
    IntervalError,
    adapt,
    recent_deviation,
    residual_interval,
)
from puffin.models.evaluation.coverage import (
    PARTS,
    Share,
    interval_score,
    recent_volatility,
    share_inside,
    thirds,
)
from puffin.models.panel import Part, by_part
from puffin.studies.dataset import Dataset
from puffin.studies.text import percent

# Levels that are judged.
LEVELS = (0.5, 0.8, 0.95)
Ends = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class SymbolErrors:
    """The errors of one symbol on the search folds and on the holdout, in the target's unit.

    Attributes
    ----------
    part : Part, the symbol on the holdout
    searched, sealed : array, (bars,), the errors of both
    bars : array, the bars of both
    """

    part: Part
    searched: Floats
    sealed: Floats
    bars: NDArray[np.intp]

    @property
    def horizon(self) -> int:
        """Bars ahead."""
        return self.part.member.series.horizon

    def known(self, values: Floats) -> Floats:
        """Return values at each bar as they were known when the holdout was forecast."""
        return self.part.scored(np.append(np.full(self.horizon, np.nan), values))

    def interval(self, level: float) -> Ends | None:
        """Return the ends of the interval of each error on the holdout, as known before it.

        None if the search has too few errors for the first of them.
        """
        scale = recent_deviation(self.part.member.series.target, self.horizon)
        errors = np.append(self.searched, self.sealed)
        try:
            found = adapt(errors / scale[self.bars - self.horizon], level, self.horizon)
        except IntervalError:
            return None
        holdout, by = slice(len(self.searched), len(errors)), self.known(scale)
        low, high = found.low[holdout] * by, found.high[holdout] * by
        return None if np.isnan(low[0]) else (low, high)

    def unconditional(self, level: float) -> Ends:
        """Return an interval of one width, of the errors on the search folds."""
        low, high = residual_interval(self.searched, level)
        return np.full(len(self.sealed), low), np.full(len(self.sealed), high)


def errors_by_symbol(
    folds: Dataset, holdout: Dataset, searched: Sequence[Floats], forecasts: Floats
) -> list[SymbolErrors]:
    """Return the errors of each symbol on the holdout, from forecasts of each fold and of it."""
    before: dict[str, list[tuple[Part, Floats]]] = {}
    for part, errors in _errors(folds, searched):
        before.setdefault(part.member.symbol, []).append((part, errors))
    found = []
    for part, sealed in _errors(holdout, [forecasts]):
        known = before.get(part.member.symbol, [])
        bars = [
            np.arange(p.fold.valid.start, p.fold.valid.stop) for p, _ in (*known, (part, sealed))
        ]
        errors = np.concatenate([np.empty(0), *(errors for _, errors in known)])
        found.append(SymbolErrors(part, errors, sealed, np.concatenate(bars)))
    return found


def _errors(dataset: Dataset, forecasts: Sequence[Floats]) -> Iterator[tuple[Part, Floats]]:
    """Yield the errors of each symbol of each fold."""
    for parts, actual, forecast in zip(dataset.parts, dataset.actuals, forecasts, strict=True):
        errors = actual - dataset.point(forecast)
        yield from zip(parts, by_part(parts, errors), strict=True)


@dataclass(frozen=True, eq=False)
class HeldIntervals:
    """What the intervals of one level had inside on the holdout.

    Widths and scores are in units of the standardised target, means over all bars.

    Attributes
    ----------
    level : float
    inside : Share
    by_volatility : list of Share
        Of the thirds of the bars with low, middle and high volatility of the price before them.
    width, score : float
        Mean width, and mean interval score.
    unconditional, unconditional_width, unconditional_score : Share and float
        Of intervals of one width, from the errors on the search folds.
    dates : index, (dates,)
    by_date : array, (dates,)
        Share of the symbols inside, on each date.
    """

    level: float
    inside: Share
    by_volatility: list[Share]
    width: float
    score: float
    unconditional: Share
    unconditional_width: float
    unconditional_score: float
    dates: pd.DatetimeIndex
    by_date: Floats


def held_intervals(symbols: Sequence[SymbolErrors], level: float) -> HeldIntervals | None:
    """Return how the intervals of a level held; None if every symbol has too few errors before."""
    made = [(one, ends) for one in symbols if (ends := one.interval(level)) is not None]
    if not made:
        return None
    horizon = made[0][0].horizon
    dates = np.concatenate([one.part.scored(one.part.member.dates) for one, _ in made])
    third = np.concatenate(
        [thirds(one.known(recent_volatility(one.part.member.closes))) for one, _ in made]
    )
    inside, width, score = _judge(made, level)
    plain = _judge([(one, one.unconditional(level)) for one, _ in made], level)
    by_date = pd.Series(inside.astype(float)).groupby(dates).mean()
    return HeldIntervals(
        level=level,
        inside=share_inside(inside, horizon, dates),
        by_volatility=[
            share_inside(inside[third == part], horizon, dates[third == part]) for part in range(3)
        ],
        width=width,
        score=score,
        unconditional=share_inside(plain[0], horizon, dates),
        unconditional_width=plain[1],
        unconditional_score=plain[2],
        dates=pd.DatetimeIndex(by_date.index),
        by_date=by_date.to_numpy(),
    )


def _judge(
    made: Sequence[tuple[SymbolErrors, Ends]], level: float
) -> tuple[NDArray[np.bool_], float, float]:
    """Return which errors are inside, the mean width and the mean score."""
    inside, widths, scores = [], [], []
    for one, (low, high) in made:
        unit = one.part.scaler.target_std
        inside.append((low <= one.sealed) & (one.sealed <= high))
        widths.append((high - low) / unit)
        scores.append(interval_score(low, high, one.sealed, level) / unit)
    width, score = (float(np.concatenate(x).mean()) for x in (widths, scores))
    return np.concatenate(inside), width, score


def in_words(found: Sequence[HeldIntervals]) -> str:
    """Return whether the intervals held, in two or three sentences."""
    if not found:
        return "No interval was judged, because the search made too few errors to build one from."
    failed = [one for one in found if not one.inside.holds(one.level)]
    said = [
        f"The {percent(one.level, 0)} intervals did not hold: {percent(one.inside.share)} of the "
        f"bars were inside ({percent(one.inside.low)} to {percent(one.inside.high)}), "
        f"{'fewer' if one.inside.share < one.level else 'more'} than chance explains."
        for one in failed
    ]
    if held := [one for one in found if one not in failed]:
        said.append(
            f"The intervals held: {_listed([one.level for one in held], 0)} of the bars were to be "
            f"inside, and {_listed([one.inside.share for one in held])} were."
        )
    said.append(
        "Intervals of one width would have had "
        f"{_listed([one.unconditional.share for one in found])} inside."
    )
    if missing := [level for level in LEVELS if level not in [one.level for one in found]]:
        said.append(f"The search made too few errors for intervals of {_listed(missing, 0)}.")
    return " ".join(said)


def _listed(shares: Sequence[float], digits: int = 1) -> str:
    *others, last = (percent(share, digits) for share in shares)
    return f"{', '.join(others)} and {last}" if others else last


def to_json(found: Sequence[HeldIntervals]) -> dict[str, Any]:
    """Return the figures of the intervals."""
    return {
        "sentence": in_words(found),
        "levels": [
            {
                "level": one.level,
                "held": one.inside.holds(one.level),
                "inside": asdict(one.inside),
                "by_volatility": {
                    part: asdict(share)
                    for part, share in zip(PARTS, one.by_volatility, strict=True)
                },
                "mean_width": one.width,
                "interval_score": one.score,
                "unconditional": {
                    "inside": asdict(one.unconditional),
                    "mean_width": one.unconditional_width,
                    "interval_score": one.unconditional_score,
                },
            }
            for one in found
        ],
    }
