"""Opening the database of a command, and `tuner init`, which creates its tables."""

import time

import optuna
from optuna.storages import RDBStorage

from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import NoStudiesError
from puffin.studies.storage.url import masked_url
from puffin.tuner.group import write_message

_RETRY_SECONDS = 0.5


def open_database(url: str) -> RDBStorage:
    """Open an existing database, without Optuna's messages.

    Raises
    ------
    StorageError
        If it does not exist or cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(url)


def init(url: str, wait: float) -> None:
    """Create the tables of a database that may be about to start.

    Raises
    ------
    StorageError
        If it cannot be used, or does not answer within `wait` seconds.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    end = time.monotonic() + wait
    while True:
        try:
            open_storage(url, create=True)
        except NoStudiesError:
            if time.monotonic() > end:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            write_message(f"{masked_url(url)} is ready")
            return
