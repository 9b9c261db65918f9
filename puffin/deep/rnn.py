"""Recurrent networks and forecasters: the published names."""

from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.estimators.univariate import TradingGRU, TradingLSTM
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
