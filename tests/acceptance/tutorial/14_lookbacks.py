"""How long a window should be: the last val_loss for each lookback."""

import numpy as np
import yfinance as yf

from puffin.deep.rnn import TradingLSTM

data = yf.download("AAPL", period="2y", progress=False)
prices = data["Close"]["AAPL"]  # one column for each symbol

losses = {}
for lookback in (5, 10, 20):
    model = TradingLSTM(verbose=False)
    history = model.fit(prices.values, lookback=lookback, epochs=4, lr=0.005, batch_size=64)
    losses[lookback] = history["val_loss"][-1]
    assert model.predict(prices.values[-lookback:]).shape == (1,)
print(", ".join(f"lookback {lookback}: {loss:.4f}" for lookback, loss in losses.items()))
print(f"lowest last val_loss at lookback {min(losses, key=losses.get)}")

assert list(losses) == [5, 10, 20]
assert np.isfinite(list(losses.values())).all()
