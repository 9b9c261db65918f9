"""Recurrent networks and forecasters, under the tutorial's import path."""

from puffin.models.estimators.trading import (
    MultivariateGRU,
    MultivariateLSTM,
    TradingGRU,
    TradingLSTM,
)
from puffin.models.networks.rnn import GRUNet, LSTMNet, StackedGRU, StackedLSTM

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
