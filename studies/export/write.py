"""Writing an export: record, weights, prices, forecasts, report and model card."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from optuna.trial import FrozenTrial
from safetensors.torch import save

from puffin.models.config import Config
from puffin.models.networks.ensemble import Ensemble
from puffin.models.scaling import Scaler
from puffin.models.training.refit import Refit
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
from puffin.studies.export.record import ExportRecord, RecordError, ScalerRecord
from puffin.studies.files import write_files
from puffin.studies.openings import Opening, looks_at, outside_name
from puffin.studies.records import Scores, TrainingRun, TrialRecord
from puffin.studies.report.subject import fold_dates
from puffin.studies.retraining import find_holdout, read_artifact, refits_of, require_opened
from puffin.studies.safe_toml import MOST_BYTES, parse_toml
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE, StoredStudy, StudyError
from puffin.studies.summary import best_record
from puffin.studies.text import when
from puffin.studies.versions import machine_type

if TYPE_CHECKING:
    from puffin.studies.report.build import Report

# Files that an operating system or an editor creates by itself.
_IGNORED_FILES = {"Thumbs.db", "desktop.ini", "lost+found"}


def export(
    study: StoredStudy, folder: Path, refit: str = "search", chosen: FrozenTrial | None = None
) -> Path:
    """Train a configuration of a study for its best epoch count and write it to a folder.

    It is trained with all seeds of the study file; the mean of these networks forecasts.

    Once the seal is open, the export includes the results on the holdout. An earlier export of the
    same study is replaced once all files are written; other files in the folder are kept.

    Parameters
    ----------
    study : StoredStudy
    folder : Path
    refit : str
        ``search`` trains on the search data, so that the scores on the holdout are those of the
        exported weights; ``all`` trains on the holdout too, and the scores are those of the fit
        without it.
    chosen : FrozenTrial, optional
        A complete trial, by default the best.

    Raises
    ------
    ExportError
        If the folder is in use for something else or cannot be written, or the files would not
        pass the checks of a reader, for example because the weights diverged.
    StudyError
        If no trial is complete, or `refit` is ``all`` and the seal has not been opened.
    """
    check_folder(folder, study.name)
    files = _files(study, refit, chosen)
    try:
        # First the file that names the study, last the one that marks the export as complete.
        write_files(folder, {**files, SUMS_FILE: checksums(files)}, _stale(folder, files))
    except OSError as error:
        msg = f"cannot write the export to {folder}: {error.strerror}; give another folder"
        raise ExportError(msg) from None
    return folder


def _files(study: StoredStudy, refit: str, chosen: FrozenTrial | None) -> dict[str, bytes]:
    """Return every file of an export except its checksums, checked as a reader checks them."""
    # Read once: a search that is extended meanwhile may find a better one.
    best = chosen or study.best()
    judgement = _judge(study, best)
    if refit == "all" and judgement.report is None:
        raise StudyError(judgement.why_none)
    values = best_record(study, best)
    config, epochs = Config.from_dict(values["config"]), values["epochs"]
    dataset = study.dataset if refit == "search" else _all_bars(study)
    networks, scalers, targets = refit_winner(dataset, config, epochs)
    # If all diverged, the check below refuses the weights of the first.
    finite = {s: n for s, n in networks.items() if is_finite(n)} or dict([*networks.items()][:1])
    values |= _provenance(study, best, scalers)
    values["scores"] |= {
        "symbol_losses": Scores.read(best).symbol_losses,
        "symbol_persistence": study.record.symbol_persistence,
    }
    values["refit"] = {
        "data": refit,
        "targets": targets,
        "last": when(dataset.dates[-1]),
        "seeds": list(finite),
        "loss": study.spec.training.loss,
    }
    files = {SEARCH_FILE: study.read_prices(SEARCH_FILE)}
    files[FORECAST_FILES[0]] = read_artifact(study, best)
    files |= _add_holdout(study, best, judgement, values)
    try:
        record = ExportRecord.of(values)
        files = {
            CONFIG_FILE: record.to_toml(),
            **files,
            WEIGHTS_FILE: save(Ensemble([*finite.values()]).state_dict()),
            CARD_FILE: model_card(record).encode(),
        }
        check_exported(Exported(Path(), files, record))
    except (RecordError, ExportError) as error:
        msg = f"the best of study {study.name!r} cannot be exported: {error}"
        raise ExportError(msg) from None
    return files


def _add_holdout(
    study: StoredStudy, best: FrozenTrial, judgement: "_Judgement", values: dict[str, Any]
) -> dict[str, bytes]:
    """Add the results on the holdout so far to the values of a record; return their files."""
    holdout, files = find_holdout(study), {}
    if holdout is not None:
        files[HOLDOUT_FILE] = study.read_prices(HOLDOUT_FILE)
        values["seal"] = {"openings": [_plain_opening(look) for look in looks_at(study)]}
    report = judgement.report
    if report is None:
        values["unjudged"] = judgement.why_none
    elif holdout is not None:
        refits = refits_of(holdout, best.number)
        files[FORECAST_FILES[1]] = study.holdout_dataset.forecasts_csv([report.forecasts])
        values["machine"]["holdout"] = _common_machine(refits.values())
        values["holdout"] = _holdout(report) | {"seeds": list(refits)}
        from puffin.studies.report.files import report_files

        files |= report_files(study, report)
    return files


@dataclass(frozen=True, eq=False)
class _Judgement:
    """The report on the winner, or the reason why there is none yet."""

    report: "Report | None"
    why_none: str = ""


def _judge(study: StoredStudy, winner: FrozenTrial) -> _Judgement:
    try:
        require_opened(study, winner)
        # Imported here: the report takes longer to load than everything else an export needs.
        from puffin.studies.report.build import build

        return _Judgement(build(study, winner))
    except StudyError as error:
        return _Judgement(None, str(error))


def _common_machine(trainings: Iterable[FrozenTrial]) -> dict[str, str]:
    """Return the kind of machine of trainings; empty, as if not recorded, if there are several."""
    kinds = [TrainingRun.read(trial).machine for trial in trainings]
    return kinds[0] if all(kind == kinds[0] for kind in kinds) else {}


def _all_bars(study: StoredStudy) -> Dataset:
    """Return the dataset of all bars, the holdout included."""
    return Dataset.build(study.spec, study.load_all_prices())


def _plain_opening(look: Opening) -> dict[str, Any]:
    plain = {"time": look.time, "study": look.study, "trial": look.trial}
    name = outside_name(look)
    return plain if name is None else plain | {"outside": name}


def _holdout(report: "Report") -> dict[str, Any]:
    """Return the results of a report that can be reproduced, and its sentences."""
    from puffin.studies.report.verdict import sentences

    comparison = report.comparison
    return {
        "first": report.first,
        "last": report.last,
        "bars": len(report.dates),
        "loss": comparison.loss,
        "skill": report.skill,
        "direction_accuracy": report.direction.accuracy,
        "outcome": comparison.outcome,
        "sentences": sentences(report),
        "baselines": [
            {
                "name": baseline.name,
                "label": baseline.label,
                "search_loss": baseline.search_loss,
                "holdout_loss": baseline.holdout_loss,
            }
            for baseline in comparison.baselines
        ],
    }


def _stale(folder: Path, files: Collection[str]) -> set[str]:
    """Return the names of files of an earlier export that are not part of this one."""
    try:
        older = set(read_checksums(folder)) - set(files)
    except (ExportError, OSError):
        return set()
    if older <= EXPORT_FILES:
        return older
    from puffin.studies.report.files import FILES

    return older & (EXPORT_FILES | FILES)


def check_folder(folder: Path, study: str) -> None:
    """Require a folder that an export of a study may be written to.

    Raises
    ------
    ExportError
        If it is in use for something else, or cannot be read.
    """
    try:
        problem = _obstacle(folder, study)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        raise ExportError(f"{folder} {problem}; give another folder")


def _obstacle(folder: Path, study: str) -> str | None:
    """Return the reason why a folder cannot take the export; None if it can."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        return "is a file, but an export is a folder"
    names = sorted(path.name for path in folder.iterdir())
    if CONFIG_FILE in names:
        return _other_owner(folder / CONFIG_FILE, study)
    if of_an_export := [name for name in names if name in EXPORT_FILES]:
        return f"holds {of_an_export[0]}, but no {CONFIG_FILE} of an export"
    if unknown := [name for name in names if not _is_ignored(name)]:
        return f"holds {named(unknown)}, which is not part of an export"
    return None


def _other_owner(config: Path, study: str) -> str | None:
    """Return whose export a config.toml belongs to; None if it is the study's."""
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
) -> tuple[dict[int, torch.nn.Module], dict[str, Scaler], int]:
    """Train the winner with each final seed on every target of a dataset, on the CPU.

    One thread, and always all seeds: the number of threads and which networks step together may
    determine the order of sums and thus the last bits of the weights.

    Parameters
    ----------
    dataset : Dataset
    config : Config
    epochs : int

    Returns
    -------
    dict, dict, int
        The network of each of `Spec.final_seeds`, the scaler of each symbol's inputs and outputs,
        and the number of targets.
    """
    parts = dataset.read_by(config).refit_parts()
    tensors = fold_tensors(parts, config.lookback, torch.device("cpu"))
    threads, seeds = torch.get_num_threads(), dataset.spec.final_seeds
    torch.set_num_threads(1)
    try:
        networks = Refit(tensors.train, config, dataset.spec.criterion, epochs, seeds).train()
    finally:
        torch.set_num_threads(threads)
    scalers = {part.member.symbol: part.scaler for part in parts}
    return dict(zip(seeds, networks, strict=True)), scalers, len(tensors.train)


def is_finite(network: torch.nn.Module) -> bool:
    """Return whether all weights of a network are finite, i.e. its training did not diverge."""
    return all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def _provenance(
    study: StoredStudy, best: FrozenTrial, scalers: Mapping[str, Scaler]
) -> dict[str, Any]:
    """Return everything that the scores and the weights depend on."""
    spec = study.spec
    record, machine = study.record, TrainingRun.read(best).machine
    config = Config.from_dict(TrialRecord.read(best).config)
    return {
        "input": {
            "features": list(spec.data.inputs_of(spec.features_of(config))),
            "target": spec.data.target,
            "horizon": spec.data.horizon,
            **_scalers(scalers, is_basket=study.dataset.is_basket),
        },
        "data": {
            "origin": record.data.origin,
            "bars": record.data.bars,
            "first": record.data.first,
            "last": record.data.last,
            "search_last": record.data.search_last,
            "sha256": record.data.sha256,
        },
        "targets_sha256": record.targets_sha256,
        "made_with": record.made_with,
        "machine": {"trial": machine, "refit": machine_type(torch.device("cpu"))},
        "folds": [asdict(dates) for dates in fold_dates(study.dataset)],
        "spec": spec.to_json(),
    }


def _scalers(scalers: Mapping[str, Scaler], *, is_basket: bool) -> dict[str, Any]:
    """Return the scalers as keys of the section "input"; that of an only symbol has no name."""
    values = {symbol: ScalerRecord.values_of(scaler) for symbol, scaler in scalers.items()}
    return {"scalers": values} if is_basket else next(iter(values.values()))
