"""One trial: sample, train all folds in step, report the curve, prune, and write down the result.

A trial whose ticket was in training before goes on from its checkpoint. One whose network was
trained by another trial takes over that result. A rerun is a trial whose configuration and seed are
given, and which is not pruned.

The only place that calls ``trial.report`` and ``trial.should_prune``.
"""

import logging
import math
import socket
import time
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.evaluation.metrics import skill
from puffin.models.training.fold_training import Epoch, FoldTraining, build_networks
from puffin.studies import duplicates
from puffin.studies.dataset import Dataset
from puffin.studies.retraining import RetrainingJob
from puffin.studies.space import suggest
from puffin.studies.storage import tickets
from puffin.studies.storage.artifacts import attach
from puffin.studies.storage.checkpoints import Checkpoint, DamagedCheckpointError, require_running
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import RUNG_PREFIX, trial_id
from puffin.studies.storage.workers import process_name
from puffin.studies.study import StoredStudy
from puffin.studies.versions import machine_type
from puffin.tuner.worker.signals import Interrupt

log = logging.getLogger(__name__)

FORECASTS_FILE = "forecasts.csv"
# What `write_scores` writes down of a trial.
_SCORES = (
    "best_epoch",
    "best_loss",
    "fold_losses",
    "skill",
    "direction_accuracy",
    "direction_interval",
)


class TargetsError(PuffinError):
    """A trial would be scored on other targets than its study."""


def run_trial(
    trial: optuna.Trial,
    study: StoredStudy,
    device: torch.device,
    interrupt: Interrupt,
    checkpoint: Checkpoint,
    rerun: RetrainingJob | None = None,
) -> float:
    """Train and score the configuration that `trial` samples, or a given one.

    Parameters
    ----------
    trial : optuna.Trial
    study : StoredStudy
        Of its study.
    device : torch.device
    interrupt : Interrupt
        Ends the training, at a checkpoint if it can, when the process is asked to stop.
    checkpoint : Checkpoint
        Where this ticket's training stands, if it was begun.
    rerun : RetrainingJob, optional
        What to train instead of a sampled point.

    Returns
    -------
    float
        The lowest mean validation loss over folds.

    Raises
    ------
    optuna.TrialPruned
        If the pruner gives the trial up, or its loss is no longer finite.
    TargetsError
        If the targets are not the study's.
    """
    started = time.perf_counter()
    dataset = study.dataset
    trial.set_user_attr(tickets.WORKER, process_name())
    if rerun is None:
        config, seed = suggest(trial, dataset.spec.parsed_space), dataset.spec.search.seed
        trial.set_user_attr(tickets.CONFIG, config.to_dict())
        if (original := duplicates.find_trained(study.trials(), config)) is not None:
            return _copy_result(trial, study, original)
    else:
        config, seed = Config.from_dict(rerun.config), rerun.seed
        write_retraining_attrs(trial, rerun)
    folds = dataset.tensors(config.lookback, device)
    _check_targets(dataset.scored_sha256(folds), dataset.targets_sha256)
    inputs = dataset.series.features.shape[1]
    networks = build_networks(config, inputs, len(folds), device, seed)
    training = FoldTraining(networks, folds, config, dataset.spec.training_config, seed)
    resumed = _resume(trial, training, checkpoint, config)
    reason = None
    for epoch in interrupt.interruptible(iter(training)):
        if not math.isfinite(epoch.valid_loss):
            # Without the constraint TPE ranks a late divergence above an early pruning.
            trial.set_constraint("finite_loss", 1.0)
            reason = f"diverged: the loss is {epoch.valid_loss} at epoch {epoch.number}"
            break
        trial.report(epoch.valid_loss, epoch.number)
        # The pruner is asked even at the end, because it records the loss for the trials to come;
        # but a trial that has trained to its end is complete.
        if rerun is None and trial.should_prune() and not training.has_ended:
            reason = f"pruned at epoch {epoch.number}"
            break
        if checkpoint.due or interrupt.requested:
            checkpoint.save(_checkpoint_metadata(trial, config), training.state())
    best = training.best
    run = {
        "epochs": len(training.curve),
        "resumed_after": resumed,
        "seconds": round(time.perf_counter() - started, 3),
        **device_info(device),
    }
    write_result(trial, study, best, run)
    if reason is not None:
        trial.set_user_attr("reason", reason)
    if reason is not None or best is None:
        raise optuna.TrialPruned(reason)
    return best.valid_loss


def write_result(
    trial: optuna.Trial, study: StoredStudy, best: Epoch | None, run: dict[str, Any]
) -> None:
    """Store what a trial is worth at its best epoch, its forecasts, and how it ran.

    All at once, so that forecasts always belong to a trial that says where they are.

    Raises
    ------
    UpdateFinishedTrialError
        If another process has ended the trial.
    """
    dataset = study.dataset
    run = run | {"targets_sha256": dataset.targets_sha256}
    with transaction(study.storage) as connection:
        require_running(connection, trial_id(trial))
        if best is not None:
            write_scores(trial, dataset, best)
            table = dataset.forecasts_csv(dataset.in_target_units(best.forecasts))
            run["forecasts"] = attach(connection, study.creation_id, trial, FORECASTS_FILE, table)
        trial.set_user_attr("run", run)


def _copy_result(trial: optuna.Trial, study: StoredStudy, original: FrozenTrial) -> float:
    """Spend a trial on the result of the one that trained the same network.

    Raises
    ------
    optuna.TrialPruned
        If that one was pruned.
    UpdateFinishedTrialError
        If another process has ended the trial.
    """
    with transaction(study.storage) as connection:
        require_running(connection, trial_id(trial))
        for key in (*_SCORES, "reason"):
            if key in original.user_attrs:
                trial.set_user_attr(key, original.user_attrs[key])
        trial.set_user_attr(duplicates.DUPLICATE_OF, original.number)
    if original.state == TrialState.COMPLETE and original.value is not None:
        return original.value
    # TPE ranks a pruned trial by its last report.
    if (last := original.last_step) is not None:
        trial.report(original.intermediate_values[last], last)
    for key, violation in original.constraints.items():
        trial.set_constraint(key, violation)
    raise optuna.TrialPruned(original.user_attrs.get("reason"))


def write_retraining_attrs(trial: optuna.Trial, rerun: RetrainingJob) -> None:
    """Write down what a trial of a study of reruns trains."""
    for key, value in rerun.attrs.items():
        trial.set_user_attr(key, value)


def device_info(device: torch.device) -> dict[str, Any]:
    """Say where a trial is trained."""
    return {"device": str(device), "host": socket.gethostname(), "machine": machine_type(device)}


def _resume(
    trial: optuna.Trial, training: FoldTraining, checkpoint: Checkpoint, config: Config
) -> int:
    """Load the checkpoint of this ticket, if there is one; return its number of epochs."""
    try:
        saved = checkpoint.load()
    except DamagedCheckpointError as error:
        log.warning("%s: the training starts again", error)
        return 0
    if saved is None or saved.metadata["config"] != config.to_dict():
        return 0
    training.load_state(saved.body)
    # The pruner was asked when these epochs were new, and is not asked again.
    for number, loss in enumerate(training.curve, start=1):
        trial.report(loss, number)
    for key, value in saved.metadata["rungs"].items():
        trial.storage.set_trial_system_attr(trial_id(trial), key, value)
    return len(training.curve)


def _checkpoint_metadata(trial: optuna.Trial, config: Config) -> dict[str, Any]:
    """Give what a checkpoint holds beside the state of the training."""
    attrs = trial.storage.get_trial_system_attrs(trial_id(trial))
    rungs = {key: value for key, value in attrs.items() if key.startswith(RUNG_PREFIX)}
    return {"config": config.to_dict(), "rungs": rungs}


def _check_targets(own: str, expected: str) -> None:
    """Hold a trial to the targets of its study: scores on others could not be compared."""
    if own != expected:
        msg = f"this trial would be scored on targets {own}, but its study on {expected}"
        raise TargetsError(msg)


def write_scores(trial: optuna.Trial, dataset: Dataset, best: Epoch) -> None:
    """Keep what the best epoch is worth beside its loss."""
    persistence_loss = float(np.mean(dataset.persistence_losses))
    moves = dataset.direction(dataset.in_target_units(best.forecasts))
    trial.set_user_attr("best_epoch", best.number)
    trial.set_user_attr("best_loss", best.valid_loss)
    trial.set_user_attr("fold_losses", list(best.fold_losses))
    trial.set_user_attr("skill", skill(best.valid_loss, persistence_loss))
    trial.set_user_attr("direction_accuracy", moves.accuracy)
    trial.set_user_attr("direction_interval", [moves.low, moves.high])
