"""The GRU layer of ours against torch's: states, gradients, and what it leaves to torch."""

import copy
import warnings
from collections.abc import Sequence
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from puffin.models.networks.gru import GRU, LARGEST_STATE, run_together
from puffin.models.networks.rnn import StackedGRU


def pair(features: int, units: int, dtype: torch.dtype) -> tuple[nn.GRU, GRU]:
    torch.manual_seed(0)
    stock = nn.GRU(features, units, batch_first=True).to(dtype)
    own = GRU(features, units).to(dtype)
    own.load_state_dict(stock.state_dict())
    return stock, own


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def gradients(layer: nn.Module, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Of a sum over every state and over the last, with respect to the input and the weights."""
    x = x.clone().requires_grad_()
    states, last = layer(x)
    ((states * weight).sum() + (last**2).sum()).backward()
    assert x.grad is not None
    return [x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


@pytest.mark.parametrize(
    ("batch", "bars", "features", "units"),
    [(5, 9, 3, 7), (1, 1, 1, 1), (4, 1, 2, 3), (2, 30, 1, 4)],
)
def test_states_and_gradients_equal_those_of_torch(
    batch: int, bars: int, features: int, units: int
) -> None:
    stock, own = pair(features, units, torch.float64)
    x, weight = numbers(batch, bars, features), numbers(batch, bars, units)
    for mine, theirs in zip(own(x), stock(x), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)
    found, expected = gradients(own, x, weight), gradients(stock, x, weight)
    assert len(found) == len(expected) == 5
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_layers_side_by_side_have_the_states_and_gradients_of_torch_s() -> None:
    pairs = [pair(3, 5, torch.float64) for _ in range(3)]
    for seed, (stock, own) in enumerate(pairs):
        torch.manual_seed(seed)  # weights of its own
        stock.reset_parameters()
        own.load_state_dict(stock.state_dict())
    x, weight = numbers(3, 4, 6, 3), numbers(3, 4, 6, 5)  # (layer, batch, bar, feature or unit)
    inputs = x.clone().requires_grad_()
    states = run_together([own for _, own in pairs], inputs.permute(2, 0, 3, 1))
    states = states.permute(1, 3, 0, 2)  # as the weight
    (states * weight).sum().backward()
    assert inputs.grad is not None
    for i, (stock, own) in enumerate(pairs):
        alone = x[i].clone().requires_grad_()
        expected, _ = stock(alone)
        (expected * weight[i]).sum().backward()
        torch.testing.assert_close(states[i], expected, rtol=0, atol=1e-14)
        torch.testing.assert_close(inputs.grad[i], alone.grad, rtol=1e-12, atol=1e-12)
        for mine, theirs in zip(own.parameters(), stock.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    _, own = pair(2, 3, torch.float64)

    def states(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(own.named_parameters()), weights, strict=True))
        return torch.func.functional_call(own, named, (x,))[0]

    x = numbers(3, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(states, (x, *own.parameters()))


def test_in_single_precision_it_is_torch_up_to_rounding() -> None:
    stock, own = pair(3, 24, torch.float32)
    x, weight = numbers(8, 40, 3, dtype=torch.float32), numbers(8, 40, 24, dtype=torch.float32)
    torch.testing.assert_close(own(x)[0], stock(x)[0], rtol=0, atol=1e-6)
    for mine, theirs in zip(gradients(own, x, weight), gradients(stock, x, weight), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_its_weights_are_torch_s_and_start_as_torch_s() -> None:
    torch.manual_seed(3)
    stock = nn.GRU(2, 5, batch_first=True).state_dict()
    torch.manual_seed(3)
    own = GRU(2, 5).state_dict()
    assert list(own) == list(stock)
    assert all(torch.equal(own[name], stock[name]) for name in stock)


def test_large_states_and_forecasts_without_gradients_are_left_to_torch() -> None:
    stock, own = pair(2, 32, torch.float32)
    large = numbers(LARGEST_STATE // 32 + 1, 3, 2, dtype=torch.float32)
    small = large[:-1]
    ran: list[int] = []

    def seen(layers: Sequence[GRU], x: Tensor) -> Tensor:
        ran.append(x.shape[-1])
        return run_together(layers, x)

    with patch("puffin.models.networks.gru.run_together", seen):
        assert torch.equal(own(large)[0], stock(large)[0])
        with torch.no_grad():
            assert torch.equal(own(small)[0], stock(small)[0])
        assert ran == []
        own(small)
    assert ran == [len(small)]


def test_an_initial_state_falls_back_to_torch() -> None:
    stock, own = pair(3, 4, torch.float64)
    x, state = numbers(2, 5, 3), numbers(1, 2, 4)
    for mine, theirs in zip(own(x, state), stock(x, state), strict=True):
        assert torch.equal(mine, theirs)


def test_a_network_of_it_can_be_exported_and_traced() -> None:
    network = StackedGRU(3, [5, 4]).eval()
    x = numbers(2, 6, 3, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own GRU
        exported = torch.export.export(network, (x,)).module()
        traced = torch.jit.trace(network, (x,))
    for twin in (exported, traced):
        torch.testing.assert_close(twin(x), network(x), rtol=0, atol=1e-6)


def test_states_changed_in_place_raise_instead_of_a_wrong_gradient() -> None:
    _, own = pair(3, 4, torch.float64)
    states = own(numbers(2, 5, 3))[0]
    with torch.no_grad():
        states.mul_(2)
    with pytest.raises(RuntimeError, match="modified inplace"):
        states.sum().backward()


def test_autocast_falls_back_to_torch() -> None:
    stock, own = pair(3, 4, torch.float32)
    x = numbers(2, 5, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(own(x)[0], stock(x)[0])


def test_a_copy_learns_apart_from_its_original() -> None:
    _, own = pair(3, 4, torch.float64)
    twin = copy.deepcopy(own)
    twin(numbers(2, 5, 3))[0].sum().backward()
    assert all(p.grad is None for p in own.parameters())
