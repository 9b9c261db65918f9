"""A GRU as a plain network, and as a forecaster of prices five days ahead."""

import numpy as np
import torch
import yfinance as yf

from puffin.deep.rnn import GRUNet, LSTMNet, TradingGRU


def count(network: torch.nn.Module) -> int:
    """Count the parameters."""
    return sum(p.numel() for p in network.parameters())


torch.manual_seed(0)
net = GRUNet(input_dim=1, hidden_dim=64, num_layers=2, output_dim=1, dropout=0.2)
out = net(torch.randn(32, 20, 1))
print(
    f"GRUNet (32, 20, 1) -> {tuple(out.shape)}, {count(net)} parameters, LSTMNet {count(LSTMNet())}"
)
assert out.shape == (32, 1)
assert count(net) < count(LSTMNet())

prices = yf.Ticker("AAPL").history(period="2y")["Close"].values
gru = TradingGRU()
history = gru.fit(prices, lookback=20, epochs=10, lr=0.005, batch_size=64)
predictions = gru.predict(prices, steps=5)
print(f"last close {prices[-1]:.2f}, the next five by TradingGRU: {predictions.round(2).tolist()}")

assert set(history) == {"train_loss", "val_loss"}
assert len(history["train_loss"]) == len(history["val_loss"]) == 10
assert history["train_loss"][-1] < history["train_loss"][0]
assert predictions.shape == (5,)
assert np.isfinite(predictions).all()
