"""Training of all folds in step: one curve, one early stopping, one best epoch."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import Config
from models.rnn import build_network
from models.windows import FoldTensors

Loss = Callable[[Tensor, Tensor], Tensor]

# Batches gathered at once: enough to hide the cost of a gather, few enough to stay in the cache.
_BLOCK = 32
# Windows forecast at once: a validation part in one go, and a long series within the memory.
_FORECASTS = 16_384

LOSSES: dict[str, Loss] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


class EarlyStopping:
    """Stop when a loss has not improved for more than `patience` calls.

    `patience` bad calls are tolerated and the next one stops. A loss that is not finite is never
    an improvement.

    Parameters
    ----------
    patience : int
        Bad calls in a row that are tolerated.
    min_delta : float
        An improvement is a loss below the best one by more than this.
    restore_best_weights : bool
        Keep a copy of the best weights, and load it into the model on stopping.
    verbose : bool
        Print the counter and the restoring.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,  # noqa: FBT001, FBT002  # the published signature
        verbose: bool = True,  # noqa: FBT001, FBT002  # the published signature
    ) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best_weights = restore_best_weights
        self.verbose = verbose
        self.reset()

    def reset(self) -> None:
        """Forget what was seen, for another training."""
        self.counter = 0
        self.best_loss: float | None = None
        self.best_weights: dict[str, Any] | None = None
        self.should_stop = False

    def __call__(self, val_loss: float | Tensor, model: nn.Module) -> bool:
        """Take the next validation loss of `model`; True means stop now."""
        if isinstance(val_loss, Tensor):
            val_loss = val_loss.item()
        if self._improves(val_loss):
            self.best_loss = val_loss
            self.counter = 0
            if self.restore_best_weights:
                self.best_weights = copy.deepcopy(model.state_dict())
            return False
        self.counter += 1
        if self.verbose:
            print(f"EarlyStopping counter: {self.counter}/{self.patience}")  # noqa: T201  # verbose
        if self.counter > self.patience:
            self.should_stop = True
            self.restore(model)
        return self.should_stop

    def _improves(self, val_loss: float) -> bool:
        if not math.isfinite(val_loss):
            return False
        return self.best_loss is None or val_loss < self.best_loss - self.min_delta

    def restore(self, model: nn.Module) -> None:
        """Load the best weights seen into `model`, if they were kept."""
        if self.best_weights is None:
            return
        if self.verbose:
            print(f"Restoring best weights (val_loss={self.best_loss:.6f})")  # noqa: T201  # verbose
        model.load_state_dict(self.best_weights)


@dataclass(frozen=True)
class Training:
    """How long a configuration may train, and on which loss.

    Parameters
    ----------
    max_epochs : int
        Passes over the training windows at most.
    patience : int
        Epochs without a better mean validation loss that are tolerated.
    loss : str
        A key of ``LOSSES``, on the standardised target.
    """

    max_epochs: int = 50
    patience: int = 8
    loss: str = "mse"


@dataclass(frozen=True)
class Epoch:
    """One pass of every fold over its own training windows.

    Attributes
    ----------
    number : int, from 1
    valid_loss : float, mean over folds; *the* curve
    fold_losses : tuple of float, one per fold
    train_loss : float, mean over folds, while training (dropout and noise on)
    forecasts : Tensor, (fold, valid targets), standardised, on the training device
    improved : bool, whether this is the best epoch so far
    """

    number: int
    valid_loss: float
    fold_losses: tuple[float, ...]
    train_loss: float
    forecasts: Tensor
    improved: bool


class Learner:
    """One network with its optimiser, its shuffling and the windows that it learns from."""

    def __init__(
        self,
        network: nn.Module,
        windows: Tensor,
        targets: Tensor,
        config: Config,
        loss: Loss,
        seed: int,
    ) -> None:
        self.network = network
        self.windows = windows
        self.targets = targets
        self.config = config
        self.loss = loss
        self.optimizer = torch.optim.Adam(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator(device=windows.device).manual_seed(seed)

    def run_epoch(self) -> Tensor:
        """Take one step per batch in a new order; give the mean loss as a scalar on the device."""
        self.network.train()
        count = len(self.targets)
        order = torch.randperm(count, generator=self.generator, device=self.windows.device)
        losses = [self._step(x, y) * len(y) for x, y in self._batches(order)]
        return torch.stack(losses).sum() / count

    def _batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut the windows into batches; gathered by the block, since each gather has its price."""
        size = self.config.batch_size
        for block in torch.split(order, _BLOCK * size):
            x, y = self.windows[block], self.targets[block]
            if self.config.noise:
                noise = torch.randn(x.shape, generator=self.generator, device=x.device)
                x = x + self.config.noise * noise
            yield from zip(torch.split(x, size), torch.split(y, size), strict=True)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        self.optimizer.step()
        return loss.detach()


def forecast(network: nn.Module, windows: Tensor) -> Tensor:
    """Run windows (n, lookback, feature) through a network without dropout; (n, output)."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(block) for block in torch.split(windows, _FORECASTS)])


def build_networks(
    config: Config, input_dim: int, count: int, device: torch.device, seed: int
) -> nn.ModuleList:
    """Make `count` networks of one configuration; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return nn.ModuleList(build_network(config, input_dim) for _ in range(count)).to(device)


def train_folds(
    networks: nn.ModuleList,
    folds: Sequence[FoldTensors],
    config: Config,
    training: Training,
    seed: int,
) -> Iterator[Epoch]:
    """Train one network per fold, all folds in step, and give each epoch as it ends.

    The mean validation loss over folds is the curve that early stopping watches. When the iterator
    ends, the networks hold the weights of the best epoch. There is one host synchronisation an
    epoch. A loss that is not finite ends the training after its epoch was given.

    Parameters
    ----------
    networks : ModuleList
        One network per fold, on the device of the folds.
    folds : sequence of FoldTensors
    config : Config
    training : Training
    seed : int
        Of the order of the windows and of the noise. Dropout draws from torch's global generator.
    """
    loss = LOSSES[training.loss]
    learners = [
        Learner(network, fold.train_windows, fold.train_targets, config, loss, seed + i)
        for i, (network, fold) in enumerate(zip(networks, folds, strict=True))
    ]
    stopping = EarlyStopping(training.patience, verbose=False)
    for number in range(1, training.max_epochs + 1):
        train_losses = torch.stack([learner.run_epoch() for learner in learners])
        forecasts, valid_losses = _validate(networks, folds, loss)
        *fold_losses, train_loss = torch.cat([valid_losses, train_losses.mean()[None]]).tolist()
        valid_loss = math.fsum(fold_losses) / len(fold_losses)
        stop = stopping(valid_loss, networks)
        improved = stopping.counter == 0
        yield Epoch(number, valid_loss, tuple(fold_losses), train_loss, forecasts, improved)
        if stop or not math.isfinite(valid_loss):
            break
    if not stopping.should_stop:
        stopping.restore(networks)


def _validate(
    networks: nn.ModuleList, folds: Sequence[FoldTensors], loss: Loss
) -> tuple[Tensor, Tensor]:
    """Forecast each validation part in one batch; give forecasts (fold, bars), losses (fold,)."""
    outputs = [
        forecast(network, fold.valid_windows) for network, fold in zip(networks, folds, strict=True)
    ]
    losses = [loss(out, fold.valid_targets) for out, fold in zip(outputs, folds, strict=True)]
    return torch.stack([out[:, 0] for out in outputs]), torch.stack(losses)


def train_epochs(
    windows: Tensor,
    targets: Tensor,
    config: Config,
    loss: str,
    epochs: int,
    seed: int,
) -> nn.Module:
    """Train one network for a number of epochs without validation: the refit of a winner.

    Parameters
    ----------
    windows : Tensor, (targets, lookback, feature), standardised
    targets : Tensor, (targets, 1), standardised
    """
    (network,) = build_networks(config, windows.shape[2], 1, windows.device, seed)
    learner = Learner(network, windows, targets, config, LOSSES[loss], seed)
    for _ in range(epochs):
        learner.run_epoch()
    return network.eval()
