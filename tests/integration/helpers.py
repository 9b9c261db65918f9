"""Studies for tests of workers: short and endless ones, and what their trials have recorded."""

import functools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.studies import records
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import Basket, load_basket
from puffin.studies.prices.load import Prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.queue import count_finished
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy, load
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker

Start = Callable[..., Any]
MakeWorker = Callable[..., Worker]
MakeStudy = Callable[..., StoredStudy]


TUNER = Path(sys.executable).with_name("tuner")


CPU = torch.device("cpu")


SAMPLED = {
    "cell": ["lstm", "gru"],
    "layers": {"low": 1, "high": 2},
    "hidden_dim": [4, 8],
    "dropout": {"low": 0.0, "high": 0.4},
    "lookback": {"low": 3, "high": 5},
    "lr": {"low": 1e-3, "high": 1e-2, "log": True},
}


# Twelve networks, four of which come twice: dropout is inert at one layer.
GRID = {
    "layers": [1, 2],
    "hidden_dim": {"choices": [4, 8], "tied": True},
    "dropout": [0.1, 0.3],
    "lookback": [3, 5],
}


# What a worker does is the same on both kinds of database but where processes die.
on_both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


def spec_of(name: str, **sections: Any) -> Spec:
    """Return a study file whose trials are short, with some sections changed."""
    values: dict[str, Any] = {
        "name": name,
        "data": {"symbol": "AAPL", "start": "2012-01-01", "features": ["return"]},
        "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 20},
        "training": {"max_epochs": 4, "patience": 4},
        "space": SAMPLED,
        "search": {"trials": 3},
    }
    for section, changes in sections.items():
        values[section] = changes if section == "space" else values[section] | changes
    if values["search"].get("sampler") == "grid":
        del values["search"]["trials"]
        values["space"] = GRID
    return parse_spec(values, name)


def endless(name: str) -> Spec:
    """Return a study file whose trials never end by themselves."""
    return spec_of(name, training={"max_epochs": 10**6, "patience": 10**6})


def aapl(spec: Spec) -> Basket:
    """Return the sample's prices from the start of a study, in frames that a test may change."""
    read = _aapl(spec.data.start)
    (own,) = read.members.values()
    return replace(read, members={"AAPL": replace(own, frame=own.frame.copy())})


@functools.cache
def _aapl(start: date | None) -> Basket:
    return load_basket("sample", PriceRequest(start=start), ["AAPL"])


def basket_of(frame: pd.DataFrame, origin: str = "made up") -> Basket:
    return Basket({"AAPL": Prices(frame, (), origin)})


def running(study: StoredStudy, epochs: int = 2) -> list[FrozenTrial]:
    """Return the running trials that have trained so many epochs."""
    trials = study.optuna_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [t for t in trials if len(t.intermediate_values) >= epochs]


def spent(study: StoredStudy) -> dict[int, FrozenTrial]:
    """Return the trial that finished each ticket; fail unless each finished exactly once."""
    trials = study.trials()
    finished = [t for t in trials if records.is_finished(t)]
    times = Counter(t.user_attrs[records.TICKET] for t in finished)
    assert times == dict.fromkeys(range(study.spec.tickets), 1)
    open_states = (TrialState.RUNNING, TrialState.WAITING)
    assert not [t for t in trials if t.state in open_states], "something is left open"
    return {t.user_attrs[records.TICKET]: t for t in finished}


def curves(study: StoredStudy) -> dict[int, list[Any]]:
    """Return the losses of each ticket's trial, to the last bit."""
    return {
        ticket: [
            [(n, loss.hex()) for n, loss in sorted(trial.intermediate_values.items())],
            [loss.hex() for loss in trial.user_attrs["fold_losses"]],
            trial.user_attrs["best_epoch"],
            trial.user_attrs["run"]["epochs"],
        ]
        for ticket, trial in spent(study).items()
    }


_UNDISTURBED: dict[str, dict[int, list[Any]]] = {}


def undisturbed(folder: Path, spec: Spec) -> dict[int, list[Any]]:
    """Return the curves of a study whose only worker is never stopped, trained once a session."""
    key = spec.model_dump_json()
    if key not in _UNDISTURBED:
        _UNDISTURBED[key] = _train_undisturbed(folder, spec)
    return _UNDISTURBED[key]


def _train_undisturbed(folder: Path, spec: Spec) -> dict[int, list[Any]]:
    other = f"sqlite:///{folder / 'undisturbed.db'}"
    submit(open_storage(other, create=True), spec, aapl(spec))
    work(other, Interrupt(), WorkerOptions(spec.name, device="cpu"))
    return curves(load(open_storage(other), spec.name))


def checkpoint_rows(storage: RDBStorage) -> int:
    with storage.engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM puffin_checkpoints")).scalar())


def worker_of(storage: RDBStorage, interrupt: Interrupt | None = None) -> Worker:
    """Return a worker of this process, whose heartbeat is never recorded."""
    heartbeat = Heartbeat(storage, Registration(storage, "cpu", {}, 60))
    return Worker(storage, CPU, interrupt or Interrupt(), heartbeat)


def finished(study: StoredStudy) -> int:
    """Return the number of finished tickets."""
    return count_finished(study.trials())
