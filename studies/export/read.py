"""Loading an export: all files are checked before anything is computed from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.evaluation.conformal import scores_of
from puffin.models.features import TARGETS, build_series
from puffin.models.networks.ensemble import Ensemble, build_ensemble, named_weights
from puffin.models.scaling import Scaler
from puffin.studies.bars import Frames, columns_of, join, union_of_dates
from puffin.studies.export.checksums import CONFIG_FILE, SUMS_FILE, ExportError, read_listed
from puffin.studies.export.record import ExportRecord, RecordError
from puffin.studies.forecast_table import FORECAST_COLUMNS, quantile_columns, read_table
from puffin.studies.prices.snapshot import frames_from_csv, sha256
from puffin.studies.spec import Spec
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE
from puffin.studies.text import counted, when

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "README.md"
# Out-of-sample forecasts of the search folds, and of the holdout once it is open.
FORECAST_FILES = ("forecasts.csv", "forecasts-holdout.csv")
# Every file of an export except those of the report.
EXPORT_FILES = {
    CONFIG_FILE,
    WEIGHTS_FILE,
    CARD_FILE,
    SUMS_FILE,
    SEARCH_FILE,
    HOLDOUT_FILE,
    *FORECAST_FILES,
}

# Differences of numbers below this limit are finite.
_MOST_FORECAST = 1e150
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Exported:
    """An export whose files match their checksums.

    Attributes
    ----------
    folder : Path
    files : content by name, ``/`` between folders
    record : content of config.toml
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
    def is_basket(self) -> bool:
        """Whether it is of several symbols."""
        return self.record.is_basket

    @cached_property
    def scalers(self) -> dict[str, Scaler]:
        """The scaler of each symbol that the networks were trained on."""
        return self.record.scalers

    @cached_property
    def search(self) -> Frames:
        """Bars of the search part by symbol."""
        return self._frames(SEARCH_FILE)

    @cached_property
    def holdout(self) -> Frames:
        """Bars of the holdout by symbol; none while it is sealed."""
        return self._frames(HOLDOUT_FILE) if HOLDOUT_FILE in self.files else {}

    @cached_property
    def prices(self) -> Frames:
        """All bars of the export by symbol."""
        return join(self.search, self.holdout)

    def _frames(self, name: str) -> Frames:
        return frames_from_csv(self.files[name], self.spec.data.only_symbol)

    @cached_property
    def network(self) -> torch.nn.Module:
        """The trained networks in evaluation mode, as one that forecasts with their mean."""
        network = self._untrained()
        network.load_state_dict(self.weights)
        return network.eval()

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """The weights of `network` by name."""
        return named_weights(load(self.files[WEIGHTS_FILE]))

    def _untrained(self) -> Ensemble:
        inputs, seeds = len(self.record.input.features), self.record.refit.seeds
        return build_ensemble(self.config, inputs, len(seeds), self.spec.training.quantiles)

    @cached_property
    def shapes(self) -> dict[str, torch.Tensor]:
        """The weights that `network` must have, without their values."""
        with torch.device("meta"):  # shapes without memory
            return self._untrained().state_dict()

    def forecasts(self, name: str) -> pd.DataFrame:
        """Return the table of one of `FORECAST_FILES`."""
        return read_table(self.files[name])

    @cached_property
    def targets(self) -> dict[str, Floats]:
        """The target at each bar of each symbol, (bars,)."""
        data = self.spec.data
        return {
            symbol: TARGETS[data.target].compute(columns_of(frame), data.horizon)
            for symbol, frame in self.prices.items()
        }

    @cached_property
    def scores(self) -> dict[str, dict[str, Floats]]:
        """The errors in units of the recent deviation, (bars,), by file of forecasts and symbol."""
        return {name: self._scores(name) for name in FORECAST_FILES if name in self.files}

    @cached_property
    def out_of_sample(self) -> dict[str, Floats]:
        """The scores, (n,), of each symbol on every bar that was forecast out of sample."""
        of_files = self.scores.values()
        symbols = dict.fromkeys(symbol for found in of_files for symbol in found)
        return {s: np.concatenate([found[s] for found in of_files if s in found]) for s in symbols}

    def _scores(self, name: str) -> dict[str, Floats]:
        frame, horizon = self.forecasts(name), self.spec.data.horizon
        errors = (frame["actual"] - frame["forecast"]).to_numpy(np.float64)
        return {
            symbol: scores_of(errors[rows], self.targets[symbol], places, horizon)
            for symbol, rows, places in self.places(frame)
        }

    def places(self, frame: pd.DataFrame) -> Iterator[tuple[str, Rows, Rows]]:
        """Yield of each symbol of a table of forecasts its rows, and their bars; -1 if none.

        Raises
        ------
        ValueError
            If a date is none.
        """
        dates = pd.to_datetime(frame["date"], format="ISO8601")
        symbols = frame.get("symbol", pd.Series(self.spec.data.only_symbol, frame.index))
        for symbol in map(str, symbols.unique()):
            rows = np.flatnonzero(symbols == symbol)
            index = self.prices[symbol].index
            yield symbol, rows, index.get_indexer(pd.DatetimeIndex(dates.iloc[rows]))


def load_exported(folder: Path) -> Exported:
    """Read an export and check each of its files.

    Raises
    ------
    ExportError
        If the folder is not an export, a file is missing or changed, or two files contradict each
        other. Files beside those of the export are allowed.
    """
    files = read_listed(folder)
    try:
        record = ExportRecord.parse(files.get(CONFIG_FILE, b""))
    except RecordError as error:
        raise ExportError(f"{folder}/{CONFIG_FILE}: {error}; export the study again") from None
    exported = Exported(folder, files, record)
    try:
        check_exported(exported)
    except ExportError as error:
        raise ExportError(f"{folder}/{error}; export the study again") from None
    return exported


def check_exported(exported: Exported) -> None:
    """Check the files of an export against its record.

    Raises
    ------
    ExportError
        With the file, the value and the rule that it breaks.
    """
    _check_names(exported)
    _check_weights(exported)
    _check_prices(exported)
    record = exported.record
    dates = record.spec.walk_forward.folds * record.spec.walk_forward.valid_bars
    symbols = len(exported.search)
    # One of several symbols may lack some of the dates.
    least = dates if symbols == 1 else 1
    _check_forecasts(exported, FORECAST_FILES[0], exported.search, least, dates * symbols)
    if record.holdout is not None:
        bars = record.holdout.bars
        _check_forecasts(exported, FORECAST_FILES[1], exported.prices, bars, bars)


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
    networks = len(exported.record.refit.seeds)
    layers = len(exported.config.hidden_dims) * networks
    if layers > len(weights):  # checked before networks of that many layers are built
        raise ExportError(
            f"{WEIGHTS_FILE} has fewer tensors than {counted(networks, 'network')} of "
            f"{CONFIG_FILE} {'has' if networks == 1 else 'have'} layers: {layers}"
        )
    expected = exported.shapes
    for name in sorted({*expected, *weights}):
        actual, rule = (_kind(tensors.get(name)) for tensors in (weights, expected))
        if actual != rule:
            msg = f"{WEIGHTS_FILE}: {name} is {actual}, but {rule} in the network of {CONFIG_FILE}"
            raise ExportError(msg)
        if not bool(torch.isfinite(weights[name]).all()):
            raise ExportError(f"{WEIGHTS_FILE}: {name} should be finite everywhere")


def _kind(tensor: torch.Tensor | None) -> str:
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_forecasts(exported: Exported, name: str, frames: Frames, least: int, most: int) -> None:
    """Require so many forecasts, finite, of symbols that have prices."""
    # Counted first, so that no table of another size is parsed.
    count = max(exported.files[name].count(b"\n") - 1, 0)
    rows = f"{most}" if least == most else f"{least} to {most}"
    if not least <= count <= most:
        raise ExportError(f"{name} should have {rows} rows below its header, but has {count}")
    try:
        frame = exported.forecasts(name)
    except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
        raise ExportError(f"{name} is not a table of forecasts: {_first_line(error)}") from None
    numbers = [*FORECAST_COLUMNS, *quantile_columns(exported.spec.training.quantiles)]
    columns = ["date", "fold", *(["symbol"] if len(frames) > 1 else []), *numbers]
    if list(frame) != columns or len(frame) != count:
        raise ExportError(f"{name} should have the columns {', '.join(columns)} and {rows} rows")
    if unknown := [symbol for symbol in frame.get("symbol", ()) if symbol not in frames]:
        raise ExportError(f"{name} has forecasts of {unknown[0]}, which has no prices")
    _check_dates(exported, name, frame)
    for column in numbers:
        valid = frame[column].abs().to_numpy(np.float64) < _MOST_FORECAST  # False for NaN
        if not valid.all():
            value, line = frame[column][int(valid.argmin())], int(valid.argmin()) + 2
            msg = f"{name}, line {line}: {column} = {value}: should be finite and below 1e150"
            raise ExportError(msg)


def _check_dates(exported: Exported, name: str, frame: pd.DataFrame) -> None:
    """Require that forecasts are of bars with a target, in order of time."""
    try:
        found = list(exported.places(frame))
    except ValueError as error:
        raise ExportError(f"{name}: date: {_first_line(error)}") from None
    for symbol, rows, places in found:
        before = np.append(exported.spec.data.horizon - 1, places[:-1])
        if (wrong := places <= before).any():
            line = int(rows[wrong.argmax()])
            of = f" of {symbol}" * exported.is_basket
            rule = f"should be a bar{of} with a target, later than that before"
            msg = f"{name}, line {line + 2}: date = {frame['date'][line]}: {rule}"
            raise ExportError(msg)


def _check_prices(exported: Exported) -> None:
    for name in (SEARCH_FILE, HOLDOUT_FILE):
        if name in exported.files:
            _check_bars(exported, name)
    columns = {tuple(frame) for frame in (*exported.search.values(), *exported.holdout.values())}
    if len(columns) > 1:
        raise ExportError(f"{HOLDOUT_FILE} should have the columns of {SEARCH_FILE}")
    for symbol, frame in exported.prices.items():
        index = frame.index
        if index.hasnans or not index.is_monotonic_increasing or not index.is_unique:
            of = f" of {symbol}" * exported.is_basket
            raise ExportError(f"{SEARCH_FILE}: times of bars{of} should be ascending, each once")
    if unknown := [symbol for symbol in exported.scalers if symbol not in exported.search]:
        raise ExportError(f"{CONFIG_FILE}: input.scalers has {unknown[0]}, which has no prices")
    _check_ends(exported)
    for symbol, frame in exported.prices.items():
        _check_values(exported, symbol, frame)


def _check_bars(exported: Exported, name: str) -> None:
    found, stated = sha256(exported.files[name]), exported.record.data.sha256[name]
    if found != stated:
        msg = f"{name} has sha256 {found}, but {CONFIG_FILE} has {stated}: the file was changed"
        raise ExportError(msg)
    try:
        frames = exported.search if name == SEARCH_FILE else exported.holdout
    except PuffinError as error:
        raise ExportError(f"{name}: {error}") from None
    if not frames or any(frame.empty or "close" not in frame for frame in frames.values()):
        raise ExportError(f"{name} should have at least one bar and a column close")


def _check_ends(exported: Exported) -> None:
    """Require that the times and numbers of bars in the record are those of the files."""
    data, holdout = exported.record.data, exported.holdout
    dates = union_of_dates(exported.search)
    expected = {"first": when(dates[0]), "search_last": when(dates[-1])}
    if holdout:
        expected["last"] = when(union_of_dates(holdout)[-1])
    bars = sum(map(len, exported.prices.values()))
    for key, value in expected.items():
        if getattr(data, key) != value:
            raise ExportError(
                f"{CONFIG_FILE}: data.{key} = {getattr(data, key)}: should be {value}"
            )
    if data.bars != bars if holdout else data.bars <= bars:
        rule = bars if holdout else f"above {bars}, the bars of the search part"
        raise ExportError(f"{CONFIG_FILE}: data.bars = {data.bars}: should be {rule}")


def _check_values(exported: Exported, symbol: str, prices: pd.DataFrame) -> None:
    """Require finite values of all features and of the target after their warm-up."""
    data, of = exported.spec.data, f" of {symbol}" * exported.is_basket
    with np.errstate(all="ignore"):  # results of bad prices are refused below
        try:
            read = exported.record.features
            series = build_series(columns_of(prices), read, data.target, data.horizon)
        except PuffinError as error:
            raise ExportError(f"{SEARCH_FILE}: {error}") from None
    names = exported.record.input.features
    if series.features.shape[1] != len(names):
        count = series.features.shape[1]
        raise ExportError(f"{SEARCH_FILE}: its columns give {count} features, not {len(names)}")
    for name, values, first in (
        *((name, series.features[:, i], series.warmup) for i, name in enumerate(names)),
        (data.target, series.target, data.horizon),
    ):
        bad = ~np.isfinite(values[first:])
        if bad.any():
            bar = when(prices.index[first + int(bad.argmax())])
            raise ExportError(f"{SEARCH_FILE}: {name!r} is not finite at the bar{of} of {bar}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
