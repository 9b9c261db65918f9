"""Compose the same kind of network by hand, and make the library's give the same numbers."""

import torch
from torch import nn

from puffin.deep.rnn import StackedLSTM


class DeepLSTM(nn.Module):
    """Three LSTM layers, 128, 64 and 32 wide, dropout after each, and a linear head."""

    def __init__(self, input_dim: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.LSTM(input_dim, 128, batch_first=True)
        self.second = nn.LSTM(128, 64, batch_first=True)
        self.third = nn.LSTM(64, 32, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, bars, features) to (batch, 1)."""
        for layer in (self.first, self.second, self.third):
            x, _ = layer(x)
            x = self.dropout(x)
        return self.head(x[:, -1, :])


torch.manual_seed(0)
mine = DeepLSTM().eval()
library = StackedLSTM(1, [128, 64, 32]).eval()
for own, theirs in zip((mine.first, mine.second, mine.third), library.lstm_layers, strict=True):
    theirs.load_state_dict(own.state_dict())
library.fc.load_state_dict(mine.head.state_dict())

x = torch.randn(16, 20, 1)
with torch.no_grad():
    a, b = mine(x), library(x)
print(f"DeepLSTM {tuple(x.shape)} -> {tuple(a.shape)}")
print(f"largest difference from StackedLSTM with the same weights: {(a - b).abs().max():.1e}")

assert a.shape == (16, 1)
assert torch.allclose(a, b, atol=1e-6)
