"""One refit: a configuration of a search, trained on all its data and judged on the holdout."""

import socket
import time

import optuna
import torch

from models.config import Config
from models.training import LOSSES, Epoch, forecast, refit
from studies import tickets
from studies.artifacts import attach
from studies.holdout import Refit
from studies.study import Handle
from studies.workers import own_name
from tuner.interrupt import Interrupt
from tuner.objective import FORECASTS_FILE, forecasts_csv, record


def run_refit(
    trial: optuna.Trial, handle: Handle, device: torch.device, interrupt: Interrupt
) -> float:
    """Train what a ticket of a holdout study names, and score it.

    It is trained as an export is, and one that is stopped begins anew: it takes no longer than a
    fold of a trial.

    Parameters
    ----------
    trial : optuna.Trial
    handle : Handle
        Of the holdout study.
    device : torch.device
    interrupt : Interrupt
        Ends the training when the process is asked to stop.

    Returns
    -------
    float
        Loss on the holdout, of the target standardised by the search data.
    """
    started = time.perf_counter()
    workload, training = handle.workload, handle.spec.training
    ordered = Refit(**handle.attrs["refits"][trial.user_attrs[tickets.TICKET]])
    config = Config.from_dict(ordered.config)
    trial.set_user_attr(tickets.WORKER, own_name())
    trial.set_user_attr("refit_of", ordered.trial)
    trial.set_user_attr("seed", ordered.seed)
    trial.set_user_attr(tickets.CONFIG, ordered.config)
    (fold,) = workload.tensors(config.lookback, device)
    network, steps = refit(
        fold.train_windows,
        fold.train_targets,
        config,
        training.loss,
        ordered.epochs,
        ordered.seed,
    )
    for _ in interrupt.guard(steps):
        pass
    out = forecast(network, fold.valid_windows)
    loss = float(LOSSES[training.loss](out, fold.valid_targets))
    judged = Epoch(ordered.epochs, loss, (loss,), float("nan"), out.T, improved=True)
    record(trial, workload, judged)
    attach(handle.store, trial, FORECASTS_FILE, forecasts_csv(workload, judged))
    run = {
        "epochs": ordered.epochs,
        "seconds": round(time.perf_counter() - started, 3),
        "device": str(device),
        "host": socket.gethostname(),
        "targets_sha256": workload.targets_sha256,
    }
    trial.set_user_attr("run", run)
    return loss
