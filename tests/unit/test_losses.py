"""Every loss by hand, and in numpy as in torch."""

import numpy as np
import pytest
import torch

from puffin.models.config import LOSS_NAMES
from puffin.models.losses import LOSSES, quantile_loss
from puffin.models.training.trainer import loss_function

# Losses of forecasts that are one number.
OF_POINTS = [name for name, loss in LOSSES.items() if not loss.levels]


@pytest.mark.parametrize(
    ("loss", "expected"),
    # Errors 0, 0.5 and 3; Huber's delta is 1: 0, 0.5 * 0.25 and 3 - 0.5. QLIKE: actual variances
    # are 1, exp(-1) and exp(6) of those forecast: 0, exp(-1) + 1 - 1 and exp(6) - 6 - 1.
    [
        ("mse", 9.25 / 3),
        ("mae", 3.5 / 3),
        ("huber", 2.625 / 3),
        ("qlike", (np.exp(-1) + np.exp(6) - 7) / 3),
    ],
)
def test_a_loss_is_what_is_worked_out_by_hand(loss: str, expected: float) -> None:
    forecast, actual = torch.tensor([[1.0], [2.5], [0.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert loss_function(LOSSES[loss])(forecast, actual).item() == pytest.approx(expected)
    assert LOSSES[loss].per_bar(np.array([0.0, -0.5, 3.0])).mean() == pytest.approx(expected)


@pytest.mark.parametrize("loss", OF_POINTS)
def test_the_loss_of_torch_is_the_mean_of_the_losses_per_bar(loss: str) -> None:
    errors = np.random.default_rng(0).normal(scale=2.0, size=200)
    zeros = torch.zeros(200, dtype=torch.float64)
    losses = LOSSES[loss].per_bar(errors)
    assert losses.shape == (200,)
    assert loss_function(LOSSES[loss])(zeros, torch.tensor(errors)).item() == pytest.approx(
        losses.mean()
    )


@pytest.mark.parametrize("loss", OF_POINTS)
def test_a_loss_is_zero_without_error_and_grows_with_its_size(loss: str) -> None:
    errors = np.array([0.0, 0.5, 0.9, 1.0, 1.1, 3.0])
    losses = LOSSES[loss].per_bar(errors)
    assert losses[0] == 0.0
    assert (np.diff(losses) > 0).all()
    mirrored = LOSSES[loss].per_bar(-errors)
    assert (np.diff(mirrored) > 0).all()
    if loss != "qlike":  # a variance that is forecast too low costs more than one too high
        np.testing.assert_array_equal(mirrored, losses)
    else:
        assert (mirrored[1:] < losses[1:]).all()


def test_the_loss_of_quantiles_is_what_is_worked_out_by_hand() -> None:
    loss = quantile_loss((0.1, 0.5))
    # Above a quantile the error counts by the level, below it by what is missing to 1.
    expected = [(0.1 * 2 + 0.5 * 1) / 2, (0.9 * 3 + 0.5 * 4) / 2]
    errors = np.array([[2.0, 1.0], [-3.0, -4.0]])
    assert loss.per_bar(errors) == pytest.approx(expected)
    forecast = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    actual = torch.tensor([[3.0], [0.0]])
    assert loss_function(loss)(forecast, actual).item() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("level", [0.05, 0.5, 0.9])
def test_the_loss_of_a_level_is_lowest_at_its_quantile(level: float) -> None:
    values = np.random.default_rng(0).gamma(2.0, size=4_001)
    grid = np.linspace(0, 8, 801)
    losses = [quantile_loss((level,)).per_bar((values - at)[:, None]).mean() for at in grid]
    assert grid[int(np.argmin(losses))] == pytest.approx(np.quantile(values, level), abs=0.011)


def test_a_study_file_may_name_every_loss() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
