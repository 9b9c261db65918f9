"""A study in the database: loaded by name, with its trials, tickets, prices and record."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.models.errors import PuffinError
from puffin.studies.algorithms import PRUNERS
from puffin.studies.records import StudyHeader, StudyRecord, TrialRecord, is_duplicate
from puffin.studies.remarks import why_nothing_is_complete
from puffin.studies.sampling import TicketSampling
from puffin.studies.spec import SPEC_VERSION, Spec, parse_spec
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import SqlArtifactStore
from puffin.studies.storage.optuna_internals import study_id
from puffin.studies.storage.queue import TicketQueue, count_finished
from puffin.studies.storage.registry import Budget

if TYPE_CHECKING:  # commands that only look at studies do not wait for pandas
    from puffin.studies.bars import Frames
    from puffin.studies.dataset import Dataset

SEARCH_FILE, HOLDOUT_FILE = "prices-search.csv", "prices-holdout.csv"
# Suffixes of the names of the studies that `retraining` creates.
SEEDS_SUFFIX, HOLDOUT_SUFFIX = ".seeds", ".holdout"
RETRAINING_SUFFIXES = (SEEDS_SUFFIX, HOLDOUT_SUFFIX)
# After the name of a study, in that of the searches of its walk: NAME.walk.01.
WALK = ".walk"


class StudyError(PuffinError):
    """A study that cannot be used as asked."""


class NoStudyError(StudyError):
    """A study that does not exist."""


@dataclass(frozen=True)
class StoredStudy:
    """A study in an open database."""

    storage: RDBStorage
    optuna_study: optuna.Study
    store: SqlArtifactStore
    spec: Spec
    creation_id: str

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.optuna_study.study_name

    @property
    def record(self) -> StudyRecord:
        """The record of the study, read from the database now."""
        return StudyRecord.read(self.optuna_study)

    @property
    def queue(self) -> TicketQueue:
        """The tickets of the study."""
        return TicketQueue(self.storage, study_id(self.optuna_study), self.creation_id)

    def still_exists(self) -> bool:
        """Return whether the database still has this study, not a later one of the same name."""
        budget = registry.budget_of(self.storage, self.name)
        return budget is not None and budget.creation_id == self.creation_id

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, without copying them."""
        return self.optuna_study.get_trials(deepcopy=False)

    @cached_property
    def sampling(self) -> TicketSampling:
        """How the tickets of a search get their parameters."""
        return TicketSampling(self.spec, self.trials, self.record.first_params)

    def best(self) -> FrozenTrial:
        """Return the complete trial with the lowest loss.

        Raises
        ------
        StudyError
            If no trial is complete.
        """
        best = lowest_complete(self.trials())
        if best is None:
            raise StudyError(self._why_no_best())
        return best

    def _why_no_best(self) -> str:
        """Return why there is no best trial, and what to do."""
        trials, total = self.trials(), registry.total(self.storage, self.name) or 0
        if (done := count_finished(trials)) >= total:
            return f"study {self.name!r} has found nothing: {why_nothing_is_complete(trials)}"
        return (
            f"study {self.name!r} has no complete trial yet, and {total - done} of {total} trials "
            "are still to come: `tuner run` or `tuner worker` continues it"
        )

    def has_same_prices(self, frames: "Frames") -> bool:
        """Return whether the study was made with exactly these prices."""
        from puffin.studies.prices.snapshot import sha256

        hashes = {name: sha256(body) for name, body in snapshot(self.spec, frames).items()}
        return bool(hashes == self.record.data.sha256)

    @cached_property
    def dataset(self) -> "Dataset":
        """Series, folds and scalers that all trials share.

        Raises
        ------
        StudyError
            If the snapshot was changed, or its scored targets are not the study's.
        """
        dataset = self._build_dataset()
        computed, stored = dataset.targets_sha256, self.record.targets_sha256
        if computed != stored:
            msg = (
                f"study {self.name!r} scores the targets {stored}, but this installation would "
                f"score {computed}: use the version of Puffin Tuner that made the study"
            )
            raise StudyError(msg)
        return dataset

    def _build_dataset(self) -> "Dataset":
        from puffin.studies.dataset import Dataset

        if self.parent_name is None:
            return Dataset.build(self.spec, self.load_search_prices())
        search = load(self.storage, self.parent_name)
        return search.holdout_dataset if self.judges_holdout else search._build_dataset()  # noqa: SLF001  # its parent

    @cached_property
    def parent_name(self) -> str | None:
        """Name of the search whose best trials this study trains again; None for a search."""
        return self.record.parent_name

    @property
    def judges_holdout(self) -> bool:
        """Whether the trials are scored on the holdout of a search."""
        return self.parent_name is not None and self.name == self.parent_name + HOLDOUT_SUFFIX

    @cached_property
    def holdout_dataset(self) -> "Dataset":
        """One fold that trains on the search prices and is scored on the holdout: breaks the seal.

        Raises
        ------
        StudyError
            If the snapshot was changed.
        """
        from puffin.studies.dataset import Dataset

        return Dataset.for_holdout(self.spec, self.load_search_prices(), self.load_holdout_prices())

    def read_prices(self, filename: str) -> bytes:
        """Return a file of the snapshot as it is stored, and compare its hash with the stored one.

        Raises
        ------
        StudyError
            If the snapshot was changed.
        """
        from puffin.studies.prices.snapshot import sha256

        data = self.record.data
        body, expected = self.store.read(data.artifacts[filename]), data.sha256[filename]
        if sha256(body) != expected:
            msg = (
                f"{filename} of study {self.name!r} has sha256 {sha256(body)}, but {expected} was "
                "stored with the study: its scores could not be compared; submit a new study"
            )
            raise StudyError(msg)
        return body

    def load_search_prices(self) -> "Frames":
        """Read the search prices of the snapshot and compare their hash with the stored one.

        Raises
        ------
        StudyError
            If the snapshot was changed.
        """
        return self._load_prices(SEARCH_FILE)

    def load_holdout_prices(self) -> "Frames":
        """Read the holdout: breaks the seal.

        Raises
        ------
        StudyError
            If the snapshot was changed.
        """
        return self._load_prices(HOLDOUT_FILE)

    def load_all_prices(self) -> "Frames":
        """Read the search prices followed by the holdout: breaks the seal.

        Raises
        ------
        StudyError
            If the snapshot was changed.
        """
        from puffin.studies.bars import join

        return join(self.load_search_prices(), self.load_holdout_prices())

    def _load_prices(self, filename: str) -> "Frames":
        from puffin.studies.prices.snapshot import frames_from_csv

        return frames_from_csv(self.read_prices(filename), self.spec.data.only_symbol)


def lowest_complete(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial with the lowest loss, the earlier of two equal ones."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    # A duplicate has the loss of the trial that it repeats, but no forecasts.
    return min(complete, key=lambda t: (t.value, is_duplicate(t), t.number), default=None)


def numbered_complete(study: StoredStudy, number: int) -> FrozenTrial:
    """Return the complete trial of a number, or of one that repeats another, that other.

    Raises
    ------
    StudyError
        If there is no such trial, or it is not complete.
    """
    trials = {trial.number: trial for trial in study.trials()}
    if number not in trials:
        msg = f"study {study.name!r} has no trial {number}; `tuner trials {study.name}` lists them"
        raise StudyError(msg)
    found = trials[number]
    if found.state != TrialState.COMPLETE:
        msg = (
            f"trial {number} of study {study.name!r} is {found.state.name.lower()}, but only a "
            f"complete trial can be chosen; `tuner trials {study.name}` lists them"
        )
        raise StudyError(msg)
    return found if (first := TrialRecord.read(found).duplicate_of) is None else trials[first]


def snapshot(spec: Spec, frames: "Frames") -> dict[str, bytes]:
    """Return the files that a study keeps of its prices: the search part, the sealed holdout."""
    from puffin.studies.bars import cut_holdout
    from puffin.studies.prices.snapshot import frames_to_csv

    search, holdout = cut_holdout(frames, spec)
    # A part may have bars of one symbol alone: its name is not lost.
    is_basket = len(frames) > 1
    return {
        SEARCH_FILE: frames_to_csv(search, is_basket=is_basket),
        HOLDOUT_FILE: frames_to_csv(holdout, is_basket=is_basket),
    }


def load_search(storage: RDBStorage, name: str) -> StoredStudy:
    """Open a search.

    Raises
    ------
    StudyError
        If there is no study of that name, or it is a retraining study.
    """
    study = load(storage, name)
    if study.parent_name is not None:
        msg = (
            f"{name!r} belongs to study {study.parent_name!r} and trains its best trials again; "
            f"use {study.parent_name!r}"
        )
        raise StudyError(msg)
    return study


def load(storage: RDBStorage, name: str) -> StoredStudy:
    """Open a study by its name.

    Raises
    ------
    NoStudyError
        If there is none; the message lists the studies of the database.
    StudyError
        If another version made it, or another program has deleted a part of it.
    """
    budget = require(storage, name)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        header = StudyHeader.read(study)
    except KeyError:
        require(storage, name)  # it may have been deleted since
        msg = (
            f"study {name!r} has lost its trials or its settings to another program; "
            f"`tuner delete {name}` deletes what is left"
        )
        raise StudyError(msg) from None
    if header.creation_id != budget.creation_id:
        msg = f"study {name!r} was deleted and another one of the same name was created; try again"
        raise NoStudyError(msg)
    if header.spec_version != SPEC_VERSION:
        msg = (
            f"study {name!r} was made by another version of Puffin Tuner and cannot be read by "
            f"this one; use that version, or `tuner delete {name}`"
        )
        raise StudyError(msg)
    spec = parse_spec(header.spec, f"the stored spec of {name!r}")
    study.pruner = PRUNERS[spec.search.pruner](spec.training.max_epochs)
    return StoredStudy(storage, study, SqlArtifactStore(storage.engine), spec, budget.creation_id)


def study_names(storage: RDBStorage) -> list[str]:
    """Return the names of the studies of a database, oldest first."""
    known = registry.budgets(storage)
    return [s.study_name for s in storage.get_all_studies() if s.study_name in known]


def require(storage: RDBStorage, name: str) -> Budget:
    """Return the budget of a study.

    Raises
    ------
    NoStudyError
        If there is none; the message lists the studies of the database.
    """
    budget = registry.budget_of(storage, name)
    if budget is not None:
        return budget
    if registry.closed_id_of(storage, name) is not None:
        msg = f"study {name!r} is being deleted; `tuner delete {name}` completes the deletion"
        raise NoStudyError(msg)
    known = ", ".join(study_names(storage)) or "none"
    msg = f"there is no study {name!r} in the database; studies there: {known}"
    raise NoStudyError(msg)


def walk_name(study: str) -> str:
    """Return the name of all searches of the walk of a study together."""
    return study + WALK


def origin_name(study: str, number: int) -> str:
    """Return the name of the search at an origin of a walk, counted from 1."""
    return f"{walk_name(study)}.{number:02}"


def walked_name(study: str) -> str | None:
    """Return the name of the study that walks, if a study is the search at an origin of it."""
    found = re.fullmatch(rf"(.+)\{WALK}\.\d\d", study)
    return found[1] if found else None


def walk_of(study: str) -> str | None:
    """Return the walk of which a search or the trainings of its winner are a part."""
    search = study.removesuffix(HOLDOUT_SUFFIX).removesuffix(SEEDS_SUFFIX)
    name = walked_name(search)
    return None if name is None else walk_name(name)


def searches_of_walk(storage: RDBStorage, name: str) -> list[str]:
    """Return the names of the searches of the walk `name`, in order; none if it is no walk."""
    return sorted(
        each for each in study_names(storage) if walked_name(each) and walk_of(each) == name
    )
