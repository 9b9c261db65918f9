"""The data that the trials of a study share: series, folds, scalers, scored targets, baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.evaluation.baseline import LeftOutError
from puffin.models.evaluation.baselines import fit_each, training_mean
from puffin.models.evaluation.direction import (
    Direction,
    DirectionTest,
    direction,
    hits_of,
    pesaran_timmermann,
)
from puffin.models.evaluation.quantiles import persistence_quantiles
from puffin.models.evaluation.shifted import fitted_to
from puffin.models.features import build_series
from puffin.models.folds import MIN_TRAIN_TARGETS, Fold, Span, first_target, split
from puffin.models.lookahead import TRUNCATIONS, require_causal
from puffin.models.losses import LOSSES
from puffin.models.panel import (
    Dates,
    Member,
    Part,
    by_part,
    calendar,
    horizon_in_dates,
    mean_by_date,
    parts,
    refit_parts,
)
from puffin.studies.bars import Frames, columns_of, join
from puffin.studies.forecast_table import to_columns
from puffin.studies.prices.snapshot import sha256
from puffin.studies.spec import Spec

if TYPE_CHECKING:
    import torch

    from puffin.models.windows import FoldTensors


@dataclass(frozen=True)
class Dataset:
    """Series, folds and scalers of one study, ready to train on.

    Values of all scored targets are one array per fold: symbol after symbol, in the order of
    `parts`. Forecasts are (targets,), or of a study of quantiles (targets, level).

    Attributes
    ----------
    spec : Spec
    members : tuple of Member, the symbols
    dates : DatetimeIndex, (dates,), of all symbols together
    folds : list of Fold, in positions of `dates`
    parts : list of tuple of Part
        For each fold, what each symbol contributes that takes part in it.
    """

    spec: Spec
    members: tuple[Member, ...]
    dates: pd.DatetimeIndex
    folds: list[Fold]
    parts: list[tuple[Part, ...]]

    @classmethod
    def build(cls, spec: Spec, frames: Frames) -> "Dataset":
        """Prepare the search part of the prices.

        Raises
        ------
        PuffinError
            If a column is missing, the series are too short, or a feature or the target looks into
            the future.
        """
        members = _members(spec, frames)
        dates = calendar(members)
        warmup = max((member.series.warmup for member in members), default=0)
        first = first_target(spec.parsed_space.max_lookback, warmup, spec.data.horizon)
        return cls._lay(spec, members, dates, split(len(dates), first, spec.layout))

    @classmethod
    def for_holdout(cls, spec: Spec, search: Frames, holdout: Frames) -> "Dataset":
        """Prepare the one fold that is trained on the search part and scored on the holdout.

        Raises
        ------
        PuffinError
            If a column is missing, or a feature or the target looks into the future.
        """
        searched = cls.build(spec, search)
        frames = join(search, holdout)
        members = _members(spec, frames)
        dates = calendar(members)
        fold = Fold(searched.refit_span(), Span(len(searched.dates) + spec.purge, len(dates)))
        return cls._lay(spec, members, dates, [fold])

    @classmethod
    def _lay(
        cls, spec: Spec, members: tuple[Member, ...], dates: Dates, folds: list[Fold]
    ) -> "Dataset":
        longest = spec.parsed_space.max_lookback
        laid = [scaled_for(spec, parts(members, dates, fold, longest)) for fold in folds]
        for number, found in enumerate(laid, start=1):
            if not found:
                msg = (
                    f"no symbol has {MIN_TRAIN_TARGETS} targets to train on before the validation "
                    f"part of fold {number} and one in it: take longer series, or fewer folds"
                )
                raise PuffinError(msg)
        return cls(spec, members, pd.DatetimeIndex(dates), folds, laid)

    @property
    def inputs(self) -> int:
        """Number of features."""
        return int(self.members[0].series.features.shape[1])

    @property
    def horizon(self) -> int:
        """Bars ahead."""
        return self.spec.data.horizon

    @property
    def is_basket(self) -> bool:
        """Whether there are several symbols."""
        return len(self.members) > 1

    def read_by(self, config: Config) -> "Dataset":
        """Return the dataset with the inputs of a network alone; the targets are the same."""
        if not config.features:
            return self
        kept = self.spec.data.places_of(self.spec.features_of(config))
        members = {member.symbol: member.with_inputs(kept) for member in self.members}
        laid = [
            tuple(
                Part(members[part.member.symbol], part.fold, part.scaler.with_inputs(kept))
                for part in found
            )
            for found in self.parts
        ]
        return replace(self, members=tuple(members.values()), parts=laid)

    def tensors(self, lookback: int, device: "torch.device") -> "list[FoldTensors]":
        """Return the folds as tensors on a device, in windows of `lookback` bars."""
        # Imported here so that commands that manage studies do not load torch.
        from puffin.models.windows import fold_tensors

        return [
            fold_tensors(found, lookback, device, unit)
            for found, unit in zip(self.parts, self.units, strict=True)
        ]

    @cached_property
    def units(self) -> list[float]:
        """Unit of the losses of each fold: 1, or the loss of persistence there.

        In units of the loss of persistence, 1 - loss is the skill of a fold, and the mean over
        folds is not decided by the fold with the largest errors.
        """
        if self.spec.training.objective == "loss":
            return [1.0] * len(self.parts)
        losses = self._by_symbol(self._losses_per_bar(self.judged_persistence))
        # Persistence is always right where the target never moves.
        return [float(np.mean(list(of_fold.values()))) or 1.0 for of_fold in losses]

    def refit_span(self) -> Span:
        """Return the targets of a refit: all, or the last `train_bars` for rolling windows."""
        stop, train_bars = len(self.dates), self.spec.walk_forward.train_bars
        start = self.folds[0].train.start if train_bars is None else stop - train_bars
        return Span(start, stop)

    def refit_parts(self) -> tuple[Part, ...]:
        """Return what each symbol contributes to a refit, of which nothing is validated."""
        span, longest = self.refit_span(), self.spec.parsed_space.max_lookback
        found = refit_parts(self.members, self.dates.to_numpy(), span, longest)
        return scaled_for(self.spec, found)

    def scored(self, values: Callable[[Member], Floats]) -> list[Floats]:
        """Return the validation part of values at every bar of each symbol, one array per fold."""
        return [
            np.concatenate([part.scored(values(part.member)) for part in found])
            for found in self.parts
        ]

    @cached_property
    def actuals(self) -> list[Floats]:
        """The scored targets, one array per fold."""
        return self.scored(lambda member: member.series.target)

    @cached_property
    def persistence(self) -> list[Floats]:
        """The persistence forecasts of the scored targets, one array per fold."""
        return self.scored(lambda member: member.series.persistence)

    @cached_property
    def judged_persistence(self) -> list[Floats]:
        """Persistence as forecasts of this study, which may be quantiles, one array per fold."""
        if not (levels := self.spec.training.quantiles):
            return self.persistence
        return [
            np.concatenate([persistence_quantiles(part, levels) for part in found])
            for found in self.parts
        ]

    def point(self, forecasts: Floats) -> Floats:
        """Return the point forecasts of a fold, (targets,): of quantiles the median."""
        criterion = self.spec.criterion
        return forecasts[:, criterion.middle] if criterion.levels else forecasts

    @cached_property
    def scored_dates(self) -> list[pd.DatetimeIndex]:
        """The dates of the scored targets, one index per fold."""
        return [
            pd.DatetimeIndex(np.concatenate([part.scored(part.member.dates) for part in found]))
            for found in self.parts
        ]

    @cached_property
    def scored_symbols(self) -> list[NDArray[np.str_]]:
        """The symbols of the scored targets, one array per fold."""
        return [
            np.repeat([p.member.symbol for p in found], [len(p.fold.valid) for p in found])
            for found in self.parts
        ]

    @cached_property
    def targets_sha256(self) -> str:
        """SHA-256 of the scored targets, by date and symbol, the same for every trial of a study.

        Values are left out, because logarithms differ in the last bit between processors.
        """
        bars = [[np.arange(*_limits(part.fold.valid)) for part in found] for found in self.parts]
        return self._sha256_of(bars)

    def scored_sha256(self, folds: "Sequence[FoldTensors]") -> str:
        """Return what `targets_sha256` must be if exactly the targets of `folds` are scored."""
        return self._sha256_of([fold.valid_bars for fold in folds])

    def _sha256_of(self, bars: Sequence[Sequence[NDArray[np.int64]]]) -> str:
        lines: list[str] = []
        for found, of_fold in zip(self.parts, bars, strict=True):
            for part, numbers in zip(found, of_fold, strict=True):
                times = np.datetime_as_string(part.member.dates[numbers].astype("M8[s]"))
                label = f",{part.member.symbol}" * self.is_basket
                lines += [f"{time}{label}" for time in times.tolist()]
        return sha256("\n".join(lines).encode())

    @cached_property
    def persistence_losses(self) -> list[float]:
        """Loss of the persistence forecast per fold, in `units`."""
        return self.losses(self.judged_persistence)

    @cached_property
    def mean_losses(self) -> list[float]:
        """Loss of the training part's mean per fold, in `units`."""
        return self.losses(self._mean_forecasts())

    @cached_property
    def mean_direction_accuracy(self) -> float:
        """Direction accuracy of the training part's mean, that is without any skill."""
        points = [self.point(values) for values in self._mean_forecasts()]
        values = (points, self.actuals, self.persistence)
        hits = hits_of(*map(np.concatenate, values))
        return float(hits.mean()) if len(hits) else float("nan")

    def direction(self, forecasts: Sequence[Floats]) -> Direction:
        """Return the direction accuracy of forecasts of all folds, in the target's unit."""
        return direction(
            np.concatenate([self.point(values) for values in forecasts]),
            np.concatenate(self.actuals),
            np.concatenate(self.persistence),
            self.horizon,
            np.concatenate([dates.to_numpy() for dates in self.scored_dates]),
        )

    def direction_test(self, forecasts: Sequence[Floats]) -> DirectionTest:
        """Test whether directions were forecast, of a target that is a move."""
        return pesaran_timmermann(
            np.concatenate([self.point(values) for values in forecasts]),
            np.concatenate(self.actuals),
            np.concatenate(self.persistence),
            np.concatenate([dates.to_numpy() for dates in self.scored_dates]),
            np.concatenate(self.scored_symbols),
        )

    def in_target_units(self, forecasts: "Sequence[torch.Tensor]") -> list[Floats]:
        """Return standardised forecasts of each fold in the target's unit."""
        rows = [values.double().cpu().numpy() for values in forecasts]
        return [
            np.concatenate(
                [
                    part.scaler.unscale_target(values)
                    for part, values in zip(found, by_part(found, row), strict=True)
                ]
            )
            for found, row in zip(self.parts, rows, strict=True)
        ]

    def forecasts_csv(self, forecasts: Sequence[Floats]) -> bytes:
        """Return the forecasts of all folds as exact CSV, as `forecast_table` describes it."""
        known = (self.scored_dates, self.scored_symbols, self.actuals, self.persistence)
        tables = []
        for number, (values, dates, symbols, actual, last) in enumerate(
            zip(forecasts, *known, strict=True), start=1
        ):
            keys = {"date": dates, "fold": number}
            if self.is_basket:
                keys["symbol"] = symbols
            numbers = to_columns(values, actual, last, self.spec.training.quantiles)
            tables.append(pd.DataFrame(keys | numbers))
        return pd.concat(tables).to_csv(index=False).encode()

    def losses_by_date(self, forecasts: Sequence[Floats]) -> Floats:
        """Return the mean loss over symbols of each scored date, fold after fold.

        Symbols move together, so that their losses on one date are one observation.
        """
        return np.concatenate(
            [
                mean_by_date(dates.to_numpy(), losses)
                for dates, losses in zip(self.scored_dates, self.bar_losses(forecasts), strict=True)
            ]
        )

    @cached_property
    def date_horizon(self) -> int:
        """The most dates, of one fold, over which the losses by date are correlated, plus one."""
        dates = self.dates.to_numpy()
        widest = max(horizon_in_dates(found, dates) for found in self.parts)
        fewest = min(len(dates.unique()) for dates in self.scored_dates)
        return max(self.horizon, min(widest, fewest - 1))

    def losses(self, forecasts: Sequence[Floats]) -> list[float]:
        """Return the loss per fold, in `units`: the mean over symbols.

        The forecasts are in the target's unit.
        """
        by_symbol = self._by_symbol(self.bar_losses(forecasts))
        return [float(np.mean(list(of_fold.values()))) for of_fold in by_symbol]

    def symbol_losses(self, forecasts: Sequence[Floats]) -> dict[str, float]:
        """Return the loss of each symbol, the mean over the folds in which it takes part."""
        return over_folds(self._by_symbol(self.bar_losses(forecasts)))

    def over_folds(self, losses: Sequence[Sequence[float]]) -> dict[str, float]:
        """Return the mean of each symbol over its folds, of values in the order of `parts`."""
        symbols = [[part.member.symbol for part in found] for found in self.parts]
        return over_folds(
            [dict(zip(*pair, strict=True)) for pair in zip(symbols, losses, strict=True)]
        )

    def _by_symbol(self, bar_losses: Sequence[Floats]) -> list[dict[str, float]]:
        """Return the mean loss of each symbol of each fold."""
        return [
            {
                part.member.symbol: float(losses.mean())
                for part, losses in zip(found, by_part(found, per_bar), strict=True)
            }
            for found, per_bar in zip(self.parts, bar_losses, strict=True)
        ]

    def bar_losses(self, forecasts: Sequence[Floats]) -> list[Floats]:
        """Return the loss of each forecast, one array per fold, in units of `losses`."""
        return [
            losses / unit
            for losses, unit in zip(self._losses_per_bar(forecasts), self.units, strict=True)
        ]

    def _losses_per_bar(self, forecasts: Sequence[Floats]) -> list[Floats]:
        return [self.spec.criterion.per_bar(errors) for errors in self.errors(forecasts)]

    def errors(self, forecasts: Sequence[Floats]) -> list[Floats]:
        """Return actual minus forecast in units of the standardised target, one array per fold.

        Their shape is that of the forecasts.
        """
        return [
            np.concatenate(errors)
            for errors in map(self._errors, self.parts, forecasts, self.actuals)
        ]

    def _errors(self, found: Sequence[Part], forecast: Floats, actual: Floats) -> list[Floats]:
        if forecast.ndim > 1:
            actual = actual[:, None]  # each quantile has an error of its own: (targets, level)
        values = zip(found, by_part(found, forecast), by_part(found, actual), strict=True)
        return [
            part.scaler.scale_target(true) - part.scaler.scale_target(ahead)
            for part, ahead, true in values
        ]

    def _mean_forecasts(self) -> list[Floats]:
        """Return the baseline `training_mean` as a report has it, one array per fold."""
        fit = fitted_to(self.spec.criterion, partial(fit_each, training_mean))
        try:
            return [fit(found, 1).forecasts for found in self.parts]
        except LeftOutError as error:
            raise PuffinError(f"{error}; take longer series, or the loss mse") from None


def scaled_for(spec: Spec, found: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return parts whose target is scaled as the loss of a study needs it."""
    if LOSSES[spec.training.loss].standardised:
        return found
    return tuple(replace(part, scaler=part.scaler.centring_target()) for part in found)


def over_folds(of_folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each symbol over the folds in which it takes part."""
    symbols = dict.fromkeys(symbol for of_fold in of_folds for symbol in of_fold)
    return {
        symbol: float(np.mean([of_fold[symbol] for of_fold in of_folds if symbol in of_fold]))
        for symbol in symbols
    }


def _limits(span: Span) -> tuple[int, int]:
    return span.start, span.stop


def _members(spec: Spec, frames: Frames) -> tuple[Member, ...]:
    """Return the symbols with their features and targets, all of them from the past alone."""
    # The formulas are the same for all symbols, so that the checks of all symbols are one check.
    truncations = max(TRUNCATIONS // max(len(frames), 1), 2)
    return tuple(_member(spec, symbol, frame, truncations) for symbol, frame in frames.items())


def _member(spec: Spec, symbol: str, frame: pd.DataFrame, truncations: int) -> Member:
    columns, data = columns_of(frame), spec.data
    series = build_series(columns, data.features, data.target, data.horizon)
    require_causal(columns, data.features, data.target, data.horizon, truncations)
    return Member(symbol, frame.index.to_numpy(), series, columns["close"])
