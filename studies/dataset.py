"""The data that the trials of a study share: series, folds, scalers, scored targets, baselines."""

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
    """Split bars into the search part and the holdout.

    The first `purge` bars of the holdout are not scored, so that no target of the search part
    overlaps a scored bar.
    """
    stop = max(len(frame) - spec.walk_forward.holdout_bars - spec.purge, 0)
    return frame.iloc[:stop], frame.iloc[stop:]


@dataclass(frozen=True)
class Dataset:
    """Series, folds and scalers of one study, ready to train on.

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
        """Return the folds as tensors on a device, in windows of `lookback` bars."""
        # Imported here so that commands that manage studies do not load torch.
        from puffin.models.windows import fold_tensors

        return [
            fold_tensors(self.series, fold, scaler, lookback, device)
            for fold, scaler in zip(self.folds, self.scalers, strict=True)
        ]

    def refit_span(self) -> Span:
        """Return the targets of a refit: all, or the last `train_bars` for rolling windows."""
        stop, train_bars = len(self.dates), self.spec.walk_forward.train_bars
        start = self.folds[0].train.start if train_bars is None else stop - train_bars
        return Span(start, stop)

    def validation_slices(self, values: Floats) -> list[Floats]:
        """Return the validation part of each fold of values (bars,)."""
        return [values[fold.valid.start : fold.valid.stop] for fold in self.folds]

    @cached_property
    def targets_sha256(self) -> str:
        """SHA-256 of the dates of the scored targets, the same for every trial of a study.

        Values are left out, because logarithms differ in the last bit between processors.
        """
        return self._sha256_of([np.arange(f.valid.start, f.valid.stop) for f in self.folds])

    def scored_sha256(self, folds: "Sequence[FoldTensors]") -> str:
        """Return what `targets_sha256` must be if exactly the targets of `folds` are scored."""
        return self._sha256_of([fold.valid_times for fold in folds])

    def _sha256_of(self, times: Sequence[NDArray[np.int64]]) -> str:
        dates = self.dates[np.concatenate(times)]
        return sha256("\n".join(dates.strftime("%Y-%m-%dT%H:%M:%S")).encode())

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
        """Direction accuracy of the training part's mean, that is without any skill."""
        return self.direction(self._mean_forecasts())

    def direction(self, forecasts: list[Floats]) -> Direction:
        """Return the direction accuracy of forecasts of all folds, in the target's unit."""
        return direction(
            np.concatenate(forecasts),
            np.concatenate(self.validation_slices(self.series.target)),
            np.concatenate(self.validation_slices(self.series.persistence)),
            self.series.horizon,
        )

    def in_target_units(self, forecasts: "torch.Tensor") -> list[Floats]:
        """Return standardised forecasts (fold, bars) in the target's unit, one array per fold."""
        rows = forecasts.double().cpu().numpy()
        return [s.unscale_target(row) for s, row in zip(self.scalers, rows, strict=True)]

    def forecasts_csv(self, forecasts: list[Floats]) -> bytes:
        """Return a table of the forecasts of all folds, in the target's unit, as exact CSV.

        The columns are date, fold (from 1), forecast, actual and persistence.
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
        """Return the loss of each forecast, fold after fold, in units of `losses`."""
        errors = self._errors(forecasts)
        return losses_per_bar(np.concatenate(errors), self.spec.training.loss)

    def _mean_forecasts(self) -> list[Floats]:
        return [
            np.full(len(f.valid), s.target_mean)
            for f, s in zip(self.folds, self.scalers, strict=True)
        ]

    def losses(self, forecasts: list[Floats]) -> list[float]:
        """Return the loss per fold, in units of the standardised target.

        The forecasts are in the target's unit.
        """
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
    """Return the inputs of features and targets: columns of the bars, weekday, extra series."""
    names = [str(name) for name in frame if not str(name).startswith(EXTRA)]
    columns: dict[str, Floats] = {name: frame[name].to_numpy(np.float64) for name in names}
    columns["weekday"] = pd.DatetimeIndex(frame.index).day_of_week.to_numpy(np.float64)
    if len(names) < len(frame.columns):
        columns["extra"] = frame.drop(columns=names).to_numpy(np.float64)
    return columns


def _series(spec: Spec, frame: pd.DataFrame) -> Series:
    """Compute features and target, and require that they use nothing from the future."""
    columns, data = columns_of(frame), spec.data
    series = build_series(columns, data.features, data.target, data.horizon)
    require_causal(columns, data.features, data.target, data.horizon)
    return series


def _closes(frame: pd.DataFrame) -> Floats:
    return frame["close"].to_numpy(np.float64)
