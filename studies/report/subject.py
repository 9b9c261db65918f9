"""The subject of a study: target, prices, features and dates, in words and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from puffin.models.features import TARGETS
from puffin.models.losses import LOSSES
from puffin.studies.dataset import Dataset
from puffin.studies.prices.sources import SOURCES
from puffin.studies.sections import DataSection, TrainingSection
from puffin.studies.spec import Spec
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, in_words, printable, when


def target_in_words(data: DataSection, of: str = "") -> str:
    """Return the target in words, such as "the return of AAPL over the next 5 bars"."""
    target = TARGETS[data.target]
    one = "bar" if target.is_move else "one bar"
    bars = counted(data.horizon, "bar") if data.horizon > 1 else one
    return target.phrase.format(of=f" of {of}" if of else "", bars=bars)


def loss_in_words(training: TrainingSection) -> str:
    """Return what a loss is, such as "mse of the standardised target"."""
    of = f"{training.loss} of {LOSSES[training.loss].unit}"
    if training.quantiles:
        levels = in_words([f"{level:g}" for level in training.quantiles])
        of = f"mean pinball loss of the quantiles {levels} of the standardised target"
    if training.objective == "skill":
        return f"{of}, in units of the loss of persistence on the same fold"
    return of


def series_name(data: DataSection) -> str:
    """Return the symbols of the prices or the name of their file, safe for a terminal."""
    return printable(data.title)


@dataclass(frozen=True)
class FoldDates:
    """First and last bar of the two parts of a fold."""

    train_first: str
    train_last: str
    valid_first: str
    valid_last: str


@dataclass(frozen=True)
class Subject:
    """The target, prices, features and dates of a study.

    Attributes
    ----------
    spec : the study file
    origin, first, last, bars : source, first and last time, and number of all bars
    holdout_first, holdout_last, holdout_bars : times and number of the holdout's targets
    folds : dates of training and validation
    made_with : version by package
    """

    spec: Spec
    origin: str
    first: str
    last: str
    bars: int
    holdout_first: str
    holdout_last: str
    holdout_bars: int
    folds: list[FoldDates]
    made_with: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the subject as JSON can hold it."""
        data = self.spec.data
        return {
            "source": data.source,
            "symbols": list(data.symbols),
            "path": data.path,
            "origin": self.origin,
            # The bars of a file may have any interval.
            "interval": None if SOURCES[data.source].needs_path else data.interval,
            "bars": self.bars,
            "first": self.first,
            "last": self.last,
            "target": data.target,
            "target_in_words": target_in_words(data, series_name(data)),
            "unit": TARGETS[data.target].unit,
            "horizon": data.horizon,
            "features": list(data.inputs),
            "loss": self.spec.training.loss,
            "objective": self.spec.training.objective,
            "folds": [asdict(fold) for fold in self.folds],
            "holdout": {
                "first": self.holdout_first,
                "last": self.holdout_last,
                "bars": self.holdout_bars,
            },
            "made_with": self.made_with,
        }


def subject(study: StoredStudy) -> Subject:
    """Return the subject of a study whose holdout is open."""
    record, holdout = study.record, study.holdout_dataset
    dates = holdout.scored_dates[0].unique().sort_values()
    return Subject(
        spec=study.spec,
        origin=record.data.origin,
        first=record.data.first,
        last=record.data.last,
        bars=record.data.bars,
        holdout_first=when(dates[0]),
        holdout_last=when(dates[-1]),
        holdout_bars=len(dates),
        folds=fold_dates(study.dataset),
        made_with=record.made_with,
    )


def fold_dates(dataset: Dataset) -> list[FoldDates]:
    """Return the first and last bar of both parts of each fold."""
    dates = dataset.dates
    return [
        FoldDates(
            train_first=when(dates[fold.train.start]),
            train_last=when(dates[fold.train.stop - 1]),
            valid_first=when(dates[fold.valid.start]),
            valid_last=when(dates[fold.valid.stop - 1]),
        )
        for fold in dataset.folds
    ]
