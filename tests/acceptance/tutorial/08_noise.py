"""Noise on the training series: the chapter's own function beside the library's."""

import numpy as np
import yfinance as yf

from puffin.deep.rnn import TradingLSTM
from puffin.deep.training import add_noise as library_add_noise
from puffin.deep.training import set_seed


def add_noise(series: np.ndarray, noise_level: float = 0.01) -> np.ndarray:
    """Add Gaussian noise of `noise_level` standard deviations of the series."""
    return series + np.random.normal(0, noise_level * np.std(series), size=len(series))


prices = yf.Ticker("AAPL").history(period="2y")["Close"].values
set_seed(0)
mine = add_noise(prices, noise_level=0.01)
set_seed(0)
library = library_add_noise(prices, noise_level=0.01)
ratio, same = np.std(mine - prices) / np.std(prices), np.allclose(mine, library)
print(f"noise of {ratio:.4f} standard deviations; the library's is the same: {same}")
assert mine.shape == prices.shape
assert 0.009 < ratio < 0.011
assert same

for name, series in {"clean": prices, "noisy": mine}.items():
    model = TradingLSTM(verbose=False)
    history = model.fit(series, lookback=20, epochs=5, lr=0.005, batch_size=64)
    last, forecast = history["val_loss"][-1], model.predict(prices)[0]
    print(f"{name}: last val_loss {last:.4f}, next close {forecast:.2f}")
    assert np.isfinite([last, forecast]).all()
