"""The library's loop with two callbacks: early stopping and a learning rate schedule."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from puffin.deep.rnn import LSTMNet, TradingLSTM
from puffin.deep.training import (
    EarlyStopping,
    LRScheduler,
    create_dataloaders,
    set_seed,
    training_loop,
)

set_seed(42)
series = np.sin(np.arange(300) / 10) + 0.3 * np.random.randn(300)
X, y = TradingLSTM().prepare_sequences(series, lookback=15)
train_loader, val_loader = create_dataloaders(X, y, batch_size=32, val_split=0.2, random_seed=42)

model = LSTMNet(input_dim=1, hidden_dim=16, num_layers=2)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-5)
scheduler = LRScheduler(optimizer, "cosine", T_max=40, eta_min=1e-4)
early_stop = EarlyStopping(patience=5, verbose=False)
rates = []


def stop(_epoch: int, _train_loss: float, val_loss: float, network: nn.Module) -> bool:
    """Ask the early stopping."""
    return early_stop(val_loss, network)


def next_rate(*_: object) -> None:
    """Note the rate of the epoch and go to the next."""
    rates.append(scheduler.get_last_lr()[0])
    scheduler.step()


history = training_loop(
    model,
    train_loader,
    val_loader,
    epochs=40,
    optimizer=optimizer,
    criterion=nn.MSELoss(),
    callbacks=[next_rate, stop],
)
epochs, best = len(history["val_loss"]), int(np.argmin(history["val_loss"]))
print(f"{len(train_loader.dataset)} windows train, {len(val_loader.dataset)} validate")
print(f"{epochs} of 40 epochs, best val_loss {history['val_loss'][best]:.4f} after {best + 1}")
print(f"learning rate from {rates[0]:g} to {rates[-1]:.2g}")

assert len(train_loader.dataset) == 228
assert len(val_loader.dataset) == 57
judged = np.concatenate([targets[:, 0].numpy() for _, targets in val_loader])
assert np.allclose(judged, y[228:]), "validation takes what comes last"
assert len(history["train_loss"]) == epochs == len(rates)
assert np.isfinite(history["val_loss"]).all()
assert all(later < earlier for earlier, later in pairwise(rates))
assert early_stop.best_loss == min(history["val_loss"])
assert early_stop.should_stop == (epochs == best + 7)
