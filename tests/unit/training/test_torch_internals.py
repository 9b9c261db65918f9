"""The private names of torch compute what this program takes them for."""

import math
import re
from pathlib import Path

import pytest
import torch

from puffin.models.training.torch_internals import add_to_each, fused_adam_step

ROOT = Path(__file__).parents[3]


def test_private_names_of_torch_are_in_one_module() -> None:
    files = [
        path for room in ("models", "studies", "tuner") for path in (ROOT / room).rglob("*.py")
    ]
    code = re.compile(r"^[^#`]*\btorch\._[a-z]", re.MULTILINE)
    users = {path.name for path in files if code.search(path.read_text("utf-8"))}
    assert users == {"torch_internals.py"}


def test_a_number_is_added_to_each_tensor_in_place() -> None:
    steps = [torch.zeros(()), torch.ones(2)]
    add_to_each(steps, 1)
    assert [step.tolist() for step in steps] == [1.0, [2.0, 2.0]]


def test_a_fused_step_is_adam_with_the_penalty_in_the_gradient() -> None:
    weight, mean, square = torch.tensor([2.0]), torch.tensor([0.5]), torch.tensor([0.25])
    fused_adam_step(
        [weight],
        [torch.tensor([3.0])],
        [mean],
        [square],
        [torch.tensor(2.0)],
        lr=0.1,
        betas=(0.9, 0.99),
        weight_decay=0.5,
        epsilon=1e-3,
    )
    gradient = 3.0 + 0.5 * 2.0
    first, second = 0.9 * 0.5 + 0.1 * gradient, 0.99 * 0.25 + 0.01 * gradient**2
    step = (first / (1 - 0.9**2)) / (math.sqrt(second / (1 - 0.99**2)) + 1e-3)
    assert mean.item() == pytest.approx(first, rel=1e-6)
    assert square.item() == pytest.approx(second, rel=1e-6)
    assert weight.item() == pytest.approx(2.0 - 0.1 * step, rel=1e-6)
