"""Every loss by hand, and in numpy as in torch."""

import numpy as np
import pytest
import torch

from puffin.models.config import LOSS_NAMES
from puffin.models.losses import LOSSES, losses_per_bar
from puffin.models.training.trainer import loss_function


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
    assert loss_function(loss)(forecast, actual).item() == pytest.approx(expected)
    assert losses_per_bar(np.array([0.0, -0.5, 3.0]), loss).mean() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_of_torch_is_the_mean_of_the_losses_per_bar(loss: str) -> None:
    errors = np.random.default_rng(0).normal(scale=2.0, size=200)
    zeros = torch.zeros(200, dtype=torch.float64)
    losses = losses_per_bar(errors, loss)
    assert losses.shape == (200,)
    assert loss_function(loss)(zeros, torch.tensor(errors)).item() == pytest.approx(losses.mean())


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_zero_without_error_and_grows_with_its_size(loss: str) -> None:
    errors = np.array([0.0, 0.5, 0.9, 1.0, 1.1, 3.0])
    losses = losses_per_bar(errors, loss)
    assert losses[0] == 0.0
    assert (np.diff(losses) > 0).all()
    mirrored = losses_per_bar(-errors, loss)
    assert (np.diff(mirrored) > 0).all()
    if loss != "qlike":  # a variance that is forecast too low costs more than one too high
        np.testing.assert_array_equal(mirrored, losses)
    else:
        assert (mirrored[1:] < losses[1:]).all()


@pytest.mark.parametrize("loss", ["quantile", "MSE", ""])
def test_an_unknown_loss_is_refused_with_the_known_ones(loss: str) -> None:
    with pytest.raises(ValueError, match="unknown loss") as caught:
        losses_per_bar(np.zeros(3), loss)
    assert str(caught.value) == f"unknown loss {loss!r}; known are mse, mae, huber, qlike"


def test_a_study_file_may_name_every_loss() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
