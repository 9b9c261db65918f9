"""Seven features of a bar forecast the return of the next one."""

import numpy as np
import pandas as pd
import yfinance as yf

from puffin.deep.rnn import MultivariateLSTM

bars = yf.Ticker("AAPL").history(period="2y")
features = pd.DataFrame(
    {
        "close": bars["Close"],
        "volume": bars["Volume"],
        "high": bars["High"],
        "low": bars["Low"],
    }
)
features["returns"] = features["close"].pct_change()
features["sma"] = features["close"].rolling(20).mean()
features["volatility"] = features["returns"].rolling(20).std()
features["target"] = features["returns"].shift(-1)
features = features.dropna()

model = MultivariateLSTM()
history = model.fit(
    features, target_col="target", lookback=20, epochs=10, batch_size=64, hidden_dims=[32, 16]
)
prediction = model.predict(features.iloc[-20:])
today = features.drop(columns="target").iloc[-20:]  # the newest rows have no target yet
print(f"{len(features)} rows of {model.feature_cols}")
print(f"last val_loss {history['val_loss'][-1]:.4f}, next return {prediction[0]:+.3%}")

assert model.feature_cols == ["close", "volume", "high", "low", "returns", "sma", "volatility"]
assert len(history["train_loss"]) == len(history["val_loss"]) == 10
assert prediction.shape == (1,)
assert np.isfinite(prediction).all()
assert abs(prediction[0]) < 0.2
assert np.array_equal(prediction, model.predict(today))
assert len(model.model.lstm_layers) == 2
