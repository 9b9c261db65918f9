"""Windows of bars as tensors. A window ends `horizon` bars before the target it forecasts."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from puffin.models.arrays import Floats
from puffin.models.features import Series
from puffin.models.folds import Fold
from puffin.models.scaling import Scaler


@dataclass(frozen=True)
class FoldTensors:
    """One fold on its device, standardised with the scaler of its training part.

    Attributes
    ----------
    train_windows : Tensor, (train targets, lookback, feature), a view
    train_targets : Tensor, (train targets, 1)
    valid_windows : Tensor, (valid targets, lookback, feature), a view
    valid_targets : Tensor, (valid targets, 1)
    valid_times : array, (valid targets,), the bar that each validation window forecasts
    """

    train_windows: Tensor
    train_targets: Tensor
    valid_windows: Tensor
    valid_targets: Tensor
    valid_times: NDArray[np.int64]


def make_windows(rows: Tensor, lookback: int) -> Tensor:
    """View rows (bars, feature) as windows (bars - lookback + 1, lookback, feature)."""
    return rows.unfold(0, lookback, 1).transpose(1, 2)


def fold_tensors(
    series: Series, fold: Fold, scaler: Scaler, lookback: int, device: torch.device
) -> FoldTensors:
    """Return the windows and targets of one fold on a device; windows are views of the bars.

    Raises
    ------
    ValueError
        If `lookback` is longer than the folds allow with the bars before their first target.
    """
    first = series.warmup + lookback - 1 + series.horizon
    if fold.train.start < first:
        msg = (
            f"lookback {lookback} needs {first} bars before the first target, but there are "
            f"{fold.train.start}: use a shorter lookback"
        )
        raise ValueError(msg)
    rows = to_tensor((series.features - scaler.feature_mean) / scaler.feature_std, device)
    targets = to_tensor(scaler.scale_target(series.target)[:, None], device)
    # Windows begin after the warm-up, in which features are NaN; window i forecasts bar first + i.
    windows = make_windows(rows[series.warmup :], lookback)
    train = slice(fold.train.start - first, fold.train.stop - first)
    valid = slice(fold.valid.start - first, fold.valid.stop - first)
    # Computed from the windows rather than from the fold, as a record of what is really scored.
    bars = make_windows(torch.arange(series.warmup, len(rows))[:, None], lookback)
    return FoldTensors(
        train_windows=windows[train],
        train_targets=targets[fold.train.start : fold.train.stop],
        valid_windows=windows[valid],
        valid_targets=targets[fold.valid.start : fold.valid.stop],
        valid_times=bars[valid, -1, 0].numpy() + series.horizon,
    )


def to_tensor(values: Floats, device: torch.device) -> Tensor:
    """Return values of any shape as a float32 tensor on a device."""
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)
