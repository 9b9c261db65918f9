"""The private names of torch that training rests on, in one place.

`tests/unit/training/test_torch_internals.py` fails if a release of torch changes one of them.
"""

import torch
from torch import Tensor


def add_to_each(tensors: list[Tensor], value: float) -> None:
    """Add a number to each tensor in place, in one call: the `foreach` kernel of an optimiser."""
    torch._foreach_add_(tensors, value)  # there is no public name


def fused_adam_step(  # noqa: PLR0913  # those of the kernel
    parameters: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    epsilon: float,
) -> None:
    """Move parameters in place by the kernel of ``torch.optim.Adam(fused=True)``.

    Parameters
    ----------
    parameters, gradients : list of Tensor, of one shape each
    means, squares : list of Tensor
        Running averages of the gradient and of its square, updated in place.
    steps : list of Tensor, (), float32
        Number of the step that is taken, from 1, for each parameter and on its device.
    """
    torch._fused_adam_(  # there is no public name
        parameters,
        gradients,
        means,
        squares,
        [],
        steps,
        lr=lr,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=weight_decay,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )
