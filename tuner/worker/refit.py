"""One refit: a configuration of a search, trained on all its data and judged on the holdout."""

import math
import time

import optuna
import torch

from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.training.fold_training import Epoch, forecast_windows
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import loss_function
from puffin.studies.retraining import RetrainingJob
from puffin.studies.storage import tickets
from puffin.studies.storage.workers import process_name
from puffin.studies.study import StoredStudy
from puffin.tuner.worker.objective import device_info, write_result, write_retraining_attrs
from puffin.tuner.worker.signals import Interrupt


class DivergedError(PuffinError):
    """A training whose loss is no number."""


def run_refit(
    trial: optuna.Trial,
    rerun: RetrainingJob,
    study: StoredStudy,
    device: torch.device,
    interrupt: Interrupt,
) -> float:
    """Train a configuration of the search and score it on the holdout.

    It is trained as an export is, and one that is stopped begins anew: it takes no longer than a
    fold of a trial.

    Parameters
    ----------
    trial : optuna.Trial
    rerun : RetrainingJob
        What to train.
    study : StoredStudy
        Of the holdout study.
    device : torch.device
    interrupt : Interrupt
        Ends the training when the process is asked to stop.

    Returns
    -------
    float
        Loss on the holdout, of the target standardised by the search data.

    Raises
    ------
    DivergedError
        If that is not finite.
    """
    started = time.perf_counter()
    dataset, loss = study.dataset, study.spec.training.loss
    config = Config.from_dict(rerun.config)
    trial.set_user_attr(tickets.WORKER, process_name())
    write_retraining_attrs(trial, rerun)
    (fold,) = dataset.tensors(config.lookback, device)
    windows, targets = fold.train_windows, fold.train_targets
    refit = Refit(windows, targets, config, loss, rerun.epochs, rerun.seed)
    for _ in interrupt.interruptible(iter(refit)):
        pass
    out = forecast_windows(refit.network, fold.valid_windows)
    value = float(loss_function(loss)(out, fold.valid_targets))
    if not math.isfinite(value):
        msg = f"diverged: the loss on the holdout is {value} after {rerun.epochs} epochs"
        raise DivergedError(msg)
    judged = Epoch(rerun.epochs, value, (value,), float("nan"), out.T, improved=True)
    run = {
        "epochs": rerun.epochs,
        "seconds": round(time.perf_counter() - started, 3),
        **device_info(device),
    }
    write_result(trial, study, judged, run)
    return value
