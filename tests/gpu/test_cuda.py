"""Training on a device: everywhere on the CPU, and on CUDA where there is a GPU (`make gpu`).

The same lines run on both, so that on a machine with a GPU the only new thing is CUDA.
"""

import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from puffin.models.config import Config, TrainingConfig
from puffin.models.estimators.univariate import TradingLSTM
from puffin.models.features import build_series
from puffin.models.folds import Fold, Span
from puffin.models.losses import LOSSES
from puffin.models.networks.dropout import Dropout
from puffin.models.panel import Member, Part
from puffin.models.scaling import Scaler
from puffin.models.training import trainer as trainer_module
from puffin.models.training.cuda_graphs import GraphedCall, SideStream
from puffin.models.training.fold_training import FoldTraining, forecast_windows
from puffin.models.training.refit import Refit
from puffin.models.windows import FoldTensors, fold_tensors
from puffin.tuner.worker.process import empty_gpu_cache, is_out_of_memory, setup_torch

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA machine")
CONFIG = Config(cell="lstm", hidden_dims=(16, 8), dropout=0.3, lookback=10, noise=0.1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=no_gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return setup_torch(request.param, 1.0)


def folds_on(device: torch.device, lookback: int) -> list[FoldTensors]:
    rng = np.random.default_rng(0)
    columns = {"close": 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))}
    series = build_series(columns, ["return"], "return")
    days = np.datetime64("2020-01-01") + np.arange(400)
    member = Member("A", days, series, columns["close"])
    folds = [Fold(Span(20, 300), Span(300, 340)), Fold(Span(20, 340), Span(340, 380))]
    scalers = [Scaler.fit(series, fold.train, 10) for fold in folds]
    return [
        fold_tensors([Part(member, fold, scaler)], lookback, device)
        for fold, scaler in zip(folds, scalers, strict=True)
    ]


def training_on(
    device: torch.device, config: Config = CONFIG, epochs: int = 3, loss: str = "mse"
) -> FoldTraining:
    training = TrainingConfig(max_epochs=epochs, loss=loss)
    return FoldTraining(folds_on(device, config.lookback), config, training, seed=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_the_device(loss: str, device: torch.device) -> None:
    # From the second step on a GPU replays what it recorded.
    losses = [epoch.valid_loss for epoch in training_on(device, loss=loss)]
    assert all(map(math.isfinite, losses))
    on_cpu = [epoch.valid_loss for epoch in training_on(torch.device("cpu"), loss=loss)]
    assert losses == pytest.approx(on_cpu, rel=0.2)  # other random numbers


@contextmanager
def synchronisations(device: torch.device) -> Iterator[list[warnings.WarningMessage]]:
    """Collect the waits of the host for the device; a CPU has none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_folds_train_on_the_device_repeatably(cell: str, device: torch.device) -> None:
    config = Config(cell=cell, hidden_dims=(16, 8), lookback=10, noise=0.1)
    first, second = ([epoch.valid_loss for epoch in training_on(device, config)] for _ in range(2))
    assert len(first) == 3
    assert all(math.isfinite(loss) for loss in first)
    assert first == second


@no_gpu
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_replayed_steps_train_as_launched_ones(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, device = Config(cell, (16, 8), dropout=0.0, lookback=10), torch.device("cuda")
    replayed = [epoch.valid_loss for epoch in training_on(device, config, epochs=5)]
    monkeypatch.setattr(trainer_module, "can_be_graphed", lambda _: False)
    launched = [epoch.valid_loss for epoch in training_on(device, config, epochs=5)]
    assert replayed == launched


def test_each_epoch_keeps_the_forecasts_of_its_losses(device: torch.device) -> None:
    training = training_on(device, Config(hidden_dims=(8,), lookback=5), epochs=6)
    folds = folds_on(device, 5)
    for epoch in list(training):
        for forecasts, fold, loss in zip(epoch.forecasts, folds, epoch.fold_losses, strict=True):
            errors = forecasts - fold.valid.outputs[:, 0]
            assert (errors**2).mean().item() == pytest.approx(loss, rel=1e-5)


def test_a_replayed_dropout_draws_new_masks_from_its_generator(device: torch.device) -> None:
    layer, x = Dropout(0.25), torch.ones(1000, device=device)

    def draws(*, replayed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)  # the generator of a CPU
        layer.generator = torch.Generator(device=device).manual_seed(0)
        call = GraphedCall(lambda: layer(x), device, [layer.generator])
        stream = SideStream(device)
        with stream:
            masks = [call().clone() if replayed else layer(x) for _ in range(5)]
        stream.join()
        return [mask.cpu() for mask in masks]

    masks = draws(replayed=True)
    assert len({tuple(mask.tolist()) for mask in masks}) == 5
    assert torch.cat(masks).unique().tolist() == [0.0, pytest.approx(4 / 3)]
    # Four standard deviations of the share of zeros among 5,000.
    assert float(torch.stack(masks).eq(0).float().mean()) == pytest.approx(0.25, abs=0.025)
    assert all(map(torch.equal, masks, draws(replayed=False)))


def test_an_epoch_waits_for_the_device_once(device: torch.device) -> None:
    epochs = iter(training_on(device, Config(hidden_dims=(8,), lookback=5), epochs=5))
    for _ in range(3):  # which load and record what the GPU then replays
        next(epochs)
    with synchronisations(device) as caught:
        next(epochs)
    # When it first looks for them, torch also warns that it does not find every wait.
    waits = [warning for warning in caught if "called a synchronizing" in str(warning.message)]
    assert len(waits) == (1 if device.type == "cuda" else 0)


def test_a_training_resumes_on_the_device_to_the_same_losses(device: torch.device) -> None:
    whole = training_on(device)
    expected = [epoch.valid_loss for epoch in whole]
    stopped = training_on(device)
    next(iter(stopped))
    state = stopped.state()
    resumed = training_on(device)
    torch.manual_seed(9)  # as another trial leaves it
    resumed.load_state(state)
    for _ in resumed:
        pass
    assert resumed.curve == expected
    assert resumed.best is not None
    assert {each.device.type for each in resumed.best.forecasts} == {device.type}


def test_a_winner_is_refitted_on_the_device(device: torch.device) -> None:
    fold = folds_on(device, CONFIG.lookback)[0]
    refit = Refit(fold.train, CONFIG, LOSSES["mse"], 2, seeds=[0, 1])
    assert list(refit) == [1, 2]
    for network in refit.networks:
        out = forecast_windows(network, fold.valid.inputs)
        assert out.device.type == device.type
        assert torch.isfinite(out).all()
    empty_gpu_cache(device)


def forecaster_on(device: torch.device, dropout: float = 0.2) -> TradingLSTM:
    forecaster = TradingLSTM(hidden_dim=16, dropout=dropout, verbose=False)
    forecaster.device = device
    return forecaster


def rng_state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state() if device.type == "cuda" else torch.get_rng_state()


def test_a_forecaster_forecasts_on_the_device_as_on_the_cpu(device: torch.device) -> None:
    series = np.sin(np.arange(300.0))
    forecaster, state = forecaster_on(device), rng_state(device)
    history = forecaster.fit(series, epochs=2)
    assert torch.equal(rng_state(device), state)
    assert all(math.isfinite(loss) for loss in history["val_loss"])
    assert forecaster.model is not None
    assert next(forecaster.model.parameters()).device.type == device.type
    there = forecaster.historical_forecasts(series)
    forecaster.model.cpu()
    forecaster.device = torch.device("cpu")
    np.testing.assert_allclose(forecaster.historical_forecasts(series), there, atol=1e-4)


@no_gpu
def test_a_forecaster_uses_the_gpu_if_there_is_one() -> None:
    assert TradingLSTM().device.type == "cuda"


@pytest.mark.parametrize("validation_split", [0.0, 0.2])
def test_a_forecaster_with_dropout_trains_on_the_device_repeatably(
    validation_split: float, device: torch.device
) -> None:
    series = np.sin(np.arange(300.0))
    first, second = (
        forecaster_on(device, dropout=0.5).fit(series, epochs=3, validation_split=validation_split)
        for _ in range(2)
    )
    assert first["train_loss"] == second["train_loss"]


def test_out_of_memory_is_told_from_other_errors(device: torch.device) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, device=device)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(ValueError("no"))


# What `make gpu` measures


def test_every_part_of_the_benchmark_runs_and_writes_its_figures(
    device: torch.device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna", reason="whole searches need this project's dependencies")
    gpu.main(["--device", device.type, "--tiny", "--out", str(tmp_path / "out")])
    values = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert values["machine"]["torch"] == torch.__version__
    parts = values["parts"]
    assert [part["left_out"] for part in parts.values()] == [[], [], [], []]
    assert [(row["cell"], row["widths"]) for row in parts["step"]["rows"]] == [
        ("lstm", [4]),
        ("gru", [4]),
    ]
    assert all(row["ours_ms"] > 0 and row["cpu_ms"] > 0 for row in parts["step"]["rows"])
    assert all((row["peak_mib"] or 0) > 0 or device.type == "cpu" for row in parts["step"]["rows"])
    ways = ["loop", "stacked"]
    if device.type == "cuda":
        ways += ["streams", "loop, graph", "stacked, graph", "streams, graph", "graph per fold"]
    assert [row["way"] for row in parts["folds"]["rows"]] == ways * 2
    assert [(row["cell"], row["widths"]) for row in parts["epochs"]["rows"]] == [
        ("lstm", [4]),
        ("gru", [4]),
    ]
    on_cpu = ["1 on the CPU"] if device.type == "cuda" else []
    assert [r["run"] for r in parts["study"]["rows"]] == ["1 worker", "plain script", *on_cpu]
    assert all(row["trials_per_hour"] > 0 for row in parts["study"]["rows"])
    page = (tmp_path / "out" / "gpu.md").read_text()
    for name in ("step", "folds", "epochs", "study"):
        assert f"## {name}, " in page
    assert "| lstm | 8 | 3 | [4] | loop |" in page
    assert "| 1 worker | " in capsys.readouterr().out


def test_a_part_out_of_time_lists_its_skipped_cases() -> None:
    pytest.importorskip("optuna")
    part, device = gpu.Part("folds"), torch.device("cpu")
    assert not list(gpu.measure_folds(part, gpu.TINY, device, deadline=-1.0))
    assert not list(gpu.measure_study(part, gpu.TINY, device, deadline=-1.0))
    assert part.rows == []
    assert part.left_out == [
        "('lstm', (8, 3, (4,))): no time was left",
        "('gru', (8, 3, (4,))): no time was left",
        "1 worker: no time was left",
        "plain script: no time was left",
    ]


@pytest.mark.parametrize(
    ("script", "module", "said"),
    [
        (None, "benchmarks.study", "all: the console script `tuner` is missing; install "),
        ("tuner", None, "all: import of benchmarks.study halted; None in sys.modules; install "),
    ],
)
def test_searches_are_left_out_if_only_torch_is_installed(
    script: str | None, module: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module is None:
        monkeypatch.setitem(sys.modules, "benchmarks.study", None)
        monkeypatch.delattr("benchmarks.study", raising=False)
    else:
        pytest.importorskip("optuna")
        monkeypatch.setattr(f"{module}.console_script", lambda: script)
    part = gpu.Part("study")
    assert not list(gpu.measure_study(part, gpu.TINY, torch.device("cpu"), deadline=math.inf))
    assert len(part.left_out) == 1
    assert part.left_out[0].startswith(said)


def test_a_failing_part_keeps_the_figures_of_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> Iterator[gpu.Row]:
        raise RuntimeError("no kernel image")

    def works(*_: object) -> Iterator[gpu.Row]:
        yield {"ms": 1.5}

    monkeypatch.setattr(
        gpu, "PARTS", {"step": broken, "folds": works, "epochs": works, "study": works}
    )
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--device", "cpu", "--tiny", "--out", str(tmp_path)])
    assert ended.value.code == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["step"]["left_out"] == ["the rest: RuntimeError: no kernel image"]
    assert parts["study"]["rows"] == [{"ms": 1.5}]


def test_the_whole_benchmark_takes_less_than_seven_minutes_of_nine() -> None:
    assert sum(gpu.Size().seconds) <= 400
