"""Dropout acts while training and not while forecasting; more of it costs training loss."""

import numpy as np
import torch

from puffin.deep.rnn import LSTMNet, StackedLSTM, TradingLSTM

torch.manual_seed(0)
x = torch.randn(8, 20, 1)
for name, net in {
    "LSTMNet": LSTMNet(input_dim=1, hidden_dim=32, num_layers=2, dropout=0.5),
    "StackedLSTM": StackedLSTM(1, [32, 16], dropout=0.5),
}.items():
    net.train()
    training = (net(x) - net(x)).abs().max().item()
    net.eval()
    judging = (net(x) - net(x)).abs().max().item()
    print(f"{name}: two passes differ by {training:.4f} in train(), by {judging:.4f} in eval()")
    assert training > 0
    assert judging == 0

series = 50 + 5 * np.sin(np.arange(200) / 8)
train_losses = {}
for dropout in (0.0, 0.2, 0.5):
    model = TradingLSTM(hidden_dim=16, dropout=dropout, verbose=False)
    history = model.fit(series, lookback=10, epochs=8, lr=0.01)
    train, val = history["train_loss"][-1], history["val_loss"][-1]
    print(f"dropout {dropout}: last train_loss {train:.4f}, val_loss {val:.4f}")
    train_losses[dropout] = train
    assert np.isfinite([train, val]).all()
    assert np.array_equal(model.predict(series), model.predict(series))

assert train_losses[0.0] < train_losses[0.2] < train_losses[0.5]
