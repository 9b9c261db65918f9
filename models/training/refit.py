"""Training networks for a fixed number of epochs, without validation."""

from collections.abc import Iterator, Sequence

from torch import nn

from puffin.models.config import Config
from puffin.models.losses import Loss
from puffin.models.training.fold_training import build_networks, targets_per_sequence
from puffin.models.training.together import enqueue_epochs
from puffin.models.training.trainer import Trainer, loss_function
from puffin.models.windows import Windows


class Refit:
    """Training of a network for each seed on all targets, for a known number of epochs.

    Iterating trains the networks: each item is the number of an epoch that ended, from 1.

    Parameters
    ----------
    windows : Windows, standardised, with their targets
    config : Config
    loss : Loss
    epochs : int
    seeds : sequence of int
        One for each network: of its weights, the order of its windows, dropout and noise.

    Attributes
    ----------
    networks : list of Module, in evaluation mode after the last epoch
    """

    def __init__(
        self,
        windows: Windows,
        config: Config,
        loss: Loss,
        epochs: int,
        seeds: Sequence[int],
    ) -> None:
        rows = windows.rows
        self.networks: list[nn.Module] = []
        for seed in seeds:
            self.networks += build_networks(
                config, rows.shape[1], 1, rows.device, seed, loss.levels
            )
        self._epochs = epochs
        self._trainers = [
            Trainer(
                network,
                windows,
                config,
                loss_function(loss),
                seed,
                targets_per_sequence(windows.lookback),
            )
            for network, seed in zip(self.networks, seeds, strict=True)
        ]

    def __iter__(self) -> Iterator[int]:
        """Train, and yield the number of each epoch after it ended."""
        for number in range(1, self._epochs + 1):
            enqueue_epochs(self._trainers)
            for trainer in self._trainers:
                trainer.stream.join()
            yield number
        for network in self.networks:
            network.eval()

    def train(self) -> list[nn.Module]:
        """Train for all epochs, and return the network of each seed."""
        for _ in self:
            pass
        return self.networks
