"""Devices: the GPUs of this machine, and the device of each worker."""

import os
import re
from importlib.metadata import version

from puffin.models.errors import PuffinError


class DeviceError(PuffinError):
    """A device that is not valid or not available."""


def gpu_names(device: str) -> list[str]:
    """Return the CUDA devices that `device` stands for; none means the CPU.

    Parameters
    ----------
    device : str
        ``auto`` (all GPUs, or the CPU if there is none), ``cpu``, ``cuda`` (all) or ``cuda:N``.

    Raises
    ------
    DeviceError
        If it is none of these, or a GPU that this machine does not have.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        msg = f"--device must be auto, cpu, cuda or cuda:N, but is {device!r}"
        raise DeviceError(msg)
    available = [] if device == "cpu" else [f"cuda:{i}" for i in range(_gpus())]
    if device in ("auto", "cpu"):
        return available
    wanted = available if device == "cuda" else [device]
    if not wanted or not set(wanted) <= set(available):
        gpus = ", ".join(available) or "no GPU"
        msg = f"--device {device}: this machine has {gpus}; use auto or cpu"
        raise DeviceError(msg)
    return wanted


def _gpus() -> int:
    """Count the GPUs that torch can use; a build for CPUs is not imported, which takes a second."""
    if version("torch").endswith("+cpu"):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def assign(device: str, workers: int | None, workers_per_gpu: int) -> list[str]:
    """Return the device of each worker, with the GPUs filled evenly.

    The default number of workers is `workers_per_gpu` for each GPU, or one per core on a CPU.
    """
    gpus = gpu_names(device)
    if not gpus:
        return ["cpu"] * (workers or _cores())
    count = workers or len(gpus) * workers_per_gpu
    return [gpus[i % len(gpus)] for i in range(count)]


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
