"""Folds of random numbers, for tests of training."""

import numpy as np
import torch

from puffin.models.windows import FoldTensors, make_windows

# Long enough that training sequences hold several targets.
LOOKBACK = 5


def random_folds(count: int = 2, train: int = 20, valid: int = 6) -> list[FoldTensors]:
    draw = torch.Generator().manual_seed(3)
    return [
        FoldTensors(
            train_windows=make_windows(
                torch.randn(train + i + LOOKBACK - 1, 2, generator=draw), LOOKBACK
            ),
            train_targets=torch.randn(train + i, 1, generator=draw),
            valid_windows=torch.randn(valid, LOOKBACK, 2, generator=draw),
            valid_targets=torch.randn(valid, 1, generator=draw),
            valid_times=np.arange(valid),
        )
        for i in range(count)
    ]
