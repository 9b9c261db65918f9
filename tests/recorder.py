"""A network that records what it is given."""

import torch
from torch import Tensor, nn


class Recorder(nn.Module):
    """A network that records its input and forecasts the last value of it times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.clone())
        return x[:, -1, :1] * self.weight
