"""A CPU dropout four times cheaper than torch's, which takes up to a tenth of a training step."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Values of 16 random bits.
_STEPS = 2**16


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` whose masks on a CPU take 16 random bits per number.

    On a CPU `p` is rounded to a multiple of 1/65,536, and what is kept is divided by the share that
    is then kept, so the expectation is exact. The random stream differs from torch's. On other
    devices this is torch's own dropout, unless there is a `generator`.

    Attributes
    ----------
    generator : torch.Generator, optional
        That draws the masks, in the order in which `x` lies in memory; torch's global one if there
        is none.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Set numbers of `x`, of any shape, to zero with probability `p` in training."""
        dropped = round(self.p * _STEPS)
        if not self.training or dropped in {0, _STEPS}:
            return functional.dropout(x, self.p, self.training)
        if x.device.type != "cpu":
            return self._from_generator(x)
        # One draw of 64 bits decides on four numbers, because drawing is the cost of dropout.
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
        draws.random_(-(2**63), None, generator=self.generator)
        bits = draws.view(torch.int16)[: x.numel()]  # (numbers of x,)
        like_x = torch.empty_like(x, dtype=torch.int16, device="meta")
        # As x, with its strides: bits lie in memory as x does.
        kept = bits.as_strided(x.shape, like_x.stride()) >= dropped - _STEPS // 2
        return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))

    def _from_generator(self, x: Tensor) -> Tensor:
        if self.generator is None:
            return functional.dropout(x, self.p, training=True)
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)
