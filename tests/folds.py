"""Folds of random numbers, for tests of training."""

import numpy as np
import torch
from torch import Tensor

from puffin.models.features import Series
from puffin.models.folds import Fold, Span
from puffin.models.panel import Member, Part
from puffin.models.scaling import Scaler
from puffin.models.windows import FoldTensors, Windows

# Long enough that training sequences hold several targets.
LOOKBACK = 5


def fold_of(train: Windows, valid: Windows) -> FoldTensors:
    """Return a fold of windows whose validation targets are numbered from 0 for each symbol."""
    return FoldTensors(train, valid, tuple(np.arange(len(span)) for span in valid.spans))


def random_windows(count: int, lookback: int, draw: torch.Generator) -> Windows:
    rows: Tensor = torch.randn(count + lookback - 1, 2, generator=draw)
    return Windows.of(rows, torch.randn(count, 1, generator=draw), lookback)


def random_folds(
    count: int = 2, train: int = 20, valid: int = 6, lookback: int = LOOKBACK
) -> list[FoldTensors]:
    draw = torch.Generator().manual_seed(3)
    return [
        fold_of(random_windows(train + i, lookback, draw), random_windows(valid, lookback, draw))
        for i in range(count)
    ]


def basket_windows(counts: list[int], lookback: int, draw: torch.Generator) -> Windows:
    """Return windows of several symbols with so many targets, with three rows between them."""
    spans, rows = [], 2
    for count in counts:
        spans.append(Span(rows, rows + count))
        rows += count + lookback - 1 + 3
    return Windows(
        torch.randn(rows, 2, generator=draw),
        torch.randn(rows, 1, generator=draw),
        tuple(spans),
        lookback,
    )


def part_of(series: Series, fold: Fold, scaler: Scaler, symbol: str = "A") -> Part:
    """Return a fold of one symbol, whose closes are of no matter, on consecutive days."""
    days = np.datetime64("2020-01-01") + np.arange(len(series.target))
    return Part(Member(symbol, days, series, np.zeros(len(days))), fold, scaler)
