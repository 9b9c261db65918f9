"""Walk-forward evaluation: fit on the first part, forecast the rest bar by bar."""

import numpy as np
import yfinance as yf
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from puffin.deep.rnn import TradingLSTM

prices = yf.Ticker("AAPL").history(period="2y")["Close"].values
lookback = 20
train, test = prices[:400], prices[400:]

model = TradingLSTM()
model.fit(train, lookback=lookback, epochs=10, lr=0.005, batch_size=64)

predictions, actuals = [], []
for i in range(lookback, len(test)):
    predictions.append(model.predict(test[:i], steps=1)[0])
    actuals.append(test[i])
predictions, actuals = np.array(predictions), np.array(actuals)

mse = mean_squared_error(actuals, predictions)
mae = mean_absolute_error(actuals, predictions)
r2 = r2_score(actuals, predictions)
right = np.sign(predictions[1:] - actuals[:-1]) == np.sign(actuals[1:] - actuals[:-1])
naive = mean_squared_error(actuals, test[lookback - 1 : -1])
print(f"{len(actuals)} forecasts: MSE {mse:.3f}, MAE {mae:.3f}, R2 {r2:.3f}")
print(f"direction accuracy {right.mean():.1%}, MSE of 'tomorrow is like today' {naive:.3f}")

assert len(predictions) == len(test) - lookback
assert np.isfinite([mse, mae, r2]).all()
assert 0 <= right.mean() <= 1
