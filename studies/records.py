"""What the database stores of a trial and of a study, as typed records.

Optuna keeps both as attributes with string keys. This module alone knows the keys; their names are
part of the database and stay as they are, whatever the fields are called.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial, TrialState

# Keys of a trial whose names are not those of the fields, or that are needed by themselves.
TICKET, RETRIES, WORKER = "ticket", "retries", "worker"
CONFIG = "config"
NOTES = "notes"
FAILURE = "failure"
RETRAINED_TRIAL, SEED = "rerun_of", "seed"
DUPLICATE_OF = "duplicate_of"
# Keys of a study.
CREATION_ID = "creation_id"
PARENT = "search"
JOBS = "reruns"
OPENED_FOR = "opened_for"
VERDICT = "verdict"
WALK_VERDICT = "walk"
OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a trial at its best epoch.

    Attributes
    ----------
    best_epoch : epoch of the lowest loss
    best_loss : mean validation loss over folds
    fold_losses : validation loss of each fold
    skill : 1 - loss / loss of persistence
    direction_accuracy : share of moves whose direction was forecast; NaN if there is none
    direction_interval : 95 % interval of that share
    symbol_losses : validation loss of each symbol, the mean over its folds; empty for one symbol
    """

    best_epoch: int
    best_loss: float
    fold_losses: tuple[float, ...]
    skill: float
    direction_accuracy: float
    direction_interval: tuple[float, float]
    symbol_losses: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, trial: FrozenTrial) -> Self:
        """Return the scores of a trial.

        Raises
        ------
        KeyError
            If no epoch of the trial had a finite loss.
        """
        return cls.from_attrs(trial.user_attrs)

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> Self:
        """Return the scores among the attributes of a trial."""
        low, high = attrs["direction_interval"]
        return cls(
            best_epoch=attrs["best_epoch"],
            best_loss=attrs["best_loss"],
            fold_losses=tuple(attrs["fold_losses"]),
            skill=attrs["skill"],
            direction_accuracy=attrs["direction_accuracy"],
            direction_interval=(low, high),
            symbol_losses=attrs.get("symbol_losses", {}),
        )

    def to_attrs(self) -> dict[str, Any]:
        """Return the attributes to store."""
        attrs = _plain(asdict(self))
        if not self.symbol_losses:
            del attrs["symbol_losses"]
        return attrs


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """How the training of a trial ran.

    Attributes
    ----------
    epochs : epochs trained, including those before a checkpoint
    seconds : time from the start of the trial to its end in this process
    device, host : device and machine that trained it
    machine : kind of machine, as `puffin.studies.versions.machine_type` describes it; empty in
        studies of older versions
    targets_sha256 : fingerprint of the targets that the trial was scored on
    resumed_after : epochs loaded from a checkpoint; None for a refit, which has no checkpoints
    forecasts : id of the artifact with the forecasts at the best epoch; None without one
    """

    epochs: int
    seconds: float
    device: str | None = None
    host: str | None = None
    machine: dict[str, str] = field(default_factory=dict)
    targets_sha256: str | None = None
    resumed_after: int | None = None
    forecasts: str | None = None

    @classmethod
    def read(cls, trial: FrozenTrial) -> Self:
        """Return how the training of a trial ran.

        Raises
        ------
        KeyError
            If the trial has trained nothing.
        """
        return cls(**_known(cls, trial.user_attrs["run"]))

    def to_attrs(self) -> dict[str, Any]:
        """Return the values to store."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as the database stores it beside its parameters, losses and state.

    Attributes
    ----------
    ticket : None if the trial was not made by this program
    retries : how often the ticket was started again because its worker was lost or lacked memory
    notes : why the earlier trials of the ticket did not end
    worker : process that trains it, as "host:pid"; None before the training begins
    config : as `puffin.models.config.Config.to_dict` returns it; empty before all is sampled
    scores : None if no epoch had a finite loss
    run : None if nothing was trained, or the training has not ended
    reason : why the trial was pruned
    failure : why the trial failed; a failed trial without it was interrupted and requeued
    duplicate_of : number of the trial whose result this one repeats
    retrained_trial, seed : what a trial of a retraining study trains: trial of the search, and seed
    """

    ticket: int | None = None
    retries: int = 0
    notes: tuple[str, ...] = ()
    worker: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    scores: Scores | None = None
    run: TrainingRun | None = None
    reason: str | None = None
    failure: str | None = None
    duplicate_of: int | None = None
    retrained_trial: int | None = None
    seed: int | None = None

    @classmethod
    def read(cls, trial: FrozenTrial | optuna.Trial) -> Self:
        """Return the record of a trial."""
        attrs = trial.user_attrs
        run = attrs.get("run")
        return cls(
            ticket=attrs.get(TICKET),
            retries=attrs.get(RETRIES, 0),
            notes=tuple(attrs.get(NOTES, ())),
            worker=attrs.get(WORKER),
            config=attrs.get(CONFIG, {}),
            scores=Scores.from_attrs(attrs) if "best_epoch" in attrs else None,
            run=None if run is None else TrainingRun(**_known(TrainingRun, run)),
            reason=attrs.get("reason"),
            failure=attrs.get(FAILURE),
            duplicate_of=attrs.get(DUPLICATE_OF),
            retrained_trial=attrs.get(RETRAINED_TRIAL),
            seed=attrs.get(SEED),
        )

    @property
    def for_next_trial(self) -> Self:
        """What a trial that did not end leaves to the next one of its ticket."""
        return type(self)(ticket=self.ticket, retries=self.retries, notes=self.notes)

    def to_attrs(self) -> dict[str, Any]:
        """Return the attributes to store: the fields that differ from their defaults."""
        attrs = {
            TICKET: self.ticket,
            RETRIES: self.retries or None,
            NOTES: list(self.notes) or None,
            WORKER: self.worker,
            RETRAINED_TRIAL: self.retrained_trial,
            SEED: self.seed,
            CONFIG: self.config or None,
            **({} if self.scores is None else self.scores.to_attrs()),
            "run": None if self.run is None else self.run.to_attrs(),
            "reason": self.reason,
            FAILURE: self.failure,
            DUPLICATE_OF: self.duplicate_of,
        }
        return {key: value for key, value in attrs.items() if value is not None}

    def write(self, trial: optuna.Trial) -> None:
        """Store the fields that differ from their defaults with a running trial."""
        for key, value in self.to_attrs().items():
            trial.set_user_attr(key, value)


# Keys of a trial that this module writes.
_OWN_KEYS = {
    *(TICKET, RETRIES, WORKER, CONFIG, NOTES, FAILURE, RETRAINED_TRIAL, SEED, DUPLICATE_OF),
    *("run", "reason"),
    *(each.name for each in fields(Scores)),
}


def added_attrs(trial: FrozenTrial) -> dict[str, Any]:
    """Return the attributes of a trial that this program has not written."""
    attrs: dict[str, Any] = trial.user_attrs
    if TICKET not in attrs:
        return dict(attrs)
    return {key: value for key, value in attrs.items() if key not in _OWN_KEYS}


def replace_attrs(shown: Any, attrs: dict[str, Any]) -> None:
    """Replace the attributes of the copy of a study or a trial that is shown to people."""
    shown.user_attrs = attrs


def ticket_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Return the ticket of a trial.

    Raises
    ------
    KeyError
        If the trial was not made by this program.
    """
    return int(trial.user_attrs[TICKET])


def updated_attrs(trial: FrozenTrial, changes: TrialRecord) -> dict[str, Any]:
    """Return all attributes of a trial, with those that `changes` sets."""
    return {**trial.user_attrs, **changes.to_attrs()}


def is_finished(trial: FrozenTrial) -> bool:
    """Return whether a trial has finished its ticket."""
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    return trial.state == TrialState.FAIL and FAILURE in trial.user_attrs


def is_requeued(trial: FrozenTrial) -> bool:
    """Return whether a trial was lost or interrupted, so that another one has its ticket."""
    return trial.state == TrialState.FAIL and FAILURE not in trial.user_attrs


def is_duplicate(trial: FrozenTrial) -> bool:
    """Return whether a trial repeats the result of another one."""
    return DUPLICATE_OF in trial.user_attrs


@dataclass(frozen=True)
class RetrainingJob:
    """A configuration of a search that a ticket of a retraining study trains again.

    Attributes
    ----------
    trial : number of the trial that sampled it
    config : as `puffin.models.config.Config.to_dict` returns it
    epochs : best epoch of that trial
    seed : seed of weights, batches and dropout
    """

    trial: int
    config: dict[str, Any]
    epochs: int
    seed: int

    @property
    def record(self) -> TrialRecord:
        """The fields that a trial of this job starts with."""
        return TrialRecord(retrained_trial=self.trial, seed=self.seed, config=self.config)


@dataclass(frozen=True)
class SnapshotRecord:
    """The prices of a study.

    Attributes
    ----------
    origin : where they come from, in words
    bars : number of bars
    first, last : time of the first and of the last bar
    search_last : time of the last bar before the holdout
    sha256, artifacts : hash of each file of the snapshot, and id of the artifact that holds it, by
        file name
    warnings : what is suspicious about the prices
    """

    origin: str
    bars: int
    first: str
    last: str
    search_last: str
    sha256: dict[str, str]
    artifacts: dict[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerdictRecord:
    """The verdict of the last report of a search.

    Attributes
    ----------
    winner : number of the trial that was judged
    outcome : better, undecided, no better or worse
    sentences : the verdict in words
    page : id of the artifact that holds the report as an HTML page
    """

    winner: int
    outcome: str
    sentences: tuple[str, ...]
    page: str

    @classmethod
    def read(cls, study: Any) -> Self | None:
        """Return the verdict on a study, loaded or listed; None before its first report."""
        if VERDICT not in study.user_attrs:
            return None
        values = _known(cls, study.user_attrs[VERDICT])
        return cls(**values | {"sentences": tuple(values["sentences"])})

    def write(self, study: optuna.Study) -> None:
        """Store the verdict with its search."""
        study.set_user_attr(VERDICT, _plain(asdict(self)))


@dataclass(frozen=True)
class WalkRecord:
    """The verdict of the last walk of a study.

    Attributes
    ----------
    outcome : better, undecided, no better or worse
    sentences : the verdict in words
    page : id of the artifact that holds it as an HTML page
    """

    outcome: str
    sentences: tuple[str, ...]
    page: str

    @classmethod
    def read(cls, study: Any) -> Self | None:
        """Return the verdict on a study, loaded or listed; None before its first walk."""
        if WALK_VERDICT not in study.user_attrs:
            return None
        values = _known(cls, study.user_attrs[WALK_VERDICT])
        return cls(**values | {"sentences": tuple(values["sentences"])})

    def write(self, study: optuna.Study) -> None:
        """Store the verdict with a study."""
        study.set_user_attr(WALK_VERDICT, _plain(asdict(self)))


@dataclass(frozen=True)
class OutsideRecord:
    """A file of forecasts that every report on a study judges beside its own.

    Attributes
    ----------
    of : ``holdout`` or ``walk``, whose targets they are of
    name : what a report calls it
    trained_until : last day of which its model had seen data; None if it was not said
    sha256 : of the file
    artifact : id of the artifact that holds the file
    """

    of: str
    name: str
    trained_until: str | None
    sha256: str
    artifact: str

    @classmethod
    def read(cls, study: optuna.Study) -> list[Self]:
        """Return the files of a study."""
        return [cls(**_known(cls, each)) for each in study.user_attrs.get(OUTSIDE, ())]


@dataclass(frozen=True)
class StudyHeader:
    """What decides whether this version can read a study.

    Attributes
    ----------
    creation_id : id that distinguishes it from a later study of the same name
    spec_version : see `StudyRecord`
    spec : the study file
    """

    creation_id: str | None
    spec_version: int | None
    spec: dict[str, Any]

    @classmethod
    def read(cls, study: Any) -> Self:
        """Return the header of a study, loaded or listed.

        Raises
        ------
        KeyError
            If the study has no settings: another program has deleted them.
        """
        attrs = study.user_attrs
        return cls(attrs.get(CREATION_ID), attrs.get("spec_version"), attrs["spec"])


@dataclass(frozen=True)
class StudyRecord:
    """A study as the database stores it beside its trials and tickets.

    Attributes
    ----------
    spec : the study file
    spec_version : version of the format of the study file and of this record
    made_with : versions of the installation that submitted it, package to version
    data : the prices
    targets_sha256 : fingerprint of the targets that all its trials are scored on
    submitted : ISO 8601 with a zone; None for a retraining study and in studies of older versions
    persistence_losses, mean_losses : losses of two baselines on each fold; empty for a retraining
        study
    mean_direction_accuracy : that of the training mean; None for a retraining study
    symbol_persistence : loss of persistence of each symbol, the mean over its folds; empty for one
        symbol
    first_params : parameters that its first tickets fix; empty if the sampler proposes them
    origins : number of origins of the walk of which it is a search; 0 if it is of none
    parent_name : name of the study whose best trials this one trains again; None for a search
    jobs : what each ticket of a retraining study trains
    opened_for : winners that a holdout study was opened for: number of the trial to id of the
        opening
    """

    spec: dict[str, Any]
    spec_version: int
    made_with: dict[str, str]
    data: SnapshotRecord
    targets_sha256: str
    submitted: str | None = None
    persistence_losses: tuple[float, ...] = ()
    mean_losses: tuple[float, ...] = ()
    mean_direction_accuracy: float | None = None
    symbol_persistence: dict[str, float] = field(default_factory=dict)
    first_params: tuple[dict[str, Any], ...] = ()
    origins: int = 0
    parent_name: str | None = None
    jobs: tuple[RetrainingJob, ...] = ()
    opened_for: dict[int, str] = field(default_factory=dict)

    @classmethod
    def read(cls, study: optuna.Study) -> Self:
        """Return the record of a study, read from the database now."""
        attrs = study.user_attrs
        data = _known(SnapshotRecord, attrs["data"])
        return cls(
            spec=attrs["spec"],
            spec_version=attrs["spec_version"],
            made_with=attrs["made_with"],
            data=SnapshotRecord(**data | {"warnings": tuple(data.get("warnings", ()))}),
            targets_sha256=attrs["targets_sha256"],
            submitted=attrs.get("submitted"),
            persistence_losses=tuple(attrs.get("persistence_losses", ())),
            mean_losses=tuple(attrs.get("mean_losses", ())),
            mean_direction_accuracy=attrs.get("mean_direction_accuracy"),
            symbol_persistence=attrs.get("symbol_persistence", {}),
            first_params=tuple(attrs.get("first_params", ())),
            origins=attrs.get("origins", 0),
            parent_name=attrs.get(PARENT),
            jobs=tuple(RetrainingJob(**job) for job in attrs.get(JOBS, ())),
            opened_for={int(trial): each for trial, each in attrs.get(OPENED_FOR, {}).items()},
        )

    def write(self, study: optuna.Study) -> None:
        """Store the record with a study that is being created."""
        attrs = {
            "spec": self.spec,
            "spec_version": self.spec_version,
            "made_with": self.made_with,
            "submitted": self.submitted,
            PARENT: self.parent_name,
            "data": _plain(asdict(self.data)),
            "targets_sha256": self.targets_sha256,
            "persistence_losses": list(self.persistence_losses) or None,
            "mean_losses": list(self.mean_losses) or None,
            "mean_direction_accuracy": self.mean_direction_accuracy,
            "symbol_persistence": self.symbol_persistence or None,
            "first_params": list(self.first_params) or None,
            "origins": self.origins or None,
        }
        for key, value in attrs.items():
            if value is not None:
                study.set_user_attr(key, value)
        if self.parent_name is not None:
            write_jobs(study, self.jobs)
        if self.opened_for:
            write_opened_for(study, self.opened_for)


def write_creation_id(study: optuna.Study, creation_id: str) -> None:
    """Store the creation id of a study."""
    study.set_user_attr(CREATION_ID, creation_id)


def write_jobs(study: optuna.Study, jobs: Iterable[RetrainingJob]) -> None:
    """Store what the tickets of a retraining study train."""
    study.set_user_attr(JOBS, [asdict(job) for job in jobs])


def write_opened_for(study: optuna.Study, opened_for: Mapping[int, str]) -> None:
    """Store the winners that a holdout study was opened for."""
    study.set_user_attr(OPENED_FOR, {str(trial): each for trial, each in opened_for.items()})


def write_outside(study: optuna.Study, records: Iterable[OutsideRecord]) -> None:
    """Store the files of forecasts that are judged with a study."""
    study.set_user_attr(OUTSIDE, [asdict(each) for each in records])


def is_retraining(attrs: Mapping[str, Any]) -> bool:
    """Return whether attributes of a study, of whichever program, are of a retraining study."""
    return PARENT in attrs


def retrains(study: Any) -> bool:
    """Return whether a study that a storage lists is a retraining study."""
    return is_retraining(study.user_attrs)


def file_of(study: Any, filename: str) -> str | None:
    """Return the id of the artifact with a file of the prices of a listed study, or None."""
    data = study.user_attrs.get("data")
    files = data.get("artifacts") if isinstance(data, dict) else None
    return files.get(filename) if isinstance(files, dict) else None


def added_study_attrs(study: Any) -> dict[str, Any]:
    """Return the attributes of a listed study that this program has not written."""
    attrs: dict[str, Any] = study.user_attrs
    if CREATION_ID not in attrs:
        return dict(attrs)
    own = {
        CREATION_ID,
        PARENT,
        JOBS,
        VERDICT,
        WALK_VERDICT,
        OUTSIDE,
        *(each.name for each in fields(StudyRecord)),
    }
    return {key: value for key, value in attrs.items() if key not in own}


def _known(record: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the fields of a record; a later version may have stored more."""
    names = {each.name for each in fields(record)}
    return {key: value for key, value in values.items() if key in names}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with lists for tuples, as JSON has them."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
