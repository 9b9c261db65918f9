"""The winner as files: configuration, weights, prices, forecasts, report, and a card."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from optuna.trial import FrozenTrial
from safetensors.torch import save

from puffin.models.config import Config
from puffin.models.folds import Fold
from puffin.models.scaling import Scaler
from puffin.models.training.refit import train_epochs
from puffin.models.windows import fold_tensors
from puffin.studies.dataset import Dataset
from puffin.studies.export.card import model_card
from puffin.studies.export.checksums import (
    CONFIG_FILE,
    SUMS_FILE,
    ExportError,
    checksums,
    named,
    read_checksums,
)
from puffin.studies.export.read import (
    CARD_FILE,
    EXPORT_FILES,
    FORECAST_FILES,
    WEIGHTS_FILE,
    Exported,
    check_exported,
)
from puffin.studies.export.record import ExportRecord, RecordError
from puffin.studies.files import write_files
from puffin.studies.openings import Opening, looks_at
from puffin.studies.prices.snapshot import to_csv
from puffin.studies.report.subject import fold_dates
from puffin.studies.retraining import find_holdout, own_refit, read_artifact, require_opened
from puffin.studies.safe_toml import MOST_BYTES, parse_toml
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE, StoredStudy, StudyError
from puffin.studies.summary import best_record
from puffin.studies.text import when
from puffin.studies.versions import machine_type

if TYPE_CHECKING:
    from puffin.studies.report.build import Report

# What an operating system, git or an editor puts into a folder without being asked.
_IGNORED_FILES = {"Thumbs.db", "desktop.ini", "lost+found"}


def export(study: StoredStudy, folder: Path, refit: str = "search") -> Path:
    """Write the best configuration of a study, refitted for its best epoch count.

    Once the seal is open, what it showed is a part of the export. Every file is whole before the
    first takes its place; an earlier export of the same study is replaced, and files that are no
    part of one are kept.

    Parameters
    ----------
    refit : str
        ``search`` trains on the search data, and the scores are those of these very weights;
        ``all`` on the holdout too, and the scores are those of the older fit.

    Raises
    ------
    ExportError
        If the folder is in use for something else, or cannot be written, or what was found is no
        whole forecaster, such as weights that diverged.
    StudyError
        If no trial is complete, or all bars are asked for and the seal has not been opened.
    """
    _check_folder(folder, study.name)
    files = _files(study, refit)
    try:
        # First the file that says whose folder it is, last the one that says that it is whole.
        write_files(folder, {**files, SUMS_FILE: checksums(files)}, _stale(folder, files))
    except OSError as error:
        msg = f"cannot write the export to {folder}: {error.strerror}; give another folder"
        raise ExportError(msg) from None
    return folder


def _files(study: StoredStudy, refit: str) -> dict[str, bytes]:
    """Return every file of an export but its sums, checked as a reader checks them."""
    # Read once: a search that is extended meanwhile may find a better one.
    best, judgement = study.best(), _judge(study)
    if refit == "all" and judgement.report is None:
        raise StudyError(judgement.why_none)
    values = best_record(study, best)
    config, epochs = Config.from_dict(values["config"]), values["epochs"]
    dataset = study.dataset if refit == "search" else _whole(study)
    network, scaler, targets = refit_winner(dataset, config, epochs)
    values |= _provenance(study, best, scaler)
    values["refit"] = {
        "data": refit,
        "targets": targets,
        "last": when(dataset.dates[-1]),
        "seed": study.spec.search.seed,
        "loss": study.spec.training.loss,
    }
    files = {SEARCH_FILE: to_csv(study.load_search_prices())}
    files[FORECAST_FILES[0]] = read_artifact(study, best)
    files |= _add_holdout(study, best, judgement, values)
    try:
        record = ExportRecord.of(values)
        files = {
            CONFIG_FILE: record.to_toml(),
            **files,
            WEIGHTS_FILE: save(network.state_dict()),
            CARD_FILE: model_card(record).encode(),
        }
        check_exported(Exported(Path(), files, record))
    except (RecordError, ExportError) as error:
        msg = f"the best of study {study.name!r} is no forecaster to export: {error}"
        raise ExportError(msg) from None
    return files


def _add_holdout(
    study: StoredStudy, best: FrozenTrial, judgement: "_Judgement", values: dict[str, Any]
) -> dict[str, bytes]:
    """Add the results on the holdout so far to the values of a record; return their files."""
    holdout, files = find_holdout(study), {}
    if holdout is not None:
        files[HOLDOUT_FILE] = to_csv(study.load_holdout_prices())
        values["seal"] = {"openings": [_plain_opening(look) for look in looks_at(study)]}
    report = judgement.report
    if report is None:
        values["unjudged"] = judgement.why_none
    elif holdout is not None:
        own = own_refit(holdout, best.number, study.spec.search.seed)
        files[FORECAST_FILES[1]] = read_artifact(holdout, own)
        values["machine"]["holdout"] = own.user_attrs["run"].get("machine", {})
        values["holdout"] = _holdout(report)
        from puffin.studies.report.files import report_files

        files |= report_files(study, report)
    return files


@dataclass(frozen=True, eq=False)
class _Judgement:
    """The report on the winner, or the reason why there is none yet."""

    report: "Report | None"
    why_none: str = ""


def _judge(study: StoredStudy) -> _Judgement:
    try:
        require_opened(study)
        # Imported here: the report takes longer to load than everything else an export needs.
        from puffin.studies.report.build import build

        return _Judgement(build(study))
    except StudyError as error:
        return _Judgement(None, str(error))


def _whole(study: StoredStudy) -> Dataset:
    """Prepare all bars to train on, those of the holdout too."""
    return Dataset.build(study.spec, study.load_all_prices())


def _plain_opening(look: Opening) -> dict[str, Any]:
    return {"time": look.time, "study": look.study, "trial": look.trial}


def _holdout(report: "Report") -> dict[str, Any]:
    """Give what can be derived again of a report."""
    from puffin.studies.report.verdict import sentences

    found = report.comparison
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
            for rival in found.baselines
        ],
    }


def _stale(folder: Path, files: Collection[str]) -> set[str]:
    """Name the files of an earlier export that are no part of this one."""
    try:
        older = set(read_checksums(folder)) - set(files)
    except (ExportError, OSError):
        return set()
    if older <= EXPORT_FILES:
        return older
    from puffin.studies.report.files import FILES

    return older & (EXPORT_FILES | FILES)


def _check_folder(folder: Path, study: str) -> None:
    try:
        problem = _obstacle(folder, study)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        raise ExportError(f"{folder} {problem}; give another folder")


def _obstacle(folder: Path, study: str) -> str | None:
    """Return what a folder is in use for, if it is no older export of the study."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        return "is a file, but an export is a folder"
    names = sorted(path.name for path in folder.iterdir())
    if CONFIG_FILE in names:
        return _other_owner(folder / CONFIG_FILE, study)
    if ours := [name for name in names if name in EXPORT_FILES]:
        return f"holds {ours[0]}, but no {CONFIG_FILE} of an export"
    if strangers := [name for name in names if not _is_ignored(name)]:
        return f"holds {named(strangers)}, which is no part of an export"
    return None


def _other_owner(config: Path, study: str) -> str | None:
    """Return whose export a config.toml is of, if not the study's."""
    owner: object = None
    if config.is_file():
        with config.open("rb") as file:
            body = file.read(MOST_BYTES + 1)
        with suppress(ValueError):
            owner = parse_toml(body).get("study")
    if owner == study:
        return None
    return f"holds the export of {owner if isinstance(owner, str) else 'something else'}"


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.endswith("~") or name in _IGNORED_FILES


def refit_winner(
    dataset: Dataset, config: Config, epochs: int
) -> tuple[torch.nn.Module, Scaler, int]:
    """Train the winner on every target of a workload, on the CPU, with one thread.

    The number of threads decides the order of sums, and so the last bits of the weights.

    Returns
    -------
    Module, Scaler, int
        The network, what it is standardised by, and the number of targets.
    """
    span = dataset.refit_span()
    scaler = Scaler.fit(dataset.series, span, dataset.spec.parsed_space.max_lookback)
    device = torch.device("cpu")
    tensors = fold_tensors(dataset.series, Fold(span, span), scaler, config.lookback, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = train_epochs(
            tensors.train_windows,
            tensors.train_targets,
            config,
            dataset.spec.training.loss,
            epochs,
            dataset.spec.search.seed,
        )
    finally:
        torch.set_num_threads(threads)
    return network, scaler, len(span)


def _provenance(study: StoredStudy, best: FrozenTrial, scaler: Scaler) -> dict[str, Any]:
    """Give everything that the scores and the weights depend on."""
    spec = study.spec
    trained = best.user_attrs["run"].get("machine", {})
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
            key: study.attrs["data"][key]
            for key in ("origin", "bars", "first", "last", "search_last", "sha256")
        },
        "targets_sha256": study.attrs["targets_sha256"],
        "made_with": study.attrs["made_with"],
        "machine": {"trial": trained, "refit": machine_type(torch.device("cpu"))},
        "folds": [asdict(dates) for dates in fold_dates(study.dataset)],
        "spec": spec.to_json(),
    }
