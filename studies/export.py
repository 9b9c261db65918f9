"""The winner as files: configuration, weights, prices, forecasts, report, and a card."""

import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
import torch
from safetensors.torch import save

from models.config import Config
from models.series import Scaler
from models.training import train_epochs
from models.walk_forward import Fold
from models.windows import fold_tensors
from studies.card import card
from studies.exported import (
    CARD_FILE,
    CONFIG_FILE,
    FORECAST_FILES,
    SUMS_FILE,
    WEIGHTS_FILE,
    ExportError,
    sums,
)
from studies.reruns import find_holdout, own_refit, read_artifact, require_opened
from studies.result import best_record
from studies.snapshot import to_csv
from studies.stamp import machine_type
from studies.study import HOLDOUT_FILE, SEARCH_FILE, Handle, StudyError
from studies.validation import when
from studies.workload import Workload

if TYPE_CHECKING:
    from studies.report import Report

# Every file of an export whose seal is closed.
_PLAIN = {
    CONFIG_FILE,
    WEIGHTS_FILE,
    CARD_FILE,
    SUMS_FILE,
    SEARCH_FILE,
    HOLDOUT_FILE,
    *FORECAST_FILES,
}


def export(handle: Handle, folder: Path, refit: str = "search") -> Path:
    """Write the best configuration of a study, refitted for its best epoch count.

    Once the seal is open, what it showed is a part of the export. Every file is whole before the
    first takes its place; an earlier export of the same study is replaced.

    Parameters
    ----------
    refit : str
        ``search`` trains on the search data, and the scores are those of these very weights;
        ``all`` on the holdout too, and the scores are those of the older fit.

    Raises
    ------
    ExportError
        If the folder holds anything but an export of this study, or cannot be written.
    StudyError
        If no trial is complete, or all bars are asked for and the seal has not been opened.
    """
    _check_folder(folder, handle.name)
    files = _files(handle, refit)
    files[SUMS_FILE] = sums(files)
    try:
        _write(folder, files)
    except OSError as error:
        msg = f"cannot write the export to {folder}: {error.strerror}; give another folder"
        raise ExportError(msg) from None
    return folder


def _files(handle: Handle, refit: str) -> dict[str, bytes]:
    best, holdout = handle.best(), find_holdout(handle)
    report = _report(handle)
    if refit == "all" and isinstance(report, StudyError):
        raise report
    record = best_record(handle)
    workload = handle.workload if refit == "search" else _whole(handle)
    network, scaler, targets = refit_winner(workload, Config.from_dict(record["config"]), record)
    record |= _provenance(handle, scaler)
    record["refit"] = {
        "data": refit,
        "targets": targets,
        "last": when(workload.dates[-1]),
        "seed": handle.spec.search.seed,
        "loss": handle.spec.training.loss,
    }
    files = {SEARCH_FILE: to_csv(handle.load_search_prices())}
    files[FORECAST_FILES[0]] = read_artifact(handle, best)
    if holdout is not None:
        files[HOLDOUT_FILE] = to_csv(handle.load_holdout_prices())
        record["seal"] = {"openings": [_plain_opening(o) for o in holdout.attrs["openings"]]}
    if isinstance(report, StudyError):
        record["unjudged"] = str(report)
    elif holdout is not None:
        own = own_refit(holdout, best.number, handle.spec.search.seed)
        files[FORECAST_FILES[1]] = read_artifact(holdout, own)
        record["machine"]["holdout"] = own.user_attrs["run"].get("machine", {})
        record["holdout"] = _holdout(report)
        from studies.pages import report_files

        files |= report_files(handle, report)
    return files | {
        CONFIG_FILE: tomli_w.dumps(record).encode(),
        WEIGHTS_FILE: save(network.state_dict()),
        CARD_FILE: card(record).encode(),
    }


def _report(handle: Handle) -> "Report | StudyError":
    """Give what the holdout showed of the best, or why it has shown nothing yet."""
    try:
        require_opened(handle)
        # Here: what judges and draws takes longer to load than all else that an export needs.
        from studies.report import build

        return build(handle)
    except StudyError as error:
        return error


def _whole(handle: Handle) -> Workload:
    """Prepare all bars to train on, those of the holdout too."""
    return Workload.build(handle.spec, handle.load_all_prices())


def _plain_opening(opening: dict[str, Any]) -> dict[str, Any]:
    return {key: opening[key] for key in ("time", "trial")}


def _holdout(report: "Report") -> dict[str, Any]:
    """Give what can be derived again of a report."""
    from studies.verdict import sentences

    found = report.judgement
    return {
        "first": report.first,
        "last": report.last,
        "bars": len(report.dates),
        "loss": found.loss,
        "skill": report.skill,
        "direction_accuracy": report.direction.accuracy,
        "outcome": found.outcome,
        "sentences": sentences(report),
        "baselines": [
            {
                "name": rival.name,
                "label": rival.label,
                "search_loss": rival.search_loss,
                "holdout_loss": rival.holdout_loss,
            }
            for rival in found.rivals
        ],
    }


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, body in files.items():
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_bytes(body)
        folder.mkdir(exist_ok=True)
        # First the file that says whose folder it is, or who is killed here could not go on.
        for name in sorted(files, key=lambda name: name != CONFIG_FILE):
            (folder / name).parent.mkdir(exist_ok=True)
            (scratch / name).replace(folder / name)
        for name in _own(_names(folder)) - set(files):
            (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def _own(names: set[str]) -> set[str]:
    """Give those of some names that are of files that an export may hold."""
    if names <= _PLAIN:
        return names
    from studies.pages import FILES

    return names & (_PLAIN | FILES)


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
    found = _names(folder)
    if not found:
        return None
    if strangers := found - _own(found):
        return f"holds {min(strangers)}, which is no part of an export"
    if CONFIG_FILE not in found:
        return f"holds {min(found)}, but no {CONFIG_FILE} of an export"
    try:
        owner = tomllib.loads((folder / CONFIG_FILE).read_text("utf-8")).get("study")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        owner = None
    return None if owner == study else f"holds the export of {owner or 'something else'}"


def refit_winner(
    workload: Workload, config: Config, record: dict[str, Any]
) -> tuple[torch.nn.Module, Scaler, int]:
    """Train the winner on every target of a workload, on the CPU, with one thread.

    The number of threads decides the order of sums, and so the last bits of the weights.

    Returns
    -------
    Module, Scaler, int
        The network, what it is standardised by, and the number of targets.
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


def _provenance(handle: Handle, scaler: Scaler) -> dict[str, Any]:
    """Give everything that the scores and the weights depend on."""
    spec, dates = handle.spec, handle.workload.dates
    trained = handle.best().user_attrs["run"].get("machine", {})
    return {
        "input": {
            "features": list(spec.data.inputs),
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
        "targets_sha256": handle.attrs["targets_sha256"],
        "made_with": handle.attrs["made_with"],
        "machine": {"trial": trained, "refit": machine_type(torch.device("cpu"))},
        "folds": [
            {
                "train_first": when(dates[fold.train.start]),
                "train_last": when(dates[fold.train.stop - 1]),
                "valid_first": when(dates[fold.valid.start]),
                "valid_last": when(dates[fold.valid.stop - 1]),
            }
            for fold in handle.workload.folds
        ],
        "spec": _without_none(spec.to_json()),
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what TOML cannot say: keys without a value."""
    return {
        k: _without_none(v) if isinstance(v, dict) else v
        for k, v in values.items()
        if v is not None
    }
