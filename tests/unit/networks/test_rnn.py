"""Networks: parameters, and forecasts compared with plain torch layers."""

import copy
import io
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from puffin.models.cells import CELLS
from puffin.models.config import Config
from puffin.models.networks.dropout import Dropout
from puffin.models.networks.gru import GRU
from puffin.models.networks.rnn import (
    GRUNet,
    LSTMNet,
    StackedGRU,
    StackedLSTM,
    build_network,
    forecast_together,
    network_class,
)

# Rows of a recurrent weight matrix per unit: an LSTM has four gates, a GRU three.
GATES = {"lstm": 4, "gru": 3}
PLAIN = {"lstm": nn.LSTM, "gru": nn.GRU}
# Layers of a stack; test_gru.py compares ours with torch's.
LAYERS = {"lstm": partial(nn.LSTM, batch_first=True), "gru": GRU}
NETS = {"lstm": LSTMNet, "gru": GRUNet}


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def windows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def layer_shapes(gates: int, width_in: int, width: int) -> list[tuple[int, ...]]:
    """Shapes of weight_ih, weight_hh, bias_ih and bias_hh."""
    rows = gates * width
    return [(rows, width_in), (rows, width), (rows,), (rows,)]


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_one_width_network_has_the_published_state(cell: str) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for layer, width_in in enumerate([3, 5]):
        for part, shape in zip(PARTS, layer_shapes(GATES[cell], width_in, 5), strict=True):
            expected[f"{cell}.{part}_l{layer}"] = shape
    expected |= {"fc.weight": (2, 5), "fc.bias": (2,)}
    assert shapes(NETS[cell](3, 5, 2, 2)) == expected


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_state_of_a_stack_has_one_layer_module_per_width(cell: str) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for layer, (width_in, width) in enumerate([(3, 6), (6, 4), (4, 2)]):
        for part, shape in zip(PARTS, layer_shapes(GATES[cell], width_in, width), strict=True):
            expected[f"{cell}_layers.{layer}.{part}_l0"] = shape
    expected |= {"fc.weight": (1, 2), "fc.bias": (1,)}
    assert shapes(network_class(cell)(3, [6, 4, 2])) == expected


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (LSTMNet(), 50497),
        (GRUNet(), 37889),
        (StackedLSTM(1, [128, 64, 32]), 129313),
        # A GRU layer has three quarters of an LSTM layer; the head of 33 stays.
        (StackedGRU(1, [128, 64, 32]), (129313 - 33) * 3 // 4 + 33),
        # 4 gates x 64 x (1 + 64 + 2), 4 x 32 x (64 + 32 + 2), and the head
        (StackedLSTM(1), 17152 + 12544 + 33),
    ],
)
def test_parameter_counts(network: nn.Module, expected: int) -> None:
    assert count(network) == expected


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_defaults_are_the_published_ones(cell: str) -> None:
    net = NETS[cell]()
    assert (net.hidden_dim, net.num_layers) == (64, 2)
    assert getattr(net, cell).dropout == 0.2
    stack = network_class(cell)(1)
    assert (list(stack.hidden_dims), stack.num_layers, stack.dropout.p) == ([64, 32], 2, 0.2)


@pytest.mark.parametrize(
    "network",
    [LSTMNet(3, 5, 2, 2), GRUNet(3, 5, 2, 2), StackedLSTM(3, [5, 4], 2), StackedGRU(3, [5], 2)],
    ids=lambda network: type(network).__name__,
)
@pytest.mark.parametrize(("batch", "lookback"), [(16, 20), (1, 20), (16, 1)])
def test_windows_map_to_one_row_of_outputs_each(
    network: nn.Module, batch: int, lookback: int
) -> None:
    assert network(windows(batch, lookback, 3)).shape == (batch, 2)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_a_one_width_network_equals_the_plain_torch_layers(
    cell: str,
    layers: int,
    training: bool,  # noqa: FBT001  # a parameter of the table
) -> None:
    dropout = 0.4 if layers > 1 else 0.0
    recurrent = PLAIN[cell](3, 5, layers, batch_first=True, dropout=dropout).train(training)
    head = nn.Linear(5, 2)
    network = NETS[cell](3, 5, layers, 2, dropout=0.4).train(training)
    state = {f"{cell}.{key}": value for key, value in recurrent.state_dict().items()}
    network.load_state_dict(state | {"fc.weight": head.weight, "fc.bias": head.bias})
    x = windows(7, 9, 3)
    torch.manual_seed(5)
    expected = head(recurrent(x)[0][:, -1])
    torch.manual_seed(5)
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("training", [True, False])
def test_a_stack_equals_plain_layers_with_dropout_between_but_not_after_them(
    cell: str,
    training: bool,  # noqa: FBT001  # a parameter of the table
) -> None:
    layers = [LAYERS[cell](a, b) for a, b in [(3, 6), (6, 4), (4, 2)]]
    head, dropout = nn.Linear(2, 1), Dropout(0.4).train(training)
    network = network_class(cell)(3, [6, 4, 2], dropout=0.4).train(training)
    state = {"fc.weight": head.weight, "fc.bias": head.bias}
    for i, layer in enumerate(layers):
        state |= {f"{cell}_layers.{i}.{key}": value for key, value in layer.state_dict().items()}
    network.load_state_dict(state)
    x = windows(7, 9, 3)
    torch.manual_seed(5)
    first, _ = layers[0](x)
    second, _ = layers[1](dropout(first))
    third, _ = layers[2](dropout(second))
    expected = head(third[:, -1])
    torch.manual_seed(5)
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_last_returns_the_forecast_after_each_of_the_last_bars(cell: str) -> None:
    network, x = network_class(cell)(3, [6, 4]).eval(), windows(5, 9, 3)
    until = torch.stack([network(x[:, :bars]) for bars in (7, 8, 9)], dim=1)
    torch.testing.assert_close(network(x, last=3), until.flatten(0, 1), rtol=0, atol=1e-6)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("last", [1, 3])
def test_networks_side_by_side_forecast_as_each_alone(last: int) -> None:
    networks = [StackedGRU(2, [5, 4], output_dim=3) for _ in range(4)]
    for number, network in enumerate(networks):
        network.dropout.generator = torch.Generator().manual_seed(number)
    x = torch.randn(4, 6, 7, 2)  # (network, batch, bar, feature)
    found = forecast_together(networks, x, last=last)
    for number, (network, out) in enumerate(zip(networks, found, strict=True)):
        network.dropout.generator = torch.Generator().manual_seed(number)
        assert out.shape == (6 * last, 3)
        torch.testing.assert_close(out, network(x[number], last=last), rtol=1e-5, atol=1e-6)


def test_a_gru_follows_the_equations_of_torch() -> None:
    network = StackedGRU(2, [3]).double()
    weights = [p.detach().numpy() for p in network.gru_layers[0].parameters()]
    w_in, w_state, b_in, b_state = weights
    x = windows(1, 4, 2).double()
    h = np.zeros(3)
    for bar in x[0].numpy():
        from_in = np.split(w_in @ bar + b_in, 3)
        from_state = np.split(w_state @ h + b_state, 3)
        r, z = sigmoid(from_in[0] + from_state[0]), sigmoid(from_in[1] + from_state[1])
        n = np.tanh(from_in[2] + r * from_state[2])
        h = (1 - z) * n + z * h
    expected = network.fc.weight.detach().numpy() @ h + network.fc.bias.detach().numpy()
    assert network(x).detach().numpy()[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "network",
    [
        LSTMNet(1, 8, 2, dropout=0.5),
        GRUNet(1, 8, 2, dropout=0.5),
        StackedLSTM(1, [8, 8], dropout=0.5),
        StackedGRU(1, [8, 8], dropout=0.5),
    ],
    ids=lambda network: type(network).__name__,
)
def test_dropout_acts_in_training_and_not_in_evaluation(network: nn.Module) -> None:
    x = windows(4, 6, 1)
    network.train()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    "network",
    [
        LSTMNet(1, 8, 1, dropout=0.5),
        GRUNet(1, 8, 1, dropout=0.5),
        StackedLSTM(1, [8], dropout=0.5),
        StackedGRU(1, [8], dropout=0.5),
    ],
    ids=lambda network: type(network).__name__,
)
def test_dropout_is_inert_with_one_layer(network: nn.Module) -> None:
    x = windows(4, 6, 1)
    trained = network.train()(x)
    assert torch.equal(trained, network.eval()(x))


@pytest.mark.parametrize("network", [StackedLSTM, StackedGRU])
@pytest.mark.parametrize("widths", [[], [0], [8, 0], [-1, 8]])
def test_a_stack_without_a_valid_width_is_refused(
    network: type[StackedLSTM | StackedGRU], widths: list[int]
) -> None:
    with pytest.raises(ValueError, match="hidden_dims needs at least one width") as caught:
        network(1, widths)
    assert "each at least 1" in str(caught.value)
    assert str(caught.value).endswith(f"got {widths}")


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_built_from_its_configuration(
    cell: str,
) -> None:
    network = build_network(Config(cell=cell, hidden_dims=(6, 4), dropout=0.3), input_dim=3)
    assert type(network) is network_class(cell)
    assert network.num_layers == 2
    assert network.hidden_dims == [6, 4]
    assert network.dropout.p == 0.3
    assert shapes(network) == shapes(network_class(cell)(3, [6, 4]))
    out = network.eval()(windows(5, 7, 3))
    assert out.shape == (5, 1)
    assert all(math.isfinite(value) for value in out[:, 0].tolist())


EVERY = [LSTMNet(3, 5), GRUNet(3, 5), StackedLSTM(3, [5, 4]), StackedGRU(3, [5, 4])]


@pytest.mark.parametrize("network", EVERY, ids=lambda network: type(network).__name__)
@pytest.mark.parametrize("shape", [(3,), (20, 3), (2, 16, 20, 3)])
def test_an_input_without_three_dimensions_is_refused(
    network: nn.Module, shape: tuple[int, ...]
) -> None:
    # torch takes (20, 3) for one window, and the head would read its last unit as the last bar.
    with pytest.raises(ValueError, match="windows must be") as caught:
        network(windows(*shape))
    assert str(caught.value) == (
        f"windows must be (batch, lookback, feature), but have shape {shape}"
    )


@pytest.mark.parametrize("network", EVERY, ids=lambda network: type(network).__name__)
def test_a_network_in_double_precision_forecasts_as_in_single(network: nn.Module) -> None:
    network = copy.deepcopy(network).eval()
    x = windows(4, 6, 3)
    single = network(x)
    double = network.double()(x.double())
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), single, atol=1e-5)


class PlainNet(nn.Module):
    """Plain layers of one width and a head, under the documented names."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = cell
        self.add_module(cell, PLAIN[cell](3, 5, 2, batch_first=True))
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.get_submodule(self.cell)(x)[0][:, -1])


class PlainStack(nn.Module):
    """Plain layers of falling widths and a head, under the documented names."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = cell
        layers = [PLAIN[cell](a, b, batch_first=True) for a, b in [(3, 6), (6, 4)]]
        self.add_module(f"{cell}_layers", nn.ModuleList(layers))
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.get_submodule(f"{self.cell}_layers").children():
            x, _ = layer(x)
        return self.fc(x[:, -1])


@pytest.mark.parametrize(
    ("plain", "network"),
    [
        (PlainNet("lstm"), LSTMNet(3, 5, 2, 2)),
        (PlainNet("gru"), GRUNet(3, 5, 2, 2)),
        (PlainStack("lstm"), StackedLSTM(3, [6, 4], 2)),
        (PlainStack("gru"), StackedGRU(3, [6, 4], 2)),
    ],
    ids=lambda network: type(network).__name__,
)
def test_weights_saved_from_plain_torch_modules_load_and_forecast_the_same(
    plain: nn.Module, network: nn.Module
) -> None:
    file = io.BytesIO()
    torch.save(plain.state_dict(), file)
    file.seek(0)
    x = windows(7, 9, 3)
    assert not torch.equal(network.eval()(x), plain(x))
    network.load_state_dict(torch.load(file, weights_only=True))
    # A stack of GRUs sums in another order than torch.
    rounding = 1e-6 if isinstance(network, StackedGRU) else 0.0
    torch.testing.assert_close(network(x), plain(x), rtol=0, atol=rounding)
