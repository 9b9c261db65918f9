"""Training of all folds in step: one curve, one early stopping, one best epoch."""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from puffin.models.config import Config, Training
from puffin.models.networks.rnn import build_network
from puffin.models.training.learner import Learner, Loss
from puffin.models.windows import FoldTensors

# Consecutive targets that share one input sequence in training (`learner`): with four, wide
# LSTMs take a third of the time and losses are as with one; with eight they rise.
RUN = 4
# With shorter windows the later targets of a sequence would be learnt mostly from bars that they do
# not see in a forecast: losses then rise by 3 to 9 % (benchmarks/runs.py).
MIN_LOOKBACK_OF_RUNS = 5
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


def targets_per_sequence(lookback: int) -> int:
    """Return how many consecutive targets share an input sequence of a training step."""
    return RUN if lookback >= MIN_LOOKBACK_OF_RUNS else 1


@dataclass(frozen=True)
class Epoch:
    """One pass of every fold over its own training targets.

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


class FoldTraining:
    """Training of one network per fold, all folds in step, that can be put down and taken up again.

    The mean validation loss over folds is the curve that early stopping watches. There is one host
    synchronisation an epoch. What goes on from `state` ends with exactly the losses and weights of
    what was never put down.

    Parameters
    ----------
    networks : ModuleList
        One network per fold, on the device of the folds.
    folds : sequence of FoldTensors
    config : Config
    training : Training
    seed : int
        Of the order of the windows and of the noise. Dropout draws from torch's global generator.

    Attributes
    ----------
    curve : list of float, validation loss of each epoch so far
    best : Epoch, the one with the lowest; None before the first that is finite
    """

    def __init__(
        self,
        networks: nn.ModuleList,
        folds: Sequence[FoldTensors],
        config: Config,
        training: Training,
        seed: int,
    ) -> None:
        self._networks = networks
        self._folds = folds
        self._training = training
        self._loss = LOSSES[training.loss]
        self._learners = [
            Learner(
                network,
                fold.train_windows,
                fold.train_targets,
                config,
                self._loss,
                seed + i,
                targets_per_sequence(fold.train_windows.shape[1]),
            )
            for i, (network, fold) in enumerate(zip(networks, folds, strict=True))
        ]
        self._stopping = EarlyStopping(training.patience, verbose=False)
        self._device = folds[0].train_windows.device
        self.curve: list[float] = []
        self.best: Epoch | None = None

    def __iter__(self) -> Iterator[Epoch]:
        """Train on, and give each epoch as it ends.

        At the end the networks hold the weights of the best epoch. A loss that is not finite ends
        the training after its epoch was given.
        """
        while not self.has_ended:
            yield self._run_epoch()
        if not self._stopping.should_stop:
            self._stopping.restore(self._networks)

    @property
    def has_ended(self) -> bool:
        """Whether no epoch follows: all are trained, the loss stopped improving, or it diverged."""
        if self._stopping.should_stop or len(self.curve) >= self._training.max_epochs:
            return True
        return bool(self.curve) and not math.isfinite(self.curve[-1])

    def _run_epoch(self) -> Epoch:
        train_losses = torch.stack([learner.run_epoch() for learner in self._learners])
        forecasts, valid_losses = _validate(self._networks, self._folds, self._loss)
        *fold_losses, train_loss = torch.cat([valid_losses, train_losses.mean()[None]]).tolist()
        valid_loss = math.fsum(fold_losses) / len(fold_losses)
        self.curve.append(valid_loss)
        self._stopping(valid_loss, self._networks)
        epoch = Epoch(
            number=len(self.curve),
            valid_loss=valid_loss,
            fold_losses=tuple(fold_losses),
            train_loss=train_loss,
            forecasts=forecasts,
            improved=self._stopping.counter == 0,
        )
        if epoch.improved:
            self.best = epoch
        return epoch

    def state(self) -> bytes:
        """Give all that the next epochs depend on, in the safetensors format.

        Only between two epochs: while the iterator waits to be asked for the next one.
        """
        tensors = {f"network.{k}": v for k, v in self._networks.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in (self._stopping.best_weights or {}).items()}
        for i, learner in enumerate(self._learners):
            tensors[f"generator.{i}"] = learner.generator.get_state()
            state = learner.optimizer.state()
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        tensors["dropout"] = _get_rng_state(self._device)
        best = self.best
        if best is not None:
            tensors["forecasts"] = best.forecasts
        scalars = {
            "curve": self.curve,
            "counter": self._stopping.counter,
            "best": None
            if best is None
            else [best.number, best.valid_loss, best.fold_losses, best.train_loss],
        }
        tensors["scalars"] = torch.tensor(list(json.dumps(scalars).encode()), dtype=torch.uint8)
        return save({name: value.cpu().contiguous() for name, value in tensors.items()})

    def load_state(self, body: bytes) -> None:
        """Go on from what `state` gave, for the same configuration, folds and kind of device."""
        tensors = load(body)
        scalars = json.loads(bytes(tensors.pop("scalars").tolist()))
        self._networks.load_state_dict(_below(tensors, "network"))
        for i, learner in enumerate(self._learners):
            learner.generator.set_state(tensors[f"generator.{i}"])
            learner.optimizer.load_state(_below(tensors, f"optimizer.{i}"))
        _set_rng_state(self._device, tensors["dropout"])
        self.curve = scalars["curve"]
        self._stopping.counter = scalars["counter"]
        self._stopping.should_stop = self._stopping.counter > self._stopping.patience
        if scalars["best"] is not None:
            number, valid_loss, fold_losses, train_loss = scalars["best"]
            forecasts = tensors["forecasts"].to(self._device)
            self.best = Epoch(
                number, valid_loss, tuple(fold_losses), train_loss, forecasts, improved=True
            )
            self._stopping.best_loss = valid_loss
            best = _below(tensors, "best")
            self._stopping.best_weights = {k: v.to(self._device) for k, v in best.items()}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Give the entries under ``prefix.``, without it."""
    start = f"{prefix}."
    return {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}


def _get_rng_state(device: torch.device) -> Tensor:
    """Give the state of torch's global generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_rng_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


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
    network, steps = refit(windows, targets, config, loss, epochs, seed)
    for _ in steps:
        pass
    return network


def refit(
    windows: Tensor,
    targets: Tensor,
    config: Config,
    loss: str,
    epochs: int,
    seed: int,
) -> tuple[nn.Module, Iterator[int]]:
    """Give a network, and the epochs that train it when they are gone through.

    Parameters
    ----------
    windows : Tensor, (targets, lookback, feature), standardised
    targets : Tensor, (targets, 1), standardised
    """
    (network,) = build_networks(config, windows.shape[2], 1, windows.device, seed)
    per_sequence = targets_per_sequence(windows.shape[1])
    learner = Learner(network, windows, targets, config, LOSSES[loss], seed, per_sequence)

    def steps() -> Iterator[int]:
        for number in range(1, epochs + 1):
            learner.run_epoch()
            yield number
        network.eval()

    return network, steps()
