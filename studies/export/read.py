"""An export read back: every file checked, as a whole, before anything is computed from it."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.features import build_series
from puffin.models.networks.rnn import build_network
from puffin.models.scaling import Scaler
from puffin.studies.dataset import columns_of
from puffin.studies.export.checksums import CONFIG_FILE, SUMS_FILE, ExportError, read_listed
from puffin.studies.export.record import ExportRecord, RecordError
from puffin.studies.prices.snapshot import from_csv, sha256
from puffin.studies.spec import Spec
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE
from puffin.studies.text import when

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "README.md"
# Out-of-sample forecasts of the search folds, and of the holdout once it is open.
FORECAST_FILES = ("forecasts.csv", "forecasts-holdout.csv")
# Every file of an export but those of the report, with which it may come.
EXPORT_FILES = {
    CONFIG_FILE,
    WEIGHTS_FILE,
    CARD_FILE,
    SUMS_FILE,
    SEARCH_FILE,
    HOLDOUT_FILE,
    *FORECAST_FILES,
}

# Differences of such numbers are finite, too.
_MOST_FORECAST = 1e150
_FORECAST_TYPES = {"forecast": "float64", "actual": "float64", "persistence": "float64"}


@dataclass(frozen=True, eq=False)
class Exported:
    """An export whose files are those that were written.

    Attributes
    ----------
    folder : Path
    files : content by name, ``/`` between folders
    record : what config.toml says
    """

    folder: Path
    files: dict[str, bytes]
    record: ExportRecord

    @property
    def spec(self) -> Spec:
        """The study file."""
        return self.record.spec

    @property
    def config(self) -> Config:
        """The winner's configuration."""
        return self.record.config

    @property
    def scaler(self) -> Scaler:
        """What the network's inputs and outputs are standardised by."""
        return self.record.input.scaler

    @cached_property
    def search(self) -> pd.DataFrame:
        """Bars of the search part."""
        return from_csv(self.files[SEARCH_FILE])

    @cached_property
    def holdout(self) -> pd.DataFrame | None:
        """Bars of the holdout; None while it is sealed."""
        return from_csv(self.files[HOLDOUT_FILE]) if HOLDOUT_FILE in self.files else None

    @cached_property
    def prices(self) -> pd.DataFrame:
        """All bars that the export holds."""
        return self.search if self.holdout is None else pd.concat([self.search, self.holdout])

    @property
    def network(self) -> torch.nn.Module:
        """The trained network, ready to forecast."""
        network = build_network(self.config, len(self.record.input.features))
        network.load_state_dict(self.weights)
        return network.eval()

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """The network's weights by name."""
        return load(self.files[WEIGHTS_FILE])

    def forecasts(self, name: str) -> pd.DataFrame:
        """Return the table of one of `FORECAST_FILES`."""
        return pd.read_csv(io.BytesIO(self.files[name]), dtype=_FORECAST_TYPES)

    def residuals(self, name: str) -> Floats:
        """Return actual less forecast, (bars,), of one of `FORECAST_FILES`."""
        frame = self.forecasts(name)
        return (frame["actual"] - frame["forecast"]).to_numpy(np.float64)


def load_exported(folder: Path) -> Exported:
    """Read an export and check each of its files.

    Raises
    ------
    ExportError
        If the folder is no export, a file is missing or changed, or one does not hold what the
        others say of it. Other files beside them are no error.
    """
    files = read_listed(folder)
    try:
        record = ExportRecord.parse(files.get(CONFIG_FILE, b""))
    except RecordError as error:
        raise ExportError(f"{folder}/{CONFIG_FILE}: {error}; export the study again") from None
    found = Exported(folder, files, record)
    try:
        check_exported(found)
    except ExportError as error:
        raise ExportError(f"{folder}/{error}; export the study again") from None
    return found


def check_exported(exported: Exported) -> None:
    """Check the files of an export against its record.

    Raises
    ------
    ExportError
        Naming the file, and in it what breaks a rule.
    """
    _check_names(exported)
    _check_weights(exported)
    record = exported.record
    scored = record.spec.walk_forward.folds * record.spec.walk_forward.valid_bars
    _check_forecasts(exported, FORECAST_FILES[0], scored)
    if record.holdout is not None:
        _check_forecasts(exported, FORECAST_FILES[1], record.holdout.bars)
    _check_prices(exported)


def _check_names(exported: Exported) -> None:
    record, names = exported.record, set(exported.files)
    expected = {CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, SEARCH_FILE, FORECAST_FILES[0]}
    if record.seal is not None:
        expected.add(HOLDOUT_FILE)
    if record.holdout is not None:
        expected.add(FORECAST_FILES[1])
    if missing := sorted(expected - names):
        raise ExportError(f"{SUMS_FILE} does not list {missing[0]}, which {CONFIG_FILE} needs")
    if excess := sorted(names & EXPORT_FILES - expected - {SUMS_FILE}):
        raise ExportError(f"{excess[0]} should not be there while the holdout is sealed")


def _check_weights(exported: Exported) -> None:
    try:
        weights = exported.weights
    except (SafetensorError, KeyError, ValueError) as error:
        raise ExportError(f"{WEIGHTS_FILE} is not in the format of safetensors: {error}") from None
    layers = len(exported.config.hidden_dims)
    if layers > len(weights):  # before a network of so many layers is described
        raise ExportError(f"{WEIGHTS_FILE} has fewer tensors than the network has layers: {layers}")
    with torch.device("meta"):  # shapes alone: the memory of such a network is not asked for
        network = build_network(exported.config, len(exported.record.input.features))
    expected = network.state_dict()
    for name in sorted({*expected, *weights}):
        found, rule = (_kind(tensors.get(name)) for tensors in (weights, expected))
        if found != rule:
            msg = f"{WEIGHTS_FILE}: {name} is {found}, but {rule} in the network of {CONFIG_FILE}"
            raise ExportError(msg)
        if not bool(torch.isfinite(weights[name]).all()):
            raise ExportError(f"{WEIGHTS_FILE}: {name} should be finite everywhere")


def _kind(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_forecasts(exported: Exported, name: str, rows: int) -> None:
    # Counted before a table of any size is read.
    there = max(exported.files[name].count(b"\n") - 1, 0)
    if there != rows:
        raise ExportError(f"{name} should have {rows} rows below its header, but has {there}")
    try:
        frame = exported.forecasts(name)
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise ExportError(f"{name} is not a table of forecasts: {_first_line(error)}") from None
    columns = ["date", "fold", *_FORECAST_TYPES]
    if list(frame) != columns or len(frame) != rows:
        raise ExportError(f"{name} should have the columns {', '.join(columns)} and {rows} rows")
    for column in _FORECAST_TYPES:
        fine = frame[column].abs().to_numpy(np.float64) < _MOST_FORECAST  # NaN is not
        if not fine.all():
            value, line = frame[column][int(fine.argmin())], int(fine.argmin()) + 2
            msg = f"{name}, line {line}: {column} = {value}: should be finite and below 1e150"
            raise ExportError(msg)


def _check_prices(exported: Exported) -> None:
    for name in (SEARCH_FILE, HOLDOUT_FILE):
        if name in exported.files:
            _check_bars(exported.files[name], name, exported.record.data.sha256[name])
    search, holdout, prices = exported.search, exported.holdout, exported.prices
    if holdout is not None and list(search) != list(holdout):
        raise ExportError(f"{HOLDOUT_FILE} should have the columns of {SEARCH_FILE}")
    index = prices.index
    if index.hasnans or not index.is_monotonic_increasing or not index.is_unique:
        raise ExportError(f"{SEARCH_FILE}: bars should be in the order of their times, each once")
    _check_ends(exported, search, holdout)
    _check_values(exported, prices)


def _check_bars(body: bytes, name: str, digest: str) -> None:
    if sha256(body) != digest:
        msg = (
            f"{name} has sha256 {sha256(body)}, but {CONFIG_FILE} says {digest}: it was tampered "
            "with"
        )
        raise ExportError(msg)
    try:
        frame = from_csv(body)
    except PuffinError as error:
        raise ExportError(f"{name}: {error}") from None
    if frame.empty or "close" not in frame:
        raise ExportError(f"{name} should have bars, and of each a close")


def _check_ends(exported: Exported, search: pd.DataFrame, holdout: pd.DataFrame | None) -> None:
    """Require that the record's bars are those of the files."""
    data = exported.record.data
    told = {"first": when(search.index[0]), "search_last": when(search.index[-1])}
    bars = len(search)
    if holdout is not None:
        told["last"] = when(holdout.index[-1])
        bars += len(holdout)
    for key, value in told.items():
        if getattr(data, key) != value:
            raise ExportError(
                f"{CONFIG_FILE}: data.{key} = {getattr(data, key)}: should be {value}"
            )
    if data.bars != bars if holdout is not None else data.bars <= bars:
        rule = bars if holdout is not None else f"above {bars}, the bars of the search part"
        raise ExportError(f"{CONFIG_FILE}: data.bars = {data.bars}: should be {rule}")


def _check_values(exported: Exported, prices: pd.DataFrame) -> None:
    """Require a finite value of every feature and of the target wherever there should be one."""
    data = exported.spec.data
    with np.errstate(all="ignore"):  # what comes of a bad price is refused here, in words
        try:
            series = build_series(columns_of(prices), data.features, data.target, data.horizon)
        except PuffinError as error:
            raise ExportError(f"{SEARCH_FILE}: {error}") from None
    names = exported.record.input.features
    if series.features.shape[1] != len(names):
        read = series.features.shape[1]
        raise ExportError(
            f"{SEARCH_FILE}: its columns make {read} features instead of {len(names)}"
        )
    for name, values, first in (
        *((name, series.features[:, i], series.warmup) for i, name in enumerate(names)),
        (data.target, series.target, data.horizon),
    ):
        bad = ~np.isfinite(values[first:])
        if bad.any():
            bar = when(prices.index[first + int(bad.argmax())])
            raise ExportError(f"{SEARCH_FILE}: the bar of {bar} makes no finite {name!r}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
