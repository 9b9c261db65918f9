"""Create, extend and delete studies."""

import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from puffin.studies import versions
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.bars import cut_holdout, union_of_dates
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import Basket
from puffin.studies.prices.snapshot import sha256
from puffin.studies.records import SnapshotRecord, StudyRecord, write_creation_id
from puffin.studies.remarks import require_moving_target
from puffin.studies.sections import MOST_TRIALS
from puffin.studies.spec import SPEC_VERSION, Spec
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import attach, delete_artifacts
from puffin.studies.storage.checkpoints import delete_checkpoints
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import StudyRow, TrialRow, study_id
from puffin.studies.study import (
    RETRAINING_SUFFIXES,
    WALK,
    NoStudyError,
    StoredStudy,
    StudyError,
    load,
    load_search,
    require,
    snapshot,
    walked_name,
)
from puffin.studies.text import when

# A deletion is retried for so long while another program writes into the study.
_DELETION_SECONDS = 10.0

# Writes the content of a new, empty study in the transaction that creates it. The arguments are the
# connection, the study and its creation id; the function sets the budget with `registry.publish`.
Populate = Callable[[sa.Connection, optuna.Study, str], None]


def submit(
    storage: RDBStorage,
    spec: Spec,
    basket: Basket,
    first_params: Sequence[dict[str, Any]] = (),
    origins: int = 0,
) -> StoredStudy:
    """Create a study with its spec and a snapshot of the prices, or return the stored one.

    All checks run before the first row is written, and all rows are written in one transaction.
    The first trials have the parameters `first_params`. A search of a walk is one of `origins`.

    Raises
    ------
    StudyError
        If there is a study of that name with other settings.
    PuffinError
        If the prices are not enough for the spec.
    """
    if spec.name.endswith(RETRAINING_SUFFIXES):
        msg = (
            f"{spec.name!r}: names that end in {' or '.join(RETRAINING_SUFFIXES)} are "
            "reserved for the studies that `tuner report` creates; use another name "
            "(--set name=...)"
        )
        raise StudyError(msg)
    if not origins:
        require_no_walk(spec.name)
    if spec.data.pooling != "all":
        msg = (
            f"data.pooling = {spec.data.pooling!r} makes a study for each symbol, which only "
            "`tuner run` and `tuner submit` do; name one symbol, or leave pooling out"
        )
        raise StudyError(msg)
    if (existing := _find(storage, spec.name)) is not None:
        return require_same(existing, spec)
    dataset = Dataset.build(spec, cut_holdout(basket.frames, spec)[0])
    require_moving_target(dataset)

    def populate(connection: sa.Connection, study: optuna.Study, creation_id: str) -> None:
        data = _write_snapshot(connection, study, creation_id, basket, dataset)
        _record_of(dataset, data, first_params, origins).write(study)
        name_metric(study, "walk-forward loss")
        registry.publish(connection, creation_id, spec.tickets)

    if (created := create(storage, spec.name, populate)) is not None:
        return created
    return require_same(load(storage, spec.name), spec)


def require_no_walk(name: str) -> None:
    """Require a name that is not that of a walk or of a search of one.

    Raises
    ------
    StudyError
        If it is.
    """
    if name.endswith(WALK) or walked_name(name):
        msg = (
            f"{name!r}: names that end in {WALK} or {WALK}.01 are reserved for the searches of "
            "`tuner walk`; use another name (--set name=...)"
        )
        raise StudyError(msg)


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
    while registry.budget_of(storage, name) is None:
        if closed := registry.closed_id_of(storage, name):
            _delete_all(storage, {name: closed})  # the process that was deleting it may have died
        try:
            with transaction(storage) as connection:
                populate(connection, *create_within(connection, storage, name))
        except registry.NameTakenError:
            continue
        return load(storage, name)
    return None


def create_within(
    connection: sa.Connection, storage: RDBStorage, name: str
) -> tuple[optuna.Study, str]:
    """Create an empty study in the current transaction, which must publish its budget.

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
    creation_id = registry.register(connection, name)
    study = _create_in_optuna(storage, name)
    write_creation_id(study, creation_id)
    return study, creation_id


def _create_in_optuna(storage: RDBStorage, name: str) -> optuna.Study:
    """Create an empty Optuna study; an empty one of the same name is replaced."""
    try:
        return optuna.create_study(study_name=name, storage=storage, direction="minimize")
    except optuna.exceptions.DuplicatedStudyError:
        foreign = optuna.load_study(study_name=name, storage=storage)
    key = study_id(foreign)
    attrs = storage.get_study_user_attrs(key), storage.get_study_system_attrs(key)
    if foreign.trials or any(attrs):
        msg = (
            f"a study {name!r} that was not made by Puffin Tuner is in the database; use another "
            f"name (--set name=...), or `tuner delete {name}` first"
        )
        raise StudyError(msg)
    storage.delete_study(key)
    return optuna.create_study(study_name=name, storage=storage, direction="minimize")


def _write_snapshot(
    connection: sa.Connection,
    study: optuna.Study,
    creation_id: str,
    basket: Basket,
    dataset: Dataset,
) -> SnapshotRecord:
    """Write the prices of a study, and return their record."""
    files = snapshot(dataset.spec, basket.frames)
    dates = union_of_dates(basket.frames)
    return SnapshotRecord(
        origin=basket.origin,
        bars=sum(map(len, basket.frames.values())),
        first=when(dates[0]),
        last=when(dates[-1]),
        search_last=when(dataset.dates[-1]),
        sha256={name: sha256(body) for name, body in files.items()},
        artifacts={
            name: attach(connection, creation_id, study, name, body) for name, body in files.items()
        },
        warnings=basket.warnings,
    )


def _record_of(
    dataset: Dataset, data: SnapshotRecord, first_params: Sequence[dict[str, Any]], origins: int
) -> StudyRecord:
    """Return the record of a new search."""
    return StudyRecord(
        spec=dataset.spec.to_json(),
        spec_version=SPEC_VERSION,
        made_with=versions.installed_versions(),
        submitted=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data,
        targets_sha256=dataset.targets_sha256,
        persistence_losses=tuple(dataset.persistence_losses),
        mean_losses=tuple(dataset.mean_losses),
        mean_direction_accuracy=dataset.mean_direction_accuracy,
        symbol_persistence=dataset.symbol_losses(dataset.judged_persistence)
        if dataset.is_basket
        else {},
        first_params=tuple(first_params),
        origins=origins,
    )


def name_metric(study: optuna.Study, name: str) -> None:
    """Set the name of the objective value that the dashboard shows."""
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
    """Return a study if it was made from this spec.

    Raises
    ------
    StudyError
        If it was made from another one; the message lists the settings that differ.
    """
    stored, given = _flat(study.spec.to_json()), _flat(spec.to_json())
    # The path of a file depends on the working directory; its content is compared by hash.
    # How the procedure is judged is no setting of a search.
    differing = sorted(
        k
        for k in stored | given
        if k != "data.path" and not k.startswith("walk.") and stored.get(k) != given.get(k)
    )
    total = registry.total(study.storage, study.name)
    only_trials = differing == ["search.trials"]
    if not differing or (
        only_trials and spec.tickets == total
    ):  # `extend` has added the difference
        return study
    lines = [f"  - {k}: {stored.get(k)!r} there, {given.get(k)!r} here" for k in differing]
    more = f"`tuner extend {spec.name} --trials N` adds N to its {total} trials, or " * only_trials
    msg = (
        f"a study {spec.name!r} with other settings is in the database:\n"
        + "\n".join(lines)
        + f"\n{more}use another name (--set name=...), or `tuner delete {spec.name}` first"
    )
    raise StudyError(msg)


def extend(storage: RDBStorage, name: str, more: int) -> int:
    """Add trials to a study, finished or not; return the new total.

    Raises
    ------
    StudyError
        If there is no search of that name, or it runs a grid.
    """
    study = load_search(storage, name)
    if SAMPLERS[study.spec.search.sampler].enumerates:
        msg = f"study {name!r} runs every point of a grid once: there are no more trials to add"
        raise StudyError(msg)
    total = registry.total(storage, name) or 0
    if total + more > MOST_TRIALS:
        msg = f"a study has at most {MOST_TRIALS} trials, but {total} + {more} are asked for"
        raise StudyError(msg)
    return registry.extend(storage, study.creation_id, more)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested sections to dotted keys."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def require_deletable(storage: RDBStorage, name: str) -> None:
    """Require a study that `delete` may delete: complete, partly deleted, or of another program.

    Raises
    ------
    NoStudyError
        If there is none; the message lists the studies of the database.
    StudyError
        If it is a retraining study: the record that a seal was opened would be deleted too.
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
    """Return whether there is a study of that name that this program made, closed or not."""
    if registry.budget_of(storage, name) is not None:
        return True
    return registry.closed_id_of(storage, name) is not None


def delete(storage: RDBStorage, name: str) -> None:
    """Delete a study with its tickets, artifacts, checkpoints and retraining studies.

    First the study is closed: its trials end, and workers can no longer write into it. A process
    that dies after that leaves a closed study, which the next deletion or submission of that name
    deletes.

    Raises
    ------
    NoStudyError
        If there is none.
    StudyError
        If it is a retraining study, or if another program keeps writing into it.
    """
    require_deletable(storage, name)
    family = (*(name + suffix for suffix in RETRAINING_SUFFIXES), name)
    with transaction(storage) as connection:
        closed = {each: registry.close(connection, each) for each in family}
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
                    f"study {name!r} could not be deleted, because another program keeps writing "
                    f"into it; stop that program, then `tuner delete {name}` again"
                )
                raise StudyError(msg)
            time.sleep(0.2)


def _try_to_delete(storage: RDBStorage, name: str, creation_id: str) -> bool:
    """Delete a closed study; return whether it is gone.

    On PostgreSQL a row that another process writes meanwhile prevents the deletion, and Optuna
    returns as if it had deleted the study (``ignore_integrity_error``).
    """
    with transaction(storage) as connection:
        if not registry.is_closed(connection, creation_id):
            return True  # another process has deleted it, and the name may be that of a new study
        if (key := _optuna_key(storage, name)) is not None:
            delete_artifacts(connection, storage, key, creation_id)
            storage.delete_study(key)
            if _optuna_key(storage, name) is not None:
                return False
        delete_checkpoints(connection, creation_id)
        registry.unregister(connection, creation_id)
    return True


def _optuna_key(storage: RDBStorage, name: str) -> int | None:
    """Return Optuna's key of a study, or None if there is none of that name."""
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        return None
