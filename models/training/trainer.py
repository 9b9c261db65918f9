"""The training steps of one network: batches, loss and optimiser."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from puffin.models.config import Config
from puffin.models.losses import Loss
from puffin.models.networks.dropout import Dropout
from puffin.models.training.adam import Adam
from puffin.models.training.cuda_graphs import GraphedEpoch, SideStream, can_be_graphed
from puffin.models.windows import Windows

LossFunction = Callable[[Tensor, Tensor], Tensor]

# Batches gathered at once: enough to hide the cost of a gather, few enough to stay in the cache.
_BLOCK = 32


def loss_function(loss: Loss) -> LossFunction:
    """Return the function of torch that computes a loss as a mean over targets and levels."""
    function: LossFunction = loss.of_tensors or getattr(functional, loss.torch_name)
    return function


class Trainer:
    """One network with its optimiser and the windows that it learns from.

    If `targets_per_sequence` is k > 1, k consecutive targets share one input sequence of
    ``lookback + k - 1`` bars (dense supervision), with a forecast after each of its last k bars. A
    step then processes fewer bars for the same number of targets. All but the first target of a
    sequence see up to ``k - 1`` more bars in training than in a forecast.

    Parameters
    ----------
    network : Module
        With ``forward(x, last=...)`` as `rnn.StackedLSTM` if `targets_per_sequence` is above 1.
    windows : Windows
        With their targets. The symbols count by their number of targets.
    config : Config
    loss : callable
        Maps forecasts (n, output) and targets (n, 1) to their mean loss.
    seed : int
        Of the order of the windows, of the noise, and of our dropout.
    targets_per_sequence : int
        Most targets per sequence: fewer are used if a symbol has fewer targets, or if the batch
        size is not a multiple of it.

    Attributes
    ----------
    stream : SideStream, on which the epochs run
    """

    def __init__(
        self,
        network: nn.Module,
        windows: Windows,
        config: Config,
        loss: LossFunction,
        seed: int,
        targets_per_sequence: int = 1,
    ) -> None:
        self.network = network
        self.targets_per_sequence = max(
            k
            for k in range(1, min(targets_per_sequence, *map(len, windows.spans)) + 1)
            if config.batch_size % k == 0
        )
        # Both are indexed by the row at which a sequence begins: with k targets per sequence,
        # windows (rows, lookback + k - 1, feature) and targets (rows, k, output).
        self.windows = windows.view(self.targets_per_sequence)
        self.targets = windows.targets.unfold(0, self.targets_per_sequence, 1).transpose(1, 2)
        self._places = _Places.of(windows, self.targets_per_sequence)
        self.config = config
        self.loss = loss
        self.optimizer = Adam(network.parameters(), config.lr, config.weight_decay)
        device = windows.rows.device
        self.generator = torch.Generator(device=device).manual_seed(seed)
        # Networks train side by side, so each draws from a generator of its own.
        for layer in network.modules():
            if isinstance(layer, Dropout):
                layer.generator = self.generator
        self.stream = SideStream(device)
        # On a CPU it is faster to gather many batches at once, as `batches` does.
        self._graphed_epoch: GraphedEpoch | None = None
        if device.type == "cuda" and can_be_graphed(network):
            self._graphed_epoch = self._make_graphed_epoch()

    def _make_graphed_epoch(self) -> GraphedEpoch:
        size = self.config.batch_size // self.targets_per_sequence
        return GraphedEpoch(self._step_on, len(self._places), size, self.generator)

    def run_epoch(self) -> Tensor:
        """Take one step per batch, in a new order; return the mean loss as a scalar on the device.

        Nothing here waits for a GPU.
        """
        with self.stream:
            loss = self.enqueue_epoch()
        self.stream.join()
        return loss

    def enqueue_epoch(self) -> Tensor:
        """Do as `run_epoch` within a block of `stream`, so that others can run beside it."""
        self.network.train()
        if self._graphed_epoch is not None:
            return self._graphed_epoch.run(self._order())
        return mean_over_batches([(self._step(x, y), len(x)) for x, y in self.batches()])

    def _order(self) -> Tensor:
        """Return the first row of each sequence of this epoch, shuffled, (sequences,).

        The sequences of a symbol lie one behind the other, from an offset that is drawn anew in
        each epoch. Those at both ends are moved inwards, and overlap their neighbours, so that each
        target is in a sequence.
        """
        k, device, places = self.targets_per_sequence, self.windows.device, self._places
        order = torch.randperm(len(places), generator=self.generator, device=device)
        starts = places.relative[order]
        if k > 1:
            starts -= torch.randint(k, (1,), generator=self.generator, device=device)
        return starts.clamp(min=0).minimum(places.last[order]) + places.base[order]

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches of windows (batch, bar, feature), targets (batch, k, output).

        Windows are gathered for `_BLOCK` batches at once, because every gather has a fixed cost.
        """
        size = self.config.batch_size // self.targets_per_sequence
        for block in torch.split(self._order(), _BLOCK * size):
            x, y = self._gather(block)
            yield from zip(torch.split(x, size), torch.split(y, size), strict=True)

    def _gather(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Return the windows of these sequences, with noise, and their targets."""
        x, y = self.windows[block], self.targets[block]
        if self.config.noise:
            noise = torch.randn(x.shape, generator=self.generator, device=x.device)
            x = x + self.config.noise * noise
        return x, y

    def _step_on(self, block: Tensor) -> Tensor:
        """Take one step on these sequences, and return its mean loss."""
        return self._step(*self._gather(block))

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """Take one step on a batch, and return its mean loss."""
        self.optimizer.zero_grad()
        out = (
            self.network(x)
            if self.targets_per_sequence == 1
            else self.network(x, last=self.targets_per_sequence)
        )
        loss = self.loss(out, y.flatten(0, 1))  # (batch * k, output) and (batch * k, 1)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
        self.optimizer.step()
        return loss.detach()


def mean_over_batches(losses: Sequence[tuple[Tensor, int]]) -> Tensor:
    """Return the mean loss of an epoch, from that of each batch and the number of its windows."""
    sums = torch.stack([loss * count for loss, count in losses])
    return sums.sum() / sum(count for _, count in losses)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the sequences of an epoch begin, before they are shifted by the offset of an epoch.

    Attributes
    ----------
    relative : Tensor, (sequences,), within the symbol
    last : Tensor, (sequences,), the last place within the symbol
    base : Tensor, (sequences,), the row of the symbol's first place
    """

    relative: Tensor
    last: Tensor
    base: Tensor

    def __len__(self) -> int:
        """Return the number of sequences.

        It is enough for every offset: a number that depends on the drawn offset would make the host
        wait for the GPU.
        """
        return len(self.relative)

    @classmethod
    def of(cls, windows: Windows, k: int) -> "_Places":
        """Return the places of sequences of `k` targets."""
        places = [len(span) - k + 1 for span in windows.spans]
        counts = torch.tensor([-(-(count - 1 + 2 * k - 1) // k) for count in places])
        relative = torch.cat([k * torch.arange(count) for count in counts.tolist()])
        last = torch.tensor([count - 1 for count in places]).repeat_interleave(counts)
        base = torch.tensor([span.start for span in windows.spans]).repeat_interleave(counts)
        return cls(*(values.to(windows.rows.device) for values in (relative, last, base)))
