"""Recurrent networks and forecasters, under the tutorial's import path."""

from puffin.models.rnn import GRUNet, LSTMNet, StackedGRU, StackedLSTM
from puffin.models.trading import MultivariateGRU, MultivariateLSTM, TradingGRU, TradingLSTM

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
