"""An export derived again from its own files: trained anew, and every score held against it."""

import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch

from puffin.models.arrays import Floats
from puffin.models.evaluation.metrics import skill
from puffin.models.scaling import Scaler
from puffin.models.training.fold_training import FoldTraining, build_networks, forecast_windows
from puffin.models.training.refit import Refit
from puffin.studies.dataset import Dataset
from puffin.studies.export.card import model_card
from puffin.studies.export.read import CARD_FILE, FORECAST_FILES, Exported
from puffin.studies.export.record import ExportRecord, Holdout, Scores
from puffin.studies.export.write import refit_winner
from puffin.studies.report.baselines import compare_with_baselines
from puffin.studies.report.build import run_backtest, why_no_backtest
from puffin.studies.report.subject import fold_dates
from puffin.studies.report.verdict import money_sentence, outcome_sentence
from puffin.studies.text import when
from puffin.studies.versions import check_versions, installed_versions, machine_type

# Another kind of processor or GPU rounds otherwise: a loss may differ by this share of itself, an
# accuracy by this much, a weight by this share of the largest. Without the newer instructions of a
# processor a loss was off by 5e-8 of itself after 9 epochs, and a weight by 4e-7.
LOSS_BOUND, ACCURACY_BOUND, WEIGHT_BOUND = 1e-3, 0.01, 0.02
# A GPU draws other random numbers than a processor, which is like another seed.
SEED_LOSS_BOUND, SEED_ACCURACY_BOUND = 0.1, 0.1
# What needs no training is the same everywhere, but for the rounding of sums and logarithms.
ROUNDING_BOUND = 1e-6


@dataclass(frozen=True)
class Check:
    """A figure of an export, and what came of deriving it again.

    Attributes
    ----------
    name : where it stands in config.toml
    exported, found : float; for weights, forecasts and scalers 0 and the largest difference, for
        words 0 and whether they differ
    bound : how far `found` may be from `exported`; 0 asks for the same bits
    """

    name: str
    exported: float
    found: float
    bound: float

    @property
    def difference(self) -> float:
        """How far the two are apart; NaN equals NaN."""
        if math.isnan(self.exported) and math.isnan(self.found):
            return 0.0
        return abs(self.found - self.exported)

    @property
    def passes(self) -> bool:
        """Whether it is within the bound; a figure that is no number is within none."""
        return self.difference <= self.bound


def reproduce(exported: Exported) -> Iterator[Check]:
    """Train an export again and compare each of its figures, one part after the other.

    Not derived again are the files of the report and the verdict's third sentence, which rest on
    every trial of the search. The same bits are asked for where the processor or GPU, torch and
    this package are those that the figures come from, otherwise a difference within the bounds of
    this module.

    Raises
    ------
    VersionMismatchError
        If another version of this package exported it, which trains otherwise.
    """
    record = exported.record
    check_versions({"puffin-tuner": record.made_with["puffin-tuner"]}, installed_versions())
    folds = Dataset.build(exported.spec, exported.search)
    yield from _targets(record, folds)
    yield from _baselines(record, folds)
    yield from _search(exported, folds)
    yield from _weights(exported, folds)
    if record.holdout is not None and exported.holdout is not None:
        holdout = Dataset.for_holdout(exported.spec, exported.search, exported.holdout)
        yield from _holdout(exported, record.holdout, folds, holdout)
    yield _same(CARD_FILE, exported.files[CARD_FILE], model_card(record).encode())


@dataclass(frozen=True)
class _Tolerances:
    """Compares figures that a training on a kind of machine gave."""

    machine: dict[str, str]

    @property
    def device(self) -> torch.device:
        """The device here that is most like it."""
        gpu = "gpu" in self.machine and torch.cuda.is_available()
        return torch.device("cuda" if gpu else "cpu")

    @property
    def _rng_differs(self) -> bool:
        return "gpu" in self.machine and self.device.type == "cpu"

    def loss(self, name: str, exported: float, found: float, unit: float = 1.0) -> Check:
        """Compare a loss, or what is a loss over `unit` but for a constant."""
        share = SEED_LOSS_BOUND if self._rng_differs else LOSS_BOUND
        return self._check(name, exported, found, share * unit)

    def accuracy(self, name: str, exported: float, found: float) -> Check:
        bound = SEED_ACCURACY_BOUND if self._rng_differs else ACCURACY_BOUND
        return self._check(name, exported, found, bound)

    def weight(self, name: str, apart: float, largest: float) -> Check:
        return self._check(name, 0.0, apart, WEIGHT_BOUND * largest)

    def forecast(self, name: str, apart: float, unit: float) -> Check:
        """Compare forecasts by their largest difference, of targets that deviate by `unit`."""
        share = math.inf if self._rng_differs else WEIGHT_BOUND
        return self._check(name, 0.0, apart, share * unit)

    def text(self, name: str, exported: str, found: str) -> Check:
        """Compare words: 0 where they are the same, and 1 where they are not."""
        return self._check(name, 0.0, float(exported != found), math.inf)

    def outcome(self, name: str, exported: str, found: str) -> Check:
        """Compare outcomes, which only another seed may turn."""
        bound = math.inf if self._rng_differs else 0.0
        return self._check(name, 0.0, float(exported != found), bound)

    def epochs(self, name: str, exported: int, found: int) -> Check:
        """Compare best epochs: elsewhere early stopping may end at another one."""
        return self._check(name, exported, found, math.inf)

    def _check(self, name: str, exported: float, found: float, bound: float) -> Check:
        same = self.machine == machine_type(self.device)
        return Check(name, exported, found, 0.0 if same else bound)


def _to_plain(name: str, exported: float, found: float) -> Check:
    return Check(name, exported, found, ROUNDING_BOUND * max(abs(exported), 1.0))


def _same(name: str, exported: object, found: object) -> Check:
    """Compare what is no number: 0 if it is the same, and 1 if not."""
    return Check(name, 0.0, float(exported != found), 0.0)


def _targets(record: ExportRecord, folds: Dataset) -> Iterator[Check]:
    yield _same(
        "folds", [f.model_dump() for f in record.folds], [asdict(f) for f in fold_dates(folds)]
    )
    yield _same("targets_sha256", record.targets_sha256, folds.targets_sha256)


def _baselines(record: ExportRecord, folds: Dataset) -> Iterator[Check]:
    scores = record.scores
    found = {
        "persistence_loss": float(np.mean(folds.persistence_losses)),
        "mean_loss": float(np.mean(folds.mean_losses)),
        "mean_direction_accuracy": folds.mean_direction.accuracy,
    }
    for key, value in found.items():
        yield _to_plain(f"scores.{key}", getattr(scores, key), value)


def _search(exported: Exported, folds: Dataset) -> Iterator[Check]:
    """Train all folds in step again, as the winning trial did."""
    record, spec, config = exported.record, exported.spec, exported.config
    scores, trained = record.scores, _Tolerances(record.machine.trial)
    seed, tensors = spec.search.seed, folds.tensors(config.lookback, trained.device)
    inputs = folds.series.features.shape[1]
    networks = build_networks(config, inputs, len(tensors), trained.device, seed)
    training = FoldTraining(networks, tensors, config, spec.training_config, seed)
    for _ in training:
        pass
    if (best := training.best) is None:
        yield Check("scores.loss", scores.loss, float("nan"), 0.0)
        return
    yield trained.loss("scores.loss", scores.loss, best.valid_loss, scores.loss)
    rows = zip(scores.fold_losses, best.fold_losses, strict=True)
    for number, (own, loss) in enumerate(rows, start=1):
        yield trained.loss(f"scores.fold_losses of fold {number}", own, loss, own)
    persistence = float(np.mean(folds.persistence_losses))
    gained, unit = skill(best.valid_loss, persistence), _in_skill(scores, persistence)
    yield trained.loss("scores.skill", scores.skill, gained, unit)
    forecasts = folds.in_target_units(best.forecasts)
    found = folds.direction(forecasts)
    low, high = scores.direction_interval
    for name, own, again in (
        ("direction_accuracy", scores.direction_accuracy, found.accuracy),
        ("direction_interval[0]", low, found.low),
        ("direction_interval[1]", high, found.high),
    ):
        yield trained.accuracy(f"scores.{name}", own, again)
    yield trained.epochs("epochs", record.epochs, best.number)
    yield from _table(FORECAST_FILES[0], exported, folds, forecasts, trained)


def _table(
    name: str, exported: Exported, dataset: Dataset, forecasts: list[Floats], trained: _Tolerances
) -> Iterator[Check]:
    """Compare a file of forecasts: what was forecast, and what it was held against."""
    own, again = (
        pd.read_csv(io.BytesIO(body))
        for body in (exported.files[name], dataset.forecasts_csv(forecasts))
    )
    if list(own) != list(again) or not own[["date", "fold"]].equals(again[["date", "fold"]]):
        yield Check(f"{name} dates", 0.0, float("nan"), 0.0)
        return
    unit = max(scaler.target_std for scaler in dataset.scalers)
    for column in ("actual", "persistence"):
        yield _to_plain(f"{name} {column}", 0.0, _max_abs(own[column] - again[column]))
    yield trained.forecast(f"{name} forecast", _max_abs(own["forecast"] - again["forecast"]), unit)


def _max_abs(differences: "pd.Series[float]") -> float:
    """Give the largest difference; NaN where one is no number."""
    return float(np.max(np.abs(differences.to_numpy(np.float64))))


def _in_skill(scores: Scores | Holdout, persistence: float) -> float:
    """Give a loss in units of skill."""
    return scores.loss / persistence if persistence > 0 else 0.0


def _weights(exported: Exported, folds: Dataset) -> Iterator[Check]:
    record = exported.record
    everything = record.refit.data == "all"
    dataset = Dataset.build(exported.spec, exported.prices) if everything else folds
    network, scaler, targets = refit_winner(dataset, exported.config, record.epochs)
    yield from _inputs(record, scaler, targets)
    again, own = network.state_dict(), exported.weights
    apart = max(float((again[name] - values).abs().max()) for name, values in own.items())
    largest = max(float(values.abs().max()) for values in own.values())
    yield _Tolerances(record.machine.refit).weight("weights", apart, largest)


def _inputs(record: ExportRecord, scaler: Scaler, targets: int) -> Iterator[Check]:
    """Compare what the network is fed with and what it was trained on."""
    told = record.input
    for name in ("feature_mean", "feature_std", "target_mean", "target_std"):
        own, again = np.array(getattr(told, name)), np.array(getattr(scaler, name))
        apart = float("nan") if own.shape != again.shape else float(np.max(np.abs(own - again)))
        yield _to_plain(f"input.{name}", 0.0, apart)
    yield _to_plain("refit.targets", record.refit.targets, targets)


def _holdout(
    exported: Exported, told: Holdout, folds: Dataset, holdout: Dataset
) -> Iterator[Check]:
    """Train the fit that was judged again, and judge it beside the baselines."""
    record, spec, config = exported.record, exported.spec, exported.config
    trained = _Tolerances(record.machine.holdout or {})
    (fold,) = holdout.tensors(config.lookback, trained.device)
    windows, targets = fold.train_windows, fold.train_targets
    given = (config, spec.training.loss, record.epochs, spec.search.seed)
    network = Refit(windows, targets, *given).train()
    (forecasts,) = holdout.in_target_units(forecast_windows(network, fold.valid_windows).T)
    if not np.isfinite(forecasts).all():  # the training diverged: there is nothing to judge
        yield Check("holdout.loss", told.loss, float("nan"), 0.0)
        return
    found = compare_with_baselines(folds, holdout, config.lookback, forecasts)
    persistence = holdout.persistence_losses[0]
    own_skill, unit = told.skill, _in_skill(told, persistence)
    yield trained.loss("holdout.loss", told.loss, found.loss, told.loss)
    yield trained.loss("holdout.skill", own_skill, skill(found.loss, persistence), unit)
    accuracy = holdout.direction([forecasts]).accuracy
    yield trained.accuracy("holdout.direction_accuracy", told.direction_accuracy, accuracy)
    yield trained.outcome("holdout.outcome", told.outcome, found.outcome)
    (dates,) = (holdout.dates[part.valid.start : part.valid.stop] for part in holdout.folds)
    bars = (told.first, told.last, told.bars)
    yield _same("holdout.bars", bars, (when(dates[0]), when(dates[-1]), len(dates)))
    words = [
        outcome_sentence(found, dates, spec.data),
        money_sentence(run_backtest(holdout, forecasts), why_no_backtest(holdout)),
    ]
    said = "\n".join(told.sentences[: len(words)])
    yield trained.text("holdout.sentences", said, "\n".join(words))
    yield from _table(FORECAST_FILES[1], exported, holdout, [forecasts], trained)
    again = {rival.name: rival for rival in found.baselines}
    yield _same("holdout.baselines", [b.name for b in told.baselines], list(again))
    for baseline in (b for b in told.baselines if b.name in again):
        name, rival = f"holdout.baselines.{baseline.name}", again[baseline.name]
        yield _to_plain(f"{name}.search_loss", baseline.search_loss, rival.search_loss)
        yield _to_plain(f"{name}.holdout_loss", baseline.holdout_loss, rival.holdout_loss)
