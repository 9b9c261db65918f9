"""Which device each worker gets, on machines with and without GPUs."""

import pytest
import torch

from puffin.tuner.worker import devices
from puffin.tuner.worker.devices import DeviceError, assign, gpu_names


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch look like a build for CUDA on a machine with two GPUs."""
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0+cu130")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("device", "workers", "per_gpu", "expected"),
    [
        ("auto", None, 1, ["cuda:0", "cuda:1"]),
        ("auto", None, 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        ("cuda", 3, 1, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", None, 2, ["cuda:1", "cuda:1"]),
        ("cpu", 2, 4, ["cpu", "cpu"]),
    ],
)
def test_workers_fill_the_gpus_evenly(
    device: str, workers: int | None, per_gpu: int, expected: list[str]
) -> None:
    assert assign(device, workers, per_gpu) == expected


@pytest.mark.usefixtures("two_gpus")
def test_an_unknown_gpu_is_refused_and_the_available_ones_listed() -> None:
    with pytest.raises(DeviceError, match=r"cuda:2: this machine has cuda:0, cuda:1"):
        gpu_names("cuda:2")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("build", ["2.13.0+cpu", "2.13.0"])
def test_torch_is_imported_for_gpus_only_if_its_build_can_use_them(
    monkeypatch: pytest.MonkeyPatch, build: str
) -> None:
    monkeypatch.setattr(devices, "version", lambda _: build)
    assert gpu_names("auto") == ([] if build.endswith("+cpu") else ["cuda:0", "cuda:1"])


def test_a_machine_without_gpus_trains_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert assign("auto", 3, 1) == ["cpu"] * 3
    with pytest.raises(DeviceError, match="this machine has no GPU; use auto or cpu"):
        gpu_names("cuda")
