"""Paths of networks whose spread is known."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from puffin.models.evaluation.conformal import residual_interval
from puffin.models.evaluation.intervals import (
    draw_residuals,
    forecast_recursively,
    path_interval,
)
from puffin.models.networks.rnn import StackedGRU
from puffin.models.scaling import Scaler

PLAIN = Scaler(np.zeros(1), np.ones(1), 0.0, 1.0)


class Linear(nn.Module):
    """Forecasts a weighted sum of the last two rows, (batch, lookback, 1)."""

    def __init__(self, last: float, before: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([before, last]))

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, -2:, 0] * self.weights).sum(dim=1, keepdim=True)


def test_drawn_residuals_are_residuals_and_follow_the_seed() -> None:
    residuals = np.arange(7.0)
    drawn = draw_residuals(residuals, 0.9, steps=5)
    assert drawn.shape == (1000, 5)
    assert set(drawn.ravel()) == set(residuals)
    np.testing.assert_array_equal(drawn, draw_residuals(residuals, 0.9, steps=5))
    assert (drawn != draw_residuals(residuals, 0.9, steps=5, seed=1)).any()
    # Each as often as another, at each step: the first and the last too.
    counts = np.array([(drawn == value).mean() for value in residuals])
    assert counts == pytest.approx(1 / 7, abs=0.02)


def test_neighbours_stay_together_within_a_block_and_not_beyond_it() -> None:
    drawn = draw_residuals(np.arange(50.0), 0.9, steps=7, block=3)
    assert drawn.shape == (1000, 7)
    steps = np.diff(drawn, axis=1) == 1
    assert steps[:, [0, 1, 3, 4]].all()
    assert steps[:, [2, 5]].mean() < 0.1


def test_fewer_residuals_than_a_block_are_drawn_whole() -> None:
    drawn = draw_residuals(np.array([1.0, 2.0]), 0.5, steps=4, block=5)
    assert (drawn == [1, 2, 1, 2]).all()


@pytest.mark.parametrize(("level", "paths"), [(0.5, 1000), (0.98, 1000), (0.99, 2000)])
def test_there_are_ten_paths_in_each_tail(level: float, paths: int) -> None:
    assert len(draw_residuals(np.arange(5.0), level, steps=1)) == paths


def loop(
    network: nn.Module, scaler: Scaler, known: list[float], horizon: int, noise: list[float]
) -> list[float]:
    """Go on from `known` one step at a time, as one would on paper."""
    lookback = len(known) - horizon + 1
    values = list(known)
    for shock in noise:
        end = len(values) - horizon + 1
        window = [(v - scaler.feature_mean[0]) / scaler.feature_std[0] for v in values]
        window = window[end - lookback : end]
        with torch.no_grad():
            own = float(network(torch.tensor(window, dtype=torch.float32)[None, :, None])[0, 0])
        values.append(own * scaler.target_std + scaler.target_mean + shock)
    return values[len(known) :]


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_recursion_equals_a_loop(horizon: int) -> None:
    torch.manual_seed(0)
    network = StackedGRU(1, [3], dropout=0.5)
    scaler = Scaler(np.array([2.0]), np.array([0.5]), 1.5, 0.7)
    known = np.random.default_rng(0).normal(2, 0.5, size=4 + horizon - 1)
    noise = np.random.default_rng(1).normal(size=(3, 8))
    noise[0] = 0
    found = forecast_recursively(network, scaler, known, horizon, noise)
    expected = [loop(network, scaler, known.tolist(), horizon, row.tolist()) for row in noise]
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_a_shock_acts_a_horizon_later_and_not_before() -> None:
    noise = np.zeros((2, 7))
    noise[1, 1] = 1.0
    calm, shaken = forecast_recursively(Linear(0.5), PLAIN, np.ones(4), 3, noise)
    assert shaken - calm == pytest.approx([0, 1, 0, 0, 0.5, 0, 0])
    assert calm == pytest.approx([0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125])


def spread(paths: NDArray[np.float64]) -> list[float]:
    return paths.var(axis=0).tolist()


def test_paths_of_an_autoregression_spread_as_its_theory_says() -> None:
    phi, sigma = 0.8, 0.3
    residuals = np.random.default_rng(0).normal(0, sigma, 5000)
    noise = draw_residuals(residuals, 0.998, steps=6)
    assert len(noise) == 10_000
    paths = forecast_recursively(Linear(phi), PLAIN, np.array([0.0, 2.0]), 1, noise)
    theory = [sigma**2 * sum(phi ** (2 * k) for k in range(step)) for step in range(1, 7)]
    assert spread(paths) == pytest.approx(theory, rel=0.06)
    assert paths.mean(axis=0) == pytest.approx([2 * phi**k for k in range(1, 7)], abs=0.02)
    point = forecast_recursively(Linear(phi), PLAIN, np.array([0.0, 2.0]), 1, np.zeros((1, 6)))
    assert point[0] == pytest.approx([2 * phi**k for k in range(1, 7)], rel=1e-6)
    low, high = path_interval(paths, len(residuals), 0.1)
    assert high - low == pytest.approx(2 * 1.645 * np.sqrt(theory), rel=0.06)


def test_blocks_keep_the_correlation_of_overlapping_errors() -> None:
    # Persistence two steps ahead of a random walk: the errors of two neighbours share one shock,
    # and the sum of a path's first two steps spreads by 1 + 4 + 1 = 6 shocks, not by 2 + 2.
    shocks = np.random.default_rng(0).normal(size=20_001)
    errors = shocks[:-1] + shocks[1:]
    for block, expected in [(2, 6.0), (1, 4.0)]:
        noise = draw_residuals(errors, 0.998, steps=2, block=block)
        paths = forecast_recursively(Linear(1.0), PLAIN, np.zeros(3), 2, noise)
        assert paths.sum(axis=1).var() == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(("count", "level"), [(19, 0.9), (180, 0.9), (180, 0.8), (77, 0.5)])
def test_many_paths_of_one_step_end_where_the_interval_of_residuals_ends(
    count: int, level: float
) -> None:
    residuals = np.random.default_rng(count).normal(size=count)
    every = np.repeat(residuals, 100)[:, None]
    low, high = path_interval(every, count, 1 - level)
    assert (low[0], high[0]) == residual_interval(residuals, level)


def test_paths_without_tails_have_no_ends() -> None:
    low, high = path_interval(np.zeros((9, 2)), 9, 0.0)
    assert (low.tolist(), high.tolist()) == ([-np.inf] * 2, [np.inf] * 2)
