"""Versions that a study was made with; others refuse to work on it."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from puffin.models.errors import PuffinError

if TYPE_CHECKING:
    import torch

# The packages that the losses of a study depend on.
PACKAGES = ("puffin-tuner", "optuna", "torch")


class VersionMismatchError(PuffinError):
    """The versions of this installation differ too much from those of a study."""


def installed_versions() -> dict[str, str]:
    """Return the versions of this installation: package to version."""
    return {package: version(package) for package in PACKAGES}


def check_versions(stored: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Compare this installation with the versions that a study was made with.

    Parameters
    ----------
    stored, own : mapping
        Package to version.

    Returns
    -------
    list of str
        A warning for each package of which only the patch differs.

    Raises
    ------
    VersionMismatchError
        If a package differs in its major or minor version: losses could not be compared.
    """
    pairs = {p: (stored[p], own.get(p, "of unknown version")) for p in stored}
    differing = {p: (a, b) for p, (a, b) in pairs.items() if _release(a) != _release(b)}
    refused = [p for p, (a, b) in differing.items() if _release(a)[:2] != _release(b)[:2]]
    if refused:
        theirs, ours = ([f"{p} {pairs[p][side]}" for p in refused] for side in (0, 1))
        msg = (
            f"it was made with {', '.join(theirs)}, but this is {', '.join(ours)}: its losses "
            "could not be compared; install those versions here, or submit a new study"
        )
        raise VersionMismatchError(msg)
    return [f"it was made with {p} {a}, this is {b}" for p, (a, b) in differing.items()]


def machine_type(device: "torch.device") -> dict[str, str]:
    """Return the kind of a device; on one kind a training is reproducible bit for bit.

    The model of the processor is part of it, because libraries choose their code by it, and so are
    the versions of torch and of this package.
    """
    import torch

    code = {"torch": torch.__version__, "puffin-tuner": version("puffin-tuner")}
    if device.type == "cuda":
        return {"gpu": torch.cuda.get_device_name(device), **code}
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **code,
    }


def _processor() -> str:
    """Return the model of the processor, or its architecture if the system does not name it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _release(text: str) -> tuple[str, ...]:
    """Split the numbers of ``2.13.0+cpu``; the part after the plus is the kind of build."""
    return tuple(text.partition("+")[0].split("."))
