"""Dropout with masks of 16 bits per number: shares, gradients, random stream, memory layout."""

import math

import pytest
import torch
from torch import Tensor, nn

from puffin.models.networks.dropout import Dropout


def dropped(p: float, x: Tensor, seed: int = 5) -> Tensor:
    torch.manual_seed(seed)
    out: Tensor = Dropout(p)(x)
    return out


@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.97])
def test_dropout_zeroes_a_share_p_and_rescales_the_rest(
    p: float,
) -> None:
    count = 200_000
    zero = dropped(p, torch.ones(4, 5, count // 20)) == 0
    bound = 5 * math.sqrt(p * (1 - p) / (count / 4))
    for share in zero.flatten().view(-1, 4).double().mean(0).tolist():
        assert share == pytest.approx(p, abs=bound)
    values = torch.randn(999)
    out = dropped(p, values)
    kept = out != 0
    torch.testing.assert_close(out[kept], values[kept] / (1 - p), rtol=1e-3, atol=0)


def test_neighbouring_numbers_are_dropped_independently() -> None:
    count = 200_000
    zero = (dropped(0.5, torch.ones(count)) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 64):
        together = float((zero[lag:] * zero[:-lag]).mean()) * 4
        assert abs(together) < 5 / math.sqrt(count), lag


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_gradient_is_that_of_the_same_mask(dtype: torch.dtype) -> None:
    x = torch.randn(3, 5, 7, dtype=dtype, requires_grad=True)
    out = dropped(0.4, x)
    assert out.dtype == dtype
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(out, x * grad)
    assert 0 < int((grad == 0).sum()) < x.numel()


def test_one_seed_gives_one_mask_and_another_another() -> None:
    x = torch.ones(64, 20, 16)
    assert torch.equal(dropped(0.3, x), dropped(0.3, x))
    assert not torch.equal(dropped(0.3, x), dropped(0.3, x, seed=6))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_the_mask_follows_the_memory_layout(order: tuple[int, int, int]) -> None:
    x = torch.randn(3, 5, 7).permute(order)
    out = dropped(0.5, x)
    scaled = 2 * x
    assert torch.equal(out, torch.where(out == 0, 0.0, scaled))
    assert out.stride() == x.stride()
    # Draws come as the numbers lie: the same memory gives the same mask.
    assert torch.equal(out, dropped(0.5, x.permute(*map(order.index, range(3)))).permute(order))


def test_dropout_accepts_tensors_with_gaps_in_memory() -> None:
    x = torch.ones(40, 50)[:, ::2]
    out = dropped(0.5, x)
    assert out.shape == x.shape
    assert float((out == 0).double().mean()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("p", [0.0, 1e-9, 1.0 - 1e-9, 1.0])
def test_p_of_zero_or_one_is_as_in_torch(p: float) -> None:
    x = torch.randn(30)
    torch.manual_seed(5)
    expected = nn.Dropout(p)(x)
    assert torch.equal(dropped(p, x), expected)


def test_evaluation_drops_and_draws_nothing() -> None:
    layer, x = Dropout(0.5).eval(), torch.randn(30)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(layer(x), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_empty_tensor_is_accepted() -> None:
    assert dropped(0.5, torch.empty(0, 3)).shape == (0, 3)
