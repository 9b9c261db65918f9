"""Early stopping in a loop of one's own: the chapter's patience of five, with the best weights."""

import numpy as np
import torch
from torch import nn

from puffin.deep.rnn import LSTMNet, TradingLSTM
from puffin.deep.training import EarlyStopping, set_seed

set_seed(1)
series = np.cumsum(np.random.randn(160))
series = ((series - series.mean()) / series.std()).astype(np.float32)
X, y = TradingLSTM().prepare_sequences(series, lookback=10)
X, y = torch.from_numpy(X), torch.from_numpy(y).unsqueeze(1)
X_train, y_train, X_val, y_val = X[:110], y[:110], X[110:], y[110:]

model = LSTMNet(input_dim=1, hidden_dim=32, num_layers=1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
criterion = nn.MSELoss()
early_stop = EarlyStopping(patience=5, restore_best_weights=True)

losses = []
for epoch in range(150):
    model.train()
    optimizer.zero_grad()
    criterion(model(X_train), y_train).backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = criterion(model(X_val), y_val).item()
    losses.append(val_loss)
    if early_stop(val_loss, model):
        print(f"stopped after epoch {epoch + 1}, best was {np.argmin(losses) + 1}")
        break

with torch.no_grad():
    restored = criterion(model(X_val), y_val).item()
print(f"val_loss: last {losses[-1]:.4f}, best {min(losses):.4f}, restored {restored:.4f}")
assert early_stop.should_stop
assert early_stop.best_loss == min(losses)
assert len(losses) < 150
assert abs(restored - min(losses)) < 1e-6
