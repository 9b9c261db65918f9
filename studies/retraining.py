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
from puffin.studies.text import counted

# Configurations that are trained with several seeds.
TOP = 5
# Fewest other seeds, without which there is no spread.
_OTHER_SEEDS = 2
# Names of the objective values of the two studies in the dashboard.
_METRICS = {
    SEEDS_SUFFIX: "walk-forward loss with another seed",
    HOLDOUT_SUFFIX: "loss on the holdout",
}


def job_of(study: StoredStudy, ticket: int) -> RetrainingJob:
    """Return what a ticket of a retraining study trains."""
    return study.record.jobs[ticket]


def retrain_with_seeds(study: StoredStudy, top: int = TOP) -> StoredStudy:
    """Enqueue trainings of the best trials of a search, on its folds, with other seeds.

    The seed of the study was used to select the trials, so only the others of `Spec.final_seeds`
    are trained, and at least two.

    Raises
    ------
    StudyError
        If the search has no complete trial or is not done, or the holdout is too short.
    """
    _require_ready(study)
    wanted = list(jobs_for_seeds(study, top))
    targets = study.record.targets_sha256
    return _create_or_extend(study, study.name + SEEDS_SUFFIX, wanted, targets, None)


def open_seal(study: StoredStudy, top: int = TOP, winner: FrozenTrial | None = None) -> StoredStudy:
    """Fix the winner, enqueue the refits for the holdout, and return the holdout study.

    Refits are enqueued of the winner and of the `top` configurations with the lowest search losses,
    each with all of `Spec.final_seeds`, and of every trial that was the best so far when it ended,
    with the seed of the study. A holdout study that exists gets only the refits that it does not
    have. Opening it again for the same winner is not recorded as another opening.

    Parameters
    ----------
    study : StoredStudy
    top : int
    winner : FrozenTrial, optional
        The complete trial that is judged, by default the best.

    Raises
    ------
    StudyError
        If the search has no complete trial or is not done, or the holdout is too short.
    """
    _require_ready(study)
    winner = winner or study.best()
    return _open(study, winner, list(jobs_for_holdout(study, top, winner)))


def open_for_winner(study: StoredStudy) -> StoredStudy:
    """Do as `open_seal` for the best, but train it alone.

    Raises
    ------
    StudyError
        If the search has no complete trial or is not done, or the holdout is too short.
    """
    _require_ready(study)
    best = study.best()
    return _open(study, best, [_job(best, seed) for seed in study.spec.final_seeds])


def _open(study: StoredStudy, winner: FrozenTrial, wanted: list[RetrainingJob]) -> StoredStudy:
    """Record an opening for the winner, and enqueue the jobs of the holdout study."""
    opening = new_opening(study, winner.number, TrialRecord.read(winner).config)
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


def is_opened(study: StoredStudy, winner: FrozenTrial) -> bool:
    """Return whether the holdout of a search was opened for one of its trials."""
    holdout = find_holdout(study)
    return holdout is not None and winner.number in holdout.record.opened_for


def require_opened(study: StoredStudy, winner: FrozenTrial) -> StoredStudy:
    """Return the holdout study of a search that was opened for one of its trials and is done.

    Raises
    ------
    StudyError
        If the holdout was not opened for this winner, or a refit is not done.
    """
    holdout = find_holdout(study)
    if holdout is None or winner.number not in holdout.record.opened_for:
        is_best = winner.number == study.best().number
        which, option = ("its best, ", "") if is_best else ("", f" --trial {winner.number}")
        msg = (
            f"the holdout of study {study.name!r} has not been opened for {which}trial "
            f"{winner.number}; `tuner report {study.name}{option}` opens it"
        )
        raise StudyError(msg)
    require_done(holdout)
    return holdout


def refits_of(holdout: StoredStudy, winner: int) -> dict[int, FrozenTrial]:
    """Return the complete refits of the winner by seed, of which the mean is judged.

    Raises
    ------
    StudyError
        If a seed of `Spec.final_seeds` has not been trained, or the trainings of all failed.
    """
    wanted = holdout.spec.final_seeds
    # By the record of the trial: the order of tickets does not say what a trial trained.
    ended = {
        record.seed: trial
        for trial in holdout.trials()
        if is_finished(trial)
        and (record := TrialRecord.read(trial)).retrained_trial == winner
        and record.seed is not None
    }
    if missing := [seed for seed in wanted if seed not in ended]:
        msg = (
            f"trial {winner} of study {holdout.parent_name!r} has not been trained for the holdout "
            f"with {counted(len(missing), 'seed')} of [final]; `tuner report "
            f"{holdout.parent_name} --trial {winner}` does it"
        )
        raise StudyError(msg)
    mine = {seed: ended[seed] for seed in wanted}
    complete = {seed: t for seed, t in mine.items() if t.state == TrialState.COMPLETE}
    if not complete:
        reason = TrialRecord.read(next(iter(mine.values()))).failure or "it was pruned"
        msg = (
            f"every refit of trial {winner} of study {holdout.parent_name!r} failed: {reason}; "
            "search again with a lower space.lr"
        )
        raise StudyError(msg)
    return complete


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


def jobs_for_seeds(study: StoredStudy, top: int = TOP) -> Iterator[RetrainingJob]:
    """Yield the jobs that `retrain_with_seeds` enqueues."""
    first, last = study.spec.search.seed, study.spec.final_seeds[-1]
    for trial in _ranked(study)[:top]:
        for seed in range(first + 1, max(last, first + _OTHER_SEEDS) + 1):
            yield _job(trial, seed)


def jobs_for_holdout(study: StoredStudy, top: int, winner: FrozenTrial) -> Iterator[RetrainingJob]:
    """Yield the jobs that `open_seal` enqueues, the winner with the seed of the study first."""
    ranked = _ranked(study)[:top]
    repeated = [winner, *(trial for trial in ranked if trial.number != winner.number)]
    for trial in repeated:
        for seed in study.spec.final_seeds:
            yield _job(trial, seed)
    in_order = in_order_of_end(_complete(study))
    for position in incumbents([t.value for t in in_order]):
        if all(in_order[position].number != trial.number for trial in repeated):
            yield _job(in_order[position], study.spec.search.seed)


def in_order_of_end(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Sort trials by the time of their end."""
    return sorted(trials, key=lambda t: (str(t.datetime_complete), t.number))


def _job(trial: FrozenTrial, seed: int) -> RetrainingJob:
    config, epochs = TrialRecord.read(trial).config, Scores.read(trial).best_epoch
    return RetrainingJob(trial.number, config, epochs, seed)
