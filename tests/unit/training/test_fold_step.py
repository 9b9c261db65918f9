"""The stacked training of all folds (benchmarks) equals training each fold separately."""

import pytest
import torch

from benchmarks.fold_step import FEATURES, FOLDS, Stacked, loop, stacked
from puffin.models.config import Config
from puffin.models.training.fold_training import build_networks


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("widths", [(5,), (6, 4, 3)])
def test_a_stacked_step_of_all_folds_equals_a_step_of_each_fold(
    cell: str, widths: tuple[int, ...]
) -> None:
    config = Config(cell=cell, hidden_dims=widths, dropout=0.0, lookback=7, batch_size=9)
    networks = build_networks(config, FEATURES, FOLDS, torch.device("cpu"), seed=2)
    one = Stacked(list(networks), cell)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(FOLDS, 9, 7, FEATURES, generator=draw)
    y = torch.randn(FOLDS, 9, 1, generator=draw)

    def forecasts() -> torch.Tensor:
        return torch.stack([network(x[i]) for i, network in enumerate(networks)])

    before = forecasts()
    torch.testing.assert_close(one(x), before)
    apart, together = loop(networks, x, y), stacked(one, x, y)
    for _ in range(3):
        apart()
        together()
    after = forecasts()
    assert (after - before).abs().min() > 1e-6
    torch.testing.assert_close(one(x), after, rtol=1e-4, atol=1e-5)
