"""The budget of a study: one ticket per trial, each of which finishes exactly once.

A ticket is a WAITING trial with the user attribute ``ticket`` (0, 1, 2, ...). Workers draw numbers
from a counter and put one ticket at a time on the queue, because Optuna re-reads every waiting
trial at each call. A ticket is finished by a trial that is complete, pruned, or failed with a
reason; a trial that failed without one has given its ticket back.
"""

import uuid
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies import checkpoints
from studies.storage import FAILURE, studies

TICKET, RETRIES, WORKER = "ticket", "retries", "worker"
# Noted by a trial as soon as its whole point is sampled.
CONFIG = "config"
# Why the trials of this ticket before this one came to no end.
NOTES = "notes"
# A ticket whose worker was lost this often is failed: the trial itself may be what kills.
MAX_RETRIES = 3


def _row(name: str) -> sa.ColumnElement[bool]:
    return studies.c.name == name


def _half_made(name: str, token: str) -> sa.ColumnElement[bool]:
    return sa.and_(_row(name), studies.c.token == token, studies.c.tickets.is_(None))


def begin(storage: RDBStorage, name: str) -> str | None:
    """Take a name for a study that is about to be made; give its token, or None if it is taken.

    Until `open_budget` no worker sees the study.
    """
    token = uuid.uuid4().hex
    row = {"name": name, "token": token, "issued": 0, "audits": 0, "priority": 1, "paused": False}
    try:
        with storage.engine.begin() as connection:
            connection.execute(sa.insert(studies).values(row))
    except sa.exc.IntegrityError:
        return None
    return token


def take_over(storage: RDBStorage, name: str, seen: str) -> str | None:
    """Take the name of a half-made study from its maker; of all processes that try, one does it.

    `seen` is the token that the maker holds. Gives the new one, or None.
    """
    token = uuid.uuid4().hex
    with storage.engine.begin() as connection:
        query = sa.update(studies).where(_half_made(name, seen)).values(token=token)
        return token if connection.execute(query).rowcount else None


def open_budget(storage: RDBStorage, name: str, token: str, tickets: int) -> bool:
    """Make a study whole: from now on workers see it. False if another took its name over."""
    with storage.engine.begin() as connection:
        query = sa.update(studies).where(_half_made(name, token)).values(tickets=tickets)
        return bool(connection.execute(query).rowcount)


def close_budget(storage: RDBStorage, name: str) -> None:
    """Make a study half-made again: workers no longer see it."""
    with storage.engine.begin() as connection:
        connection.execute(sa.update(studies).where(_row(name)).values(tickets=None))


def release(storage: RDBStorage, name: str, token: str) -> None:
    """Give a name free."""
    with storage.engine.begin() as connection:
        connection.execute(sa.delete(studies).where(_row(name), studies.c.token == token))


def token_of(storage: RDBStorage, name: str) -> str | None:
    """Give the token of a study, whole or half-made, or None if there is none."""
    with storage.engine.connect() as connection:
        return connection.execute(sa.select(studies.c.token).where(_row(name))).scalar()


def total(storage: RDBStorage, name: str) -> int | None:
    """Give the number of tickets of a study, or None if there is no whole one of that name."""
    with storage.engine.connect() as connection:
        return connection.execute(sa.select(studies.c.tickets).where(_row(name))).scalar()


@dataclass(frozen=True)
class Budget:
    """What workers must know of a whole study before they look into it."""

    name: str
    token: str
    tickets: int
    issued: int
    priority: int
    paused: bool


def budgets(storage: RDBStorage) -> dict[str, Budget]:
    """Give the budgets of all whole studies by name."""
    columns = [studies.c[name] for name in Budget.__dataclass_fields__]
    query = sa.select(*columns).where(studies.c.tickets.is_not(None))
    with storage.engine.connect() as connection:
        return {row.name: Budget(*row) for row in connection.execute(query)}


def set_priority(storage: RDBStorage, name: str, priority: int) -> None:
    """Give a study another share of the workers' time."""
    _change(storage, name, priority=priority)


def set_paused(storage: RDBStorage, name: str, *, paused: bool) -> None:
    """Let no worker begin another ticket of a study, or let them again."""
    _change(storage, name, paused=paused)


def extend(storage: RDBStorage, name: str, more: int) -> int:
    """Add tickets to a whole study; give their number then."""
    query = sa.update(studies).where(_row(name)).values(tickets=studies.c.tickets + more)
    with storage.engine.begin() as connection:
        return int(connection.execute(query.returning(studies.c.tickets)).scalar_one())


def set_total(storage: RDBStorage, name: str, total: int) -> None:
    """Set the number of tickets of a whole study."""
    _change(storage, name, tickets=total)


def adopt(storage: RDBStorage, budget: Budget) -> None:
    """Have a study that is about to be made go on where another of its name was."""
    _change(storage, budget.name, issued=budget.issued, priority=budget.priority)


def _change(storage: RDBStorage, name: str, **values: Any) -> None:
    with storage.engine.begin() as connection:
        connection.execute(sa.update(studies).where(_row(name)).values(**values))


def draw(storage: RDBStorage, study: optuna.Study) -> int | None:
    """Take the next number from the counter, or None when all are out."""
    query = (
        sa.update(studies)
        .where(_row(study.study_name), studies.c.issued < studies.c.tickets)
        .values(issued=studies.c.issued + 1)
        .returning(studies.c.issued)
    )
    with storage.engine.begin() as connection:
        issued = connection.execute(query).scalar_one_or_none()
    return None if issued is None else issued - 1


def claim(storage: RDBStorage, study: optuna.Study) -> FrozenTrial | None:
    """Turn a waiting ticket into a running trial, or None if none waits.

    ``Study.ask`` would make a new, empty trial in that case, which TPE then stumbles over.
    """
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    for trial in waiting:
        try:
            # First, because a running trial without a heartbeat is never found to be stale.
            storage.record_heartbeat(trial._trial_id)  # noqa: SLF001
            if study._storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING):  # noqa: SLF001
                return trial
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # another worker has already run it to its end
    return None


def issue(
    study: optuna.Study,
    number: int,
    params: dict[str, Any],
    retries: int = 0,
    notes: Iterable[str] = (),
) -> None:
    """Put a ticket on the queue; `params` are fixed, the rest is sampled."""
    attrs: dict[str, Any] = {TICKET: number}
    attrs |= {RETRIES: retries} if retries else {}
    attrs |= {NOTES: list(notes)} if notes else {}
    study.enqueue_trial(params, user_attrs=attrs)


def issue_lost(study: optuna.Study, number: int, params: dict[str, Any]) -> None:
    """Put a ticket on the queue again that nobody holds.

    Its worker died between the end of its trial and the next one, which then has the same point, or
    before there was one: then `params` are fixed.
    """
    trials = study.get_trials(deepcopy=False)
    for trial in reversed([t for t in trials if t.user_attrs.get(TICKET) == number]):
        attrs = trial.user_attrs
        issue(study, number, point(trial), attrs.get(RETRIES, 0), attrs.get(NOTES, ()))
        return
    issue(study, number, params)


def point(trial: FrozenTrial) -> dict[str, Any]:
    """Give what is fixed for whoever takes the ticket of this trial over.

    A trial that was lost while it sampled leaves a part of its point, and the rest would then come
    from other random numbers than in a search that nobody disturbed, or off the point of a grid.
    """
    if CONFIG in trial.user_attrs:
        return trial.params
    fixed: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return fixed


def give_back(study: optuna.Study, trial: optuna.Trial) -> None:
    """End a running trial without spending its ticket; whoever takes it gets the same point.

    Raises
    ------
    optuna.exceptions.UpdateFinishedTrialError
        If others have ended the trial, and with it seen to its ticket.
    """
    attrs = trial.user_attrs
    failed = _fail(study, trial)
    issue(study, attrs[TICKET], point(failed), attrs.get(RETRIES, 0), attrs.get(NOTES, ()))


def give_up(study: optuna.Study, trial: optuna.Trial, why: str) -> None:
    """End a running trial that lacked what another time there may be; retry it, or fail it.

    Raises
    ------
    optuna.exceptions.UpdateFinishedTrialError
        If others have ended the trial, and with it seen to its ticket.
    """
    _retry(study, _fail(study, trial), why)


def _fail(study: optuna.Study, trial: optuna.Trial) -> FrozenTrial:
    """End a running trial; give it as it then is."""
    storage, trial_id = study._storage, trial._trial_id  # noqa: SLF001  # no public names
    storage.set_trial_state_values(trial_id, state=TrialState.FAIL)
    return storage.get_trial(trial_id)


def fail_stale(study: optuna.Study) -> None:
    """Fail trials whose worker shows no sign of life; the storage's callback sees to a retry."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def retry_stale(study: optuna.Study, trial: FrozenTrial) -> None:
    """Put the ticket of a trial whose worker was lost on the queue again, a few times at most."""
    attrs = trial.user_attrs
    if TICKET not in attrs or FAILURE in attrs:
        return  # not one of ours, or spent: its worker died between giving the reason and the end
    _retry(
        study, trial, f"worker {attrs[WORKER]} was lost" if WORKER in attrs else "a worker was lost"
    )


def _retry(study: optuna.Study, trial: FrozenTrial, why: str) -> None:
    attrs = trial.user_attrs
    retries = attrs.get(RETRIES, 0) + 1
    notes = [*attrs.get(NOTES, ()), why]
    if retries <= MAX_RETRIES:
        issue(study, attrs[TICKET], point(trial), retries, notes)
        return
    reason = f"tried {retries} times: {'; '.join(dict.fromkeys(notes))}"
    study.add_trial(
        create_trial(
            state=TrialState.FAIL,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attrs | {FAILURE: reason, RETRIES: retries, NOTES: notes},
        )
    )
    cached: Any = study._storage  # noqa: SLF001  # it wraps every database
    checkpoints.drop(cached._backend, study.study_name, attrs[TICKET])  # noqa: SLF001


def is_finished(trial: FrozenTrial) -> bool:
    """Tell whether a trial has spent its ticket."""
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    return trial.state == TrialState.FAIL and FAILURE in trial.user_attrs


def finished(trials: Iterable[FrozenTrial]) -> int:
    """Count the tickets that are spent."""
    return len({t.user_attrs[TICKET] for t in trials if TICKET in t.user_attrs and is_finished(t)})


def count(trials: Iterable[FrozenTrial]) -> Counter[str]:
    """Count tickets by what became of them: complete, pruned, failed, running, waiting."""
    tally: Counter[str] = Counter()
    for trial in trials:
        if is_finished(trial) or not trial.state.is_finished():
            name = "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()
            tally[name] += 1
    return tally


def missing(trials: Iterable[FrozenTrial], tickets: int) -> set[int]:
    """Give the numbers that no finished, running or waiting trial holds."""
    held = {t.user_attrs.get(TICKET) for t in trials if is_finished(t) or not t.state.is_finished()}
    return set(range(tickets)) - held


class Audit:
    """Re-issues numbers that were drawn by a worker that died before it put them on the queue.

    A number counts as lost when it was missing at two looks at least `patience` seconds apart. Of
    all workers that see this one wins the right to re-issue, by a compare-and-set.
    """

    def __init__(self, patience: float = 30.0) -> None:
        self._patience = patience
        self._seen: tuple[int, frozenset[int]] | None = None
        self._since = 0.0

    def look(self, storage: RDBStorage, study: optuna.Study, now: float) -> set[int]:
        """Give the numbers to issue again: none, but for the one worker that won."""
        query = sa.select(studies.c.tickets, studies.c.audits).where(_row(study.study_name))
        with storage.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or row.tickets is None:
            return set()
        lost = missing(study.get_trials(deepcopy=False), row.tickets)
        seen = (row.audits, frozenset(lost))
        if not lost or seen != self._seen:
            self._seen, self._since = seen, now
            return set()
        if now - self._since < self._patience:
            return set()
        self._seen = None
        return lost if self._win(storage, study, row.audits) else set()

    @staticmethod
    def _win(storage: RDBStorage, study: optuna.Study, audits: int) -> bool:
        query = (
            sa.update(studies)
            .where(_row(study.study_name), studies.c.audits == audits)
            .values(audits=audits + 1)
        )
        with storage.engine.begin() as connection:
            return bool(connection.execute(query).rowcount)
