"""Pictures of forecasts, drawn when they are looked at.

Drawing one takes a third of a second and 200 KB, so that workers neither draw nor store them.
"""

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from optuna.storages import RDBStorage

from puffin.models.errors import PuffinError
from puffin.studies.records import TrialRecord
from puffin.studies.storage.optuna_internals import trial_id
from puffin.studies.study import load
from puffin.tuner.dashboard.access import Environ, Refusal, WsgiApp
from puffin.tuner.dashboard.view import PICTURE

_MOST_KEPT = 50
_NONE = Refusal("404 Not Found", "there is no trial with forecasts here")


class _Pictures:
    """Draws pictures one at a time, and keeps the last ones."""

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage
        self._kept: dict[tuple[int, int, str], bytes] = {}
        self._lock = threading.Lock()

    def draw(self, study: int, trial: int, table: str) -> bytes | None:
        """Return the forecasts of a trial as PNG; None if `table` is not the id of its table."""
        wanted = study, trial, table
        with self._lock:
            if wanted not in self._kept:
                picture = self._draw(*wanted)
                if picture is None:
                    return None
                self._kept[wanted] = picture
                for key in list(self._kept)[:-_MOST_KEPT]:
                    del self._kept[key]
            return self._kept[wanted]

    def _draw(self, study_key: int, trial_key: int, table: str) -> bytes | None:
        # Imported late: a dashboard without a look at a picture needs no matplotlib.
        from puffin.studies.board.picture import draw_forecasts

        try:
            study = load(self._storage, self._storage.get_study_name_from_id(study_key))
            trials = self._storage.get_all_trials(study_key, deepcopy=False)
        except (PuffinError, KeyError):
            return None
        runs = [TrialRecord.read(t).run for t in trials if trial_id(t) == trial_key]
        if table not in [run.forecasts for run in runs if run]:
            return None
        return draw_forecasts(study.store.read(table), study.spec.data.target)


def draws_pictures(app: WsgiApp, storage: RDBStorage) -> WsgiApp:
    """Answer requests for the picture of a trial's forecasts."""
    pictures = _Pictures(storage)

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        found = re.fullmatch(
            rf"/artifacts/(\d{{1,9}})/(\d{{1,9}})/([0-9a-fA-F-]+){PICTURE}", environ["PATH_INFO"]
        )
        if found is None:
            return app(environ, start_response)
        picture = pictures.draw(int(found[1]), int(found[2]), found[3])
        if picture is None:
            return _NONE.send(start_response)
        headers = [("Content-Type", "image/png"), ("Content-Length", str(len(picture)))]
        start_response("200 OK", headers)
        return [picture]

    return wrapped
