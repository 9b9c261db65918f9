"""One trial: sample, train all folds in step, report the losses, prune, and store the result.

A trial resumes from the checkpoint of its ticket, if there is one. A trial whose network another
trial has trained copies that result. A retraining job is a trial whose configuration and seed are
given, and which is not pruned.

This module alone calls ``trial.report`` and ``trial.should_prune``.
"""

import logging
import math
import socket
import time
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.evaluation.metrics import skill
from puffin.models.training.fold_training import Epoch, FoldTraining
from puffin.studies import duplicates
from puffin.studies.dataset import Dataset
from puffin.studies.records import RetrainingJob, Scores, TrainingRun, TrialRecord
from puffin.studies.space import suggest
from puffin.studies.storage.artifacts import attach
from puffin.studies.storage.checkpoints import (
    Checkpoint,
    DamagedCheckpointError,
    SavedCheckpoint,
    require_running,
)
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import RUNG_PREFIX, trial_id
from puffin.studies.storage.workers import process_name
from puffin.studies.study import StoredStudy
from puffin.studies.text import configuration, counted
from puffin.studies.versions import machine_type
from puffin.tuner.worker.signals import Interrupt

log = logging.getLogger(__name__)

FORECASTS_FILE = "forecasts.csv"


class TargetsError(PuffinError):
    """The targets of a trial are not those of its study."""


def run_trial(
    trial: optuna.Trial,
    study: StoredStudy,
    device: torch.device,
    interrupt: Interrupt,
    checkpoint: Checkpoint,
    job: RetrainingJob | None = None,
) -> float:
    """Train and score the configuration that `trial` samples, or that of a job.

    Parameters
    ----------
    trial : optuna.Trial
    study : StoredStudy
    device : torch.device
    interrupt : Interrupt
        Ends the training, if possible at a checkpoint, when the process is asked to stop.
    checkpoint : Checkpoint
        Checkpoint of the ticket.
    job : RetrainingJob, optional
        What to train instead of a sampled configuration.

    Returns
    -------
    float
        The lowest mean validation loss over folds.

    Raises
    ------
    optuna.TrialPruned
        If the pruner stops the trial, or its loss is not finite.
    TargetsError
        If the targets are not the study's.
    """
    started = time.perf_counter()
    dataset = study.dataset
    TrialRecord(worker=process_name()).write(trial)
    if job is None:
        config, seed = suggest(trial, dataset.spec.parsed_space), dataset.spec.search.seed
        TrialRecord(config=config.to_dict()).write(trial)
        if (original := duplicates.find_trained(study.trials(), config)) is not None:
            return _copy_result(trial, study, original)
    else:
        config, seed = Config.from_dict(job.config), job.seed
        job.record.write(trial)
    folds = dataset.read_by(config).tensors(config.lookback, device)
    _check_targets(dataset.scored_sha256(folds), dataset.targets_sha256)
    training = FoldTraining(folds, config, dataset.spec.training_config, seed)
    resumed = _resume(trial, training, checkpoint, config)
    log_begin(study, config, job, resumed)
    reason = None
    for epoch in interrupt.interruptible(iter(training)):
        if not math.isfinite(epoch.valid_loss):
            # Without the constraint TPE ranks a late divergence above an early pruning.
            trial.set_constraint("finite_loss", 1.0)
            reason = f"diverged: the loss is {epoch.valid_loss} at epoch {epoch.number}"
            break
        trial.report(epoch.valid_loss, epoch.number)
        # The pruner is asked after the last epoch too: it records the loss for later trials,
        # but a trial that was trained to its end is complete.
        if job is None and trial.should_prune() and not training.has_ended:
            reason = f"pruned at epoch {epoch.number}"
            break
        if checkpoint.due or interrupt.requested:
            checkpoint.save(SavedCheckpoint(config.to_dict(), _rungs(trial), training.state()))
    best = training.best
    run = describe_run(len(training.curve), started, device)
    write_result(trial, study, best, replace(run, resumed_after=resumed))
    TrialRecord(reason=reason).write(trial)
    if reason is not None or best is None:
        raise optuna.TrialPruned(reason)
    return best.valid_loss


def write_result(
    trial: optuna.Trial, study: StoredStudy, best: Epoch | None, run: TrainingRun
) -> None:
    """Store the scores and forecasts of a trial at its best epoch, and how its training ran.

    All is written in one transaction, so that no forecasts are stored without their trial's record.

    Raises
    ------
    UpdateFinishedTrialError
        If another process has ended the trial.
    """
    dataset, scores = study.dataset, None
    run = replace(run, targets_sha256=dataset.targets_sha256)
    with transaction(study.storage) as connection:
        require_running(connection, trial_id(trial))
        if best is not None:
            scores = _score(dataset, best)
            table = dataset.forecasts_csv(dataset.in_target_units(best.forecasts))
            forecasts = attach(connection, study.creation_id, trial, FORECASTS_FILE, table)
            run = replace(run, forecasts=forecasts)
        TrialRecord(scores=scores, run=run).write(trial)


def _copy_result(trial: optuna.Trial, study: StoredStudy, original: FrozenTrial) -> float:
    """Copy the result of the trial that trained the same network.

    Raises
    ------
    optuna.TrialPruned
        If that trial was pruned.
    UpdateFinishedTrialError
        If another process has ended the trial.
    """
    record = TrialRecord.read(original)
    with transaction(study.storage) as connection:
        require_running(connection, trial_id(trial))
        copied = TrialRecord(
            scores=record.scores, reason=record.reason, duplicate_of=original.number
        )
        copied.write(trial)
    if original.state == TrialState.COMPLETE and original.value is not None:
        return original.value
    # TPE ranks a pruned trial by its last report.
    if (last := original.last_step) is not None:
        trial.report(original.intermediate_values[last], last)
    for key, violation in original.constraints.items():
        trial.set_constraint(key, violation)
    raise optuna.TrialPruned(record.reason)


def log_begin(
    study: StoredStudy, config: Config, job: RetrainingJob | None, resumed: int = 0
) -> None:
    """Log what a trial trains, and after how many epochs it resumes."""
    verb = f"resumes after {counted(resumed, 'epoch')}" if resumed else "begins"
    seed = "" if job is None else f"seed {job.seed}, "
    shown = configuration(config.to_dict(), study.spec.parsed_space.searched)
    log.info("%s: %s%s", verb, seed, shown)


def describe_run(epochs: int, started: float, device: torch.device) -> TrainingRun:
    """Return how a training ran that began at `started` of `time.perf_counter` and ends now."""
    return TrainingRun(
        epochs=epochs,
        seconds=round(time.perf_counter() - started, 3),
        device=str(device),
        host=socket.gethostname(),
        machine=machine_type(device),
    )


def _resume(
    trial: optuna.Trial, training: FoldTraining, checkpoint: Checkpoint, config: Config
) -> int:
    """Load the checkpoint of the ticket, if there is one; return its number of epochs."""
    try:
        saved = checkpoint.load()
    except DamagedCheckpointError as error:
        log.warning("%s: the training starts again", error)
        return 0
    if saved is None or saved.config != config.to_dict():
        return 0
    training.load_state(saved.body)
    # The pruner judged these epochs when they were trained, and is not asked again.
    for number, loss in enumerate(training.curve, start=1):
        trial.report(loss, number)
    for key, value in saved.rungs.items():
        trial.storage.set_trial_system_attr(trial_id(trial), key, value)
    return len(training.curve)


def _rungs(trial: optuna.Trial) -> dict[str, Any]:
    """Return the system attributes in which the pruner has recorded what it saw of a trial."""
    attrs = trial.storage.get_trial_system_attrs(trial_id(trial))
    return {key: value for key, value in attrs.items() if key.startswith(RUNG_PREFIX)}


def _check_targets(computed: str, expected: str) -> None:
    """Require the targets of the study: scores on others could not be compared."""
    if computed != expected:
        msg = (
            f"this trial would be scored on targets {computed}, but its study is scored on "
            f"{expected}: this installation differs from the one that submitted the study; install "
            "the same versions"
        )
        raise TargetsError(msg)


def _score(dataset: Dataset, best: Epoch) -> Scores:
    """Return the scores of the best epoch."""
    persistence_loss = float(np.mean(dataset.persistence_losses))
    moves = dataset.direction(dataset.in_target_units(best.forecasts))
    return Scores(
        best_epoch=best.number,
        best_loss=best.valid_loss,
        fold_losses=best.fold_losses,
        skill=skill(best.valid_loss, persistence_loss),
        direction_accuracy=moves.accuracy,
        direction_interval=(moves.low, moves.high),
        symbol_losses=dataset.over_folds(best.symbol_losses) if dataset.is_basket else {},
    )
