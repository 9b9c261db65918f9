"""Which networks a GPU may replay; tests/gpu holds what it replays to what it launches."""

import pytest
from torch import nn

from puffin.models.networks.rnn import LSTMNet, StackedGRU
from puffin.models.training.cuda_graphs import can_be_graphed


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (StackedGRU(1, [4, 4], dropout=0.5), True),  # with our dropout, between the layers
        (LSTMNet(1, 4, num_layers=2, dropout=0.5), False),
        (LSTMNet(1, 4, num_layers=2, dropout=0.0), True),
        (LSTMNet(1, 4, num_layers=1, dropout=0.5), True),  # which drops nothing
    ],
)
def test_networks_with_the_dropout_of_cudnn_are_not_replayed(
    network: nn.Module,
    expected: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    assert can_be_graphed(network) is expected
