"""CUDA graphs and streams: what makes narrow networks fast on a GPU.

A step of a narrow network is a few hundred short kernels, and the host needs longer to launch them
than the GPU to run them. A CUDA graph launches them all at once; with a stream per network, the
graphs of several networks run side by side. A step of five folds then takes 0.01 to 0.3 of the
time, 0.8 where large products take most of it (benchmarks/RESULTS.md). On a CPU everything here
calls the plain function.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class SideStream:
    """A stream beside the current one, on which a ``with`` block enqueues its work.

    The work starts after all that was enqueued on the current stream before the block. Call `join`
    before the current stream uses what the block computed: separately, so that the work of several
    streams is enqueued before any of it is waited for. Neither makes the host wait.

    Parameters
    ----------
    device : torch.device
        On any other than a GPU nothing is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._context: AbstractContextManager[object] = nullcontext()
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
            self._context = torch.cuda.stream(self._stream)

    def __enter__(self) -> None:
        """Enqueue on this stream from now on."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._context.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Enqueue on the stream before again."""
        self._context.__exit__(kind, error, traceback)

    def join(self) -> None:
        """Let the current stream wait for all that was enqueued on this one."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


class GraphedCall(Generic[T]):
    """A function that a GPU replays as one CUDA graph from its third call on.

    The first call loads the kernels, and the second records them. The function must do the same
    work on the same tensors in every call, without waiting for the GPU, and on a `SideStream`, the
    same in every call. Its result is then the same tensors in every call, with new values.

    Parameters
    ----------
    function : callable without arguments
    device : torch.device
        On any other than a GPU every call is one of the function.
    generators : iterable of torch.Generator
        That the function draws from, beside torch's global one.
    """

    def __init__(
        self,
        function: Callable[[], T],
        device: torch.device,
        generators: Iterable[torch.Generator] = (),
    ) -> None:
        self._function = function
        self._on_gpu = device.type == "cuda"
        self._generators = tuple(generators)
        self._loaded = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: T

    def __call__(self) -> T:
        """Do the work, and return the result."""
        if not self._on_gpu or not self._loaded:
            self._loaded = True
            return self._function()
        if self._graph is None:
            self._graph = self._record()
        self._graph.replay()
        return self._result

    def _record(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            self._result = self._function()
        return graph


class GraphedEpoch:
    """The steps of an epoch, each of which finds its batch by itself, so that it can be replayed.

    Parameters
    ----------
    step : callable
        Trains on the sequences with these indices, (batch,), and returns their mean loss.
    count, batch_size : int
        Sequences per epoch and per step; the last step has what is left.
    generator : torch.Generator
        That the step draws from. Its device is that of the training.
    """

    def __init__(
        self,
        step: Callable[[Tensor], Tensor],
        count: int,
        batch_size: int,
        generator: torch.Generator,
    ) -> None:
        device = generator.device
        self._step = step
        self._order = torch.zeros(count, dtype=torch.int64, device=device)
        self._within = torch.arange(min(batch_size, count), device=device)  # (batch,)
        self._done = torch.zeros((), dtype=torch.int64, device=device)
        self._loss_sum = torch.zeros((), device=device)
        full, rest = divmod(count, batch_size)
        self._sizes = [batch_size] * full + [rest] * (rest > 0)
        self._steps = {
            size: GraphedCall(partial(self._next_step, size), device, [generator])
            for size in set(self._sizes)
        }

    def run(self, order: Tensor) -> Tensor:
        """Take all steps on the sequences in this order, (count,); return the mean loss."""
        self._order.copy_(order)
        self._done.zero_()
        self._loss_sum.zero_()
        for size in self._sizes:
            self._steps[size]()
        return self._loss_sum / len(order)

    def _next_step(self, size: int) -> None:
        loss = self._step(self._order[self._within[:size] + self._done])
        self._loss_sum.add_(loss, alpha=size)
        self._done.add_(size)


def can_be_graphed(network: nn.Module) -> bool:
    """Return whether the steps of a network may be replayed: false with the dropout of cuDNN.

    That dropout, inside ``torch.nn.LSTM`` and ``GRU``, keeps a random state of its own.
    """
    layers = (layer for layer in network.modules() if isinstance(layer, nn.RNNBase))
    return all(layer.dropout == 0 for layer in layers)
