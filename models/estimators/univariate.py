"""Forecasters of one series from its own past: `TradingLSTM` and `TradingGRU`."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from puffin.models.arrays import Floats, as_series, require_finite
from puffin.models.config import Config, check_number
from puffin.models.estimators.base import (
    LOSS,
    TorchForecaster,
    check_training,
    count_train_windows,
    seeded,
)
from puffin.models.estimators.loops import History, default_device
from puffin.models.networks.rnn import GRUNet, LSTMNet
from puffin.models.scaling import safe_std
from puffin.models.training.early_stopping import EarlyStopping
from puffin.models.training.fold_training import forecast_windows
from puffin.models.training.trainer import Trainer
from puffin.models.windows import make_windows, to_tensor


class _Univariate(TorchForecaster):
    """Forecasts the next value of one series from the values before it."""

    _cell: ClassVar[str]
    _network: ClassVar[type[LSTMNet] | type[GRUNet]]

    def __init__(
        self,
        hidden_dim: int = 64,
        num_layers: int = 2,
        dropout: float = 0.2,
        weight_decay: float = 0.0,
        seed: int | None = None,
        verbose: bool = True,  # noqa: FBT001, FBT002  # an option like the others
    ) -> None:
        self.hidden_dim = hidden_dim
        self.num_layers = num_layers
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.seed = seed
        self.verbose = verbose
        self.device = default_device()
        self.model = None
        self.lookback = None
        self.mean: Any = None  # floats once fitted
        self.std: Any = None

    def prepare_sequences(
        self, series: np.ndarray[Any, Any], lookback: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Cut a series (n,) into windows and the value behind each.

        Returns
        -------
        X : array, (n - lookback, lookback, 1), in the type of the series
            ``X[i, :, 0] = series[i : i + lookback]``.
        y : array, (n - lookback,)
            ``y[i] = series[i + lookback]``.

        Raises
        ------
        ValueError
            If the series has not one dimension, is not in order of time, or has no more values than
            `lookback`.
        """
        as_series("series", series)
        values = np.asarray(series)
        count_train_windows(len(values), lookback, 0.0)
        windows = np.lib.stride_tricks.sliding_window_view(values, lookback)[:-1]
        return windows[:, :, None].copy(), values[lookback:].copy()

    def fit(  # noqa: PLR0913  # the published signature, and two more
        self,
        series: Any,
        lookback: int = 20,
        epochs: int = 50,
        lr: float = 0.001,
        batch_size: int = 32,
        validation_split: float = 0.2,
        *,
        early_stopping: EarlyStopping | None = None,
        noise: float = 0.0,
    ) -> History:
        """Train a new network on a series.

        The last windows validate, in the order of time. Mean and standard deviation are those of
        the bars that training sees.

        Parameters
        ----------
        series : array, list or pandas Series, (n,)
            Any unit; forecasts come in the same.
        lookback : int
            Values that one window sees.
        epochs : int
        lr : float
            Learning rate of Adam.
        batch_size : int
        validation_split : float
            Share of the windows that validate, in [0, 1). With 0, `val_loss` is NaN.
        early_stopping : EarlyStopping, optional
            Called with each validation loss; started anew. When training ends, the weights of its
            best epoch come back, whether it stopped or not.
        noise : float
            Gaussian noise on training windows, in standard deviations.

        Returns
        -------
        dict
            ``train_loss`` and ``val_loss``, one float per epoch: mean squared errors of the
            standardised series, `train_loss` over the epoch as it went, with dropout.

        Raises
        ------
        ValueError
            If a hyperparameter is out of bounds, or the series is too short, not in order of time,
            or holds no numbers, NaN or more than one dimension.
        """
        values = as_series("series", series)
        require_finite("series", values)
        check_number("num_layers", self.num_layers, 1, whole=True)
        config = Config(
            cell=self._cell,
            hidden_dims=(self.hidden_dim,) * self.num_layers,
            dropout=self.dropout,
            lookback=lookback,
            lr=lr,
            weight_decay=self.weight_decay,
            batch_size=batch_size,
            noise=noise,
        )
        check_training(epochs, validation_split, early_stopping)
        train = count_train_windows(len(values), lookback, validation_split)
        seen = values[: lookback + train]
        self.lookback = lookback
        self.mean, self.std = float(seen.mean()), float(safe_std(seen))
        rows = self._scaled(values)
        windows = make_windows(rows, lookback)[:-1]
        with seeded(self.seed) as seed:
            self.model = self._network(
                1, config.hidden_dims[0], len(config.hidden_dims), dropout=config.dropout
            )
            self.model.to(self.device)
            targets = rows[lookback:]
            trainer = Trainer(self.model, windows[:train], targets[:train], config, LOSS, seed)
            return self._train(trainer, windows[train:], targets[train:], epochs, early_stopping)

    def predict(self, series: Any, steps: int = 1) -> Floats:
        """Forecast the values behind a series, each from those before it and its own forecasts.

        Parameters
        ----------
        series : array, list or pandas Series, (n,), of which the last `lookback` are read
        steps : int
            Values to forecast.

        Returns
        -------
        array, (steps,)

        Raises
        ------
        ValueError
            Before `fit`, with fewer values than `lookback`, NaN among them, or an index that is not
            in order of time.
        """
        network, lookback = self._fitted()
        check_number("steps", steps, 0, whole=True)
        values = as_series("series", series)
        if len(values) < lookback:
            raise ValueError(
                f"series must have at least lookback = {lookback} values, but has {len(values)}"
            )
        last = values[-lookback:]
        require_finite("the end of the series", last)
        rows = self._scaled(last)
        for _ in range(steps):
            rows = torch.cat([rows, forecast_windows(network, rows[None, -lookback:])])
        return self._unscaled(rows[lookback:])

    def historical_forecasts(self, series: Any) -> Floats:
        """Forecast each value of a series from the values before it, all in one batch.

        Parameters
        ----------
        series : array, list or pandas Series, (n,)

        Returns
        -------
        array, (n,)
            Element t forecasts ``series[t]`` from ``series[t - lookback : t]``; NaN where there is
            no such window. Values that trained the model are no test of it.

        Raises
        ------
        ValueError
            Before `fit`, with no more values than `lookback`, NaN among them, or an index that is
            not in order of time.
        """
        network, lookback = self._fitted()
        values = as_series("series", series)
        require_finite("series", values)
        count_train_windows(len(values), lookback, 0.0)
        windows = make_windows(self._scaled(values), lookback)[:-1]
        return np.concatenate(
            [np.full(lookback, np.nan), self._unscaled(forecast_windows(network, windows))]
        )

    def _scaled(self, values: Floats) -> Tensor:
        """Standardise values (n,) as rows (n, 1) on the device."""
        return to_tensor(((values - self.mean) / self.std)[:, None], self.device)

    def _unscaled(self, rows: Tensor) -> Floats:
        """Give rows (n, 1) in the unit of the series, (n,)."""
        return rows[:, 0].double().cpu().numpy() * self.std + self.mean  # type: ignore[no-any-return]


class TradingLSTM(_Univariate):
    """An `LSTMNet` that forecasts the next value of a series.

    Parameters
    ----------
    hidden_dim : int
        Width of every layer.
    num_layers : int
    dropout : float
        Share of units dropped between layers, in [0, 1); inert with one layer.
    weight_decay : float
        L2 penalty of Adam.
    seed : int, optional
        Of weights, order of windows, dropout and noise; when not given, the one that `set_seed` was
        called with last, or 0. Draws by others in between change nothing.
    verbose : bool
        Print every tenth epoch.

    Attributes
    ----------
    model : LSTMNet, None before `fit`
    lookback : int, None before `fit`
    mean, std : float, of the bars that training saw, None before `fit`
    device : torch.device, the GPU where there is one

    Examples
    --------
    >>> lstm = TradingLSTM(hidden_dim=8, num_layers=1, verbose=False)
    >>> history = lstm.fit(np.sin(np.arange(100.0)), lookback=5, epochs=2)
    >>> sorted(history), lstm.predict(np.sin(np.arange(100.0)), steps=3).shape
    (['train_loss', 'val_loss'], (3,))
    """

    _cell = "lstm"
    _network = LSTMNet


class TradingGRU(_Univariate):
    """A `GRUNet` that forecasts the next value of a series; all else as `TradingLSTM`."""

    _cell = "gru"
    _network = GRUNet
