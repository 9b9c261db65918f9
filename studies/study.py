"""Studies in the database: created in one transaction, found by name, deleted with all they own."""

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import optuna
import pandas as pd
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.models.errors import PuffinError
from puffin.studies import versions
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.dataset import Dataset, cut_holdout
from puffin.studies.duplicates import DistinctSampler, is_duplicate
from puffin.studies.networks import list_networks
from puffin.studies.prices.load import Prices
from puffin.studies.prices.snapshot import from_csv, sha256, to_csv
from puffin.studies.remarks import require_moving_target, why_nothing_is_complete
from puffin.studies.sections import MOST_TRIALS
from puffin.studies.space import initial_points
from puffin.studies.spec import SPEC_VERSION, Spec, parse_spec
from puffin.studies.storage import tickets
from puffin.studies.storage.artifacts import SqlArtifactStore, attach, delete_artifacts
from puffin.studies.storage.checkpoints import delete_checkpoints
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import StudyRow, TrialRow, study_id
from puffin.studies.storage.tickets import Budget, TicketQueue
from puffin.studies.text import when

SEARCH_FILE, HOLDOUT_FILE = "prices-search.csv", "prices-holdout.csv"
# Of the names of the studies that train another one's best again: see `retraining`.
SEEDS_SUFFIX, HOLDOUT_SUFFIX = ".seeds", ".holdout"
RETRAINING_SUFFIXES = (SEEDS_SUFFIX, HOLDOUT_SUFFIX)
# A deletion is tried again for so long while another program writes into the study.
_DELETION_SECONDS = 10.0

# Writes all that belongs to a new, empty study, in the transaction that creates it: it gets the
# connection, the study and its creation id, and sets the budget with `tickets.publish`.
Populate = Callable[[sa.Connection, optuna.Study, str], None]


class StudyError(PuffinError):
    """A study that is not as it is asked for."""


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
    def attrs(self) -> dict[str, Any]:
        """What was written down when the study was made."""
        return self.optuna_study.user_attrs

    @property
    def queue(self) -> TicketQueue:
        """The tickets of the study."""
        return TicketQueue(self.storage, study_id(self.optuna_study), self.creation_id)

    def still_exists(self) -> bool:
        """Return whether the database still has this study, and not a later one of its name."""
        budget = tickets.budget_of(self.storage, self.name)
        return budget is not None and budget.creation_id == self.creation_id

    def trials(self) -> list[FrozenTrial]:
        """Give every trial, without copying."""
        return self.optuna_study.get_trials(deepcopy=False)

    def prepare_sampler(self, ticket: int) -> None:
        """Seed the sampler by the ticket, so that no two workers and no two runs draw alike."""
        entropy = np.random.SeedSequence((self.spec.search.seed, ticket))
        seed = int(entropy.generate_state(1)[0])
        kind = SAMPLERS[self.spec.search.sampler]
        sampler = kind.make(seed)
        if kind.learns:
            sampler = DistinctSampler(
                sampler, self.spec.parsed_space, self.trials, lambda: self._networks, seed
            )
        self.optuna_study.sampler = sampler

    @cached_property
    def initial_params(self) -> list[dict[str, Any]]:
        """Parameters that the first tickets fix.

        All points of a grid; all networks of a small space that is searched at random, in an order
        that the seed decides; and the default networks if the sampler learns from trials, because
        its own first points would be random.
        """
        if self.parent_name is not None:
            return []
        sampler = SAMPLERS[self.spec.search.sampler]
        if sampler.enumerates:
            return self.spec.grid.points
        if sampler.learns:
            return initial_points(self.spec.parsed_space)
        order = np.random.default_rng(self.spec.search.seed).permutation(len(self._networks))
        return [self._networks[i] for i in order]

    @cached_property
    def _networks(self) -> list[dict[str, Any]]:
        """Parameters of every network of the space; none where they are many."""
        return list_networks(self.spec.parsed_space)

    def best(self) -> FrozenTrial:
        """Give the complete trial with the lowest loss.

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
        """Say why there is no best trial, and what helps."""
        trials, total = self.trials(), tickets.total(self.storage, self.name) or 0
        if (done := tickets.finished(trials)) >= total:
            return f"study {self.name!r} has found nothing: {why_nothing_is_complete(trials)}"
        return (
            f"study {self.name!r} has no complete trial yet, and {total - done} of {total} trials "
            "are still to come: `tuner run` or `tuner worker` continues it"
        )

    def has_same_prices(self, prices: Prices) -> bool:
        """Tell whether the study's own copy is of these very prices."""
        hashes = {name: sha256(body) for name, body in snapshot(self.spec, prices).items()}
        return bool(hashes == self.attrs["data"]["sha256"])

    @cached_property
    def dataset(self) -> Dataset:
        """What the trials share.

        Raises
        ------
        StudyError
            If the snapshot is not what was stored, or its scored targets are not the study's.
        """
        dataset = self._build_dataset()
        own, stored = dataset.targets_sha256, self.attrs["targets_sha256"]
        if own != stored:
            msg = (
                f"study {self.name!r} scores the targets {stored}, but this installation would "
                f"score {own}: use the version of Puffin Tuner that made the study"
            )
            raise StudyError(msg)
        return dataset

    def _build_dataset(self) -> Dataset:
        if self.parent_name is None:
            return Dataset.build(self.spec, self.load_search_prices())
        search = load(self.storage, self.parent_name)
        return search.holdout_dataset if self.judges_holdout else search._build_dataset()  # noqa: SLF001  # its own

    @property
    def parent_name(self) -> str | None:
        """Name of the study whose best this one trains again; None for a search."""
        return self.attrs.get("search")

    @property
    def judges_holdout(self) -> bool:
        """Whether its trials are scored on the holdout of a search."""
        return self.parent_name is not None and self.name == self.parent_name + HOLDOUT_SUFFIX

    @cached_property
    def holdout_dataset(self) -> Dataset:
        """The search part as one fold, with the holdout as what it is scored on: breaks the seal.

        Raises
        ------
        StudyError
            If the snapshot is not what was stored.
        """
        return Dataset.for_holdout(self.spec, self.load_search_prices(), self.load_holdout_prices())

    def load_search_prices(self) -> pd.DataFrame:
        """Read the search part of the snapshot and check that it is what was stored.

        Raises
        ------
        StudyError
            If the bytes are not those that the study was made with.
        """
        return self._load_prices(SEARCH_FILE)

    def load_holdout_prices(self) -> pd.DataFrame:
        """Read the holdout: breaks the seal.

        Raises
        ------
        StudyError
            If the bytes are not those that the study was made with.
        """
        return self._load_prices(HOLDOUT_FILE)

    def load_all_prices(self) -> pd.DataFrame:
        """Read the search part and the holdout behind it: breaks the seal.

        Raises
        ------
        StudyError
            If the bytes are not those that the study was made with.
        """
        return pd.concat([self.load_search_prices(), self.load_holdout_prices()])

    def _load_prices(self, filename: str) -> pd.DataFrame:
        data = self.attrs["data"]
        body, expected = self.store.read(data["artifacts"][filename]), data["sha256"][filename]
        if sha256(body) != expected:
            msg = (
                f"{filename} of study {self.name!r} has sha256 {sha256(body)}, but {expected} was "
                "stored with the study: its scores could not be compared; submit a new study"
            )
            raise StudyError(msg)
        return from_csv(body)


def lowest_complete(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Give the complete trial with the lowest loss, the earlier of two alike."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    # A duplicate has the value of what it repeats, and no forecasts.
    return min(complete, key=lambda t: (t.value, is_duplicate(t), t.number), default=None)


def submit(storage: RDBStorage, spec: Spec, prices: Prices) -> StoredStudy:
    """Write a study with its spec and its own copy of the prices, or find it as it stands.

    Everything that can be wrong is found before the first row is written, and a study that could
    not be finished is removed again.

    Raises
    ------
    StudyError
        If another study of that name stands there.
    PuffinError
        If the prices do not suffice for the spec.
    """
    if spec.name.endswith(RETRAINING_SUFFIXES):
        msg = (
            f"{spec.name!r}: names that end in {' or '.join(RETRAINING_SUFFIXES)} are kept for "
            "what `tuner report` trains again; use another name (--set name=...)"
        )
        raise StudyError(msg)
    if (existing := _find(storage, spec.name)) is not None:
        return require_same(existing, spec)
    dataset = Dataset.build(spec, cut_holdout(prices.frame, spec)[0])
    require_moving_target(dataset)

    def populate(connection: sa.Connection, study: optuna.Study, creation_id: str) -> None:
        _write_search(connection, study, creation_id, spec, prices, dataset)

    if (created := create(storage, spec.name, populate)) is not None:
        return created
    return require_same(load(storage, spec.name), spec)


def create(storage: RDBStorage, name: str, populate: Populate) -> StoredStudy | None:
    """Create a study in one transaction, so that it exists completely or not at all.

    Returns
    -------
    StoredStudy or None
        None if there is a study of that name.

    Raises
    ------
    StudyError
        If the name belongs to a study that was not made by this program.
    """
    while tickets.budget_of(storage, name) is None:
        if closed := tickets.closed_id_of(storage, name):
            _delete_all(storage, {name: closed})  # whoever was deleting it may have died
        try:
            with transaction(storage) as connection:
                populate(connection, *create_within(connection, storage, name))
        except tickets.NameTakenError:
            continue
        return load(storage, name)
    return None


def create_within(
    connection: sa.Connection, storage: RDBStorage, name: str
) -> tuple[optuna.Study, str]:
    """Create an empty study in a transaction that is under way, which has to publish its budget.

    Returns
    -------
    tuple of optuna.Study and str
        The study and its creation id.

    Raises
    ------
    NameTakenError
        If there is a study of that name.
    StudyError
        If the name belongs to a study that was not made by this program.
    """
    creation_id = tickets.register(connection, name)
    study = _create_in_optuna(storage, name)
    study.set_user_attr("creation_id", creation_id)
    return study, creation_id


def _create_in_optuna(storage: RDBStorage, name: str) -> optuna.Study:
    """Create an empty study of Optuna's; one of that name that holds nothing is replaced."""
    try:
        return optuna.create_study(study_name=name, storage=storage, direction="minimize")
    except optuna.exceptions.DuplicatedStudyError:
        foreign = optuna.load_study(study_name=name, storage=storage)
    key = study_id(foreign)
    if foreign.trials or foreign.user_attrs or storage.get_study_system_attrs(key):
        msg = (
            f"a study {name!r} that was not made by Puffin Tuner is in the database; use another "
            f"name (--set name=...), or `tuner delete {name}` first"
        )
        raise StudyError(msg)
    storage.delete_study(key)
    return optuna.create_study(study_name=name, storage=storage, direction="minimize")


def snapshot(spec: Spec, prices: Prices) -> dict[str, bytes]:
    """Return the files that a study keeps of its prices: the search part, the sealed holdout."""
    search, holdout = cut_holdout(prices.frame, spec)
    return {SEARCH_FILE: to_csv(search), HOLDOUT_FILE: to_csv(holdout)}


def _write_search(
    connection: sa.Connection,
    study: optuna.Study,
    creation_id: str,
    spec: Spec,
    prices: Prices,
    dataset: Dataset,
) -> None:
    """Write the snapshot, the attributes and the budget of a study."""
    files = snapshot(spec, prices)
    attrs = {
        "spec": spec.to_json(),
        "spec_version": SPEC_VERSION,
        "made_with": versions.installed_versions(),
        "submitted": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "origin": prices.origin,
            "bars": len(prices.frame),
            "first": when(prices.frame.index[0]),
            "last": when(prices.frame.index[-1]),
            "search_last": when(dataset.dates[-1]),
            "sha256": {name: sha256(body) for name, body in files.items()},
            "artifacts": {
                name: attach(connection, creation_id, study, name, body)
                for name, body in files.items()
            },
            "warnings": list(prices.warnings),
        },
        "targets_sha256": dataset.targets_sha256,
        "persistence_losses": dataset.persistence_losses,
        "mean_losses": dataset.mean_losses,
        "mean_direction_accuracy": dataset.mean_direction.accuracy,
    }
    for key, value in attrs.items():
        study.set_user_attr(key, value)
    name_metric(study, "walk-forward loss")
    tickets.publish(connection, creation_id, spec.tickets)


def name_metric(study: optuna.Study, name: str) -> None:
    """Name what the values of a study are, as the dashboard shows it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([name])


def _find(storage: RDBStorage, name: str) -> StoredStudy | None:
    """Return the study of that name, if there is one."""
    try:
        return load(storage, name)
    except NoStudyError:
        return None


def require_same(study: StoredStudy, spec: Spec) -> StoredStudy:
    """Give a study back if it was made from this very spec.

    Raises
    ------
    StudyError
        If it was not; the message lists the settings that differ.
    """
    stored, given = _flat(study.spec.to_json()), _flat(spec.to_json())
    # The same file has another path from another folder; what it holds is compared by hash.
    differing = sorted(
        k for k in stored | given if k != "data.path" and stored.get(k) != given.get(k)
    )
    total = tickets.total(study.storage, study.name)
    only_trials = differing == ["search.trials"]
    if not differing or (only_trials and spec.tickets == total):  # as `extend` has made it
        return study
    lines = [f"  - {k}: {stored.get(k)!r} there, {given.get(k)!r} here" for k in differing]
    more = f"`tuner extend {spec.name} --trials N` adds N to its {total} trials, or " * only_trials
    msg = (
        f"a study {spec.name!r} with other settings is in the database:\n"
        + "\n".join(lines)
        + f"\n{more}use another name (--set name=...), or `tuner delete {spec.name}` first"
    )
    raise StudyError(msg)


def load_search(storage: RDBStorage, name: str) -> StoredStudy:
    """Open a study that searches.

    Raises
    ------
    StudyError
        If there is none, or it trains the best of another one again.
    """
    study = load(storage, name)
    if study.parent_name is not None:
        msg = (
            f"{name!r} trains the best of study {study.parent_name!r} again and searches for "
            f"nothing: name {study.parent_name!r}"
        )
        raise StudyError(msg)
    return study


def extend(storage: RDBStorage, name: str, more: int) -> int:
    """Add trials to a study, whether it is finished or not; give their number then.

    Raises
    ------
    StudyError
        If there is none, or it runs the points of a grid.
    """
    study = load_search(storage, name)
    if SAMPLERS[study.spec.search.sampler].enumerates:
        msg = f"study {name!r} runs every point of a grid once: there are no more trials to add"
        raise StudyError(msg)
    total = tickets.total(storage, name) or 0
    if total + more > MOST_TRIALS:
        msg = f"a study has at most {MOST_TRIALS} trials, but {total} + {more} are asked for"
        raise StudyError(msg)
    return tickets.extend(storage, study.creation_id, more)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Spread nested sections into dotted keys."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def load(storage: RDBStorage, name: str) -> StoredStudy:
    """Open a study by its name.

    Raises
    ------
    NoStudyError
        If there is none; the message lists those that there are.
    StudyError
        If another version made it, or another program took a part of it away.
    """
    budget = require(storage, name)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        attrs = study.user_attrs
        stored = attrs["spec"]
    except KeyError:
        require(storage, name)  # it may have been deleted since
        msg = (
            f"study {name!r} has lost its trials or its settings to another program; "
            f"`tuner delete {name}` deletes what is left"
        )
        raise StudyError(msg) from None
    if attrs.get("creation_id") != budget.creation_id:
        msg = f"study {name!r} was deleted and another one of its name was made; try again"
        raise NoStudyError(msg)
    if attrs.get("spec_version") != SPEC_VERSION:
        msg = (
            f"study {name!r} was made by another version of Puffin Tuner and cannot be read by "
            f"this one; use that version, or `tuner delete {name}`"
        )
        raise StudyError(msg)
    spec = parse_spec(stored, f"the stored spec of {name!r}")
    study.pruner = PRUNERS[spec.search.pruner](spec.training.max_epochs)
    return StoredStudy(storage, study, SqlArtifactStore(storage.engine), spec, budget.creation_id)


def study_names(storage: RDBStorage) -> list[str]:
    """Return the names of the studies of a database, oldest first."""
    known = tickets.budgets(storage)
    return [s.study_name for s in storage.get_all_studies() if s.study_name in known]


def require(storage: RDBStorage, name: str) -> Budget:
    """Return the budget of a study.

    Raises
    ------
    NoStudyError
        If there is none; the message lists those that there are.
    """
    budget = tickets.budget_of(storage, name)
    if budget is not None:
        return budget
    if tickets.closed_id_of(storage, name) is not None:
        msg = f"study {name!r} is being deleted; `tuner delete {name}` finishes that"
        raise NoStudyError(msg)
    known = ", ".join(study_names(storage)) or "none"
    msg = f"there is no study {name!r} in the database; studies there: {known}"
    raise NoStudyError(msg)


def require_deletable(storage: RDBStorage, name: str) -> None:
    """Require a study that `delete` may delete: complete, half deleted, or not even ours.

    Raises
    ------
    NoStudyError
        If there is none; the message lists those that there are.
    StudyError
        If it retrains the best of another study: the record that a seal was opened would go too.
    """
    if not _is_ours(storage, name):
        if _optuna_key(storage, name) is None:
            require(storage, name)
        return
    parent = next((name.removesuffix(s) for s in RETRAINING_SUFFIXES if name.endswith(s)), name)
    if parent != name and _is_ours(storage, parent):
        msg = (
            f"{name!r} belongs to study {parent!r} and records when its seal was opened: "
            f"`tuner delete {parent}` deletes both"
        )
        raise StudyError(msg)


def _is_ours(storage: RDBStorage, name: str) -> bool:
    """Return whether this program made a study that is there, closed or not."""
    if tickets.budget_of(storage, name) is not None:
        return True
    return tickets.closed_id_of(storage, name) is not None


def delete(storage: RDBStorage, name: str) -> None:
    """Delete a study with its tickets, artifacts and checkpoints, and those that retrain its best.

    First the study is closed: its trials end, and no worker can write into it any more. A process
    that dies after that leaves a closed study, which this function, or a submission of that name,
    deletes.

    Raises
    ------
    NoStudyError
        If there is none.
    StudyError
        If it retrains the best of another study, or if another program goes on writing into it.
    """
    require_deletable(storage, name)
    family = (*(name + suffix for suffix in RETRAINING_SUFFIXES), name)
    with transaction(storage) as connection:
        closed = {each: tickets.close(connection, each) for each in family}
        ours = {each: creation_id for each, creation_id in closed.items() if creation_id}
        ids = sa.select(StudyRow.study_id).where(StudyRow.study_name.in_(ours))
        open_trials = sa.and_(
            TrialRow.study_id.in_(ids),
            TrialRow.state.in_((TrialState.RUNNING, TrialState.WAITING)),
        )
        connection.execute(sa.update(TrialRow).where(open_trials).values(state=TrialState.FAIL))
    if name not in ours:
        _delete_foreign(storage, name)
    _delete_all(storage, ours)


def _delete_foreign(storage: RDBStorage, name: str) -> None:
    """Delete a study that this program did not make."""
    with transaction(storage) as connection:
        if (key := _optuna_key(storage, name)) is not None:
            delete_artifacts(connection, storage, key, "")
            storage.delete_study(key)


def _delete_all(storage: RDBStorage, closed: dict[str, str]) -> None:
    """Delete closed studies, given by name and creation id."""
    for name, creation_id in closed.items():
        end = time.monotonic() + _DELETION_SECONDS
        while not _try_to_delete(storage, name, creation_id):
            if time.monotonic() > end:
                msg = (
                    f"study {name!r} could not be deleted, because another program goes on writing "
                    f"into it; stop that program, then `tuner delete {name}` again"
                )
                raise StudyError(msg)
            time.sleep(0.2)


def _try_to_delete(storage: RDBStorage, name: str, creation_id: str) -> bool:
    """Delete a closed study; return whether it is gone.

    On PostgreSQL a row that another process writes meanwhile keeps the study alive: Optuna then
    returns as if it had deleted it (``ignore_integrity_error``).
    """
    with transaction(storage) as connection:
        if not tickets.is_closed(connection, creation_id):
            return True  # another process has deleted it, and the name may be that of a new study
        if (key := _optuna_key(storage, name)) is not None:
            delete_artifacts(connection, storage, key, creation_id)
            storage.delete_study(key)
            if _optuna_key(storage, name) is not None:
                return False
        delete_checkpoints(connection, creation_id)
        tickets.unregister(connection, creation_id)
    return True


def _optuna_key(storage: RDBStorage, name: str) -> int | None:
    """Return Optuna's key of a study, or None if there is none of that name."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None
