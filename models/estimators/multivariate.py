"""Forecasters of one series from a table of features: `MultivariateLSTM` and `MultivariateGRU`."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from puffin.models.arrays import (
    Floats,
    as_floats,
    as_series,
    require_finite,
    require_same_index,
    require_time_order,
)
from puffin.models.estimators.base import (
    LOSS,
    TorchForecaster,
    check_training,
    count_train_windows,
    seeded,
)
from puffin.models.estimators.loops import History, default_device
from puffin.models.networks.rnn import network_class
from puffin.models.scaling import safe_std
from puffin.models.training.early_stopping import EarlyStopping
from puffin.models.training.fold_training import forecast_windows
from puffin.models.training.trainer import Trainer
from puffin.models.windows import Windows, make_windows, to_tensor

# Residual variance of a linear fit, as a share of the variance of the target's changes, below which
# the target counts as known in its row.
_KNOWN = 0.25
# Rows minus columns of that fit: with fewer it may fit noise that well.
_SPARE_ROWS = 30


class _Multivariate(TorchForecaster):
    """Forecaster of the target of a row from the features of this row and of those before it."""

    def __init__(
        self,
        dropout: float = 0.2,
        weight_decay: float = 0.0,
        seed: int | None = None,
        verbose: bool = True,  # noqa: FBT001, FBT002  # an option like the others
    ) -> None:
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.seed = seed
        self.verbose = verbose
        self.device = default_device()
        self.model = None
        self.lookback = None
        self.feature_cols: list[Any] | None = None
        self.target_col: Any = None
        self.means: Any = None  # arrays once fitted
        self.stds: Any = None

    def prepare_sequences(
        self, features: np.ndarray[Any, Any], target: np.ndarray[Any, Any], lookback: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Cut features (n, f) into windows, each with the target of its last row.

        The first possible window, which ends at row ``lookback - 1``, is left out to keep the
        published shape.

        Returns
        -------
        X : array, (n - lookback, lookback, f)
            ``X[i] = features[i + 1 : i + 1 + lookback]``.
        y : array, (n - lookback,)
            ``y[i] = target[i + lookback]``.

        Raises
        ------
        ValueError
            If the shapes or indexes differ, the rows are not in order of time, or there are at most
            `lookback` rows.
        """
        require_time_order("features", features)
        as_series("target", target)
        require_same_index(features=features, target=target)
        rows, values = np.asarray(features), np.asarray(target)
        if rows.ndim != 2 or len(rows) != len(values):
            raise ValueError(
                "features must be (rows, columns) with one row per target, but features have shape "
                f"{rows.shape} and target {values.shape}"
            )
        count_train_windows(len(rows), lookback, 0.0)
        windows = np.lib.stride_tricks.sliding_window_view(rows, lookback, axis=0)[1:]
        return windows.transpose(0, 2, 1).copy(), values[lookback:].copy()

    def fit(  # noqa: PLR0913, PLR0917  # the published signature, and two more
        self,
        features_df: pd.DataFrame,
        target_col: Any,
        lookback: int = 20,
        epochs: int = 50,
        lr: float = 0.001,
        batch_size: int = 32,
        validation_split: float = 0.2,
        hidden_dims: list[int] | None = None,
        *,
        early_stopping: EarlyStopping | None = None,
        noise: float = 0.0,
    ) -> History:
        """Train a new network on rows of features and a target.

        The target of a row must be unknown when the row is known, so it is usually shifted:
        ``df["target"] = df["return"].shift(-1)``. A column that is known together with the features
        of its row (a close beside high and low) is not a target, because the network could compute
        it from them. A linear fit that does so raises a warning, but it does not detect every case.

        Parameters
        ----------
        features_df : DataFrame, (n, columns)
            Every column except the target is a feature.
        target_col : column name
        hidden_dims : list of int, optional
            Width of each layer; [64, 32] by default.
        lookback, epochs, lr, batch_size, validation_split, early_stopping, noise
            As in `TradingLSTM.fit`.

        Returns
        -------
        dict
            ``train_loss`` and ``val_loss``, one float per epoch.

        Raises
        ------
        KeyError
            If `target_col` is not a column.
        ValueError
            If a hyperparameter is out of bounds, there are too few rows, or the rows are not in
            order of time or not finite numbers.
        """
        feature_cols = _feature_columns(features_df, target_col)
        widths = [64, 32] if hidden_dims is None else hidden_dims
        if not np.iterable(widths):
            raise ValueError(f"hidden_dims must list the width of each layer, but is {widths!r}")
        config = self._config(widths, lookback, lr, batch_size, noise)
        check_training(epochs, validation_split, early_stopping)
        features = _numbers(features_df, feature_cols)
        target = _numbers(features_df, [target_col])[:, 0]
        train = count_train_windows(len(target), lookback, validation_split)
        seen = slice(lookback + train)
        _warn_of_known_target(features[seen], target[seen], target_col)
        self.lookback, self.feature_cols, self.target_col = lookback, feature_cols, target_col
        self.means, self.stds = features[seen].mean(axis=0), safe_std(features[seen])
        self.target_mean = float(target[seen].mean())
        self.target_std = float(safe_std(target[seen]))
        rows = self._scaled(features)[1:]
        windows = make_windows(rows, lookback)
        scaled = ((target - self.target_mean) / self.target_std)[:, None]
        targets = to_tensor(scaled, self.device)[lookback:]
        with seeded(self.seed) as seed:
            self.model = network_class(self._cell)(
                len(feature_cols), list(config.hidden_dims), dropout=config.dropout
            )
            self.model.to(self.device)
            trainer = Trainer(
                self.model, Windows.of(rows, targets[:train], lookback), config, LOSS, seed
            )
            return self._train(trainer, windows[train:], targets[train:], epochs, early_stopping)

    def predict(self, features_df: pd.DataFrame) -> Floats:
        """Forecast the target of the last row.

        Parameters
        ----------
        features_df : DataFrame, (n, columns), of which the last `lookback` rows are read
            With the columns of `feature_cols`, in any order; others are ignored.

        Returns
        -------
        array, (1,)

        Raises
        ------
        KeyError
            If a feature is missing.
        ValueError
            If called before `fit`, or there are fewer than `lookback` rows, NaN among them, or an
            index that is not in order of time.
        """
        _, lookback = self._fitted()
        _columns(features_df)
        return self._forecasts(features_df.iloc[-lookback:])

    def historical_forecasts(self, features_df: pd.DataFrame) -> Floats:
        """Forecast the target of each row, all in one batch.

        Parameters
        ----------
        features_df : DataFrame, (n, columns)

        Returns
        -------
        array, (n,)
            Element t forecasts the target of row t from rows ``t - lookback + 1`` to t; NaN for the
            first ``lookback - 1`` rows. Forecasts of rows that trained the model are in sample.

        Raises
        ------
        KeyError, ValueError
            As in `predict`.
        """
        _, lookback = self._fitted()
        return np.concatenate([np.full(lookback - 1, np.nan), self._forecasts(features_df)])

    def _forecasts(self, features_df: pd.DataFrame) -> Floats:
        """Forecast the target of each row that has a window, (n - lookback + 1,)."""
        network, lookback = self._fitted()
        wanted = self.feature_cols or []
        missing = [column for column in wanted if column not in _columns(features_df)]
        if missing:
            raise KeyError(f"features_df must have the columns {wanted}, but lacks {missing}")
        if len(features_df) < lookback:
            raise ValueError(
                f"features_df must have at least lookback = {lookback} rows, "
                f"but has {len(features_df)}"
            )
        windows = make_windows(self._scaled(_numbers(features_df, wanted)), lookback)
        scaled = forecast_windows(network, windows)[:, 0].double().cpu().numpy()
        values: Floats = scaled * self.target_std + self.target_mean
        return values

    def _scaled(self, features: Floats) -> Tensor:
        """Return features (n, f) standardised, on the device."""
        return to_tensor((features - self.means) / self.stds, self.device)


def _columns(frame: pd.DataFrame) -> list[Any]:
    """Return the column names of a frame.

    Raises
    ------
    ValueError
        If it is not a DataFrame, its rows are not in order of time, or two columns share a name.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"features_df must be a DataFrame, but is a {type(frame).__name__}")
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()].tolist()
        raise ValueError(f"features_df must have each column once, but repeats {repeated}")
    require_time_order("features_df", frame)
    return frame.columns.tolist()


def _feature_columns(frame: pd.DataFrame, target_col: Any) -> list[Any]:
    """Return the names of all columns except the target.

    Raises
    ------
    KeyError
        If the target is not a column.
    ValueError
        If there is no other column, or the frame has the faults that `_columns` refuses.
    """
    columns = _columns(frame)
    if target_col not in columns:
        raise KeyError(f"target_col must be one of the columns {columns}, but is {target_col!r}")
    feature_cols = [column for column in columns if column != target_col]
    if not feature_cols:
        raise ValueError(f"features_df must have a feature beside {target_col!r}, but has none")
    return feature_cols


def _numbers(frame: pd.DataFrame, columns: list[Any]) -> Floats:
    """Return columns as finite numbers, (n, columns)."""
    series = [as_floats(f"column {column!r}", frame[column]) for column in columns]
    for column, values in zip(columns, series, strict=True):
        require_finite(f"column {column!r}", values)
    return np.column_stack(series)


def _warn_of_known_target(features: Floats, target: Floats, name: Any) -> None:
    """Warn if a linear fit explains the target (n,) by the features (n, f) of its row and the last.

    Then the target is already known and the loss is meaningless. The measure is the residual
    variance of the fit as a share of the variance of the target's changes. For a target that is
    known only later it is about a half if the target is noise, and more if it is a level or varies
    slowly. For a close beside open, high and low of its bar it is an eighth to a sixth. A return
    beside closes that grow manyfold within the series is not detected.
    """
    scaled = (features - features.mean(axis=0)) / safe_std(features)
    columns = np.column_stack(
        [np.ones(len(scaled) - 1), scaled[1:], scaled[:-1]]
    )  # (n - 1, 1 + 2f)
    count, width = columns.shape
    spare = count - width
    if spare < max(width, _SPARE_ROWS):
        return
    residual = target[1:] - columns @ np.linalg.lstsq(columns, target[1:], rcond=None)[0]
    unexplained = float(residual @ residual) / spare
    changes = float(np.var(np.diff(target)))
    if unexplained < _KNOWN * changes:
        warnings.warn(
            f"target_col {name!r} can be read off the features up to its row: a linear fit leaves "
            f"{unexplained / changes:.1%} of the variance of its changes. If a row contains its "
            "target, the loss is meaningless: forecast the target of the next row, as in "
            f"features_df[{name!r}].shift(-1)",
            stacklevel=3,
        )


class MultivariateLSTM(_Multivariate):
    """Forecaster of the target of a row from features, with a `StackedLSTM`.

    Parameters
    ----------
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
    model : StackedLSTM, None before `fit`
    lookback : int, None before `fit`
    feature_cols, target_col : column names, None before `fit`
    means, stds : array, (feature,), of the rows in training windows, None before `fit`
    target_mean, target_std : float, of the same rows; set by `fit`
    device : torch.device, the GPU if there is one, otherwise the CPU
    """

    _cell = "lstm"


class MultivariateGRU(_Multivariate):
    """Forecaster with a `StackedGRU`; otherwise as `MultivariateLSTM`."""

    _cell = "gru"
