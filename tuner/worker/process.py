"""Set-up of a process that trains: one thread, and what memory it keeps and returns."""

import ctypes
import sys

import torch

from puffin.tuner.worker.devices import gpu_names

# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Bytes: the largest threshold that glibc accepts everywhere, and more than a training step frees.
_KEEP_BELOW, _KEEP_FREE = 32 << 20, 256 << 20


def setup_torch(device: str, memory_share: float) -> torch.device:
    """Limit this process to one thread and its share of a GPU's memory; return its device."""
    torch.set_num_threads(1)
    _keep_memory()
    (name, *_) = gpu_names(device) or ["cpu"]
    chosen = torch.device(name)
    if chosen.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(memory_share, chosen)
    return chosen


def _keep_memory() -> None:
    """Make glibc keep the memory that a training step frees, for the next step.

    By default glibc returns large blocks to the system, which then maps them again page by page;
    without that, wide LSTMs train 1.2 to 1.6 times as fast. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_FREE)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that a device or the host has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def empty_gpu_cache(device: torch.device) -> None:
    """Return cached memory to the GPU, for its other workers.

    Raises
    ------
    RuntimeError
        If this process can no longer use the GPU, for example after an illegal memory access.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
