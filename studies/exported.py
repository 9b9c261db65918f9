"""An export read back: checked file by file, and ready to forecast or to be derived again."""

import io
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from models.config import Config
from models.errors import PuffinError
from models.rnn import build_network
from models.series import Scaler
from studies.snapshot import from_csv, sha256
from studies.spec import Spec, SpecError, parse_spec
from studies.study import HOLDOUT_FILE, SEARCH_FILE

Floats = NDArray[np.float64]

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.toml", "model.safetensors", "README.md"
SUMS_FILE = "SHA256SUMS"
# Out-of-sample forecasts of the search folds, and of the holdout once it is open.
FORECAST_FILES = ("forecasts.csv", "forecasts-holdout.csv")


class ExportError(PuffinError):
    """A folder that is no export, a tampered one, or one that must not be touched."""


@dataclass(frozen=True, eq=False)
class Exported:
    """An export whose files are those that were written.

    Attributes
    ----------
    folder : Path
    files : content by name, ``/`` between folders
    record : what config.toml says
    spec : Spec
    config : Config
    """

    folder: Path
    files: dict[str, bytes]
    record: dict[str, Any]
    spec: Spec
    config: Config

    @cached_property
    def search(self) -> pd.DataFrame:
        """Bars of the search part."""
        return from_csv(self.files[SEARCH_FILE])

    @cached_property
    def holdout(self) -> pd.DataFrame | None:
        """Bars of the holdout; None while it is sealed."""
        return from_csv(self.files[HOLDOUT_FILE]) if HOLDOUT_FILE in self.files else None

    @property
    def opened(self) -> pd.DataFrame:
        """Bars of the holdout, once its seal is open.

        Raises
        ------
        ExportError
            While it is closed.
        """
        if self.holdout is None:
            msg = f"{self.folder} holds no {HOLDOUT_FILE}, but judges it; export the study again"
            raise ExportError(msg)
        return self.holdout

    @property
    def prices(self) -> pd.DataFrame:
        """All bars that the export holds."""
        return self.search if self.holdout is None else pd.concat([self.search, self.holdout])

    @property
    def scaler(self) -> Scaler:
        """What the network's inputs and outputs are standardised by."""
        given = self.record["input"]
        return Scaler(
            np.array(given["feature_mean"]),
            np.array(given["feature_std"]),
            given["target_mean"],
            given["target_std"],
        )

    @property
    def network(self) -> torch.nn.Module:
        """The trained network, ready to forecast."""
        network = build_network(self.config, len(self.record["input"]["features"]))
        network.load_state_dict(self.weights)
        return network.eval()

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The network's weights by name."""
        return load(self.files[WEIGHTS_FILE])

    def residuals(self, name: str) -> Floats:
        """Give actual less forecast, (bars,), of one of `FORECAST_FILES`."""
        frame = pd.read_csv(io.BytesIO(self.files[name]))
        return (frame["actual"] - frame["forecast"]).to_numpy(np.float64)


def load_exported(folder: Path) -> Exported:
    """Read an export and hold each file against the sums that were written with it.

    Raises
    ------
    ExportError
        If the folder is no export, a file is missing, added or changed, or config.toml does not
        say what an export says.
    """
    files = _read_files(folder)
    _check_sums(folder, files)
    try:
        record = tomllib.loads(files[CONFIG_FILE].decode())
        spec = parse_spec(record["spec"], f"{folder}/{CONFIG_FILE}")
        found = Exported(folder, files, record, spec, Config.from_dict(record["config"]))
        known = record["data"]["sha256"]
        _ = found.network, found.scaler, found.residuals(FORECAST_FILES[0]), record["scores"]
    except (ValueError, KeyError, TypeError, RuntimeError, SpecError, SafetensorError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{folder} cannot be read as an export: {said}; export the study again"
        raise ExportError(msg) from None
    for name in (SEARCH_FILE, HOLDOUT_FILE):
        if name in files and (own := sha256(files[name])) != known[name]:
            msg = (
                f"{folder}/{name} has sha256 {own}, but {CONFIG_FILE} says {known[name]}: it was "
                "tampered with; export the study again"
            )
            raise ExportError(msg)
    return found


def sums(files: dict[str, bytes]) -> bytes:
    """Write the sums of files as ``sha256sum --check`` reads them."""
    return "".join(f"{sha256(body)}  {name}\n" for name, body in sorted(files.items())).encode()


def listed_sums(body: bytes) -> dict[str, str]:
    """Read back what `sums` wrote: name to sha256.

    Raises
    ------
    ValueError
        If these are no such lines.
    """
    pairs = [line.split("  ", 1) for line in body.decode().splitlines()]
    return {name: digest for digest, name in pairs}


def _read_files(folder: Path) -> dict[str, bytes]:
    try:
        if not folder.is_dir():
            msg = f"{folder} is no folder; name one that `tuner export` wrote"
            raise ExportError(msg)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    except OSError as error:
        msg = f"cannot read {folder}: {error.strerror}"
        raise ExportError(msg) from None
    if SUMS_FILE not in files or CONFIG_FILE not in files:
        msg = f"{folder} is no export: it has no {SUMS_FILE} and {CONFIG_FILE} of `tuner export`"
        raise ExportError(msg)
    return files


def _check_sums(folder: Path, files: dict[str, bytes]) -> None:
    try:
        listed = listed_sums(files[SUMS_FILE])
    except ValueError:
        msg = f"{folder}/{SUMS_FILE} is not readable; export the study again"
        raise ExportError(msg) from None
    own = {name: sha256(body) for name, body in files.items() if name != SUMS_FILE}
    problems = {
        "missing": sorted(set(listed) - set(own)),
        "changed": sorted(name for name in own if listed.get(name, own[name]) != own[name]),
        "added": sorted(set(own) - set(listed)),
    }
    if any(problems.values()):
        said = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        msg = f"{folder} is not as it was exported ({said}); export the study again"
        raise ExportError(msg)
