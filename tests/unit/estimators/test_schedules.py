"""Learning rates of every schedule, epoch by epoch."""

import math
import re
from typing import Any

import pytest
import torch
from torch import nn

from puffin.models.estimators.loops import (
    LRScheduler,
)

NAN = math.nan
CPU = torch.device("cpu")


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=0.0)


def rates(scheduler: LRScheduler, epochs: int) -> list[list[float]]:
    """Return the rates of each epoch, checking that scheduler and optimizer agree."""
    seen = []
    for _ in range(epochs):
        seen.append(scheduler.get_last_lr())
        assert [group["lr"] for group in scheduler.optimizer.param_groups] == seen[-1]
        scheduler.optimizer.step()
        scheduler.step()
    return seen


# Half a cosine in quarters: (1 + cos(pi k / 4)) / 2.
Q1, Q3 = (2 + math.sqrt(2)) / 4, (2 - math.sqrt(2)) / 4


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"step_size": 2, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ({"step_size": 1}, [1, 0.1, 0.01]),
        # By default the rate falls to a tenth every 30 epochs.
        ({}, [1] * 30 + [0.1] * 30 + [0.01]),
        ({"schedule_type": "cosine", "T_max": 4}, [1, Q1, 0.5, Q3, 0, 0, 0]),
        # Of the 0.8 above 0.2; it does not climb again behind the fourth epoch.
        (
            {"schedule_type": "cosine", "T_max": 4, "eta_min": 0.2},
            [1, 0.2 + 0.8 * Q1, 0.6, 0.2 + 0.8 * Q3, 0.2, 0.2, 0.2],
        ),
        # A plain cosine knows no warm-up.
        ({"schedule_type": "cosine", "T_max": 2, "warmup_epochs": 9}, [1, 0.5, 0, 0]),
        (
            {"schedule_type": "warmup_cosine", "T_max": 6, "warmup_epochs": 2},
            [0, 0.5, 1, Q1, 0.5, Q3, 0, 0, 0],
        ),
        (
            {"schedule_type": "warmup_cosine", "T_max": 5, "warmup_epochs": 1, "eta_min": 0.5},
            [0, 1, 0.5 + 0.5 * Q1, 0.75, 0.5 + 0.5 * Q3, 0.5, 0.5],
        ),
        ({"schedule_type": "warmup_cosine", "T_max": 4}, [1, Q1, 0.5, Q3, 0, 0]),
        ({"schedule_type": "warmup_cosine", "T_max": 3, "warmup_epochs": 2}, [0, 0.5, 1, 0, 0]),
    ],
)
def test_a_schedule_has_the_rates_worked_out_by_hand(
    settings: dict[str, Any], expected: list[float]
) -> None:
    seen = rates(LRScheduler(optimizer(1.0), **settings), len(expected))
    assert [rate for (rate,) in seen] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # The original gave every group the rate of the first.
        ({"step_size": 1, "gamma": 0.5}, [(0.4, 0.1), (0.2, 0.05), (0.1, 0.025)]),
        (
            {"schedule_type": "cosine", "T_max": 2, "eta_min": 0.02},
            [(0.4, 0.1), (0.21, 0.06), (0.02, 0.02), (0.02, 0.02)],
        ),
        (
            {"schedule_type": "warmup_cosine", "T_max": 4, "warmup_epochs": 2},
            [(0, 0), (0.2, 0.05), (0.4, 0.1), (0.2, 0.05), (0, 0)],
        ),
    ],
)
def test_every_parameter_group_keeps_its_own_base_rate(
    settings: dict[str, Any], expected: list[tuple[float, float]]
) -> None:
    seen = rates(LRScheduler(optimizer(0.4, 0.1), **settings), len(expected))
    assert seen == [pytest.approx(row, abs=1e-12) for row in expected]


def test_the_last_rates_are_a_list_of_python_floats() -> None:
    for schedule_type in ("step", "cosine"):
        last = LRScheduler(optimizer(1, 0.1), schedule_type, T_max=5).get_last_lr()
        assert [type(rate) for rate in last] == [float, float]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule_type": "linear"}, "Unknown schedule type: linear"),
        ({"schedule_type": ""}, "Unknown schedule type: "),
        ({"schedule_type": "cosine"}, "T_max must be specified for cosine schedule"),
        ({"schedule_type": "warmup_cosine"}, "T_max must be specified for warmup_cosine schedule"),
        (
            {"schedule_type": "cosine", "T_max": 0},
            "T_max must be above warmup_epochs = 0, but is 0",
        ),
        # A division by zero in the original, in epoch 5.
        (
            {"schedule_type": "warmup_cosine", "warmup_epochs": 5, "T_max": 5},
            "T_max must be above warmup_epochs = 5, but is 5",
        ),
        (
            {"schedule_type": "warmup_cosine", "warmup_epochs": 5, "T_max": 4},
            "T_max must be above warmup_epochs = 5, but is 4",
        ),
    ],
)
def test_an_invalid_schedule_is_refused_by_the_constructor(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        LRScheduler(optimizer(1.0), **settings)
    assert str(caught.value) == message


def test_a_warm_up_without_t_max_fails_when_the_cosine_begins() -> None:
    scheduler = LRScheduler(optimizer(1.0), "warmup_cosine", warmup_epochs=3)
    assert rates(scheduler, 2) == [[0.0], [pytest.approx(1 / 3)]]
    assert scheduler.get_last_lr() == [pytest.approx(2 / 3)]
    scheduler.optimizer.step()
    with pytest.raises(ValueError, match="T_max must be specified for warmup_cosine schedule"):
        scheduler.step()


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule_type": "cosine", "T_max": 2},
        {"schedule_type": "cosine", "T_max": 2, "eta_min": 0.2},
        {"schedule_type": "warmup_cosine", "T_max": 3, "warmup_epochs": 1},
    ],
)
def test_a_second_schedule_of_one_optimizer_has_the_rates_of_the_first(
    settings: dict[str, Any],
) -> None:
    one = optimizer(1.0)
    first = rates(LRScheduler(one, **settings), 5)
    assert rates(LRScheduler(one, **settings), 5) == first


@pytest.mark.parametrize("schedule_type", ["step", "cosine", "warmup_cosine"])
def test_a_parameter_group_with_rate_zero_keeps_it(schedule_type: str) -> None:
    scheduler = LRScheduler(optimizer(1.0, 0.0), schedule_type, T_max=4, warmup_epochs=1)
    assert [row[1] for row in rates(scheduler, 6)] == [0.0] * 6
