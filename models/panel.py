"""Symbols with their bars, and what each contributes to a fold that is laid over dates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.features import Series
from puffin.models.folds import MIN_TRAIN_TARGETS, Fold, Span, first_target
from puffin.models.scaling import Scaler, training_rows

Dates = NDArray[np.datetime64]
# Share of a symbol's labels that its usual width covers.
_USUAL = 0.9
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Member:
    """One symbol of a basket.

    Attributes
    ----------
    symbol : str
    dates : array, (bars,), strictly ascending
    series : Series
    closes : array, (bars,)
    """

    symbol: str
    dates: Dates
    series: Series
    closes: Floats

    def with_inputs(self, places: Sequence[int]) -> "Member":
        """Return the symbol with some of its features."""
        kept = replace(self.series, features=self.series.features[:, places])
        return replace(self, series=kept)


@dataclass(frozen=True, eq=False)
class Part:
    """What one symbol contributes to a fold.

    Attributes
    ----------
    member : Member
    fold : Fold, in bar numbers of the symbol
    scaler : Scaler, fitted on the symbol's training part of this fold
    """

    member: Member
    fold: Fold
    scaler: Scaler

    def training_rows(self, max_lookback: int) -> Floats:
        """Return the features of the bars that training reads, (bars, feature)."""
        return training_rows(self.member.series, self.fold.train, max_lookback)

    def scored(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return the validation part of values at every bar of the symbol, (bars,)."""
        return values[self.fold.valid.start : self.fold.valid.stop]


def calendar(members: Sequence[Member]) -> Dates:
    """Return every date on which a symbol has a bar, ascending."""
    none = np.array([], dtype="M8[us]")
    return np.unique(np.concatenate([none, *(member.dates for member in members)]))


def horizon_in_dates(found: Sequence[Part], dates: Dates) -> int:
    """Return over how many dates of the calendar the labels of a validation part extend.

    It is the horizon if all symbols trade on all dates. A week of a share has five bars, and seven
    dates of a calendar that it shares with a coin. Of each symbol the widest tenth of its labels is
    left out, so that a halt of a year does not count; the symbol with the widest labels decides.
    """
    return max(_label_width(part, dates) for part in found)


def _label_width(part: Part, dates: Dates) -> int:
    places = np.searchsorted(dates, part.member.dates)
    last = np.arange(part.fold.valid.start, part.fold.valid.stop)
    widths = places[last] - places[last - part.member.series.horizon + 1] + 1
    return int(np.quantile(widths, _USUAL, method="lower"))


def by_part(found: Sequence[Part], values: Floats) -> list[Floats]:
    """Split values of a fold's targets, symbol after symbol, by symbol."""
    return np.split(values, np.cumsum([len(part.fold.valid) for part in found])[:-1])


def mean_by_date(dates: Dates, values: Floats) -> Floats:
    """Return the mean of values (n,) on each date, in ascending order of the dates."""
    _, places, counts = np.unique(dates, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(places, weights=values) / counts)


def parts(
    members: Sequence[Member], dates: Dates, fold: Fold, max_lookback: int
) -> tuple[Part, ...]:
    """Return what each symbol contributes to a fold, in the order of the symbols.

    The labels of the training part are known on its last date. A target of the validation part is
    forecast on that date or later, `horizon` bars of its symbol before it: a network that has
    learned from all symbols has seen nothing from after the forecast. A symbol takes part if it has
    `MIN_TRAIN_TARGETS` targets to train on and one to validate.

    Parameters
    ----------
    members : sequence of Member
    dates : array, (dates,), the calendar
    fold : Fold, in positions of the calendar
    max_lookback : int
        The longest lookback of the study, so that every lookback is scored on the same targets.
    """
    found = (_part(member, dates, fold, max_lookback) for member in members)
    return tuple(part for part in found if part is not None)


def refit_parts(
    members: Sequence[Member], dates: Dates, span: Span, max_lookback: int
) -> tuple[Part, ...]:
    """Return what each symbol contributes to a training on a span of the calendar.

    Its training and validation parts are the same. A symbol takes part if it has
    `MIN_TRAIN_TARGETS` targets.
    """
    found = []
    for member in members:
        series = member.series
        first = first_target(max_lookback, series.warmup, series.horizon)
        train = _targets(member, dates, span, first)
        if len(train) >= MIN_TRAIN_TARGETS:
            scaler = Scaler.fit(series, train, max_lookback)
            found.append(Part(member, Fold(train, train), scaler))
    return tuple(found)


def _part(member: Member, dates: Dates, fold: Fold, max_lookback: int) -> Part | None:
    series = member.series
    first = first_target(max_lookback, series.warmup, series.horizon)
    known = dates[fold.train.stop - 1]
    train = _targets(member, dates, fold.train, first)
    forecast_from = int(np.searchsorted(member.dates, known)) + series.horizon
    valid = _targets(member, dates, fold.valid, max(first, forecast_from))
    if len(train) < MIN_TRAIN_TARGETS or not len(valid):
        return None
    return Part(member, Fold(train, valid), Scaler.fit(series, train, max_lookback))


def _targets(member: Member, dates: Dates, span: Span, first: int) -> Span:
    """Return the bars of a symbol, from `first` on, on the dates of a span of the calendar."""
    start = int(np.searchsorted(member.dates, dates[span.start]))
    stop = int(np.searchsorted(member.dates, dates[span.stop - 1], side="right"))
    return Span(min(max(start, first), stop), stop)
