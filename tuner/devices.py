"""Which device each worker trains on."""

import ctypes
import os
import re
import sys

import torch

from models.errors import PuffinError

# Of glibc's mallopt, malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# The most that glibc takes on every machine, and more than a step of training frees at once.
_KEEP_BELOW, _KEEP_FREE = 32 << 20, 256 << 20


class DeviceError(PuffinError):
    """A device that is not there."""


def gpu_names(device: str) -> list[str]:
    """Give the CUDA devices that `device` stands for; none means the CPU.

    Parameters
    ----------
    device : str
        ``auto`` (all GPUs, or the CPU where there is none), ``cpu``, ``cuda`` (all) or ``cuda:N``.

    Raises
    ------
    DeviceError
        If it is none of these, or a GPU that is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        msg = f"--device must be auto, cpu, cuda or cuda:N, but is {device!r}"
        raise DeviceError(msg)
    count = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    there = [f"cuda:{i}" for i in range(count)]
    if device in ("auto", "cpu"):
        return there
    wanted = there if device == "cuda" else [device]
    if not wanted or not set(wanted) <= set(there):
        msg = f"--device {device}: this machine has {', '.join(there) or 'no GPU'}; use auto or cpu"
        raise DeviceError(msg)
    return wanted


def assign(device: str, workers: int | None, workers_per_gpu: int) -> list[str]:
    """Give each worker its device, the GPUs filled evenly; one worker per core on a CPU.

    The default number of workers is `workers_per_gpu` for each GPU.
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


def prepare(device: str, memory_share: float) -> torch.device:
    """Set this process up to train on a device: one thread, and its share of a GPU's memory."""
    torch.set_num_threads(1)
    _keep_memory()
    (name, *_) = gpu_names(device) or ["cpu"]
    chosen = torch.device(name)
    if chosen.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(memory_share, chosen)
    return chosen


def _keep_memory() -> None:
    """Have the C library keep what a training step frees, for the next step.

    By default it gives large pieces back to the system, which hands them out again page by page:
    wide LSTMs train 1.2 to 1.6 times as fast without. What is not glibc goes on as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_FREE)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that a device or the host has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Give cached memory back to the GPU, for its other workers.

    Raises
    ------
    RuntimeError
        If the GPU is broken for this process for good, as after an illegal access.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
