"""Recurrent networks that read a window of bars and forecast one number, or its quantiles.

In torch's ``nn.GRU`` the update gate ``z`` keeps the old state (``h = (1 - z) n + z h``), as in Cho
et al. (2014); other papers swap the two. The reset gate acts after the matrix product.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from puffin.models.cells import CELLS
from puffin.models.config import Config
from puffin.models.networks.dropout import Dropout
from puffin.models.networks.gru import GRU, run_together
from puffin.models.networks.quantile_head import QuantileHead


def _windows(x: Tensor) -> Tensor:
    """Return `x` if its shape is (batch, lookback, feature).

    Raises
    ------
    ValueError
        If `x` has not three dimensions: torch would read two dimensions as one window.
    """
    if x.ndim != 3:
        msg = f"windows must be (batch, lookback, feature), but have shape {tuple(x.shape)}"
        raise ValueError(msg)
    return x


class LSTMNet(nn.Module):
    """LSTM layers of one width and a linear head on the last bar.

    Parameters
    ----------
    input_dim : int
        Features per bar.
    hidden_dim : int
        Width of every layer.
    num_layers : int
        Stacked layers.
    output_dim : int
        Numbers to forecast.
    dropout : float
        Share of units dropped between layers; no effect with one layer.
    """

    def __init__(
        self,
        input_dim: int = 1,
        hidden_dim: int = 64,
        num_layers: int = 2,
        output_dim: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        between = dropout if num_layers > 1 else 0.0
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (batch, lookback, feature) to forecasts (batch, output)."""
        out, _ = self.lstm(_windows(x))
        return self.fc(out[:, -1, :])  # type: ignore[no-any-return]  # nn.Module.__call__ is Any


class GRUNet(nn.Module):
    """GRU layers of one width and a linear head on the last bar; parameters as `LSTMNet`."""

    def __init__(
        self,
        input_dim: int = 1,
        hidden_dim: int = 64,
        num_layers: int = 2,
        output_dim: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        between = dropout if num_layers > 1 else 0.0
        self.gru = nn.GRU(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (batch, lookback, feature) to forecasts (batch, output)."""
        out, _ = self.gru(_windows(x))
        return self.fc(out[:, -1, :])  # type: ignore[no-any-return]  # nn.Module.__call__ is Any


def _lstm(input_size: int, hidden_size: int) -> nn.LSTM:
    return nn.LSTM(input_size, hidden_size, batch_first=True)


def _stack(
    layer: Callable[[int, int], nn.Module], input_dim: int, hidden_dims: Sequence[int]
) -> nn.ModuleList:
    """Build one single-layer recurrent module per width.

    Raises
    ------
    ValueError
        If there is no width, or one is below 1.
    """
    if not hidden_dims or min(hidden_dims) < 1:
        msg = f"hidden_dims needs at least one width, each at least 1, but got {list(hidden_dims)}"
        raise ValueError(msg)
    inputs = [input_dim, *hidden_dims[:-1]]
    return nn.ModuleList(
        layer(width_in, width) for width_in, width in zip(inputs, hidden_dims, strict=True)
    )


def _run_stack(layers: nn.ModuleList, dropout: nn.Dropout, x: Tensor, last: int) -> Tensor:
    """Run x (batch, bar, feature) through the layers, with dropout between but not after them.

    Returns
    -------
    Tensor, (batch * last, unit)
        The states after each of the `last` bars, those of one window one after the other.
    """
    x = _windows(x)
    for i, layer in enumerate(layers):
        x, _ = layer(dropout(x) if i else x)  # (batch, bar, unit)
    return x[:, -last:].flatten(0, 1)


class StackedLSTM(nn.Module):
    """LSTM layers, each with its width, and a linear head on the last bar.

    Parameters
    ----------
    input_dim : int
        Features per bar.
    hidden_dims : list of int, optional
        Width of each layer, input side first; [64, 32] by default.
    output_dim : int
        Numbers to forecast.
    dropout : float
        Share of units dropped between layers; no effect with one layer.
    levels : sequence of float
        Levels of quantiles to forecast, in place of `output_dim` numbers.

    Raises
    ------
    ValueError
        If there is no width, or one is below 1.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int] | None = None,
        output_dim: int = 1,
        dropout: float = 0.2,
        *,
        levels: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.hidden_dims = [64, 32] if hidden_dims is None else hidden_dims
        self.num_layers = len(self.hidden_dims)
        self.lstm_layers = _stack(_lstm, input_dim, self.hidden_dims)
        self.dropout = Dropout(dropout)
        self.fc = _head(self.hidden_dims[-1], output_dim, levels)

    def forward(self, x: Tensor, *, last: int = 1) -> Tensor:
        """Map windows (batch, bar, feature) to forecasts (batch * last, output).

        There is one forecast after each of the `last` bars, from that bar and those before it.
        """
        states = _run_stack(self.lstm_layers, self.dropout, x, last)
        return self.fc(states)  # type: ignore[no-any-return]


class StackedGRU(nn.Module):
    """GRU layers, each with its width; parameters and errors as `StackedLSTM`."""

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int] | None = None,
        output_dim: int = 1,
        dropout: float = 0.2,
        *,
        levels: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.hidden_dims = [64, 32] if hidden_dims is None else hidden_dims
        self.num_layers = len(self.hidden_dims)
        self.gru_layers = _stack(GRU, input_dim, self.hidden_dims)
        self.dropout = Dropout(dropout)
        self.fc = _head(self.hidden_dims[-1], output_dim, levels)

    def forward(self, x: Tensor, *, last: int = 1) -> Tensor:
        """Map windows (batch, bar, feature) to forecasts (batch * last, output).

        There is one forecast after each of the `last` bars, from that bar and those before it.
        """
        states = _run_stack(self.gru_layers, self.dropout, x, last)
        return self.fc(states)  # type: ignore[no-any-return]


def _head(units: int, output_dim: int, levels: Sequence[float]) -> nn.Linear:
    """Return the last layer, of so many numbers or of quantiles."""
    return QuantileHead(units, levels) if levels else nn.Linear(units, output_dim)


def forecast_together(networks: Sequence[StackedGRU], x: Tensor, *, last: int) -> list[Tensor]:
    """Run networks of one configuration on a CPU side by side, each on its own windows.

    Parameters
    ----------
    networks : sequence of StackedGRU
    x : Tensor, (network, batch, bar, feature)
    last : int
        As in `StackedGRU.forward`.

    Returns
    -------
    list of Tensor, (batch * last, output), one per network
        Those of `StackedGRU.forward` up to rounding.
    """
    x = x.permute(2, 0, 3, 1)  # (bar, network, feature, batch)
    for i, layers in enumerate(zip(*(network.gru_layers for network in networks), strict=True)):
        if i:
            parts = zip(networks, x.unbind(1), strict=True)
            x = torch.stack([network.dropout(part) for network, part in parts], 1)
        x = run_together(layers, x)
    states = x[-last:].permute(1, 3, 0, 2).flatten(1, 2)  # (network, batch * last, unit)
    return [network.fc(part) for network, part in zip(networks, states.unbind(0), strict=True)]


def network_class(cell: str) -> type[StackedLSTM] | type[StackedGRU]:
    """Return the class that stacks layers of a cell, named by its entry in `cells.CELLS`."""
    network: type[StackedLSTM | StackedGRU] = globals()[CELLS[cell].network]
    return network


def build_network(config: Config, input_dim: int, levels: Sequence[float] = ()) -> nn.Module:
    """Build the network of a configuration, with `input_dim` features per bar.

    It forecasts one number, or quantiles at the levels.
    """
    return network_class(config.cell)(
        input_dim, list(config.hidden_dims), dropout=config.dropout, levels=levels
    )
