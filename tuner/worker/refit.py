"""One refit: a configuration of a search, trained on all search data, scored on the holdout."""

import math
import time

import optuna
import torch

from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.training.fold_training import Epoch, validate
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import loss_function
from puffin.studies.records import RetrainingJob, TrialRecord
from puffin.studies.storage.workers import process_name
from puffin.studies.study import StoredStudy
from puffin.tuner.worker.objective import describe_run, log_begin, write_result
from puffin.tuner.worker.signals import Interrupt


class DivergedError(PuffinError):
    """The loss of a training is not finite."""


def run_refit(
    trial: optuna.Trial,
    job: RetrainingJob,
    study: StoredStudy,
    device: torch.device,
    interrupt: Interrupt,
) -> float:
    """Train a configuration of the search and score it on the holdout.

    It is trained like the network of an export. A refit that is stopped starts from the beginning,
    because it takes no longer than one fold of a trial.

    Parameters
    ----------
    trial : optuna.Trial
    job : RetrainingJob
        What to train.
    study : StoredStudy
        The holdout study.
    device : torch.device
    interrupt : Interrupt
        Ends the training when the process is asked to stop.

    Returns
    -------
    float
        Loss on the holdout, in units of `Dataset.units`.

    Raises
    ------
    DivergedError
        If the loss is not finite.
    """
    started = time.perf_counter()
    dataset, loss = study.dataset, study.spec.criterion
    config = Config.from_dict(job.config)
    TrialRecord(worker=process_name()).write(trial)
    job.record.write(trial)
    log_begin(study, config, job)
    (fold,) = dataset.read_by(config).tensors(config.lookback, device)
    refit = Refit(fold.train, config, loss, job.epochs, [job.seed])
    for _ in interrupt.interruptible(iter(refit)):
        pass
    (network,) = refit.networks
    losses, forecasts = validate(network, fold.valid, loss_function(loss))
    scored = Epoch(
        job.epochs,
        (tuple((losses / fold.unit).tolist()),),
        float("nan"),
        (forecasts,),
        improved=True,
    )
    value = scored.valid_loss
    if not math.isfinite(value):
        msg = f"diverged: the loss on the holdout is {value} after {job.epochs} epochs"
        raise DivergedError(msg)
    run = describe_run(job.epochs, started, device)
    write_result(trial, study, scored, run)
    return value
