"""Recurrent networks and forecasters, under the tutorial's import path."""

from models.rnn import GRUNet, LSTMNet, StackedGRU, StackedLSTM
from models.trading import MultivariateGRU, MultivariateLSTM, TradingGRU, TradingLSTM

__all__ = [
    "GRUNet",
    "LSTMNet",
    "MultivariateGRU",
    "MultivariateLSTM",
    "StackedGRU",
    "StackedLSTM",
    "TradingGRU",
    "TradingLSTM",
]
