"""Recurrent cells that a network is made of, each one entry of ``CELLS``. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One recurrent cell.

    Attributes
    ----------
    network : str
        Class of `puffin.models.networks.rnn` that stacks layers of this cell and ends in a linear
        layer called ``fc``.
    torch_layer : str
        Class of ``torch.nn`` that computes one layer from the same weights, given
        ``(input_size, hidden_size, batch_first=True)``.
    layers : str
        Attribute of the network that holds its layers: the prefix of the names of their weights.
    """

    network: str
    torch_layer: str
    layers: str


CELLS: dict[str, Cell] = {
    "lstm": Cell("StackedLSTM", "LSTM", "lstm_layers"),
    "gru": Cell("StackedGRU", "GRU", "gru_layers"),
}
