"""A GRU layer that trains faster on a CPU than torch's, with equal results up to rounding.

Why own code: for an LSTM torch has a fused CPU kernel, but for a GRU it builds a graph of a dozen
small operations per bar. Here the whole sequence is one operation with its own gradient: seven
calls per bar forward and seven backward. A training step is 1.04 to 1.9 times as fast
(benchmarks/RESULTS.md). Gates lie as (unit, batch), so that each gate is one block of memory.

A narrow layer takes as long as its calls, so the layers of several networks are one operation too,
with a network axis: the calls are then paid once for all networks. With a state of more than
`LARGEST_STATE` numbers the work on it outweighs the calls, and torch's own code is faster.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Numbers in a layer's state after one bar, (unit, batch), up to which our operation is faster.
LARGEST_STATE = 4096


class _Sequence(torch.autograd.Function):
    """The states of a GRU after each bar, starting from a state of zeros.

    The equations are those of ``torch.nn.GRU``. With gates r (reset), z (update) and n (new), where
    ``_x`` marks the part computed from the input and ``_h`` the part from the state before::

        r = sigmoid(r_x + r_h)
        z = sigmoid(z_x + z_h)
        n = tanh(n_x + r * n_h)
        h = (1 - z) * n + z * h_before
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
        """Map x (bar, network, feature, batch) to states (bar, network, unit, batch).

        Weights are torch's behind a network axis: w_x (network, 3 unit, feature), w_h (network,
        3 unit, unit), b_x and b_h (network, 3 unit), with the rows of r, z and n one below the
        other.
        """
        bars, networks, _, batch = x.shape
        units = w_h.shape[2]
        two = 2 * units
        # b_h of n is added inside the bracket that r scales, so it is not part of this bias.
        bias = torch.cat([b_x[:, :two] + b_h[:, :two], b_x[:, two:]], 1)  # (network, 3 unit)
        flat_x = _flat(x)
        # The input part of all gates and bars in one product. The loop completes it in place, so
        # that afterwards `gates` holds r, z and n.
        gates = torch.baddbmm(bias[:, :, None], w_x, flat_x)  # (network, 3 unit, bar * batch)
        gates = gates.view(networks, 3 * units, bars, batch).permute(2, 0, 1, 3).contiguous()
        states = x.new_zeros(bars + 1, networks, units, batch)  # state 0 is before the first bar
        n_h = x.new_empty(bars, networks, units, batch)
        from_state = x.new_empty(networks, 3 * units, batch)
        b_n = b_h[:, two:, None].expand(networks, units, batch).contiguous()
        # Cut up once, because an index costs as much as a small product.
        h, n_h_t = states.unbind(0), n_h.unbind(0)  # each (network, unit, batch)
        r, z, n = (part.unbind(0) for part in gates.chunk(3, 2))  # each (network, unit, batch)
        r_z = gates[:, :, :two].unbind(0)  # each (network, 2 unit, batch)
        r_z_from_state, n_from_state = from_state[:, :two], from_state[:, two:]
        for t in range(bars):
            torch.bmm(w_h, h[t], out=from_state)
            r_z[t].add_(r_z_from_state).sigmoid_()
            torch.add(n_from_state, b_n, out=n_h_t[t])
            n[t].addcmul_(r[t], n_h_t[t]).tanh_()
            torch.lerp(n[t], h[t], z[t], out=h[t + 1])  # n + z * (h - n)
        ctx.save_for_backward(flat_x, w_x, w_h, gates, states, n_h)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, w_x, w_h, b_x and b_h, from that of the states.

        `grad` is (bar, network, unit, batch): the part of each state's gradient that reaches it
        from outside the layer. The loop adds the part that reaches it from the bars after it.
        """
        flat_x, w_x, w_h, gates, states, n_h = ctx.saved_tensors
        bars, networks, units, batch = n_h.shape
        r, z, n = gates.chunk(3, 2)  # each (bar, network, unit, batch)
        before = states[:-1]  # (bar, network, unit, batch)
        # Derivatives of a state by the pre-activations of n and z, and of n's by that of r. They
        # need no loop: (bar, network, unit, batch) each.
        grad_n_factor = (1 - z) * (1 - n * n)
        grad_z_factor = (before - n) * z * (1 - z)
        grad_r_factor = n_h * r * (1 - r)
        # Gradients of the pre-activations, filled by the loop. The first three, r, z and n_h, reach
        # the state before through w_h; the last, n, reaches the input.
        grads = flat_x.new_empty(bars, networks, 4 * units, batch)
        grad_r, grad_z, grad_n_h, grad_n = (part.unbind(0) for part in grads.chunk(4, 2))
        grad_from_state = grads[:, :, : 3 * units].unbind(0)  # each (network, 3 unit, batch)
        parts = (grad, grad_n_factor, grad_z_factor, grad_r_factor, r, z)
        per_bar = list(enumerate(zip(*(part.unbind(0) for part in parts), strict=True)))
        grad_h = torch.zeros_like(before[0])  # (network, unit, batch)
        w_h_t = w_h.transpose(1, 2)  # (network, unit, 3 unit)
        for t, (grad_h_t, n_factor, z_factor, r_factor, r_t, z_t) in reversed(per_bar):
            grad_h.add_(grad_h_t)
            torch.mul(grad_h, n_factor, out=grad_n[t])
            torch.mul(grad_h, z_factor, out=grad_z[t])
            torch.mul(grad_n[t], r_factor, out=grad_r[t])
            torch.mul(grad_n[t], r_t, out=grad_n_h[t])
            grad_h.mul_(z_t).baddbmm_(w_h_t, grad_from_state[t])
        # Sums over bars and batch are one product of (rows, bar * batch) each.
        flat = _flat(grads)
        by_state = flat[:, : 3 * units]  # r, z, n_h: (network, 3 unit, bar * batch)
        by_input = torch.cat([flat[:, : 2 * units], flat[:, 3 * units :]], 1)  # r, z, n: as that
        grad_x = None
        if ctx.needs_input_grad[0]:
            # (network, feature, bar * batch) -> (bar, network, feature, batch)
            grad_x = torch.bmm(w_x.transpose(1, 2), by_input)
            grad_x = grad_x.view(networks, -1, bars, batch).permute(2, 0, 1, 3)
        return (
            grad_x,
            torch.bmm(by_input, flat_x.transpose(1, 2)),  # (network, 3 unit, feature)
            torch.bmm(by_state, _flat(before).transpose(1, 2)),  # (network, 3 unit, unit)
            by_input.sum(2),
            by_state.sum(2),
        )


def _flat(values: Tensor) -> Tensor:
    """Reshape (bar, network, row, batch) to (network, row, bar * batch)."""
    return values.permute(1, 2, 0, 3).flatten(2)


class GRU(nn.GRU):
    """``torch.nn.GRU`` of one layer with ``batch_first=True`` and the same names of weights.

    It falls back to torch's own code where that is faster (large states, and without gradients), on
    other devices than a CPU, under autocast, with an initial state, and while the network is
    recorded (``torch.export``, ``torch.compile``, ``torch.jit.trace``). Otherwise it has first
    derivatives only, and none for ``torch.func``.

    Parameters
    ----------
    input_size : int
        Features per bar.
    hidden_size : int
        Units.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(  # type: ignore[override]  # no packed sequences
        self,
        input: Tensor,  # noqa: A002  # torch's name
        hx: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map (batch, bar, feature) to states (batch, bar, unit), and the last (1, batch, unit)."""
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch's
        recorded = traced or torch.compiler.is_compiling()
        on_cpu = input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        is_faster = torch.is_grad_enabled() and len(input) * self.hidden_size <= LARGEST_STATE
        if recorded or hx is not None or not (on_cpu and is_faster):
            return super().forward(input, hx)
        states = run_together([self], input.permute(1, 2, 0)[:, None])[:, 0]  # (bar, unit, batch)
        # Views: the next layer permutes them back to how they lie in memory.
        return states.permute(2, 0, 1), states[-1].t()[None]


def run_together(layers: Sequence[GRU], x: Tensor) -> Tensor:
    """Run layers of one shape side by side on a CPU, each on its own input.

    Parameters
    ----------
    layers : sequence of GRU
    x : Tensor, (bar, network, feature, batch), one network for each layer

    Returns
    -------
    Tensor, (bar, network, unit, batch)
    """
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = (torch.stack([getattr(layer, name) for layer in layers]) for name in names)
    return _Sequence.apply(x.contiguous(), *weights)  # type: ignore[no-any-return, no-untyped-call]
