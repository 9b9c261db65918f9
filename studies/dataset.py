"""What the trials of one study share: series, folds, scalers, baselines and the scored targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.evaluation.metrics import Direction, direction
from puffin.models.features import Series, build_series
from puffin.models.folds import Fold, Span, first_target, split
from puffin.models.lookahead import require_causal
from puffin.models.losses import losses_per_bar
from puffin.models.scaling import Scaler
from puffin.studies.prices.load import EXTRA
from puffin.studies.prices.snapshot import sha256
from puffin.studies.spec import Spec

if TYPE_CHECKING:
    import torch

    from puffin.models.windows import FoldTensors


def cut_holdout(frame: pd.DataFrame, spec: Spec) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split bars into the search part and the sealed end, whose first `purge` bars are not scored.

    A label of the search part never reaches into a scored bar of the holdout.
    """
    stop = max(len(frame) - spec.walk_forward.holdout_bars - spec.purge, 0)
    return frame.iloc[:stop], frame.iloc[stop:]


@dataclass(frozen=True)
class Dataset:
    """The search part of a study, ready to train on.

    Attributes
    ----------
    spec : Spec
    dates : DatetimeIndex, (bars,)
    series : Series
    folds : list of Fold
    scalers : list of Scaler, one per fold
    closes : array, (bars,)
    """

    spec: Spec
    dates: pd.DatetimeIndex
    series: Series
    folds: list[Fold]
    scalers: list[Scaler]
    closes: Floats

    @classmethod
    def build(cls, spec: Spec, frame: pd.DataFrame) -> "Dataset":
        """Prepare the search part `frame` of the prices.

        Raises
        ------
        PuffinError
            If a column is missing, the series is too short, or a feature or the target looks into
            the future.
        """
        series = _series(spec, frame)
        longest = spec.parsed_space.max_lookback
        first = first_target(longest, series.warmup, series.horizon)
        folds = split(len(frame), first, spec.layout)
        scalers = [Scaler.fit(series, fold.train, longest) for fold in folds]
        return cls(spec, pd.DatetimeIndex(frame.index), series, folds, scalers, _closes(frame))

    @classmethod
    def for_holdout(cls, spec: Spec, search: pd.DataFrame, holdout: pd.DataFrame) -> "Dataset":
        """Prepare the one fold that is trained on the search part and scored on the holdout.

        Raises
        ------
        PuffinError
            If a column is missing, or a feature or the target looks into the future.
        """
        train = cls.build(spec, search).refit_span()
        frame = pd.concat([search, holdout])
        series = _series(spec, frame)
        fold = Fold(train, Span(len(search) + spec.purge, len(frame)))
        scaler = Scaler.fit(series, train, spec.parsed_space.max_lookback)
        index = pd.DatetimeIndex(frame.index)
        return cls(spec, index, series, [fold], [scaler], _closes(frame))

    def tensors(self, lookback: int, device: "torch.device") -> "list[FoldTensors]":
        """Put every fold on a device, cut into windows of `lookback` bars."""
        # Here, since who only looks after studies need not wait for torch.
        from puffin.models.windows import fold_tensors

        return [
            fold_tensors(self.series, fold, scaler, lookback, device)
            for fold, scaler in zip(self.folds, self.scalers, strict=True)
        ]

    def refit_span(self) -> Span:
        """Give the targets that a winner is refitted on: all, or the last rolling part of them."""
        stop, train_bars = len(self.dates), self.spec.walk_forward.train_bars
        start = self.folds[0].train.start if train_bars is None else stop - train_bars
        return Span(start, stop)

    def validation_slices(self, values: Floats) -> list[Floats]:
        """Cut values (bars,) into the validation part of each fold."""
        return [values[fold.valid.start : fold.valid.stop] for fold in self.folds]

    def fingerprint_targets(self, folds: "Sequence[FoldTensors]") -> str:
        """Fingerprint the dates of the targets that `folds` score, sha256 in hex.

        The same for every trial of a study, whatever its lookback; values are left out, because
        logarithms differ in the last bit between processors.
        """
        return self._fingerprint([fold.valid_times for fold in folds])

    def _fingerprint(self, times: Sequence[NDArray[np.int64]]) -> str:
        dates = self.dates[np.concatenate(times)]
        return sha256("\n".join(dates.strftime("%Y-%m-%dT%H:%M:%S")).encode())

    @cached_property
    def targets_sha256(self) -> str:
        """Fingerprint of what every trial must score, whatever its lookback."""
        return self._fingerprint([np.arange(f.valid.start, f.valid.stop) for f in self.folds])

    @cached_property
    def persistence_losses(self) -> list[float]:
        """Loss of the persistence forecast per fold, in units of the standardised target."""
        return self.losses(self.validation_slices(self.series.persistence))

    @cached_property
    def mean_losses(self) -> list[float]:
        """Loss of the training part's mean per fold, in units of the standardised target."""
        return self.losses(self._mean_forecasts())

    @cached_property
    def mean_direction(self) -> Direction:
        """Direction accuracy of the training part's mean: what no skill at all gets."""
        return self.direction(self._mean_forecasts())

    def direction(self, forecasts: list[Floats]) -> Direction:
        """Direction accuracy of forecasts of all folds, in the target's unit."""
        return direction(
            np.concatenate(forecasts),
            np.concatenate(self.validation_slices(self.series.target)),
            np.concatenate(self.validation_slices(self.series.persistence)),
            self.series.horizon,
        )

    def in_target_units(self, forecasts: "torch.Tensor") -> list[Floats]:
        """Give standardised forecasts (fold, bars) in the target's unit, fold by fold."""
        rows = forecasts.double().cpu().numpy()
        return [s.unscale_target(row) for s, row in zip(self.scalers, rows, strict=True)]

    def forecasts_csv(self, forecasts: list[Floats]) -> bytes:
        """Table forecasts of all folds, in the target's unit: exact, read back bit for bit.

        Bars are date, fold (from 1), forecast, actual and persistence.
        """
        actuals, lasts = (
            self.validation_slices(v) for v in (self.series.target, self.series.persistence)
        )
        parts = [
            pd.DataFrame(
                {
                    "date": self.dates[fold.valid.start : fold.valid.stop],
                    "fold": number,
                    "forecast": forecast,
                    "actual": actual,
                    "persistence": last,
                }
            )
            for number, (fold, forecast, actual, last) in enumerate(
                zip(self.folds, forecasts, actuals, lasts, strict=True), start=1
            )
        ]
        return pd.concat(parts).to_csv(index=False).encode()

    def losses_per_bar(self, forecasts: list[Floats]) -> Floats:
        """Loss of each forecast, all folds one after the other, in units of `losses`."""
        errors = self._errors(forecasts)
        return losses_per_bar(np.concatenate(errors), self.spec.training.loss)

    def _mean_forecasts(self) -> list[Floats]:
        return [
            np.full(len(f.valid), s.target_mean)
            for f, s in zip(self.folds, self.scalers, strict=True)
        ]

    def losses(self, forecasts: list[Floats]) -> list[float]:
        """Loss per fold of forecasts in the target's unit, in units of the standardised target."""
        errors = self._errors(forecasts)
        return [float(losses_per_bar(part, self.spec.training.loss).mean()) for part in errors]

    def _errors(self, forecasts: list[Floats]) -> list[Floats]:
        return [
            scaler.scale_target(forecast) - scaler.scale_target(actual)
            for forecast, actual, scaler in zip(
                forecasts, self.validation_slices(self.series.target), self.scalers, strict=True
            )
        ]


def columns_of(frame: pd.DataFrame) -> dict[str, Floats]:
    """Give what features and targets read of bars: their columns, weekday, and extra series."""
    own = [str(name) for name in frame if not str(name).startswith(EXTRA)]
    columns: dict[str, Floats] = {name: frame[name].to_numpy(np.float64) for name in own}
    columns["weekday"] = pd.DatetimeIndex(frame.index).day_of_week.to_numpy(np.float64)
    if len(own) < len(frame.columns):
        columns["extra"] = frame.drop(columns=own).to_numpy(np.float64)
    return columns


def _series(spec: Spec, frame: pd.DataFrame) -> Series:
    """Compute what forecasts read, and hold it to what is known at each bar."""
    columns, data = columns_of(frame), spec.data
    series = build_series(columns, data.features, data.target, data.horizon)
    require_causal(columns, data.features, data.target, data.horizon)
    return series


def _closes(frame: pd.DataFrame) -> Floats:
    return frame["close"].to_numpy(np.float64)
