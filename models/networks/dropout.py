"""Dropout that costs a CPU a quarter of torch's, which takes up to a tenth of a training step."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_STEPS = 2**16


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``, with masks of 16 random bits a number on a CPU.

    There `p` counts to the nearest 1/65,536, and what is kept is divided by the share that is then
    kept, so that the mean is as without it. Draws come from torch's global generator, in the order
    in which `x` lies in memory; they are others than torch's. On other devices it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Set numbers of any shape to zero with probability `p` in training."""
        dropped = round(self.p * _STEPS)
        if not self.training or x.device.type != "cpu" or dropped in {0, _STEPS}:
            return functional.dropout(x, self.p, self.training)
        # A draw of 64 bits decides on four numbers: drawing is what dropout costs.
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: x.numel()]
        like_x = torch.empty_like(x, dtype=torch.int16, device="meta")
        kept = bits.as_strided(x.shape, like_x.stride()) >= dropped - _STEPS // 2
        return x * kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))
