"""Training of all folds in step: one curve, one early stopping, one best epoch."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from puffin.models.config import Config, TrainingConfig
from puffin.models.networks.rnn import build_network
from puffin.models.training.cuda_graphs import GraphedCall
from puffin.models.training.early_stopping import EarlyStopping
from puffin.models.training.together import enqueue_epochs
from puffin.models.training.trainer import LossFunction, Trainer, loss_function
from puffin.models.windows import FoldTensors, Windows

# Consecutive targets that share one input sequence in training (`trainer.Trainer`). With 4, wide
# LSTMs take a third of the time at equal losses; with 8 the losses rise.
TARGETS_PER_SEQUENCE = 4
# With shorter windows, the later targets of a sequence learn mostly from bars that they do not see
# in a forecast, and losses rise by 3 to 9 % (benchmarks/runs.py).
MIN_LOOKBACK_OF_SEQUENCES = 5
# Windows forecast at once: more than a validation part has, few enough for the memory.
_PREDICTION_BATCH = 16_384


def targets_per_sequence(lookback: int) -> int:
    """Return how many consecutive targets share an input sequence in training."""
    return TARGETS_PER_SEQUENCE if lookback >= MIN_LOOKBACK_OF_SEQUENCES else 1


@dataclass(frozen=True)
class Epoch:
    """One pass of every fold over its own training targets.

    Attributes
    ----------
    number : int, from 1
    symbol_losses : tuple of tuple of float
        Validation loss of each symbol of each fold, in units of `FoldTensors.unit`.
    train_loss : float, mean over folds, while training (dropout and noise on)
    forecasts : tuple of Tensor, (valid targets,) or (valid targets, level), one per fold
        Standardised, symbol after symbol, on the training device.
    improved : bool, True if this is the best epoch so far
    """

    number: int
    symbol_losses: tuple[tuple[float, ...], ...]
    train_loss: float
    forecasts: tuple[Tensor, ...]
    improved: bool

    @property
    def fold_losses(self) -> tuple[float, ...]:
        """Validation loss of each fold: the mean over its symbols, which count the same."""
        return tuple(math.fsum(losses) / len(losses) for losses in self.symbol_losses)

    @property
    def valid_loss(self) -> float:
        """The mean over folds; over the epochs this is the curve that is watched."""
        return math.fsum(self.fold_losses) / len(self.symbol_losses)


def forecast_windows(network: nn.Module, windows: Tensor) -> Tensor:
    """Forecast windows (n, lookback, feature) without dropout or gradients, (n, output)."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(block) for block in torch.split(windows, _PREDICTION_BATCH)])


def validate(network: nn.Module, windows: Windows, loss: LossFunction) -> tuple[Tensor, Tensor]:
    """Forecast windows without dropout or gradients.

    Returns
    -------
    losses : Tensor, (symbols,), the mean loss of each symbol
    forecasts : Tensor, (windows,), or (windows, level) of quantiles, symbol after symbol
    """
    view = windows.view()
    blocks = torch.split(windows.starts, _PREDICTION_BATCH)
    out = torch.cat([forecast_windows(network, view[block]) for block in blocks])
    sizes = [len(span) for span in windows.spans]
    pairs = zip(torch.split(out, sizes), torch.split(windows.outputs, sizes), strict=True)
    return torch.stack([loss(*pair) for pair in pairs]), out.squeeze(1)


def build_networks(
    config: Config,
    input_dim: int,
    count: int,
    device: torch.device,
    seed: int,
    levels: Sequence[float] = (),
) -> nn.ModuleList:
    """Build `count` networks, as `build_network` does; equal seeds return equal weights."""
    torch.manual_seed(seed)
    return nn.ModuleList(build_network(config, input_dim, levels) for _ in range(count)).to(device)


class FoldTraining:
    """Training of one network per fold, all folds in step, that can be saved and resumed.

    Iterating trains: each item is the `Epoch` that ended. The mean validation loss over folds is
    the curve that early stopping watches. The host waits for the device once per epoch. Resuming
    from `state` reproduces an uninterrupted training bit for bit.

    Parameters
    ----------
    folds : sequence of FoldTensors
        All on one device.
    config : Config
    training : TrainingConfig
    seed : int
        Of the weights and, plus the number of the fold, of the order of the windows, of the noise
        and of dropout.

    Attributes
    ----------
    networks : ModuleList, one network per fold
    curve : list of float, validation loss of each epoch so far
    best : Epoch with the lowest validation loss, None before the first finite one
    """

    def __init__(
        self,
        folds: Sequence[FoldTensors],
        config: Config,
        training: TrainingConfig,
        seed: int,
    ) -> None:
        rows, levels = folds[0].train.rows, training.quantiles
        self._device = rows.device
        self._folds = folds
        self._training = training
        self._loss = loss_function(training.criterion)
        self.networks = build_networks(
            config, rows.shape[1], len(folds), self._device, seed, levels
        )
        pairs = list(zip(self.networks, folds, strict=True))
        self._trainers = [
            Trainer(
                network,
                fold.train,
                config,
                self._loss,
                seed + i,
                targets_per_sequence(fold.train.lookback),
            )
            for i, (network, fold) in enumerate(pairs)
        ]
        self._validations = [
            GraphedCall(partial(validate, network, fold.valid, self._loss), self._device)
            for network, fold in pairs
        ]
        self._stopping = EarlyStopping(training.patience, verbose=False)
        self.curve: list[float] = []
        self.best: Epoch | None = None

    def __iter__(self) -> Iterator[Epoch]:
        """Train, and yield each epoch after it ended.

        At the end the networks have the weights of the best epoch. A loss that is not finite ends
        the training after its epoch was yielded.
        """
        while not self.has_ended:
            yield self._run_epoch()
        if not self._stopping.should_stop:
            self._stopping.restore(self.networks)
        self.networks.eval()

    @property
    def has_ended(self) -> bool:
        """Whether no epoch follows: all ran, the loss stopped improving, or it diverged."""
        if self._stopping.should_stop or len(self.curve) >= self._training.max_epochs:
            return True
        return bool(self.curve) and not math.isfinite(self.curve[-1])

    def _run_epoch(self) -> Epoch:
        train_losses = enqueue_epochs(self._trainers)
        results = [self._enqueue_validation(i) for i in range(len(self._folds))]
        for trainer in self._trainers:
            trainer.stream.join()
        symbol_losses, forecasts = zip(*results, strict=True)
        # The only wait for the device in this epoch.
        *losses, train_loss = torch.cat(
            [*symbol_losses, torch.stack(train_losses).mean()[None]]
        ).tolist()
        parts = iter(losses)
        epoch = Epoch(
            number=len(self.curve) + 1,
            symbol_losses=tuple(
                tuple(loss / fold.unit for loss in islice(parts, len(found)))
                for fold, found in zip(self._folds, symbol_losses, strict=True)
            ),
            train_loss=train_loss,
            forecasts=forecasts,
            improved=False,
        )
        self.curve.append(epoch.valid_loss)
        self._stopping(epoch.valid_loss, self.networks)
        epoch = replace(epoch, improved=self._stopping.counter == 0)
        if epoch.improved:
            self.best = epoch
        return epoch

    def _enqueue_validation(self, fold: int) -> tuple[Tensor, Tensor]:
        """Return losses and forecasts of a fold as `validate` does, after its network's epoch."""
        with self._trainers[fold].stream:
            losses, forecasts = self._validations[fold]()
            # A GPU writes those of the next epoch to the same memory.
            return losses, forecasts.clone()

    def state(self) -> bytes:
        """Return everything that the next epochs depend on, in the safetensors format.

        Call it between two epochs only: while the iterator is suspended at a ``yield``.
        """
        tensors = {f"network.{k}": v for k, v in self.networks.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in (self._stopping.best_weights or {}).items()}
        for i, trainer in enumerate(self._trainers):
            tensors[f"generator.{i}"] = trainer.generator.get_state()
            state = trainer.optimizer.state()
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        best = self.best
        if best is not None:
            tensors["forecasts"] = torch.cat(best.forecasts)
        scalars = {
            "curve": self.curve,
            "counter": self._stopping.counter,
            "best": None if best is None else [best.number, best.symbol_losses, best.train_loss],
        }
        tensors["scalars"] = torch.tensor(list(json.dumps(scalars).encode()), dtype=torch.uint8)
        return save({name: value.cpu().contiguous() for name, value in tensors.items()})

    def load_state(self, body: bytes) -> None:
        """Resume from a `state` of the same configuration, folds and kind of device."""
        tensors = load(body)
        scalars = json.loads(bytes(tensors.pop("scalars").tolist()))
        self.networks.load_state_dict(_entries_under(tensors, "network"))
        for i, trainer in enumerate(self._trainers):
            trainer.generator.set_state(tensors[f"generator.{i}"])
            trainer.optimizer.load_state(_entries_under(tensors, f"optimizer.{i}"))
        self.curve = scalars["curve"]
        self._stopping.counter = scalars["counter"]
        self._stopping.should_stop = self._stopping.counter > self._stopping.patience
        if scalars["best"] is not None:
            number, losses, train_loss = scalars["best"]
            sizes = [len(fold.valid) for fold in self._folds]
            forecasts = torch.split(tensors["forecasts"].to(self._device), sizes)
            self.best = Epoch(
                number, tuple(map(tuple, losses)), train_loss, forecasts, improved=True
            )
            self._stopping.best_loss = self.best.valid_loss
            best = _entries_under(tensors, "best")
            self._stopping.best_weights = {k: v.to(self._device) for k, v in best.items()}


def _entries_under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries whose key starts with ``prefix.``, with that part removed."""
    start = f"{prefix}."
    return {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}
