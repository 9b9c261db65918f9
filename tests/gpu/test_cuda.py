"""A smoke test on a CUDA machine: `make gpu`."""

import math

import numpy as np
import pytest
import torch

from models.config import Config, Training
from models.series import Scaler, build_series
from models.trading import TradingLSTM
from models.training import FoldTraining, build_networks
from models.walk_forward import Fold, Span
from models.windows import FoldTensors, fold_tensors

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")


def _folds(lookback: int, device: torch.device) -> list[FoldTensors]:
    rng = np.random.default_rng(0)
    columns = {"close": 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))}
    series = build_series(columns, ["return"], "return")
    folds = [Fold(Span(20, 300), Span(300, 340)), Fold(Span(20, 340), Span(340, 380))]
    scalers = [Scaler.fit(series, fold.train, 10) for fold in folds]
    return [
        fold_tensors(series, f, s, lookback, device) for f, s in zip(folds, scalers, strict=True)
    ]


def _curve(device: torch.device, config: Config) -> list[float]:
    networks = build_networks(config, 1, 2, device, seed=0)
    folds = _folds(config.lookback, device)
    epochs = FoldTraining(networks, folds, config, Training(max_epochs=3), seed=0)
    return [epoch.valid_loss for epoch in epochs]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_study_trains_on_the_gpu_and_twice_alike(cell: str) -> None:
    config = Config(cell=cell, hidden_dims=(16, 8), lookback=10, noise=0.1)
    first = _curve(torch.device("cuda:0"), config)
    assert all(math.isfinite(loss) for loss in first)
    assert first == _curve(torch.device("cuda:0"), config)


def test_an_epoch_synchronises_with_the_host_once() -> None:
    config = Config(hidden_dims=(8,), lookback=5)
    device = torch.device("cuda:0")
    networks, folds = build_networks(config, 1, 2, device, seed=0), _folds(5, device)
    epochs = FoldTraining(networks, folds, config, Training(max_epochs=3), seed=0)
    next(epochs)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as caught:
            next(epochs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(caught) == 1


def test_a_forecaster_trains_on_the_gpu_and_forecasts_there_as_on_the_cpu() -> None:
    series = np.sin(np.arange(300.0))
    forecaster = TradingLSTM(hidden_dim=16, verbose=False)
    state = torch.cuda.get_rng_state()
    history = forecaster.fit(series, epochs=2)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert all(math.isfinite(loss) for loss in history["val_loss"])
    assert next(forecaster.model.parameters()).device.type == "cuda"
    there = forecaster.historical_forecasts(series)
    forecaster.model.cpu()
    forecaster.device = torch.device("cpu")
    np.testing.assert_allclose(forecaster.historical_forecasts(series), there, atol=1e-4)


@pytest.mark.parametrize("validation_split", [0.0, 0.2])
def test_a_forecaster_trains_on_the_gpu_twice_alike_with_its_dropout(
    validation_split: float,
) -> None:
    series = np.sin(np.arange(300.0))
    first, second = (
        TradingLSTM(hidden_dim=16, dropout=0.5, verbose=False).fit(
            series, epochs=3, validation_split=validation_split
        )
        for _ in range(2)
    )
    assert first["train_loss"] == second["train_loss"]


def test_out_of_memory_is_told_from_other_errors() -> None:
    from tuner.memory import is_out_of_memory

    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**50, device="cuda:0")
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("no"))
