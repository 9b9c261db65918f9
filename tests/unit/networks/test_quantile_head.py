"""The last layer of networks of quantiles."""

import pytest
import torch

from puffin.models.config import Config
from puffin.models.networks.quantile_head import QuantileHead
from puffin.models.networks.rnn import build_network

LEVELS = (0.05, 0.25, 0.5, 0.9)


def test_quantiles_never_cross_and_the_median_is_the_linear_output() -> None:
    torch.manual_seed(0)
    head, states = QuantileHead(6, LEVELS), 10 * torch.randn(50, 6)
    out = head(states)
    assert out.shape == (50, 4)
    assert (out.diff(dim=1) >= 0).all()
    torch.testing.assert_close(out[:, 2], states @ head.weight[2] + head.bias[2])


def test_each_distance_is_the_softplus_of_one_output() -> None:
    head = QuantileHead(1, LEVELS)
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-1.0, 0.0, 3.0, 2.0]))
    gaps = torch.log1p(torch.exp(torch.tensor([-1.0, 0.0, 2.0])))
    expected = torch.stack([3 - gaps[1] - gaps[0], 3 - gaps[1], torch.tensor(3.0), 3 + gaps[2]])
    torch.testing.assert_close(head(torch.zeros(1, 1))[0], expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_network_of_quantiles_has_one_output_for_each_level(cell: str) -> None:
    network = build_network(Config(cell=cell, hidden_dims=(3,)), 2, LEVELS)
    assert network(torch.zeros(7, 5, 2)).shape == (7, 4)
    assert network(torch.zeros(7, 5, 2), last=2).shape == (14, 4)
