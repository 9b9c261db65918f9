"""Reproduction of an export from its own files: train again and compare every figure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.metrics import skill
from puffin.models.networks.ensemble import Ensemble
from puffin.models.scaling import Scaler
from puffin.models.training.fold_training import FoldTraining, validate
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import loss_function
from puffin.studies.dataset import Dataset
from puffin.studies.export.card import model_card
from puffin.studies.export.checks import Check, Comparison, check_same, check_untrained
from puffin.studies.export.read import (
    CARD_FILE,
    FORECAST_FILES,
    Exported,
)
from puffin.studies.export.record import ExportRecord, Holdout, Scores
from puffin.studies.export.write import refit_winner
from puffin.studies.forecast_table import quantile_columns, read_table
from puffin.studies.report.baselines import HoldoutComparison, compare_with_baselines
from puffin.studies.report.money import money_sentence, timing_sentence
from puffin.studies.report.subject import fold_dates
from puffin.studies.report.timing import time_holdout
from puffin.studies.report.trading import run_backtest, why_no_backtest
from puffin.studies.report.verdict import outcome_sentence
from puffin.studies.text import when
from puffin.studies.versions import check_versions, installed_versions


def reproduce(exported: Exported) -> Iterator[Check]:
    """Train an export again and yield a comparison of each of its figures.

    The files of the report and the third sentence of the verdict are not reproduced, because they
    depend on every trial of the search, and neither is a sentence on outside forecasts. Figures
    must be identical on the same kind of processor or GPU with the same versions, and within
    `checks.TOLERANCES` elsewhere.

    Raises
    ------
    VersionMismatchError
        If another version of this package made the export: versions train differently.
    """
    record = exported.record
    check_versions({"puffin-tuner": record.made_with["puffin-tuner"]}, installed_versions())
    folds = Dataset.build(exported.spec, exported.search)
    yield from _targets(record, folds)
    yield from _baselines(record, folds)
    yield from _search(exported, folds)
    yield from _weights(exported, folds)
    if record.holdout is not None:
        holdout = Dataset.for_holdout(exported.spec, exported.search, exported.holdout)
        yield from _holdout(exported, record.holdout, folds, holdout)
    yield check_same(CARD_FILE, exported.files[CARD_FILE], model_card(record).encode())


def _targets(record: ExportRecord, folds: Dataset) -> Iterator[Check]:
    dates = [asdict(fold) for fold in fold_dates(folds)]
    yield check_same("folds", [fold.model_dump() for fold in record.folds], dates)
    yield check_same("targets_sha256", record.targets_sha256, folds.targets_sha256)


def _baselines(record: ExportRecord, folds: Dataset) -> Iterator[Check]:
    for key, recomputed in (
        ("persistence_loss", float(np.mean(folds.persistence_losses))),
        ("mean_loss", float(np.mean(folds.mean_losses))),
        ("mean_direction_accuracy", folds.mean_direction_accuracy),
    ):
        yield check_untrained(f"scores.{key}", getattr(record.scores, key), recomputed)
    persistence = folds.symbol_losses(folds.judged_persistence)
    for symbol, before in record.scores.symbol_persistence.items():
        recomputed = persistence.get(symbol, math.nan)
        yield check_untrained(f"scores.symbol_persistence.{symbol}", before, recomputed)


def _search(exported: Exported, folds: Dataset) -> Iterator[Check]:
    """Train all folds in step, as the winning trial did, and compare its scores."""
    record, spec, config = exported.record, exported.spec, exported.config
    scores, comparison = record.scores, Comparison(record.machine.trial)
    tensors = folds.read_by(config).tensors(config.lookback, comparison.device)
    training = FoldTraining(tensors, config, spec.training_config, spec.search.seed)
    for _ in training:
        pass
    if (best := training.best) is None:  # it diverged in the first epoch
        yield Check("scores.loss", scores.loss, float("nan"), 0.0)
        return
    yield comparison.check("loss", "scores.loss", scores.loss, best.valid_loss, scores.loss)
    rows = zip(scores.fold_losses, best.fold_losses, strict=True)
    for number, (before, loss) in enumerate(rows, start=1):
        yield comparison.check("loss", f"scores.fold_losses of fold {number}", before, loss, before)
    losses = folds.over_folds(best.symbol_losses)
    for symbol, before in scores.symbol_losses.items():
        loss = losses.get(symbol, math.nan)
        yield comparison.check("loss", f"scores.symbol_losses.{symbol}", before, loss, before)
    persistence = float(np.mean(folds.persistence_losses))
    gained, unit = skill(best.valid_loss, persistence), _loss_as_skill(scores, persistence)
    yield comparison.check("loss", "scores.skill", scores.skill, gained, unit)
    forecasts = folds.in_target_units(best.forecasts)
    direction = folds.direction(forecasts)
    low, high = scores.direction_interval
    for name, before, recomputed in (
        ("direction_accuracy", scores.direction_accuracy, direction.accuracy),
        ("direction_interval[0]", low, direction.low),
        ("direction_interval[1]", high, direction.high),
    ):
        yield comparison.check("accuracy", f"scores.{name}", before, recomputed)
    yield comparison.check("epochs", "epochs", record.epochs, best.number)
    yield from _table(FORECAST_FILES[0], exported, folds, forecasts, comparison)


def _table(
    name: str, exported: Exported, dataset: Dataset, forecasts: list[Floats], comparison: Comparison
) -> Iterator[Check]:
    """Compare a file of forecasts: dates, forecasts, actual values and persistence."""
    before, recomputed = map(read_table, (exported.files[name], dataset.forecasts_csv(forecasts)))
    ahead = ["forecast", *quantile_columns(dataset.spec.training.quantiles)]
    numbers = [*ahead, "actual", "persistence"]
    keys = [key for key in recomputed if key not in numbers]
    if list(before) != list(recomputed) or not before[keys].equals(recomputed[keys]):
        yield Check(f"{name} dates", 0.0, float("nan"), 0.0)
        return
    differences = before[numbers] - recomputed[numbers]
    for column in ("actual", "persistence"):
        yield check_untrained(f"{name} {column}", 0.0, _max_abs(differences[column]))
    symbols = np.concatenate(dataset.scored_symbols)
    for symbol, unit in _units(dataset).items():
        label = f"{name} forecast" + f" of {symbol}" * dataset.is_basket
        difference = _max_abs(differences[ahead][symbols == symbol])
        yield comparison.check_difference("forecast", label, difference, unit)


def _units(dataset: Dataset) -> dict[str, float]:
    """Return the largest standard deviation of the target of each symbol over the folds."""
    units: dict[str, float] = {}
    for part in (part for found in dataset.parts for part in found):
        symbol, unit = part.member.symbol, part.scaler.target_std
        units[symbol] = max(unit, units.get(symbol, 0.0))
    return units


def _max_abs(differences: "pd.Series[float]") -> float:
    """Return the largest absolute difference; NaN if any is NaN."""
    return float(np.max(np.abs(differences.to_numpy(np.float64))))


def _loss_as_skill(scores: Scores | Holdout, persistence: float) -> float:
    """Return the loss as a multiple of persistence's, which is the unit of skill."""
    return scores.loss / persistence if persistence > 0 else 0.0


def _weights(exported: Exported, folds: Dataset) -> Iterator[Check]:
    """Train the exported networks again and compare its inputs and weights."""
    record = exported.record
    on_all_bars = record.refit.data == "all"
    dataset = Dataset.build(exported.spec, exported.prices) if on_all_bars else folds
    networks, scalers, targets = refit_winner(dataset, exported.config, record.epochs)
    yield from _inputs(record, scalers, targets)
    kept = [networks[seed] for seed in record.refit.seeds]
    before, recomputed = exported.weights, Ensemble(kept).state_dict()
    difference = max(
        float((recomputed[name] - values).abs().max()) for name, values in before.items()
    )
    largest = max(float(values.abs().max()) for values in before.values())
    comparison = Comparison(record.machine.refit)
    yield comparison.check_difference("weight", "weights", difference, largest)


def _inputs(record: ExportRecord, scalers: Mapping[str, Scaler], targets: int) -> Iterator[Check]:
    """Compare the scalers of the network and the number of its training targets."""
    exported = record.scalers
    if record.is_basket:
        yield check_same("symbols of input.scalers", sorted(exported), sorted(scalers))
    for symbol in (symbol for symbol in exported if symbol in scalers):
        differences = dict(_differences(exported[symbol], scalers[symbol]))
        if record.is_basket:  # a row for each
            differences = {f"scalers.{symbol}": float(np.max(list(differences.values())))}
        for name, difference in differences.items():
            yield check_untrained(f"input.{name}", 0.0, difference)
    yield check_untrained("refit.targets", record.refit.targets, targets)


def _differences(exported: Scaler, scaler: Scaler) -> Iterator[tuple[str, float]]:
    """Yield the largest difference of each part of a scaler; NaN if there are more in one."""
    for name in ("feature_mean", "feature_std", "target_mean", "target_std"):
        before, recomputed = np.array(getattr(exported, name)), np.array(getattr(scaler, name))
        same_shape = before.shape == recomputed.shape
        yield name, float(np.max(np.abs(before - recomputed))) if same_shape else math.nan


def _holdout(
    exported: Exported, recorded: Holdout, folds: Dataset, holdout: Dataset
) -> Iterator[Check]:
    """Train the networks that were judged on the holdout again, and compare with baselines."""
    record, spec, config = exported.record, exported.spec, exported.config
    comparison = Comparison(record.machine.holdout or {})
    (fold,) = holdout.read_by(config).tensors(config.lookback, comparison.device)
    loss, runs = spec.criterion, list[Floats]()
    for seed in recorded.seeds:
        # One after the other, as the workers trained them.
        (network,) = Refit(fold.train, config, loss, record.epochs, [seed]).train()
        _, scaled = validate(network, fold.valid, loss_function(loss))
        runs += holdout.in_target_units([scaled])
    forecasts = np.stack(runs).mean(axis=0)
    if not np.isfinite(forecasts).all():  # the training diverged: there is nothing to judge
        yield Check("holdout.loss", recorded.loss, float("nan"), 0.0)
        return
    recomputed = compare_with_baselines(folds, holdout, config.lookback, forecasts)
    persistence = float(holdout.losses_by_date(holdout.judged_persistence).mean())
    accuracy = holdout.direction([forecasts]).accuracy
    for kind, key, value, unit in (
        ("loss", "loss", recomputed.loss, recorded.loss),
        (
            "loss",
            "skill",
            skill(recomputed.loss, persistence),
            _loss_as_skill(recorded, persistence),
        ),
        ("accuracy", "direction_accuracy", accuracy, 1.0),
    ):
        yield comparison.check(kind, f"holdout.{key}", getattr(recorded, key), value, unit)
    yield comparison.check_equal("outcome", "holdout.outcome", recorded.outcome, recomputed.outcome)
    (dates,) = holdout.scored_dates
    bars = (recorded.first, recorded.last, recorded.bars)
    yield check_same("holdout.bars", bars, (when(dates.min()), when(dates.max()), len(dates)))
    sentences = [
        outcome_sentence(recomputed, dates, spec.data),
        _money_sentence(holdout, forecasts, recomputed),
    ]
    before = "\n".join(recorded.sentences[: len(sentences)])
    yield comparison.check_equal("text", "holdout.sentences", before, "\n".join(sentences))
    yield from _table(FORECAST_FILES[1], exported, holdout, [forecasts], comparison)
    yield from _holdout_baselines(recorded, recomputed)


def _money_sentence(holdout: Dataset, forecasts: Floats, compared: HoldoutComparison) -> str:
    rival, points = compared.reference, holdout.point(forecasts)
    if timing := time_holdout(holdout, points, holdout.point(rival.forecasts), rival.label):
        return timing_sentence(timing)
    why_none, rules = why_no_backtest(holdout), holdout.spec.backtest
    return money_sentence(run_backtest(holdout, points), why_none, rules)


def _holdout_baselines(recorded: Holdout, comparison: HoldoutComparison) -> Iterator[Check]:
    recomputed = {baseline.name: baseline for baseline in comparison.baselines}
    names = [baseline.name for baseline in recorded.baselines]
    yield check_same("holdout.baselines", names, list(recomputed))
    for baseline in (b for b in recorded.baselines if b.name in recomputed):
        for key in ("search_loss", "holdout_loss"):
            name, value = f"holdout.baselines.{baseline.name}.{key}", recomputed[baseline.name]
            yield check_untrained(name, getattr(baseline, key), getattr(value, key))
