"""Forecasters of one series from its past values: `TradingLSTM` and `TradingGRU`."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from puffin.models.arrays import Floats, as_series, require_finite
from puffin.models.config import check_number
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
from puffin.models.windows import Windows, make_windows, to_tensor


class _Univariate(TorchForecaster):
    """Forecaster of the next value of one series from the values before it."""

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
        """Cut a series (n,) into windows and the value that follows each.

        Returns
        -------
        X : array, (n - lookback, lookback, 1), of the same type as the series
            ``X[i, :, 0] = series[i : i + lookback]``.
        y : array, (n - lookback,)
            ``y[i] = series[i + lookback]``.

        Raises
        ------
        ValueError
            If the series has not one dimension, is not in order of time, or has at most `lookback`
            values.
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

        The last windows are for validation. Mean and standard deviation are those of the values
        that training windows and targets contain.

        Parameters
        ----------
        series : array, list or pandas Series, (n,)
            In any unit, which is that of the forecasts.
        lookback : int
            Values in one window.
        epochs : int
        lr : float
            Learning rate of Adam.
        batch_size : int
        validation_split : float
            Share of the windows for validation, in [0, 1). With 0, `val_loss` is NaN.
        early_stopping : EarlyStopping, optional
            Reset, then called with each validation loss. When training ends, the weights of its
            best epoch are restored, whether it stopped early or not.
        noise : float
            Standard deviation of Gaussian noise on training windows, in standard deviations of the
            series.

        Returns
        -------
        dict
            ``train_loss`` and ``val_loss``, one float per epoch: mean squared errors of the
            standardised series. `train_loss` is the mean over the steps of the epoch, with dropout.

        Raises
        ------
        ValueError
            If a hyperparameter is out of bounds, or the series is too short, not in order of time,
            not one-dimensional, or has values that are not finite numbers.
        """
        values = as_series("series", series)
        require_finite("series", values)
        check_number("num_layers", self.num_layers, 1, whole=True)
        widths = (self.hidden_dim,) * self.num_layers
        config = self._config(widths, lookback, lr, batch_size, noise)
        check_training(epochs, validation_split, early_stopping)
        train = count_train_windows(len(values), lookback, validation_split)
        seen = values[: lookback + train]
        self.lookback = lookback
        self.mean, self.std = float(seen.mean()), float(safe_std(seen))
        rows = self._scaled(values)
        windows = make_windows(rows, lookback)[:-1]  # (n - lookback, lookback, 1)
        with seeded(self.seed) as seed:
            self.model = self._network(
                1, config.hidden_dims[0], len(config.hidden_dims), dropout=config.dropout
            )
            self.model.to(self.device)
            targets = rows[lookback:]
            trainer = Trainer(
                self.model, Windows.of(rows, targets[:train], lookback), config, LOSS, seed
            )
            return self._train(trainer, windows[train:], targets[train:], epochs, early_stopping)

    def predict(self, series: Any, steps: int = 1) -> Floats:
        """Forecast the values after a series, with each forecast as input of the next.

        Parameters
        ----------
        series : array, list or pandas Series, (n,), of which the last `lookback` values are read
        steps : int
            Number of values to forecast.

        Returns
        -------
        array, (steps,)

        Raises
        ------
        ValueError
            If called before `fit`, or the series has fewer than `lookback` values, NaN among them,
            or an index that is not in order of time.
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
            Element t forecasts ``series[t]`` from ``series[t - lookback : t]``; NaN for the first
            `lookback` values. Forecasts of values that trained the model are in sample.

        Raises
        ------
        ValueError
            If called before `fit`, or the series has at most `lookback` values, NaN among them, or
            an index that is not in order of time.
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
        """Return values (n,) standardised, as rows (n, 1) on the device."""
        return to_tensor(((values - self.mean) / self.std)[:, None], self.device)

    def _unscaled(self, rows: Tensor) -> Floats:
        """Return standardised rows (n, 1) in the unit of the series, (n,)."""
        return rows[:, 0].double().cpu().numpy() * self.std + self.mean  # type: ignore[no-any-return]


class TradingLSTM(_Univariate):
    """Forecaster of the next value of a series, with an `LSTMNet`.

    Parameters
    ----------
    hidden_dim : int
        Width of every layer.
    num_layers : int
    dropout : float
        Share of units dropped between layers, in [0, 1); no effect with one layer.
    weight_decay : float
        L2 penalty of Adam.
    seed : int, optional
        Of weights, order of windows, dropout and noise; by default that of the last `set_seed`, or
        0. Other draws from global generators have no influence.
    verbose : bool
        Print the losses of every tenth epoch.

    Attributes
    ----------
    model : LSTMNet, None before `fit`
    lookback : int, None before `fit`
    mean, std : float, of the values in training windows and targets, None before `fit`
    device : torch.device, the GPU if there is one, otherwise the CPU

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
    """Forecaster of the next value of a series, with a `GRUNet`; otherwise as `TradingLSTM`."""

    _cell = "gru"
    _network = GRUNet
