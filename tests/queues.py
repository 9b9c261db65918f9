"""Tickets as workers claim them, without the training."""

from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage

from puffin.studies.storage import registry
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import running_trial, study_id, trial_id
from puffin.studies.storage.queue import TicketQueue


def make_queue(storage: RDBStorage, budget: int, name: str = "s") -> TicketQueue:
    """Create a study with tickets and nothing else."""
    with transaction(storage) as connection:
        creation_id = registry.register(connection, name)
        study = optuna.create_study(study_name=name, storage=storage)
        registry.publish(connection, creation_id, budget)
    return TicketQueue(storage, study_id(study), creation_id)


def study_of(queue: TicketQueue) -> optuna.Study:
    """Return the study of a queue."""
    name = queue.storage.get_study_name_from_id(queue.study_id)
    return optuna.load_study(study_name=name, storage=queue.storage)


def take(study: optuna.Study, queue: TicketQueue, **fixed: Any) -> optuna.Trial:
    """Start the next trial as a worker does; the parameters of a new ticket can be fixed."""
    started = queue.claim() or queue.start_next([fixed] * 100)
    assert started is not None, "no ticket is left"
    return running_trial(study, trial_id(started))


def age_heartbeats(storage: RDBStorage) -> None:
    """Set the heartbeat of every running trial to long ago."""
    query = sa.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    with storage.engine.begin() as connection:
        assert connection.execute(query).rowcount > 0


def lose(queue: TicketQueue) -> None:
    """Set all heartbeats to long ago and retry the stale trials."""
    age_heartbeats(queue.storage)
    queue.retry_stale()
