"""Base class of the forecasters, with scikit-learn's ``fit``, ``predict`` and ``clone``.

The constructor takes the parameters of the network, ``fit`` those of its training. Equal seeds
return equal models. Training seeds torch's global generators and restores their state afterwards,
so two threads must not train at the same time; two processes may.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from puffin.models.config import Config, check_number
from puffin.models.estimators.loops import History, last_seed, print_epoch
from puffin.models.losses import LOSSES
from puffin.models.training.early_stopping import EarlyStopping
from puffin.models.training.fold_training import forecast_windows
from puffin.models.training.trainer import Trainer, loss_function

LOSS = loss_function(LOSSES["mse"])


class TorchForecaster(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A forecaster with one network of torch, as a scikit-learn estimator."""

    _cell: ClassVar[str]
    dropout: float
    weight_decay: float
    seed: int | None
    verbose: bool
    device: torch.device
    model: nn.Module | None
    lookback: int | None

    def _config(
        self, hidden_dims: Sequence[int], lookback: int, lr: float, batch_size: int, noise: float
    ) -> Config:
        """Return the checked hyperparameters of the constructor and of `fit`."""
        return Config(
            cell=self._cell,
            hidden_dims=tuple(hidden_dims),
            dropout=self.dropout,
            lookback=lookback,
            lr=lr,
            weight_decay=self.weight_decay,
            batch_size=batch_size,
            noise=noise,
        )

    def _train(
        self,
        trainer: Trainer,
        windows: Tensor,
        targets: Tensor,
        epochs: int,
        early_stopping: EarlyStopping | None,
    ) -> History:
        """Train a network, validate it after each epoch, and return the losses.

        Parameters
        ----------
        trainer : Trainer
        windows : Tensor, (n, lookback, feature), for validation; n may be 0
        targets : Tensor, (n, output)
        epochs : int
        early_stopping : EarlyStopping, optional
            Is reset; at the end the network has the weights of its best epoch.
        """
        history: History = {"train_loss": [], "val_loss": []}
        network = trainer.network
        if early_stopping is not None:
            early_stopping.reset()
        for epoch in range(1, epochs + 1):
            train_loss = trainer.run_epoch()
            val_loss = torch.full_like(train_loss, torch.nan)
            if len(targets):
                val_loss = trainer.loss(forecast_windows(network, windows), targets)
            losses = torch.stack([train_loss, val_loss]).tolist()
            for key, value in zip(history, losses, strict=True):
                history[key].append(value)
            if self.verbose:
                print_epoch(epoch, epochs, *losses)
            if early_stopping is not None and early_stopping(losses[1], network):
                break
        if early_stopping is not None and not early_stopping.should_stop:
            early_stopping.restore(network)
        network.eval()
        if history["train_loss"] and not math.isfinite(history["train_loss"][-1]):
            warnings.warn("training diverged: the last loss is not finite; lower lr", stacklevel=3)
        return history

    def _fitted(self) -> tuple[nn.Module, int]:
        if self.model is None or self.lookback is None:
            raise NotFittedError("Model must be trained before prediction")
        return self.model, self.lookback

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` was called, for scikit-learn's `check_is_fitted`."""
        return self.model is not None

    def __sklearn_clone__(self) -> Self:
        """Return an untrained copy on the same device, for scikit-learn's `clone`."""
        copy = type(self)(**self.get_params())
        copy.device = self.device
        return copy


@contextmanager
def seeded(seed: int | None) -> Iterator[int]:
    """Seed torch's global generators inside a ``with`` block, and restore them after it.

    The block receives the seed: that of `set_seed` if `seed` is None.
    """
    seed = last_seed() if seed is None else int(seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield seed


def count_train_windows(bars: int, lookback: int, validation_split: float) -> int:
    """Return the number of training windows: the first ``1 - validation_split`` of all windows.

    Raises
    ------
    ValueError
        If the training or validation part would be empty.
    """
    check_number("lookback", lookback, 1, whole=True)
    check_number("validation_split", validation_split, 0, below=1)
    windows = max(bars - lookback, 0)
    train = int(windows * (1 - validation_split))
    if train < 1 or (validation_split and train == windows):
        parts = (
            f", of which validation_split = {validation_split} leaves {train} to train on and "
            f"{windows - train} to validate on"
        )
        raise ValueError(
            f"the series is too short: {bars} values make {windows} windows of lookback = "
            f"{lookback} and the next value{parts if validation_split else ''}; "
            "use a longer series or a shorter lookback"
        )
    return train


def check_training(
    epochs: int, validation_split: float, early_stopping: EarlyStopping | None
) -> None:
    """Check the settings of a training.

    Raises
    ------
    ValueError
        If `epochs` is not a whole number of at least 0, or early stopping has no validation data.
    """
    check_number("epochs", epochs, 0, whole=True)
    if early_stopping is not None and not validation_split:
        raise ValueError("early_stopping needs validation data, but validation_split is 0")
