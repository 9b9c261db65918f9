"""Two years of prices from yfinance, straight into a forecaster."""

import numpy as np
import yfinance as yf

from puffin.deep.rnn import TradingLSTM

close = yf.Ticker("AAPL").history(period="2y")["Close"]
days = close.index
print(
    f"{len(close)} closes from {days[0].date()} to {days[-1].date()}, the last {close.iloc[-1]:.2f}"
)
assert len(close) > 450
assert close.notna().all()
assert days.is_monotonic_increasing

forecasts = {}
for kind, series in {"Series": close, "values": close.values, "list": close.tolist()}.items():
    model = TradingLSTM(verbose=False)
    history = model.fit(series, lookback=10, epochs=2, batch_size=64)
    forecasts[kind] = model.predict(series, steps=3)
    assert len(history["val_loss"]) == 2
print(
    f"next three closes {forecasts['Series'].round(2).tolist()}, whether as Series, array or list"
)

assert np.array_equal(forecasts["Series"], forecasts["values"])
assert np.array_equal(forecasts["Series"], forecasts["list"])
