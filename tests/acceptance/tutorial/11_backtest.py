"""A long or flat backtest by the chapter's loop, and by the library on the same forecasts."""

from typing import Any

import numpy as np
import yfinance as yf

from puffin.deep.rnn import TradingLSTM
from puffin.models.evaluation.backtest import backtest

START, THRESHOLD, CAPITAL = 100, 0.005, 10_000.0


def backtest_by_bar(model: TradingLSTM, prices: np.ndarray, known: int = 0) -> dict[str, Any]:
    """Buy on a forecast rise of more than the threshold, sell on such a fall.

    At bar i the forecast is made from the 100 bars before it, as in the chapter: a forecast of bar
    i, held against the price of bar i. With ``known=1`` bar i is among the bars that the model
    sees, so it is the next one that is forecast.
    """
    capital, shares, trades = CAPITAL, 0.0, []
    for i in range(START, len(prices)):
        price = prices[i]
        forecast = model.predict(prices[i + known - 100 : i + known], steps=1)[0]
        expected = (forecast - price) / price
        if expected > THRESHOLD and shares == 0:
            shares, capital = capital / price, 0.0
            trades.append(("BUY", i, price, shares))
        elif expected < -THRESHOLD and shares > 0:
            capital, shares = shares * price, 0.0
            trades.append(("SELL", i, price, capital))
    final = capital + shares * prices[-1]
    return {"final_capital": final, "total_return": final / CAPITAL - 1, "trades": trades}


def show(name: str, result: dict[str, Any]) -> None:
    """Print one line."""
    final, gain, trades = (result[key] for key in ("final_capital", "total_return", "trades"))
    print(f"{name:20} final_capital {final:9.2f}, total_return {gain:+.1%}, {len(trades)} trades")


prices = yf.Ticker("AAPL").history(period="2y")["Close"].values
model = TradingLSTM(hidden_dim=32, verbose=False)
model.fit(prices, lookback=20, epochs=15, lr=0.01, batch_size=64)

chapter = backtest_by_bar(model, prices)
shifted = backtest_by_bar(model, prices, known=1)
forecasts = model.historical_forecasts(prices)
forecasts[: START + 1] = np.nan
library = backtest(prices, forecasts, THRESHOLD, CAPITAL)
show("chapter", chapter)
show("chapter, next bar", shifted)
show("puffin.models.evaluation.backtest", library)
show("buy and hold", {**library["buy_and_hold"], "trades": ["BUY"]})

assert set(chapter) == {"final_capital", "total_return", "trades"}
assert np.isfinite([chapter["final_capital"], chapter["total_return"]]).all()
assert all(trade[0] in {"BUY", "SELL"} for trade in chapter["trades"])
assert library["first_bar"] == START
assert np.isclose(library["final_capital"], shifted["final_capital"])
assert np.isclose(library["total_return"], shifted["total_return"])
pairs = zip(library["trades"], shifted["trades"], strict=False)
assert all(ours[:2] == theirs[:2] and np.allclose(ours[2:], theirs[2:]) for ours, theirs in pairs)
# The loop may still trade at the very last close, where nothing can be earned any more.
assert len(library["trades"]) == len([t for t in shifted["trades"] if t[1] < len(prices) - 1])
