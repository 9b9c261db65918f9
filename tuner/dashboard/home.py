"""Our own pages of the dashboard: the studies at a glance, their reports and walks."""

import contextlib
import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage

from puffin.models.errors import PuffinError
from puffin.studies.board.note import report_path, subject_in_words, walk_path
from puffin.studies.records import Scores, StudyHeader, VerdictRecord, WalkRecord, retrains
from puffin.studies.spec import SPEC_VERSION, parse_spec
from puffin.studies.storage import registry, workers
from puffin.studies.storage.artifacts import SqlArtifactStore
from puffin.studies.storage.optuna_internals import frozen_study_id
from puffin.studies.storage.registry import Budget
from puffin.studies.storage.tally import Tally, tallies
from puffin.studies.storage.workers import WorkerRow
from puffin.studies.study import RETRAINING_SUFFIXES, origin_name, walked_name
from puffin.studies.text import counted, loss, signed
from puffin.tuner.dashboard.access import Environ, Headers, Refusal, WsgiApp

_PAGES = ("/", "/studies")
_HTML = ("Content-Type", "text/html; charset=utf-8")
# A page runs no script and loads nothing; its pictures are inside it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'"
_TEMPLATES = Environment(
    loader=PackageLoader("puffin.tuner.dashboard"), autoescape=True, trim_blocks=True
)


@dataclass(frozen=True)
class StudyLine:
    """A search in the table of the start page.

    Attributes
    ----------
    name, key : its name, and its number in the dashboard
    subject : what it forecasts; empty if another version made the study
    state : searching, waiting, paused, searched or judged
    done, tickets : number of finished trials and of all
    counts : numbers of trials in each state, in words
    best, best_loss : skill and loss of the best trial; empty before there is one
    best_trial : number of that trial
    workers : number of live workers
    outcome : of the report on the best trial; empty without one
    report : path of that report, or of an older one
    walk, walk_outcome : path and verdict of the last walk; empty without one
    retraining : names and keys of the studies that train its best trials again
    """

    name: str
    key: int
    subject: str
    state: str
    done: int
    tickets: int
    counts: str
    best: str
    best_loss: str
    best_trial: int | None
    workers: int
    outcome: str
    report: str
    walk: str
    walk_outcome: str
    retraining: tuple[tuple[str, int], ...]

    @property
    def share(self) -> int:
        """Share of the trials that are done, in per cent."""
        return round(100 * self.done / self.tickets) if self.tickets else 0


def serves_own_pages(app: WsgiApp, storage: RDBStorage) -> WsgiApp:
    """Serve the start page at ``/`` and ``/studies``, and ``/reports/NAME`` and ``/walks/NAME``."""

    def wrapped(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path in _PAGES:
            return _send(start_response, _start_page(storage), environ)
        if found := re.fullmatch(r"/(report|walk)s/([^/]+)", path):
            kind, name = found[1], found[2]
            page = _page(storage, name, VerdictRecord if kind == "report" else WalkRecord)
            if page is None:
                reason = f"there is no {kind} of {name}; `tuner {kind} {name}` makes one"
                return Refusal("404 Not Found", reason).send(start_response)
            return _send(start_response, page, environ)
        return app(environ, start_response)

    return wrapped


def _send(start_response: Callable[..., Any], page: bytes, environ: Environ) -> list[bytes]:
    headers: Headers = [_HTML, ("Content-Security-Policy", _POLICY), ("Cache-Control", "no-store")]
    start_response("200 OK", [*headers, ("Content-Length", str(len(page)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [page]


def _start_page(storage: RDBStorage) -> bytes:
    alive = workers.alive(storage)
    page = _TEMPLATES.get_template("studies.html").render(
        studies=study_lines(storage, alive),
        workers=alive,
        idle=sum(worker.study is None for worker in alive),
        counted=counted,
    )
    return page.encode()


def study_lines(storage: RDBStorage, alive: list[WorkerRow]) -> list[StudyLine]:
    """Return a line for each search of a database, the newest first.

    The searches of a walk are parts of it: the last one stands for all if the study that walks is
    not in the database.
    """
    budgets, counts = registry.budgets(storage), tallies(storage)
    studies = [s for s in storage.get_all_studies() if s.study_name in budgets]
    keys = {study.study_name: frozen_study_id(study) for study in studies}
    return [
        _line(study, budgets[study.study_name], counts.get(study.study_name, Tally()), keys, alive)
        for study in reversed(studies)
        if not retrains(study) and not _is_part(study.study_name, budgets)
    ]


def _is_part(name: str, names: Container[str]) -> bool:
    """Return whether a study is a search of a walk that another line shows."""
    walked = walked_name(name)
    if walked is None:
        return False
    following = int(name.rpartition(".")[2]) + 1
    return walked in names or origin_name(walked, following) in names


def _line(
    study: Any, budget: Budget, tally: Tally, keys: dict[str, int], alive: list[WorkerRow]
) -> StudyLine:
    name, verdict = study.study_name, VerdictRecord.read(study)
    walk = WalkRecord.read(study)
    retraining = [name + suffix for suffix in RETRAINING_SUFFIXES if name + suffix in keys]
    at_work = sum(worker.study in {name, *retraining} for worker in alive)
    is_judged = verdict is not None and verdict.winner == tally.best_trial
    has_best = "skill" in tally.best_attrs  # another program may have added a trial
    states = ("complete", "pruned", "failed")
    return StudyLine(
        name=name,
        key=keys[name],
        subject=_subject(study),
        state=_state(budget, tally, at_work, is_judged=is_judged),
        done=tally.finished,
        tickets=budget.tickets,
        counts=", ".join(f"{tally.states[s]} {s}" for s in states if tally.states[s]),
        best=signed(Scores.from_attrs(tally.best_attrs).skill) if has_best else "",
        best_loss="" if tally.best_loss is None else loss(tally.best_loss),
        best_trial=tally.best_trial,
        workers=at_work,
        outcome=verdict.outcome if verdict and is_judged else "",
        report=report_path(name) if verdict else "",
        walk=walk_path(name) if walk else "",
        walk_outcome=walk.outcome if walk else "",
        retraining=tuple((each, keys[each]) for each in retraining),
    )


def _state(budget: Budget, tally: Tally, at_work: int, *, is_judged: bool) -> str:
    if tally.finished < budget.tickets:
        return "paused" if budget.paused else "searching" if at_work else "waiting"
    return "judged" if is_judged else "searched"


def _subject(study: Any) -> str:
    """Return what a study forecasts; empty if this version cannot read it."""
    with contextlib.suppress(PuffinError, KeyError):
        header = StudyHeader.read(study)
        if header.spec_version == SPEC_VERSION:
            return subject_in_words(parse_spec(header.spec, study.study_name).data)
    return ""


def _page(
    storage: RDBStorage, name: str, record: type[VerdictRecord] | type[WalkRecord]
) -> bytes | None:
    """Return the stored page of a report or a walk; None without one."""
    for study in storage.get_all_studies():
        if study.study_name == name and (verdict := record.read(study)):
            with contextlib.suppress(ArtifactNotFound):
                return SqlArtifactStore(storage.engine).read(verdict.page)
    return None
