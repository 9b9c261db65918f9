"""The training loop, class weights, seeds and noise for scripts with their own loop."""

import itertools
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from puffin.models.estimators.loops import (
    Loader,
    add_noise,
    compute_class_weights,
    create_dataloaders,
    default_device,
    last_seed,
    set_seed,
    training_loop,
)
from puffin.models.training.early_stopping import EarlyStopping

NAN = math.nan
CPU = torch.device("cpu")


class Spy(nn.Module):
    """A line through the origin that keeps the mode it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training)
        return x * self.weight


def ones(count: int) -> Loader:
    """One batch of the points (1, 1)."""
    return create_dataloaders(np.ones((count, 1)), np.ones(count), count, val_split=0)[0]


def loop(
    epochs: int, model: nn.Module | None = None, lr: float = 0.1, **settings: Any
) -> dict[str, list[float]]:
    model = model or Spy()
    sgd = torch.optim.SGD(model.parameters(), lr=lr)
    settings = {"verbose": False, "device": "cpu"} | settings
    return training_loop(model, ones(4), ones(2), epochs, sgd, nn.MSELoss(), **settings)


def test_the_losses_of_a_line_are_those_worked_out_by_hand() -> None:
    # The loss is (w - 1)^2 and its slope 2 (w - 1): at a rate of 0.1, w is 0, then 0.2, 0.36 and
    # 0.488. The training loss of an epoch is that before its only step.
    history = loop(3)
    assert list(history) == ["train_loss", "val_loss"]
    assert history["train_loss"] == pytest.approx([1.0, 0.64, 0.4096], rel=1e-6)
    assert history["val_loss"] == pytest.approx([0.64, 0.4096, 0.262144], rel=1e-6)


def test_the_history_holds_numbers_of_numpy() -> None:
    for losses in loop(2).values():
        assert [type(loss) for loss in losses] == [np.float64] * 2


def test_zero_epochs_leave_the_model_and_give_empty_lists() -> None:
    model = Spy()
    assert loop(0, model) == {"train_loss": [], "val_loss": []}
    assert model.modes == []


def test_training_uses_training_mode_and_validation_evaluation_mode() -> None:
    model = Spy()
    loop(2, model)
    assert model.modes == [True, False, True, False]


def test_losses_are_means_over_samples_with_a_smaller_last_batch() -> None:
    # Defect 11: with 33 samples in batches of 32 the sum over batches was divided by 33 / 32, 1.94
    # times too much. At a rate of 0 the model stays, and one target far off in each part tells a
    # mean of the batches' means from the mean over samples.
    x, y = np.ones((49, 1)), np.ones(49)
    y[[5, 40]] = 30.0
    model = Spy()
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    for batch_size in (32, 15):
        loaders = create_dataloaders(x, y, batch_size, val_split=0.33)
        assert [len(targets_only(loader)) for loader in loaders] == [33, 16]
        history = training_loop(model, *loaders, 1, sgd, nn.MSELoss(), verbose=False)
        assert history["train_loss"] == pytest.approx([(32 + 900) / 33], rel=1e-6)
        assert history["val_loss"] == pytest.approx([(15 + 900) / 16], rel=1e-6)


def targets_only(loader: Loader) -> Tensor:
    return torch.cat([y for _, y in loader])


def test_without_validation_samples_the_validation_loss_is_nan() -> None:
    train, valid = create_dataloaders(np.ones((4, 1)), np.ones(4), val_split=0)
    model = Spy()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    history = training_loop(model, train, valid, 2, sgd, nn.MSELoss(), verbose=False)
    assert np.isfinite(history["train_loss"]).all()
    assert np.isnan(history["val_loss"]).tolist() == [True, True]


def test_every_callback_gets_the_epoch_from_zero_its_losses_and_the_model() -> None:
    calls: list[tuple[Any, ...]] = []
    model = Spy()
    history = loop(3, model, callbacks=[lambda *args: calls.append(args)] * 2)
    rows = zip(itertools.count(), history["train_loss"], history["val_loss"], strict=False)
    assert calls == [(*row, model) for row in rows for _ in range(2)]


@pytest.mark.parametrize(
    ("answer", "epochs"),
    [
        (True, 2),
        # The original went on after this one.
        (np.True_, 2),
        (False, 5),
        (np.False_, 5),
        (None, 5),
        # Only True is True: a callback may return whatever it computed.
        (1, 5),
        ("stop", 5),
        (0.5, 5),
        (np.ones(3), 5),
    ],
)
def test_a_callback_that_returns_true_stops_after_its_epoch(answer: Any, epochs: int) -> None:
    history = loop(5, callbacks=[lambda epoch, *_: answer if epoch == 1 else None])
    assert [len(losses) for losses in history.values()] == [epochs, epochs]


def test_callbacks_after_one_that_stops_are_called_too() -> None:
    calls: list[int] = []
    loop(5, callbacks=[lambda *_: True, lambda epoch, *_: calls.append(epoch)])
    assert calls == [0]


def test_early_stopping_serves_as_a_callback() -> None:
    model = Spy()
    stopping = EarlyStopping(patience=1, verbose=False)
    # At a rate of 1.1 each step overshoots: w - 1 is -1, then 1.2, -1.44 and 1.728.
    stop = [lambda _epoch, _train, val_loss, model: stopping(val_loss, model)]
    history = loop(9, model, lr=1.1, callbacks=stop)
    assert history["val_loss"] == pytest.approx([1.2**2, 1.2**4, 1.2**6], rel=1e-5)
    assert model.weight.item() == pytest.approx(2.2)


def test_every_tenth_epoch_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    # After k epochs w - 1 is -0.8^k.
    loop(25, verbose=True)
    assert capsys.readouterr().out == (
        f"Epoch [10/25], Train Loss: {0.64**9:.4f}, Val Loss: {0.64**10:.4f}\n"
        f"Epoch [20/25], Train Loss: {0.64**19:.4f}, Val Loss: {0.64**20:.4f}\n"
    )


def test_a_silent_loop_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    loop(10)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("device", [None, "cpu", CPU])
def test_the_model_moves_to_the_device(
    device: torch.device | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.device] = []
    model = Spy()
    monkeypatch.setattr(model, "to", moved.append)
    monkeypatch.setattr("puffin.models.estimators.loops.default_device", lambda: CPU)
    loop(1, model, device=device)
    assert moved == [CPU]


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_the_default_device_is_the_gpu_if_there_is_one(
    available: bool,  # noqa: FBT001  # a parameter of the table
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert default_device() == torch.device(expected)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        # Four samples of two classes: 4 / (2 * 3) and 4 / (2 * 1).
        ([0, 0, 0, 1], [4 / 6, 2.0]),
        ([1, 0, 1, 0], [1.0, 1.0]),
        # Six of three: 6 / (3 * 2), 6 / (3 * 3) and 6 / (3 * 1).
        ([2, 0, 0, 1, 1, 1], [1.0, 2 / 3, 2.0]),
        # In the order of the classes, whatever they are called.
        ([1, 1, 1, -1], [2.0, 4 / 6]),
        (["up", "down", "up", "up"], [2.0, 4 / 6]),
        ([7, 7], [1.0]),
    ],
)
@pytest.mark.parametrize("kind", [list, np.array, lambda y: np.array(y)[:, None], pd.Series])
def test_class_weights_are_those_worked_out_by_hand(
    y: list[Any], expected: list[float], kind: Callable[[Any], Any]
) -> None:
    weights = compute_class_weights(kind(y))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)


def global_draws() -> tuple[float, float, float]:
    return (random.random(), np.random.random(), torch.rand(()).item())  # noqa: NPY002  # those


def test_set_seed_seeds_random_numpy_and_torch() -> None:
    # The original left random alone, though its page said otherwise.
    draws = []
    for seed in (3, 3, 4):
        set_seed(seed)
        draws.append(global_draws())
    assert draws[0] == draws[1]
    assert all(one != other for one, other in zip(draws[0], draws[2], strict=True))


def test_set_seed_is_stored_for_the_forecasters() -> None:
    assert last_seed() == 0
    set_seed(np.int64(3))
    assert (last_seed(), type(last_seed())) == (3, int)


def test_set_seed_makes_cudnn_repeatable() -> None:
    set_seed(3)
    assert torch.backends.cudnn.deterministic is True
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.parametrize(("settings", "level"), [({}, 0.01), ({"noise_level": 0.5}, 0.5)])
def test_noise_is_gaussian_and_measured_in_deviations_of_the_series(
    settings: dict[str, float], level: float
) -> None:
    set_seed(0)
    series = 900 + 70 * np.random.default_rng(1).normal(size=10_000)
    noise = (add_noise(series, **settings) - series) / (level * series.std())
    # Three standard errors of a mean, a deviation and a kurtosis of 10,000 draws.
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1, rel=0.022)
    assert (noise**4).mean() == pytest.approx(3, abs=0.3)


def test_noise_keeps_index_name_and_type_and_does_not_change_the_input() -> None:
    index = pd.date_range("2020-01-01", periods=4, name="date")
    series = pd.Series([1, 2, 3, 4], index=index, name="close")
    noisy = add_noise(series, 0.1)
    assert isinstance(noisy, pd.Series)
    assert (noisy.name, noisy.dtype) == ("close", np.float64)
    pd.testing.assert_index_equal(noisy.index, index)
    assert series.tolist() == [1, 2, 3, 4]
    assert 0 < (noisy - series).abs().max() < 1


@pytest.mark.parametrize("kind", [list, np.array])
def test_arrays_and_lists_come_back_as_arrays(kind: Callable[[Any], Any]) -> None:
    given = kind([1.0, 2.0, 4.0])
    noisy = add_noise(given)
    assert (type(noisy), noisy.shape, noisy.dtype) == (np.ndarray, (3,), np.float64)
    assert list(given) == [1.0, 2.0, 4.0]


def test_each_noise_is_new_and_follows_set_seed() -> None:
    def draw() -> list[float]:
        return add_noise(np.arange(5.0)).tolist()

    set_seed(2)
    first, second = draw(), draw()
    assert first != second
    set_seed(2)
    assert [draw(), draw()] == [first, second]


def test_noise_of_zero_does_not_change_the_values() -> None:
    assert add_noise(np.arange(5.0), 0).tolist() == [0, 1, 2, 3, 4]
    assert add_noise([3.0, 3.0], 0.5).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("series", "level", "message"),
    [
        ([1.0, 2.0], -0.1, "noise_level must be at least 0, but is -0.1"),
        ([1.0, 2.0], NAN, "noise_level must be at least 0, but is nan"),
        (np.ones((4, 2)), 0.1, "series must have one dimension, but has shape (4, 2)"),
        (["a"], 0.1, "series must hold numbers only"),
        ([1.0, NAN], 0.1, "series must be finite, but 1 of 2 values are not"),
    ],
)
def test_invalid_noise_is_refused(series: Any, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        add_noise(series, level)
