"""Epochs of several networks, as one where that is faster.

A step of a narrow GRU takes as long as its calls of torch, so on a CPU the GRUs of all folds or
seeds take their steps together: each call works on all networks. An epoch of five then takes 0.33
of the time at a width of 8, 0.45 at 32, 0.57 at 64 and 0.76 at 128 (benchmarks/together.py). Each
network still learns from its own batches in its own order, as it would alone, up to rounding.

Other networks take their steps one after the other: torch has a fused CPU kernel for an LSTM, and
on a GPU each network has a stream (`cuda_graphs`).
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest

import torch
from torch import Tensor

from puffin.models.networks.gru import LARGEST_STATE
from puffin.models.networks.rnn import StackedGRU, forecast_together
from puffin.models.training.trainer import Trainer, mean_over_batches

# Most numbers in the states of networks that step together: those of five networks of the largest
# state. Four times as many leave the cache, and a step keeps its tensors for all of them at once.
_LARGEST_STATES = 5 * LARGEST_STATE
# A trainer with windows (batch, bar, feature) and targets (batch, k, output).
_Batch = tuple[Trainer, Tensor, Tensor]


def enqueue_epochs(trainers: Sequence[Trainer]) -> list[Tensor]:
    """Take the steps of an epoch of each network; return the mean loss of each, a scalar.

    On a GPU each works on its own stream, which the caller has to join.
    """
    if len(trainers) > 1 and all(map(_can_step_together, trainers)):
        return [loss for group in _groups(trainers) for loss in _epoch_together(group)]
    losses = []
    for trainer in trainers:
        with trainer.stream:
            losses.append(trainer.enqueue_epoch())
    return losses


def _groups(trainers: Sequence[Trainer]) -> Iterator[Sequence[Trainer]]:
    """Yield groups that step together, similar in size and each within `_LARGEST_STATES`."""
    most = _LARGEST_STATES // max(map(_state, trainers))
    count = -(-len(trainers) // most)
    size = -(-len(trainers) // count)
    for start in range(0, len(trainers), size):
        yield trainers[start : start + size]


def _state(trainer: Trainer) -> int:
    """Return the most numbers in the state of a layer after one bar, (unit, batch)."""
    batch = trainer.config.batch_size // trainer.targets_per_sequence
    return batch * max(trainer.config.hidden_dims)


def _can_step_together(trainer: Trainer) -> bool:
    """Return whether the network is one of GRUs on a CPU, none of them wide for its batches.

    With states of twice `LARGEST_STATE` little is gained.
    """
    if not isinstance(trainer.network, StackedGRU) or trainer.windows.device.type != "cpu":
        return False
    return _state(trainer) <= LARGEST_STATE


def _epoch_together(trainers: Sequence[Trainer]) -> list[Tensor]:
    """Take the steps of an epoch, the first ones of all networks together, then the second ones.

    Networks whose batches have different shapes step apart: a last, smaller batch. Those with
    fewer batches are ready earlier.
    """
    losses: dict[Trainer, list[tuple[Tensor, int]]] = {trainer: [] for trainer in trainers}
    for trainer in trainers:
        trainer.network.train()
    for batches in zip_longest(*(trainer.batches() for trainer in trainers)):
        present = [
            (trainer, *batch)
            for trainer, batch in zip(trainers, batches, strict=True)
            if batch is not None
        ]
        for shape, group in groupby(present, key=lambda batch: batch[1].shape):
            for trainer, loss in _step_together(list(group)):
                losses[trainer].append((loss, shape[0]))
    return [mean_over_batches(losses[trainer]) for trainer in trainers]


def _step_together(batches: Sequence[_Batch]) -> list[tuple[Trainer, Tensor]]:
    """Take one step of each network on its batch, all of one shape; return its mean loss."""
    trainers, windows, targets = zip(*batches, strict=True)
    for trainer in trainers:
        trainer.optimizer.zero_grad()
    last = targets[0].shape[1]
    outs = forecast_together([t.network for t in trainers], torch.stack(windows), last=last)
    losses = [
        trainer.loss(out, y.flatten(0, 1))  # (batch * k, output) and (batch * k, 1)
        for trainer, out, y in zip(trainers, outs, targets, strict=True)
    ]
    torch.autograd.backward(losses)
    for trainer in trainers:
        trainer.optimizer.step()
    return [(trainer, loss.detach()) for trainer, loss in zip(trainers, losses, strict=True)]
