"""A grid over five hyperparameters; the chapter's has 162 points, of which this takes 8."""

import numpy as np
import yfinance as yf
from sklearn.model_selection import ParameterGrid

from puffin.deep.rnn import TradingLSTM

chapter = {
    "hidden_dim": [32, 64, 128],
    "num_layers": [1, 2, 3],
    "dropout": [0.1, 0.2, 0.3],
    "lr": [0.001, 0.0001],
    "lookback": [10, 20, 30],
}
small = {
    "hidden_dim": [8, 16],
    "num_layers": [1, 2],
    "dropout": [0.2],
    "lr": [0.01],
    "lookback": [10, 20],
}
print(
    f"{len(ParameterGrid(chapter))} points in the chapter's grid, {len(ParameterGrid(small))} here"
)
assert len(ParameterGrid(chapter)) == 162

prices = yf.Ticker("AAPL").history(period="2y")["Close"].values
results = []
for params in ParameterGrid(small):
    model = TradingLSTM(
        hidden_dim=params["hidden_dim"],
        num_layers=params["num_layers"],
        dropout=params["dropout"],
        verbose=False,
    )
    history = model.fit(
        prices, lookback=params["lookback"], lr=params["lr"], epochs=4, batch_size=64
    )
    results.append((history["val_loss"][-1], params))
    assert model.model.hidden_dim == params["hidden_dim"]
    assert model.model.num_layers == params["num_layers"]
    assert model.lookback == params["lookback"]

results.sort(key=lambda result: result[0])
for name, (loss, params) in {"lowest": results[0], "highest": results[-1]}.items():
    point = ", ".join(f"{key} {value}" for key, value in params.items())
    print(f"{name} val_loss {loss:.4f} with {point}")

losses = [loss for loss, _ in results]
assert np.isfinite(losses).all()
assert len(set(losses)) == len(ParameterGrid(small)), "every point is a model of its own"
