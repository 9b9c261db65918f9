"""Training one network for a fixed number of epochs, without validation."""

from collections.abc import Iterator

from torch import nn

from puffin.models.config import Config
from puffin.models.losses import Loss
from puffin.models.training.fold_training import build_networks, targets_per_sequence
from puffin.models.training.trainer import Trainer, loss_function
from puffin.models.windows import Windows


class Refit:
    """Training of one network on all targets, for an epoch count that is already known.

    Iterating trains the network: each item is the number of an epoch that ended, from 1.

    Parameters
    ----------
    windows : Windows, standardised, with their targets
    config : Config
    loss : Loss
    epochs : int
    seed : int
        Of the weights, the order of the windows, dropout and noise.

    Attributes
    ----------
    network : Module, in evaluation mode after the last epoch
    """

    def __init__(
        self,
        windows: Windows,
        config: Config,
        loss: Loss,
        epochs: int,
        seed: int,
    ) -> None:
        self.network: nn.Module
        rows = windows.rows
        (self.network,) = build_networks(config, rows.shape[1], 1, rows.device, seed, loss.levels)
        self._epochs = epochs
        self._trainer = Trainer(
            self.network,
            windows,
            config,
            loss_function(loss),
            seed,
            targets_per_sequence(windows.lookback),
        )

    def __iter__(self) -> Iterator[int]:
        """Train, and yield the number of each epoch after it ended."""
        for number in range(1, self._epochs + 1):
            self._trainer.run_epoch()
            yield number
        self.network.eval()

    def train(self) -> nn.Module:
        """Train for all epochs, and return the network."""
        for _ in self:
            pass
        return self.network
