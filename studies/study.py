"""Studies in the database: made once and whole, found again, and deleted with all they own."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from models.errors import PuffinError
from studies import stamp, tickets
from studies.algorithms import LEARNING, PRUNERS, SAMPLERS
from studies.artifacts import SqlArtifactStore, attach, remove_all
from studies.checkpoints import drop_all
from studies.prices import Prices
from studies.snapshot import from_csv, sha256, to_csv
from studies.space import grid_points, usual_points
from studies.spec import MOST_TRIALS, SPEC_VERSION, Spec, parse_spec
from studies.validation import when
from studies.workload import Workload, cut_holdout

SEARCH_FILE, HOLDOUT_FILE = "prices-search.csv", "prices-holdout.csv"
# Of the names of the studies that train another one's best again, as `studies.reruns` says.
SEEDS_SUFFIX, HOLDOUT_SUFFIX = ".seeds", ".holdout"
RERUNS = (SEEDS_SUFFIX, HOLDOUT_SUFFIX)
# Another process that makes the same study at the same time is given this long to finish it.
_MAKING_SECONDS = 10.0


class StudyError(PuffinError):
    """A study that is not as it is asked for."""


class NoStudyError(StudyError):
    """A study that is not there, or not whole yet."""


@dataclass(frozen=True)
class Handle:
    """A whole study in an open database."""

    storage: RDBStorage
    study: optuna.Study
    store: SqlArtifactStore
    spec: Spec
    token: str
    audit: tickets.Audit = field(default_factory=tickets.Audit)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.study_name

    @property
    def attrs(self) -> dict[str, Any]:
        """What was written down when the study was made."""
        return self.study.user_attrs

    def is_current(self) -> bool:
        """Tell whether the database still holds this study, whole, and no later one of its name."""
        if tickets.total(self.storage, self.name) is None:
            return False
        return tickets.token_of(self.storage, self.name) == self.token

    def trials(self) -> list[FrozenTrial]:
        """Give every trial, without copying."""
        return self.study.get_trials(deepcopy=False)

    def prepare_sampler(self, ticket: int) -> None:
        """Seed the sampler by the ticket, so that no two workers and no two runs draw alike."""
        entropy = np.random.SeedSequence((self.spec.search.seed, ticket))
        seed = int(entropy.generate_state(1)[0])
        self.study.sampler = SAMPLERS[self.spec.search.sampler](seed)

    def ticket_params(self, ticket: int) -> dict[str, Any]:
        """Give the parameters that a ticket fixes.

        Each point of a grid, and otherwise the first of a sampler that learns: it then begins with
        the usual networks, where its own first points would be random.
        """
        sampler = self.spec.search.sampler
        if self.search is not None:
            return {}
        if sampler == "grid":
            return grid_points(self.spec.parsed_space).points[ticket]
        points = usual_points(self.spec.parsed_space) if sampler in LEARNING else []
        return points[ticket] if ticket < len(points) else {}

    def best(self) -> FrozenTrial:
        """Give the complete trial with the lowest loss.

        Raises
        ------
        StudyError
            If no trial is complete.
        """
        best = lowest_complete(self.trials())
        if best is None:
            msg = f"study {self.name!r} has no complete trial yet; `tuner run` goes on with it"
            raise StudyError(msg)
        return best

    def keeps(self, prices: Prices) -> bool:
        """Tell whether the study's own copy is of these very prices."""
        hashes = {name: sha256(body) for name, body in snapshot(self.spec, prices).items()}
        return bool(hashes == self.attrs["data"]["sha256"])

    @cached_property
    def workload(self) -> Workload:
        """What the trials share.

        Raises
        ------
        StudyError
            If the snapshot is not what was stored, or its scored targets are not the study's.
        """
        workload = self._workload()
        own, stored = workload.targets_sha256, self.attrs["targets_sha256"]
        if own != stored:
            msg = (
                f"study {self.name!r} scores the targets {stored}, but this installation would "
                f"score {own}: use the version of Puffin Tuner that made the study"
            )
            raise StudyError(msg)
        return workload

    def _workload(self) -> Workload:
        if self.search is None:
            return Workload.build(self.spec, self.load_search_prices())
        search = load(self.storage, self.search)
        return search.opened if self.judges_holdout else search._workload()  # noqa: SLF001  # its own

    @property
    def search(self) -> str | None:
        """Name of the study whose best this one trains again; None for a search."""
        return self.attrs.get("search")

    @property
    def judges_holdout(self) -> bool:
        """Whether its trials are scored on the holdout of a search."""
        return self.search is not None and self.name == self.search + HOLDOUT_SUFFIX

    @cached_property
    def opened(self) -> Workload:
        """The search part as one fold, with the holdout as what it is scored on: breaks the seal.

        Raises
        ------
        StudyError
            If the snapshot is not what was stored.
        """
        return Workload.opened(self.spec, self.load_search_prices(), self.load_holdout_prices())

    def load_search_prices(self) -> pd.DataFrame:
        """Read the search part of the snapshot and check that it is what was stored.

        Raises
        ------
        StudyError
            If the bytes are not those that the study was made with.
        """
        return self._load_prices(SEARCH_FILE)

    def load_holdout_prices(self) -> pd.DataFrame:
        """Read the holdout: breaks the seal.

        Raises
        ------
        StudyError
            If the bytes are not those that the study was made with.
        """
        return self._load_prices(HOLDOUT_FILE)

    def load_all_prices(self) -> pd.DataFrame:
        """Read the search part and the holdout behind it: breaks the seal.

        Raises
        ------
        StudyError
            If the bytes are not those that the study was made with.
        """
        return pd.concat([self.load_search_prices(), self.load_holdout_prices()])

    def _load_prices(self, filename: str) -> pd.DataFrame:
        metas = get_all_artifact_meta(self.study)
        (artifact_id,) = [m.artifact_id for m in metas if m.filename == filename]
        with self.store.open_reader(artifact_id) as reader:
            body = reader.read()
        expected = self.attrs["data"]["sha256"][filename]
        if sha256(body) != expected:
            msg = (
                f"{filename} of study {self.name!r} has sha256 {sha256(body)}, but {expected} was "
                "stored with the study: its scores could not be compared; submit a new study"
            )
            raise StudyError(msg)
        return from_csv(body)


def lowest_complete(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Give the complete trial with the lowest loss, the earlier of two alike."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    return min(complete, key=lambda t: (t.value, t.number), default=None)


def submit(storage: RDBStorage, spec: Spec, prices: Prices) -> Handle:
    """Write a study with its spec and its own copy of the prices, or find it as it stands.

    Everything that can be wrong is found before the first row is written, and a study that could
    not be finished is removed again.

    Raises
    ------
    StudyError
        If another study of that name stands there.
    PuffinError
        If the prices do not suffice for the spec.
    """
    if spec.name.endswith(RERUNS):
        msg = (
            f"{spec.name!r}: names that end in {' or '.join(RERUNS)} are kept for what `tuner "
            "report` trains again; use another name (--set name=...)"
        )
        raise StudyError(msg)
    if (existing := _find(storage, spec.name)) is not None:
        return require_same(existing, spec)
    workload = Workload.build(spec, cut_holdout(prices.frame, spec)[0])

    def fill(study: optuna.Study) -> int:
        _fill(storage, study, spec, prices, workload)
        return spec.tickets

    if (made := make(storage, spec.name, fill)) is not None:
        return made
    return require_same(load(storage, spec.name), spec)


def make(storage: RDBStorage, name: str, fill: Callable[[optuna.Study], int]) -> Handle | None:
    """Make a study whole or not at all, by one process of all that try.

    Parameters
    ----------
    fill : callable
        Writes all that belongs to the empty study that it is given; gives its number of tickets.

    Returns
    -------
    Handle or None
        None if a whole study of that name is there, maybe since a moment ago.

    Raises
    ------
    StudyError
        If the name belongs to a study that was not made by this program, or was lost meanwhile.
    """
    while _find(storage, name) is None:
        if token := tickets.begin(storage, name) or _take_over_if_dead(storage, name):
            return _make(storage, name, token, fill)
    return None


@contextmanager
def alone(storage: RDBStorage, name: str) -> Iterator[None]:
    """Let one process at a time change a study; one that died has 10 s to come back."""
    lock = name + ".lock"
    token = None
    while token is None:
        token = tickets.begin(storage, lock) or _take_over_if_dead(storage, lock)
    try:
        yield
    finally:
        tickets.release(storage, lock, token)


def _make(
    storage: RDBStorage, name: str, token: str, fill: Callable[[optuna.Study], int]
) -> Handle:
    """Make a study whose name is ours."""
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
    except optuna.exceptions.DuplicatedStudyError:
        tickets.release(storage, name, token)
        msg = (
            f"a study {name!r} that was not made by Puffin Tuner is in the database; "
            "use another name (--set name=...)"
        )
        raise StudyError(msg) from None
    try:
        ours = tickets.open_budget(storage, name, token, fill(study))
    except BaseException as error:
        if tickets.token_of(storage, name) == token:
            _clear(storage, name, token)
            raise
        if not isinstance(error, KeyError):  # what a study that another one cleared away raises
            raise
        ours = False
    if not ours:
        msg = f"another process took over the making of study {name!r}; try again"
        raise StudyError(msg)
    return load(storage, name)


def snapshot(spec: Spec, prices: Prices) -> dict[str, bytes]:
    """Give the files that a study keeps of its prices: the search part, and the sealed holdout."""
    search, holdout = cut_holdout(prices.frame, spec)
    return {SEARCH_FILE: to_csv(search), HOLDOUT_FILE: to_csv(holdout)}


def _fill(
    storage: RDBStorage, study: optuna.Study, spec: Spec, prices: Prices, workload: Workload
) -> None:
    """Write the snapshot and the attributes of a study."""
    store = SqlArtifactStore(storage.engine)
    files = snapshot(spec, prices)
    for filename, body in files.items():
        attach(store, study, filename, body)
    attrs = {
        "spec": spec.to_json(),
        "spec_version": SPEC_VERSION,
        "made_with": stamp.own_versions(),
        "data": {
            "origin": prices.origin,
            "bars": len(prices.frame),
            "first": when(prices.frame.index[0]),
            "last": when(prices.frame.index[-1]),
            "search_last": when(workload.dates[-1]),
            "sha256": {name: sha256(body) for name, body in files.items()},
            "warnings": list(prices.warnings),
        },
        "targets_sha256": workload.targets_sha256,
        "persistence_losses": workload.persistence_losses,
        "mean_losses": workload.mean_losses,
        "mean_direction_accuracy": workload.mean_direction.accuracy,
    }
    for key, value in attrs.items():
        study.set_user_attr(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["walk-forward loss"])


def _find(storage: RDBStorage, name: str) -> Handle | None:
    """Give the whole study of that name, if there is one."""
    try:
        return load(storage, name)
    except NoStudyError:
        return None


def _take_over_if_dead(storage: RDBStorage, name: str) -> str | None:
    """Wait while another process makes a study; if it is dead, clear away what it left.

    Gives the token of a name that is now ours, or None to look again.
    """
    seen = tickets.token_of(storage, name)
    end = time.monotonic() + _MAKING_SECONDS
    while seen and tickets.token_of(storage, name) == seen and not tickets.total(storage, name):
        if time.monotonic() < end:
            time.sleep(0.2)
        elif token := tickets.take_over(storage, name, seen):
            _clear_rows(storage, name)
            return token
    return None


def require_same(handle: Handle, spec: Spec) -> Handle:
    """Give a study back if it was made from this very spec.

    Raises
    ------
    StudyError
        If it was not; the message lists the settings that differ.
    """
    stored, given = _flat(handle.spec.to_json()), _flat(spec.to_json())
    # The same file has another path from another folder; what it holds is compared by hash.
    differing = sorted(
        k for k in stored | given if k != "data.path" and stored.get(k) != given.get(k)
    )
    total = tickets.total(handle.storage, handle.name)
    only_trials = differing == ["search.trials"]
    if not differing or (only_trials and spec.tickets == total):  # as `extend` has made it
        return handle
    lines = [f"  - {k}: {stored.get(k)!r} there, {given.get(k)!r} here" for k in differing]
    more = f"`tuner extend {spec.name} --trials N` adds N to its {total} trials, or " * only_trials
    msg = (
        f"a study {spec.name!r} with other settings is in the database:\n"
        + "\n".join(lines)
        + f"\n{more}use another name (--set name=...), or `tuner delete {spec.name}` first"
    )
    raise StudyError(msg)


def load_search(storage: RDBStorage, name: str) -> Handle:
    """Open a study that searches.

    Raises
    ------
    StudyError
        If there is none, or it trains the best of another one again.
    """
    handle = load(storage, name)
    if handle.search is not None:
        msg = (
            f"{name!r} trains the best of study {handle.search!r} again and searches for nothing: "
            f"name {handle.search!r}"
        )
        raise StudyError(msg)
    return handle


def extend(storage: RDBStorage, name: str, more: int) -> int:
    """Add trials to a study, whether it is finished or not; give their number then.

    Raises
    ------
    StudyError
        If there is none, or it runs the points of a grid.
    """
    handle = load_search(storage, name)
    if handle.spec.search.sampler == "grid":
        msg = f"study {name!r} runs every point of a grid once: there are no more trials to add"
        raise StudyError(msg)
    total = tickets.total(storage, name) or 0
    if total + more > MOST_TRIALS:
        msg = f"a study has at most {MOST_TRIALS} trials, but {total} + {more} are asked for"
        raise StudyError(msg)
    return tickets.extend(storage, name, more)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Spread nested sections into dotted keys."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


def load(storage: RDBStorage, name: str) -> Handle:
    """Open a whole study by its name.

    Raises
    ------
    NoStudyError
        If there is none; the message lists those that there are.
    StudyError
        If another version made it, or another program took a part of it away.
    """
    token = require(storage, name)
    half_made = f"study {name!r} is only half-made; `tuner run` or `tuner submit` makes it whole"
    if tickets.total(storage, name) is None:
        raise NoStudyError(half_made)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        stored = study.user_attrs["spec"]
    except KeyError:
        if tickets.total(storage, name) is None or tickets.token_of(storage, name) != token:
            raise NoStudyError(half_made) from None  # deleted since the lines above
        msg = (
            f"study {name!r} has lost its trials or its settings to another program; "
            f"`tuner delete {name}` clears away what is left"
        )
        raise StudyError(msg) from None
    if study.user_attrs.get("spec_version") != SPEC_VERSION:
        msg = (
            f"study {name!r} was made by another version of Puffin Tuner and cannot be read by "
            f"this one; use that version, or `tuner delete {name}`"
        )
        raise StudyError(msg)
    spec = parse_spec(stored, f"the stored spec of {name!r}")
    study.pruner = PRUNERS[spec.search.pruner](spec.training.max_epochs)
    return Handle(storage, study, SqlArtifactStore(storage.engine), spec, token)


def study_names(storage: RDBStorage) -> list[str]:
    """List the whole studies of a database, oldest first."""
    whole = tickets.budgets(storage)
    return [s.study_name for s in storage.get_all_studies() if s.study_name in whole]


def require(storage: RDBStorage, name: str) -> str:
    """Give the token of a study, whole or half-made.

    Raises
    ------
    NoStudyError
        If there is none; the message lists the whole ones.
    """
    token = tickets.token_of(storage, name)
    if token is None:
        known = ", ".join(study_names(storage)) or "none"
        msg = f"there is no study {name!r} in the database; studies there: {known}"
        raise NoStudyError(msg)
    return token


def delete(storage: RDBStorage, name: str) -> None:
    """Delete a study, whole or half-made, with its tickets, artifacts and reruns.

    Raises
    ------
    NoStudyError
        If there is none.
    StudyError
        If it trains the best of a study again: with it would go the note that a seal was opened.
    """
    require(storage, name)
    search = next((name.removesuffix(s) for s in RERUNS if name.endswith(s)), name)
    if search != name and tickets.token_of(storage, search) is not None:
        msg = (
            f"{name!r} belongs to study {search!r} and notes when its seal was opened: it goes "
            f"with it, `tuner delete {search}`"
        )
        raise StudyError(msg)
    for each in (name, *(name + suffix for suffix in RERUNS)):
        tickets.close_budget(storage, each)
    _clear(storage, name, tickets.token_of(storage, name) or "")


def _clear(storage: RDBStorage, name: str, token: str) -> None:
    """Delete all rows of a half-made study, the one that holds its name last."""
    _clear_rows(storage, name)
    tickets.release(storage, name, token)


def _clear_rows(storage: RDBStorage, name: str) -> None:
    for each in (name + suffix for suffix in RERUNS):
        if token := tickets.token_of(storage, each):
            _clear(storage, each, token)
    drop_all(storage, name)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return  # its maker did not come so far
    remove_all(SqlArtifactStore(storage.engine), study)
    optuna.delete_study(study_name=name, storage=storage)
