"""The winner as files: configuration, weights refitted on all search data, and a card."""

import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors.torch import save

from models.config import Config
from models.errors import PuffinError
from models.rnn import CELLS
from models.training import train_epochs
from models.walk_forward import Fold
from models.windows import TARGETS, Scaler, fold_tensors
from studies.result import best_record
from studies.study import Handle
from studies.validation import when
from studies.workload import Workload

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.toml", "model.safetensors", "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)


class ExportError(PuffinError):
    """A folder that an export must not touch."""


def export(handle: Handle, folder: Path) -> Path:
    """Write the best configuration of a study, refitted on all search data for its best epoch.

    Every file is whole before the first takes its place; an earlier export of the same study is
    replaced.

    Raises
    ------
    ExportError
        If the folder holds anything but an export of this study, or cannot be written.
    StudyError
        If no trial is complete.
    """
    _check_folder(folder, handle.name)
    record = best_record(handle)
    workload = handle.workload
    network, scaler, targets = _refit(workload, Config.from_dict(record["config"]), record)
    record |= _provenance(handle, workload, scaler, targets)
    files = {
        CONFIG_FILE: tomli_w.dumps(record).encode(),
        WEIGHTS_FILE: save(network.state_dict()),
        CARD_FILE: _card(record).encode(),
    }
    try:
        _write(folder, files)
    except OSError as error:
        msg = f"cannot write the export to {folder}: {error.strerror}; give another folder"
        raise ExportError(msg) from None
    return folder


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, body in files.items():
            (scratch / name).write_bytes(body)
        folder.mkdir(exist_ok=True)
        for name in files:
            (scratch / name).replace(folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_folder(folder: Path, study: str) -> None:
    try:
        problem = _in_the_way(folder, study)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        msg = f"{folder} {problem}; give another folder"
        raise ExportError(msg)


def _in_the_way(folder: Path, study: str) -> str | None:
    """Say what keeps an export of `study` from its folder: only its own older one may go."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        return "is a file, but an export is a folder"
    found = sorted(p.name for p in folder.iterdir())
    strangers = [name for name in found if name not in FILES]
    if strangers:
        return f"holds {strangers[0]}, which is no part of an export"
    if found and CONFIG_FILE not in found:
        return f"holds {found[0]}, but no {CONFIG_FILE} of an export"
    if not found:
        return None
    try:
        owner = tomllib.loads((folder / CONFIG_FILE).read_text("utf-8")).get("study")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        owner = None
    return None if owner == study else f"holds the export of {owner or 'something else'}"


def _refit(
    workload: Workload, config: Config, record: dict[str, Any]
) -> tuple[torch.nn.Module, Scaler, int]:
    """Train the winner on every target of the search part, on the CPU, with one thread.

    The number of threads decides the order of sums, and so the last bits of the weights.
    """
    span = workload.refit_span()
    scaler = Scaler.fit(workload.series, span, workload.spec.parsed_space.max_lookback)
    device = torch.device("cpu")
    tensors = fold_tensors(workload.series, Fold(span, span), scaler, config.lookback, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = train_epochs(
            tensors.train_windows,
            tensors.train_targets,
            config,
            workload.spec.training.loss,
            record["epochs"],
            workload.spec.search.seed,
        )
    finally:
        torch.set_num_threads(threads)
    return network, scaler, len(span)


def _provenance(handle: Handle, workload: Workload, scaler: Scaler, targets: int) -> dict[str, Any]:
    """Give everything that the scores and the weights depend on."""
    spec = handle.spec
    dates = workload.dates
    return {
        "input": {
            "features": list(spec.data.features),
            "target": spec.data.target,
            "horizon": spec.data.horizon,
            "feature_mean": scaler.feature_mean.tolist(),
            "feature_std": scaler.feature_std.tolist(),
            "target_mean": scaler.target_mean,
            "target_std": scaler.target_std,
        },
        "data": {
            key: handle.attrs["data"][key]
            for key in ("origin", "bars", "first", "last", "search_last", "sha256")
        },
        "folds": [
            {
                "train_first": when(dates[fold.train.start]),
                "train_last": when(dates[fold.train.stop - 1]),
                "valid_first": when(dates[fold.valid.start]),
                "valid_last": when(dates[fold.valid.stop - 1]),
            }
            for fold in workload.folds
        ],
        "refit": {"targets": targets, "seed": spec.search.seed, "loss": spec.training.loss},
        "spec": _without_none(spec.to_json()),
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what TOML cannot say: keys without a value."""
    return {
        k: _without_none(v) if isinstance(v, dict) else v
        for k, v in values.items()
        if v is not None
    }


def _card(record: dict[str, Any]) -> str:
    """Describe an export in words and figures."""
    config, scores, data, given = (record[k] for k in ("config", "scores", "data", "input"))
    refit, unit = record["refit"], TARGETS[given["target"]].unit
    folds = "\n".join(
        f"| {i + 1} | {f['train_first']} to {f['train_last']} "
        f"| {f['valid_first']} to {f['valid_last']} | {loss:.4f} |"
        for i, (f, loss) in enumerate(zip(record["folds"], scores["fold_losses"], strict=True))
    )
    hashes = "\n".join(f"* `{name}`: `{value}`" for name, value in data["sha256"].items())
    widths = ", ".join(map(str, config["hidden_dims"]))
    low, high = scores["direction_interval"]
    return f"""# {record["study"]}: {config["cell"].upper()} [{widths}]

The best of the complete trials of study `{record["study"]}` (trial {record["trial"]}), refitted on
the {refit["targets"]} targets of the search data for {record["epochs"]} epochs with seed
{refit["seed"]}. It forecasts the {unit}, {given["horizon"]} bar(s) ahead,
from {config["lookback"]} bars of {", ".join(given["features"])}.

## Scores

Walk-forward validation, {refit["loss"]} on the target standardised by each training part.
These scores chose the configuration, so they flatter it; the holdout has not been opened for them.

| fold | trained on | validated on | loss |
|---|---|---|---|
{folds}

| | |
|---|---|
| mean loss | {scores["loss"]:.4f} |
| loss of persistence | {scores["persistence_loss"]:.4f} |
| loss of the training mean | {scores["mean_loss"]:.4f} |
| skill against persistence | {scores["skill"]:+.4f} |
| direction accuracy | {scores["direction_accuracy"]:.1%} ({low:.1%} to {high:.1%}) |
| direction accuracy of the training mean | {scores["mean_direction_accuracy"]:.1%} |

## Data

{data["origin"]}: {data["bars"]} bars from {data["first"]} to {data["last"]};
the search saw those up to {data["search_last"]}. sha256 of the study's own copy:

{hashes}

## Files

* `config.toml`: configuration, scores, folds, seeds, scalers and the whole study file
* `model.safetensors`: weights of `models.rnn.{CELLS[config["cell"]].__name__}`
"""
