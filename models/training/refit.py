"""Training one network for a fixed number of epochs, without validation."""

from collections.abc import Iterator

from torch import Tensor, nn

from puffin.models.config import Config
from puffin.models.training.fold_training import LOSSES, build_networks, targets_per_sequence
from puffin.models.training.trainer import Trainer


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
    trainer = Trainer(network, windows, targets, config, LOSSES[loss], seed, per_sequence)

    def steps() -> Iterator[int]:
        for number in range(1, epochs + 1):
            trainer.run_epoch()
            yield number
        network.eval()

    return network, steps()
