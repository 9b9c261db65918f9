"""Adam with weight decay, the chapter's 1e-5 and much more, in a loop over mini-batches."""

import numpy as np
import torch
from torch import nn

from puffin.deep.rnn import LSTMNet, TradingLSTM
from puffin.deep.training import set_seed

series = np.sin(np.arange(200) / 7).astype(np.float32)
X, y = TradingLSTM().prepare_sequences(series, 10)
X, y = torch.from_numpy(X), torch.from_numpy(y).unsqueeze(1)

norms = {}
for weight_decay in (0.0, 1e-5, 1e-2):
    set_seed(0)
    model = LSTMNet(hidden_dim=16, num_layers=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=weight_decay)
    for _ in range(10):
        for start in range(0, len(X), 32):
            loss = nn.functional.mse_loss(model(X[start : start + 32]), y[start : start + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    norm = sum((p**2).sum().item() for p in model.parameters()) ** 0.5
    print(f"weight_decay {weight_decay:g}: last loss {loss.item():.5f}, norm of weights {norm:.4f}")
    norms[weight_decay] = norm
    assert np.isfinite(loss.item())

assert norms[1e-2] < norms[1e-5] <= norms[0.0]
