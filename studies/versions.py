"""What a study was made with, so that no worker of another kind adds to it unnoticed."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from puffin.models.errors import PuffinError

if TYPE_CHECKING:
    import torch

# What the losses of a study depend on; a later release of the others changes none.
PACKAGES = ("puffin-tuner", "optuna", "torch")


class VersionMismatchError(PuffinError):
    """A study that this installation must not work on."""


def installed_versions() -> dict[str, str]:
    """Give the versions of this installation: package to version."""
    return {package: version(package) for package in PACKAGES}


def check_versions(stored: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Hold this installation against what a study was made with.

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
        If a package differs in major or minor: its losses could not be compared with those there.
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
    """Say of what kind a device is: the same numbers come to the same bits on one kind.

    The processor counts too, since libraries choose their code by it, and so do the versions of
    torch and of this package, which write it.
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
    """Give the model of the processor, or the kind where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _release(text: str) -> tuple[str, ...]:
    """Split ``2.13.0+cpu`` into its numbers; what follows the plus is the kind of build."""
    return tuple(text.partition("+")[0].split("."))
