"""The steps of one network: its batches, its loss and its optimiser."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from puffin.models.config import Config
from puffin.models.losses import LOSSES
from puffin.models.training.adam import Adam

LossFunction = Callable[[Tensor, Tensor], Tensor]

# Batches gathered at once: enough to hide the cost of a gather, few enough to stay in the cache.
_BLOCK = 32


def loss_function(name: str) -> LossFunction:
    """Return the function of torch that computes a loss of ``LOSSES``, as a mean over targets."""
    function: LossFunction = getattr(functional, LOSSES[name].torch_name)
    return function


class Trainer:
    """One network with its optimiser, its shuffling and the windows that it learns from.

    If `targets_per_sequence` is k > 1, k consecutive targets share one input sequence of
    ``lookback + k - 1`` bars (dense supervision), with a forecast after each of its last k bars. A
    step then goes through fewer bars for as many targets. All but the first target of a sequence
    see up to ``k - 1`` more bars in training than in a forecast.

    Parameters
    ----------
    network : Module
        With ``forward(x, last=...)`` as `rnn.StackedLSTM`, where `targets_per_sequence` is above 1.
    windows : Tensor, (targets, lookback, feature), of targets in a row
    targets : Tensor, (targets, output)
    config : Config
    loss : callable
    seed : int
        Of the order of the windows and of the noise.
    targets_per_sequence : int
        Targets in a row at most; fewer where there are fewer, or where it does not divide the batch
        size.
    """

    def __init__(
        self,
        network: nn.Module,
        windows: Tensor,
        targets: Tensor,
        config: Config,
        loss: LossFunction,
        seed: int,
        targets_per_sequence: int = 1,
    ) -> None:
        self.network = network
        self.targets_per_sequence = max(
            k
            for k in range(1, min(targets_per_sequence, len(targets)) + 1)
            if config.batch_size % k == 0
        )
        self.windows = (
            windows
            if self.targets_per_sequence == 1
            else _overlapping_windows(windows, self.targets_per_sequence)
        )
        self.targets = targets.unfold(0, self.targets_per_sequence, 1).transpose(1, 2)
        self.config = config
        self.loss = loss
        self.optimizer = Adam(network.parameters(), config.lr, config.weight_decay)
        self.generator = torch.Generator(device=windows.device).manual_seed(seed)

    def run_epoch(self) -> Tensor:
        """Take one step per batch in a new order; give the mean loss as a scalar on the device."""
        self.network.train()
        order = self._order()
        losses = [self._step(x, y) * len(x) for x, y in self._batches(order)]
        return torch.stack(losses).sum() / len(order)

    def _order(self) -> Tensor:
        """Cut the targets into runs, elsewhere in each epoch; give the first of each, shuffled.

        The runs at both ends overlap those beside them, so that each target is in one.
        """
        generator, device = self.generator, self.windows.device
        last = len(self.windows) - 1
        # As many as it takes from any offset, so that a GPU need not be waited for.
        runs = -(-(last + 2 * self.targets_per_sequence - 1) // self.targets_per_sequence)
        starts = self.targets_per_sequence * torch.randperm(
            runs, generator=generator, device=device
        )
        if self.targets_per_sequence > 1:
            starts -= torch.randint(
                self.targets_per_sequence, (1,), generator=generator, device=device
            )
        return starts.clamp(0, last)

    def _batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut the windows into batches; gathered by the block, since each gather has its price."""
        size = self.config.batch_size // self.targets_per_sequence
        for block in torch.split(order, _BLOCK * size):
            x, y = self.windows[block], self.targets[block]
            if self.config.noise:
                noise = torch.randn(x.shape, generator=self.generator, device=x.device)
                x = x + self.config.noise * noise
            yield from zip(torch.split(x, size), torch.split(y, size), strict=True)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        out = (
            self.network(x)
            if self.targets_per_sequence == 1
            else self.network(x, last=self.targets_per_sequence)
        )
        loss = self.loss(out, y.flatten(0, 1))
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        self.optimizer.step()
        return loss.detach()


def _overlapping_windows(windows: Tensor, count: int) -> Tensor:
    """Return the bars of `count` windows in a row, (sequences, lookback + count - 1, feature)."""
    bars = torch.cat([windows[0], windows[1:, -1]])
    return bars.unfold(0, windows.shape[1] + count - 1, 1).transpose(1, 2)
