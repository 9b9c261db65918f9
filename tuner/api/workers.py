"""Workers of this machine, started from Python."""

import threading

from puffin.models.errors import PuffinError
from puffin.studies.study import StoredStudy
from puffin.tuner.messages import say
from puffin.tuner.pool import run_workers_until_done
from puffin.tuner.worker.compatibility import require_compatible
from puffin.tuner.worker.devices import assign

WORKERS_PER_GPU = 2


def work_on(study: StoredStudy, storage: str, workers: int | None, device: str) -> None:
    """Run workers on a study until its budget is spent.

    Raises
    ------
    PuffinError
        If this is not the main thread, which alone hears Ctrl-C, or the workers cannot work.
    """
    if threading.current_thread() is not threading.main_thread():
        msg = (
            "workers can be started from the main thread only, because they are stopped by its "
            "signals; call this from the main thread, or start `tuner worker`"
        )
        raise PuffinError(msg)
    require_compatible(study, say)
    run_workers_until_done(study, storage, assign(device, workers, WORKERS_PER_GPU))
