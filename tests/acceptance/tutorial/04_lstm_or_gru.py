"""LSTM and GRU side by side on one series."""

import numpy as np
import yfinance as yf

from puffin.deep.rnn import TradingGRU, TradingLSTM

prices = yf.Ticker("AAPL").history(period="2y")["Close"].values
losses = {}
for name, model in {"LSTM": TradingLSTM(), "GRU": TradingGRU()}.items():
    history = model.fit(prices, lookback=20, epochs=5, lr=0.005, batch_size=64)
    closes = model.predict(prices, steps=5)
    losses[name] = history["val_loss"][-1]
    print(f"{name} last val_loss {losses[name]:.4f}, next five closes {closes.round(2).tolist()}")
    assert len(history["val_loss"]) == 5
    assert closes.shape == (5,)
    assert np.isfinite(closes).all()
print(f"{min(losses, key=losses.get)} has the lower last val_loss")

assert np.isfinite(list(losses.values())).all()
