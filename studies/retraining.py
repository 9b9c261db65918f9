"""Retraining of the best trials of a search: with more seeds, and for the sealed holdout.

Both are studies beside the search, ``NAME.seeds`` and ``NAME.holdout``. The same workers run their
tickets, with the same guarantees as for a search, and no sampler learns from them.
"""

from collections.abc import Iterable, Iterator

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from puffin.models.evaluation.selection import incumbents
from puffin.studies import versions
from puffin.studies.duplicates import identity, trained
from puffin.studies.lifecycle import create, name_metric
from puffin.studies.openings import Opening, insert, new_opening
from puffin.studies.records import (
    RetrainingJob,
    Scores,
    StudyRecord,
    TrainingRun,
    TrialRecord,
    is_finished,
    write_jobs,
    write_opened_for,
)
from puffin.studies.spec import SPEC_VERSION
from puffin.studies.storage import registry
from puffin.studies.storage.database import transaction
from puffin.studies.storage.queue import count_finished
from puffin.studies.study import (
    HOLDOUT_SUFFIX,
    SEEDS_SUFFIX,
    StoredStudy,
    StudyError,
    load,
    require,
)

TOP, SEEDS = 5, 5
# Names of the objective values of the two studies in the dashboard.
_METRICS = {
    SEEDS_SUFFIX: "walk-forward loss with another seed",
    HOLDOUT_SUFFIX: "loss on the holdout",
}


def job_of(study: StoredStudy, ticket: int) -> RetrainingJob:
    """Return what a ticket of a retraining study trains."""
    return study.record.jobs[ticket]


def retrain_with_seeds(study: StoredStudy, top: int = TOP, seeds: int = SEEDS) -> StoredStudy:
    """Enqueue trainings of the best trials of a search, on its folds, with other seeds.

    The seed of the study was used to select the trials, so only the `seeds - 1` others are trained.

    Raises
    ------
    StudyError
        If the search has no complete trial or is not done, or the holdout is too short.
    """
    _require_ready(study)
    wanted = list(jobs_for_seeds(study, top, seeds))
    targets = study.record.targets_sha256
    return _create_or_extend(study, study.name + SEEDS_SUFFIX, wanted, targets, None)


def open_seal(study: StoredStudy, top: int = TOP, seeds: int = SEEDS) -> StoredStudy:
    """Fix the winner, enqueue the refits for the holdout, and return the holdout study.

    Refits are enqueued of the `top` configurations with the lowest search losses, each with `seeds`
    seeds, and of every trial that was the best so far when it ended, with the seed of the study.
    A holdout study that exists gets only the refits that it does not have. Opening it again for the
    same winner is not recorded as another opening.

    Raises
    ------
    StudyError
        If the search has no complete trial or is not done, or the holdout is too short.
    """
    _require_ready(study)
    return _open(study, list(jobs_for_holdout(study, top, seeds)))


def open_for_winner(study: StoredStudy, seeds: int = SEEDS) -> StoredStudy:
    """Do as `open_seal`, but train the winner alone, with `seeds` seeds.

    Raises
    ------
    StudyError
        If the search has no complete trial or is not done, or the holdout is too short.
    """
    _require_ready(study)
    first = study.spec.search.seed
    return _open(study, [_job(study.best(), seed) for seed in range(first, first + seeds)])


def _open(study: StoredStudy, wanted: list[RetrainingJob]) -> StoredStudy:
    """Record an opening for the winner, and enqueue the jobs of the holdout study."""
    best = study.best()
    opening = new_opening(study, best.number, TrialRecord.read(best).config)
    targets = study.holdout_dataset.targets_sha256
    return _create_or_extend(study, study.name + HOLDOUT_SUFFIX, wanted, targets, opening)


def _create_or_extend(
    search: StoredStudy,
    name: str,
    wanted: list[RetrainingJob],
    targets_sha256: str,
    opening: Opening | None,
) -> StoredStudy:
    """Create a retraining study, or add the missing jobs to it; record an opening."""

    def populate(connection: sa.Connection, study: optuna.Study, creation_id: str) -> None:
        # The search may have been deleted, and another one of its name created, since it was read.
        registry.require(connection, search.creation_id)
        StudyRecord(
            spec=search.spec.to_json(),
            spec_version=SPEC_VERSION,
            made_with=versions.installed_versions(),
            data=search.record.data,
            targets_sha256=targets_sha256,
            parent_name=search.name,
            jobs=tuple(wanted),
            opened_for={} if opening is None else {opening.trial: opening.opening_id},
        ).write(study)
        name_metric(study, _METRICS[name.removeprefix(search.name)])
        if opening is not None:
            insert(connection, [opening])
        registry.publish(connection, creation_id, len(wanted))

    if (created := create(search.storage, name, populate)) is not None:
        return created
    _add(load(search.storage, name), wanted, opening)
    return load(search.storage, name)


def _add(known: StoredStudy, wanted: list[RetrainingJob], opening: Opening | None) -> None:
    """Add the jobs that a retraining study does not have; record an opening for a new winner."""
    with transaction(known.storage) as connection:
        registry.require(connection, known.creation_id, exclusive=True)
        stored = known.record  # read again: another process may have added some a moment ago
        if opening is not None and opening.trial not in stored.opened_for:
            opened_for = stored.opened_for | {opening.trial: opening.opening_id}
            write_opened_for(known.optuna_study, opened_for)
            insert(connection, [opening])
        if more := [job for job in wanted if job not in stored.jobs]:
            jobs = [*stored.jobs, *more]
            write_jobs(known.optuna_study, jobs)
            registry.set_budget(connection, known.creation_id, tickets=len(jobs))


def _require_ready(study: StoredStudy) -> None:
    """Require a search that is done and whose holdout is long enough."""
    total = require(study.storage, study.name).tickets
    done = count_finished(study.trials())
    if done < total:
        msg = (
            f"study {study.name!r} has done {done} of {total} trials: the winner is "
            "fixed when all are done; `tuner run` or `tuner worker` resumes it"
        )
        raise StudyError(msg)
    study.best()  # raises if there is none
    bars, horizon = study.spec.walk_forward.holdout_bars, study.spec.data.horizon
    if bars < horizon + 2:
        msg = (
            f"a holdout needs at least horizon + 2 = {horizon + 2} bars to compare forecasts, but "
            f"that of study {study.name!r} has {bars}; its seal stays closed"
        )
        raise StudyError(msg)


def require_done(study: StoredStudy) -> None:
    """Require that a retraining study has finished all its tickets.

    Raises
    ------
    StudyError
        If it has not.
    """
    done, total = count_finished(study.trials()), len(study.record.jobs)
    if done < total:
        msg = (
            f"{done} of {total} trainings of study {study.name!r} are done; `tuner report "
            f"{study.parent_name}` or `tuner worker` runs the others"
        )
        raise StudyError(msg)


def find_holdout(study: StoredStudy) -> StoredStudy | None:
    """Return the holdout study of a search, if its seal was opened."""
    name = study.name + HOLDOUT_SUFFIX
    there = registry.total(study.storage, name) is not None
    return load(study.storage, name) if there else None


def is_opened(study: StoredStudy) -> bool:
    """Return whether the holdout was opened for the best trial of a search."""
    holdout = find_holdout(study)
    return holdout is not None and study.best().number in holdout.record.opened_for


def require_opened(study: StoredStudy) -> tuple[FrozenTrial, StoredStudy]:
    """Return the best trial of a search, and the holdout study that was opened for it and is done.

    Raises
    ------
    StudyError
        If the holdout was not opened for this winner, or a refit is not done.
    """
    best, holdout = study.best(), find_holdout(study)
    if holdout is None or not is_opened(study):
        msg = (
            f"the holdout of study {study.name!r} has not been opened for its best, trial "
            f"{best.number}; `tuner report {study.name}` opens it"
        )
        raise StudyError(msg)
    require_done(holdout)
    return best, holdout


def own_refit(holdout: StoredStudy, winner: int, seed: int) -> FrozenTrial:
    """Return the refit of the winner with the seed of the study.

    Raises
    ------
    StudyError
        If it failed.
    """
    # By the record of the trial: the order of tickets does not say what a trial trained.
    mine = [t for t in holdout.trials() if is_finished(t) and _trains(t, winner, seed)]
    if not mine:
        msg = f"study {holdout.name!r} has no refit of trial {winner} with seed {seed}"
        raise StudyError(msg)
    ended = mine[0]
    if ended.state != TrialState.COMPLETE:
        reason = TrialRecord.read(ended).failure or "it was pruned"
        study = holdout.parent_name
        msg = f"the refit of trial {winner}, the best of study {study!r}, failed: {reason}"
        raise StudyError(msg)
    return ended


def _trains(trial: FrozenTrial, winner: int, seed: int) -> bool:
    record = TrialRecord.read(trial)
    return (record.retrained_trial, record.seed) == (winner, seed)


def read_artifact(study: StoredStudy, trial: FrozenTrial) -> bytes:
    """Return the table of forecasts that a trial stored."""
    forecasts = TrainingRun.read(trial).forecasts
    if forecasts is None:
        msg = f"trial {trial.number} of study {study.name!r} has stored no forecasts"
        raise StudyError(msg)
    return study.store.read(forecasts)


def _complete(study: StoredStudy) -> list[FrozenTrial]:
    return [t for t in trained(study.trials()) if t.state == TrialState.COMPLETE]


def _ranked(study: StoredStudy) -> list[FrozenTrial]:
    """Return the complete trials by loss, each configuration once."""
    distinct: dict[str, FrozenTrial] = {}
    for trial in sorted(_complete(study), key=lambda t: (t.value, t.number)):
        distinct.setdefault(identity(TrialRecord.read(trial).config), trial)
    return list(distinct.values())


def jobs_for_seeds(
    study: StoredStudy, top: int = TOP, seeds: int = SEEDS
) -> Iterator[RetrainingJob]:
    """Yield the jobs that `retrain_with_seeds` enqueues."""
    first = study.spec.search.seed
    for trial in _ranked(study)[:top]:
        for seed in range(first + 1, first + seeds):
            yield _job(trial, seed)


def jobs_for_holdout(
    study: StoredStudy, top: int = TOP, seeds: int = SEEDS
) -> Iterator[RetrainingJob]:
    """Yield the jobs that `open_seal` enqueues, the winner with the seed of the study first."""
    first = study.spec.search.seed
    ranked = _ranked(study)[:top]
    for trial in ranked:
        for seed in range(first, first + seeds):
            yield _job(trial, seed)
    in_order = in_order_of_end(_complete(study))
    for position in incumbents([t.value for t in in_order]):
        if in_order[position] not in ranked:
            yield _job(in_order[position], first)


def in_order_of_end(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Sort trials by the time of their end."""
    return sorted(trials, key=lambda t: (str(t.datetime_complete), t.number))


def _job(trial: FrozenTrial, seed: int) -> RetrainingJob:
    config, epochs = TrialRecord.read(trial).config, Scores.read(trial).best_epoch
    return RetrainingJob(trial.number, config, epochs, seed)
