"""Every cell: its network, and the plain torch layers that a model card rebuilds it from."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from puffin.models.cells import CELLS
from puffin.models.config import CELL_NAMES, Config
from puffin.models.networks.rnn import build_network

WIDTHS = (3, 6, 4)


def built(cell: str) -> nn.Module:
    torch.manual_seed(2)
    config = Config(cell=cell, hidden_dims=WIDTHS[1:], dropout=0.0)
    return build_network(config, input_dim=WIDTHS[0]).eval()


def windows() -> Tensor:
    return torch.randn(5, 9, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_forecasts_one_number_for_each_window(cell: str) -> None:
    out = built(cell)(windows())
    assert out.shape == (5, 1)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_forecasts_after_each_of_the_last_bars(cell: str) -> None:
    network, x = built(cell), windows()
    torch.testing.assert_close(network(x, last=2)[1::2], network(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_plain_torch_layers_with_the_weights_of_a_cell_forecast_the_same(cell: str) -> None:
    layer = getattr(nn, CELLS[cell].torch_layer)
    layers = [layer(a, b, batch_first=True) for a, b in pairwise(WIDTHS)]
    head = nn.Linear(WIDTHS[-1], 1)
    plain = nn.ModuleDict({CELLS[cell].layers: nn.ModuleList(layers), "fc": head})
    network, x = built(cell), windows()
    plain.load_state_dict(network.state_dict())
    expected = network(x)
    for part in layers:
        x, _ = part(x)
    torch.testing.assert_close(head(x[:, -1]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["rnn", "LSTM", "", 3, None])
def test_an_unknown_cell_is_refused_with_the_known_ones(cell: object) -> None:
    with pytest.raises(ValueError, match="unknown cell") as caught:
        Config(cell=cell)
    assert str(caught.value) == f"unknown cell {cell!r}; known are lstm, gru"


def test_a_study_file_may_name_every_cell() -> None:
    assert tuple(CELLS) == CELL_NAMES
