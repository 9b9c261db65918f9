"""The mean of several networks as one network."""

import pytest
import torch
from torch import nn

from puffin.models.config import Config
from puffin.models.networks.ensemble import Ensemble, build_ensemble, named_weights
from puffin.models.networks.rnn import build_network

CONFIG = Config(hidden_dims=(5, 3), lookback=4)


def test_the_forecast_is_the_mean_of_the_members() -> None:
    torch.manual_seed(0)
    members = [build_network(CONFIG, 2).eval() for _ in range(3)]
    windows = torch.randn(7, 4, 2)
    expected = (members[0](windows) + members[1](windows) + members[2](windows)) / 3
    assert torch.allclose(Ensemble(members)(windows), expected)


def test_an_ensemble_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="members must hold at least one network, but is empty"):
        Ensemble([])


def test_weights_of_all_members_are_loaded_by_name() -> None:
    torch.manual_seed(1)
    trained, fresh = build_ensemble(CONFIG, 2, 3).eval(), build_ensemble(CONFIG, 2, 3).eval()
    windows = torch.randn(7, 4, 2)
    assert not torch.allclose(trained(windows), fresh(windows))
    fresh.load_state_dict(named_weights(trained.state_dict()))
    assert torch.equal(trained(windows), fresh(windows))


def test_the_weights_of_a_network_alone_are_those_of_an_ensemble_of_one() -> None:
    network: nn.Module = build_network(CONFIG, 2).eval()
    one = build_ensemble(CONFIG, 2, 1).eval()
    one.load_state_dict(named_weights(network.state_dict()))
    windows = torch.randn(7, 4, 2)
    assert torch.equal(one(windows), network(windows))
