"""Forecasters that are small and quick to train, and networks that record their input."""

import math
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from puffin.models.arrays import Floats
from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.estimators.univariate import TradingGRU, TradingLSTM
from puffin.models.networks.rnn import GRUNet, LSTMNet, StackedGRU, StackedLSTM
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest

Univariate = TradingLSTM | TradingGRU


NETWORKS: dict[type[Any], type[Any]] = {
    TradingLSTM: LSTMNet,
    TradingGRU: GRUNet,
    MultivariateLSTM: StackedLSTM,
    MultivariateGRU: StackedGRU,
}


UNIVARIATE = [TradingLSTM, TradingGRU]


SEED, OTHER = 0, 1


def walk(bars: int = 40) -> Floats:
    return 100 + np.random.default_rng(0).normal(size=bars).cumsum()


def table(bars: int = 40) -> pd.DataFrame:
    """Return two features and a target that is independent of them."""
    values = np.random.default_rng(0).normal(size=(bars, 3))
    return pd.DataFrame(values, columns=["a", "b", "t"])


def univariate(cls: type[Univariate] = TradingLSTM, **settings: Any) -> Univariate:
    return cls(**{"hidden_dim": 4, "verbose": False, "seed": SEED, **settings})


def fit(model: Any, data: Any = None, **settings: Any) -> dict[str, list[float]]:
    """Train a forecaster of any class for two epochs."""
    settings = {"lookback": 5, "epochs": 2, "batch_size": 8, "lr": 0.01} | settings
    if isinstance(model, Univariate):
        return model.fit(walk() if data is None else data, **settings)
    settings = {"hidden_dims": [4, 3]} | settings
    return model.fit(table() if data is None else data, "t", **settings)


def make(cls: type[Any], **settings: Any) -> Any:
    """Return a small, quiet forecaster of any class."""
    if cls in UNIVARIATE:
        return univariate(cls, **settings)
    return cls(**{"verbose": False, "seed": SEED, **settings})


def fitted(cls: type[Any] = TradingLSTM, data: Any = None, **settings: Any) -> Any:
    model = make(cls)
    fit(model, data, **settings)
    return model


def weights(model: Any) -> Tensor:
    return nn.utils.parameters_to_vector(model.model.parameters()).detach().cpu()


def outputs(model: Any, windows: Any) -> Floats:
    """Forecast standardised windows (n, lookback, feature), (n,)."""
    x = torch.tensor(np.asarray(windows), dtype=torch.float32, device=model.device)
    with torch.no_grad():
        return model.model.eval()(x)[:, 0].double().cpu().numpy()


def mean_and_deviation(values: Any) -> tuple[float, float]:
    """Return mean and standard deviation by their formulas, with division by n."""
    numbers = [float(value) for value in values]
    mean = math.fsum(numbers) / len(numbers)
    return mean, math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / len(numbers))


class Recorder(nn.Module):
    """A network that forecasts one value of its window, plus a weight, and keeps its input."""

    place = -1

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return x[:, self.place, :1] + self.weight


# A lookback of 5, 30 bars and a validation split of 0.2: 25 windows, of which 20 train and see
# the first 5 + 20 bars.
SEEN = 25


@cache
def bars() -> pd.DataFrame:
    return load_prices("sample", PriceRequest("AAPL")).frame[["open", "high", "low", "close"]]
