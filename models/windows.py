"""Windows of bars as tensors. A window ends `horizon` bars before the target it forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from puffin.models.arrays import Floats
from puffin.models.folds import Span
from puffin.models.panel import Part


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one symbol or more, as places in one tensor of rows, so that nothing is copied.

    Attributes
    ----------
    rows : Tensor, (rows, feature), the bars of the symbols one behind the other
    targets : Tensor, (rows, output), of the window that begins at a row; of no meaning at others
    spans : tuple of Span
        The rows at which the windows of each symbol begin.
    lookback : int
    """

    rows: Tensor
    targets: Tensor
    spans: tuple[Span, ...]
    lookback: int

    @classmethod
    def of(cls, rows: Tensor, targets: Tensor, lookback: int) -> "Windows":
        """Return the windows of one series, the first of which forecasts the first target."""
        return cls(rows, targets, (Span(0, len(targets)),), lookback)

    def __len__(self) -> int:
        """Return the number of windows."""
        return sum(map(len, self.spans))

    def view(self, count: int = 1) -> Tensor:
        """View every `lookback` + `count` - 1 consecutive rows, (places, bar, feature).

        Only those within a symbol's span are windows.
        """
        return make_windows(self.rows, self.lookback + count - 1)

    @cached_property
    def starts(self) -> Tensor:
        """The rows at which the windows begin, (windows,), symbol after symbol."""
        places = [torch.arange(span.start, span.stop) for span in self.spans]
        return torch.cat(places).to(self.rows.device)

    @property
    def inputs(self) -> Tensor:
        """Copies of all windows, (windows, lookback, feature)."""
        return self.view()[self.starts]

    @cached_property
    def outputs(self) -> Tensor:
        """The targets of all windows, (windows, output)."""
        return self.targets[self.starts]


@dataclass(frozen=True, eq=False)
class FoldTensors:
    """One fold on its device; each symbol is standardised with the scaler of its training part.

    Attributes
    ----------
    train, valid : Windows
    valid_bars : tuple of array, (valid targets,), one per symbol
        The bars, in numbers of the symbol, that the validation windows forecast.
    unit : float
        A validation loss is divided by it.
    """

    train: Windows
    valid: Windows
    valid_bars: tuple[NDArray[np.int64], ...]
    unit: float = 1.0


def make_windows(rows: Tensor, lookback: int) -> Tensor:
    """View rows (bars, feature) as windows (bars - lookback + 1, lookback, feature)."""
    return rows.unfold(0, lookback, 1).transpose(1, 2)


def fold_tensors(
    parts: Sequence[Part], lookback: int, device: torch.device, unit: float = 1.0
) -> FoldTensors:
    """Return the windows and targets of one fold on a device, with the unit of its losses.

    Raises
    ------
    ValueError
        If `lookback` is longer than the folds allow with the bars before their first target.
    """
    for part in parts:
        _check_lookback(part, lookback)
    rows = torch.cat([_rows(part, device) for part in parts])
    targets = torch.cat([_targets(part, lookback, device) for part in parts])
    offsets = np.cumsum([0, *(len(part.member.series.target) for part in parts[:-1])]).tolist()

    def windows(spans: Sequence[Span]) -> Windows:
        places = (
            _first_rows(part, span, lookback, offset)
            for part, span, offset in zip(parts, spans, offsets, strict=True)
        )
        return Windows(rows, targets, tuple(places), lookback)

    valid = windows([part.fold.valid for part in parts])
    return FoldTensors(
        windows([part.fold.train for part in parts]), valid, _valid_bars(parts, valid), unit
    )


def _check_lookback(part: Part, lookback: int) -> None:
    series, start = part.member.series, part.fold.train.start
    first = series.warmup + lookback - 1 + series.horizon
    if start < first:
        msg = (
            f"lookback {lookback} needs {first} bars before the first target, but there are "
            f"{start}: use a shorter lookback"
        )
        raise ValueError(msg)


def _rows(part: Part, device: torch.device) -> Tensor:
    scaler = part.scaler
    features = part.member.series.features
    return to_tensor((features - scaler.feature_mean) / scaler.feature_std, device)


def _targets(part: Part, lookback: int, device: torch.device) -> Tensor:
    """Return the target of the window that begins at each bar of a symbol, (bars, 1)."""
    target = part.scaler.scale_target(part.member.series.target)
    ahead = lookback - 1 + part.member.series.horizon
    return to_tensor(np.roll(target, -ahead)[:, None], device)


def _first_rows(part: Part, span: Span, lookback: int, offset: int) -> Span:
    """Return the rows at which the windows begin that forecast the bars of a span."""
    shift = offset - (lookback - 1 + part.member.series.horizon)
    return Span(span.start + shift, span.stop + shift)


def _valid_bars(parts: Sequence[Part], valid: Windows) -> tuple[NDArray[np.int64], ...]:
    """Return the bars that windows forecast, read from the windows as a record of what is scored.

    They are not those of the fold, so that an error in the windows is seen.
    """
    bars = torch.cat([torch.arange(len(part.member.series.target)) for part in parts])
    last = make_windows(bars[:, None], valid.lookback)[valid.starts.cpu(), -1, 0].numpy()
    sizes = np.cumsum([len(span) for span in valid.spans[:-1]])
    split = np.split(last, sizes)
    return tuple(seen + part.member.series.horizon for part, seen in zip(parts, split, strict=True))


def to_tensor(values: Floats, device: torch.device) -> Tensor:
    """Return values of any shape as a float32 tensor on a device."""
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=device)
