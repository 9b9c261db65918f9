"""The database as Optuna Dashboard is shown it: with notes, plots and pictures, and readable.

Nothing of this is stored. It is derived when a browser asks, so that it is always of this moment
and costs no worker any time.
"""

import contextlib
import copy
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import optuna
import optuna_dashboard
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from puffin.models.errors import PuffinError
from puffin.studies.board.attributes import study_attributes, trial_attributes
from puffin.studies.board.note import (
    note_of_person,
    study_note,
    trial_note,
    with_note_of_person,
)
from puffin.studies.board.plots import draw_plots
from puffin.studies.records import TrialRecord, added_study_attrs, file_of, replace_attrs
from puffin.studies.storage import registry
from puffin.studies.storage.optuna_internals import (
    ARTIFACT_PREFIX,
    frozen_study_id,
    study_id,
    trial_id,
)
from puffin.studies.study import HOLDOUT_FILE, HOLDOUT_SUFFIX, StoredStudy, load
from puffin.tuner.dashboard.access import Environ, Refusal, WsgiApp

# A study that trains is looked at again after so many seconds.
_FRESH_SECONDS = 20.0
# A request waits so long for another thread that derives a board.
_PATIENCE_SECONDS = 0.5
# Appended to the id of a table of forecasts, it is the id of its picture.
PICTURE = "-f0"
_PICTURE_FILE = "forecasts.png"

# The study whose page is asked for; only that one gets its note and plots.
_asked: ContextVar[int | None] = ContextVar("asked", default=None)


class _Plot:
    """A figure with the one method that `optuna_dashboard.save_plotly_graph_object` needs."""

    def __init__(self, figure: Mapping[str, Any]) -> None:
        self._figure = figure

    def to_json(self) -> str:
        """Return the figure as JSON."""
        return json.dumps(self._figure)


@dataclass(frozen=True)
class _Board:
    """What is shown of a study beside its trials.

    Attributes
    ----------
    state : numbers of trials in each state, and budget, when it was made
    made : that time
    is_final : whether no trial was in training or waiting
    attributes, note, plots : of the study; the plots as Optuna Dashboard stores them
    trial_notes : of the trials that have one, by key
    """

    state: tuple[Any, ...]
    made: float
    is_final: bool
    attributes: dict[str, Any]
    note: str
    trial_notes: dict[int, str]
    plots: dict[str, Any]


@BaseStorage.register
class StudyView:
    """A storage that shows studies of this program as a person reads them.

    It passes everything else on to the storage behind it, in particular what is written.

    Parameters
    ----------
    storage : RDBStorage
        The database. ``get_storage`` adds Optuna's cache, which makes a refresh four times as fast.

    Attributes
    ----------
    cached : BaseStorage
        The storage behind the view.
    """

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage
        self.cached: BaseStorage = optuna.storages.get_storage(storage)
        self._trials: dict[int, FrozenTrial] = {}
        self._boards: dict[int, _Board] = {}
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cached, name)

    def get_all_studies(self) -> list[Any]:
        """Return all studies; the one that is asked for has its note and plots."""
        studies = self.cached.get_all_studies()
        sealed = _sealed_files(studies)
        return [self._shown(copy.copy(study), sealed) for study in studies]

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes by which files are found, without those of sealed holdouts."""
        attrs = self.cached.get_study_system_attrs(study_id)
        return _without(attrs, _sealed_files(self.cached.get_all_studies()))

    def _shown(self, frozen: Any, sealed: Mapping[str, str]) -> Any:
        attrs = _without(frozen.system_attrs, sealed)
        replace_attrs(frozen, added_study_attrs(frozen))
        if frozen_study_id(frozen) == _asked.get():
            board = self._board_in_time(frozen_study_id(frozen), frozen.study_name)
            if board is not None:
                replace_attrs(frozen, board.attributes)
                attrs = _with_notes(attrs | board.plots, board)
        frozen.system_attrs = attrs
        return frozen

    def _board_in_time(self, key: int, name: str) -> "_Board | None":
        """Return what `_board` does, or None if that takes long: the browser asks again."""
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            return self._boards.get(key)
        try:
            return self._board(key, name)
        finally:
            self._lock.release()

    def _board(self, key: int, name: str) -> "_Board | None":
        """Return attributes, notes and plots of a study; None if it is not one of ours."""
        known = self._boards.get(key)
        ended = Counter(t.state for t in self.cached.get_all_trials(key, deepcopy=False))
        state = ended, registry.budget_of(self._storage, name)
        age = time.monotonic() - known.made if known else 0.0
        if known and known.state == state and (known.is_final or age < _FRESH_SECONDS):
            return known
        with contextlib.suppress(PuffinError, KeyError):
            self._boards[key] = _make_board(self.study(name), state)
        return self._boards.get(key)

    def warm_up(self) -> None:
        """Read all studies once, the newest first: a thousand trials take seconds."""
        for frozen in reversed(self.cached.get_all_studies()):
            key = frozen_study_id(frozen)
            self.get_all_trials(key, deepcopy=False)
            with self._lock:
                self._board(key, frozen.study_name)

    def study(self, name: str) -> StoredStudy:
        """Return a study of this program, which reads its trials through the cache."""
        found = load(self._storage, name)
        cached = optuna.load_study(study_name=name, storage=self.cached)
        return replace(found, optuna_study=cached)

    def get_all_trials(self, study_id: int, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        """Return all trials of a study."""
        trials = self.cached.get_all_trials(study_id, *args, **kwargs)
        return [self._shown_trial(trial) for trial in trials]

    def get_trial(self, key: int) -> FrozenTrial:
        """Return a trial."""
        return self._shown_trial(self.cached.get_trial(key))

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best trial of a study."""
        return self._shown_trial(self.cached.get_best_trial(study_id))

    def _shown_trial(self, trial: FrozenTrial) -> FrozenTrial:
        known = self._trials.get(trial_id(trial))
        # SQLite gives the key of a deleted trial to a later one.
        if known is not None and known.datetime_start == trial.datetime_start:
            return known
        shown = copy.copy(trial)
        replace_attrs(shown, trial_attributes(trial))
        shown.system_attrs = trial.system_attrs | _picture(trial)
        if trial.state.is_finished():
            self._trials[trial_id(trial)] = shown
        return shown


def _sealed_files(studies: Iterable[Any]) -> dict[str, str]:
    """Return the files with the holdouts of searches whose seal is closed: id to study name."""
    studies = list(studies)
    opened = {study.study_name for study in studies if study.study_name.endswith(HOLDOUT_SUFFIX)}
    return {
        key: study.study_name
        for study in studies
        if study.study_name + HOLDOUT_SUFFIX not in opened
        and (key := file_of(study, HOLDOUT_FILE)) is not None
    }


def _without(attrs: Mapping[str, Any], files: Iterable[str]) -> dict[str, Any]:
    hidden = {ARTIFACT_PREFIX + file for file in files}
    return {key: value for key, value in attrs.items() if key not in hidden}


def _make_board(study: StoredStudy, state: tuple[Any, ...]) -> _Board:
    trials = study.trials()
    plots = {} if study.parent_name is not None else draw_plots(study)
    return _Board(
        state=state,
        made=time.monotonic(),
        is_final=all(trial.state.is_finished() for trial in trials),
        attributes=study_attributes(study),
        note=study_note(study),
        trial_notes={trial_id(t): note for t in trials if (note := trial_note(t))},
        plots=_stored_plots(plots),
    )


def _stored_plots(plots: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures as the attributes that Optuna Dashboard reads them from."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    for name, figure in plots.items():
        optuna_dashboard.save_plotly_graph_object(study, _Plot(figure), graph_object_id=name)
    attrs: dict[str, Any] = storage.get_study_system_attrs(study_id(study))
    return attrs


def _with_notes(attrs: dict[str, Any], board: _Board) -> dict[str, Any]:
    """Return the attributes of a study with our notes above those of people."""
    shown = dict(attrs)
    for prefix, ours in (
        ("dashboard:", board.note),
        *((f"dashboard:{key}:", note) for key, note in board.trial_notes.items()),
    ):
        version, parts = f"{prefix}note_ver", f"{prefix}note_str:"
        stored = {key: value for key, value in attrs.items() if key.startswith(parts)}
        theirs = "".join(stored[f"{parts}{i}"] for i in range(len(stored)))
        for key in stored:
            del shown[key]
        shown[version] = attrs.get(version, 0)
        shown[f"{parts}0"] = with_note_of_person(ours, note_of_person(theirs))
    return shown


def _picture(trial: FrozenTrial) -> dict[str, str]:
    """Return the attribute of the picture of a trial's forecasts; empty if it has none."""
    run = TrialRecord.read(trial).run
    if run is None or run.forecasts is None:
        return {}
    key = run.forecasts + PICTURE
    file = {"filename": _PICTURE_FILE, "mimetype": "image/png", "encoding": None}
    return {ARTIFACT_PREFIX + key: json.dumps({"artifact_id": key} | file)}


def remembers_what_is_asked(app: WsgiApp) -> WsgiApp:
    """Note which study a request is about."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        found = re.fullmatch(r"/api/studies/(\d{1,9})", environ["PATH_INFO"])
        token = _asked.set(int(found[1]) if found else None)
        try:
            return app(environ, start_response)
        finally:
            _asked.reset(token)

    return wrapped


def seals_holdouts(app: WsgiApp, storage: BaseStorage) -> WsgiApp:
    """Say why the holdout of a search is not served before its seal is opened.

    `StudyView` hides the file, whatever the path of the request.
    """

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"].rstrip("/")
        if not path.startswith("/artifacts/"):
            return app(environ, start_response)
        name = _sealed_files(storage.get_all_studies()).get(path.rpartition("/")[2])
        if name is None:
            return app(environ, start_response)
        return Refusal(
            "403 Forbidden",
            f"the holdout of study {name} is sealed until its winner is judged; `tuner report "
            f"{name}` opens it",
        ).send(start_response)

    return wrapped
