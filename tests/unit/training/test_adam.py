"""Our Adam equals torch's, bit for bit."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from puffin.models.networks.rnn import StackedLSTM
from puffin.models.training.adam import Adam

STEPS = 7


def network() -> nn.Module:
    torch.manual_seed(3)
    return StackedLSTM(2, [5, 3], dropout=0.0)


def learn(made: nn.Module, optimizer: Adam | torch.optim.Optimizer, steps: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        x, y = torch.randn(8, 6, 2, generator=draw), torch.randn(8, 1, generator=draw)
        nn.functional.mse_loss(made(x), y).backward()
        optimizer.step()


def weights(made: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in made.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("lr", [1e-3, 0.3])
def test_adam_updates_weights_as_torch_does(lr: float, decay: float) -> None:
    own, other = network(), network()
    start = weights(own)
    learn(own, Adam(own.parameters(), lr, decay), STEPS, seed=1)
    reference = torch.optim.Adam(other.parameters(), lr=lr, weight_decay=decay, fused=True)
    learn(other, reference, STEPS, seed=1)
    assert all(map(torch.equal, weights(own), weights(other)))
    assert not any(map(torch.equal, weights(own), start))


def torch_state(made: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of torch's Adam after some steps, by our names."""
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01, fused=True)
    learn(made, optimizer, STEPS, seed=2)
    states = optimizer.state_dict()["state"]
    return {f"{i}.{name}": v for i, values in states.items() for name, v in values.items()}


def our_state(made: nn.Module) -> dict[str, torch.Tensor]:
    optimizer = Adam(made.parameters(), lr=0.01)
    learn(made, optimizer, STEPS, seed=2)
    return optimizer.state()


@pytest.mark.parametrize("state_after_steps", [our_state, torch_state])
def test_adam_resumes_from_either_state(
    state_after_steps: Callable[[nn.Module], dict[str, torch.Tensor]],
) -> None:
    straight = network()
    optimizer = Adam(straight.parameters(), lr=0.01)
    learn(straight, optimizer, STEPS, seed=2)
    learn(straight, optimizer, STEPS, seed=4)

    stopped = network()
    state = {name: tensor.clone() for name, tensor in state_after_steps(stopped).items()}
    assert set(state) == set(optimizer.state())
    again = Adam(stopped.parameters(), lr=0.01)
    again.load_state(state)
    learn(stopped, again, STEPS, seed=4)
    assert all(map(torch.equal, weights(straight), weights(stopped)))
    learn(stopped, again, 1, seed=5)
    assert not torch.equal(state["0.exp_avg"], again.state()["0.exp_avg"])
