"""Audits of a study after its workers were disturbed."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from puffin.studies import records
from puffin.studies.duplicates import trained
from puffin.studies.storage import workers
from puffin.studies.storage.queue import MAX_RETRIES
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy

_LOG = "CREATE TABLE soak_log (at FLOAT, what TEXT, trial_id INTEGER, epoch INTEGER)"
_EPOCH = "INSERT INTO soak_log VALUES ({now}, 'epoch', NEW.trial_id, NEW.step)"
_SAVE = (
    "INSERT INTO soak_log VALUES ({now}, 'save', NEW.trial_id, (SELECT max(step) "
    "FROM trial_intermediate_values WHERE trial_id = NEW.trial_id))"
)
# Each with the table, what happens to it, and what is noted.
_NOTES = {
    "epoch": ("trial_intermediate_values", ["INSERT"], _EPOCH),
    "save": ("puffin_checkpoints", ["INSERT", "UPDATE"], _SAVE),
}
_NOW = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch FROM clock_timestamp())",
}


def keep_log(storage: RDBStorage) -> None:
    """Create triggers that log each reported epoch and each checkpoint."""
    kind = storage.engine.dialect.name
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(_LOG)
        for name, (table, events, note) in _NOTES.items():
            body = note.format(now=_NOW[kind])
            action = f"BEGIN {body}; END"
            if kind == "postgresql":
                connection.exec_driver_sql(
                    f"CREATE FUNCTION soak_{name}() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN {body}; RETURN NULL; END $$"
                )
                action = f"FOR EACH ROW EXECUTE FUNCTION soak_{name}()"
            for event in events:
                connection.exec_driver_sql(
                    f"CREATE TRIGGER soak_{name}_{event} AFTER {event} ON {table} {action}"
                )


def learnt(trials: Iterable[FrozenTrial]) -> dict[int, list[Any]]:
    """Return configuration and losses, bit for bit, of the trial that finished each ticket."""
    return {
        trial.user_attrs[records.TICKET]: [
            trial.user_attrs["config"],
            [(n, loss.hex()) for n, loss in sorted(trial.intermediate_values.items())],
            [loss.hex() for loss in trial.user_attrs["fold_losses"]],
            trial.user_attrs["best_epoch"],
            trial.user_attrs["run"]["epochs"],
            float(trial.value).hex(),
        ]
        for trial in trials
        if trial.state == TrialState.COMPLETE
    }


class Note(NamedTuple):
    """A line of the database's log."""

    at: float
    what: str
    epoch: int


@dataclass
class Handover:
    """A trial that did not end, and how much of its training was repeated.

    Attributes
    ----------
    saved : epoch of the last checkpoint of its ticket
    again : when each of the epochs after that one was reported
    """

    ticket: int
    saved: int
    again: list[float]

    @property
    def seconds(self) -> float:
        """Time between the first epoch that was not saved and the last but one.

        After each of these the trial asked whether a checkpoint was due, which the last one may
        not have lived to do, and none was.
        """
        return self.again[-2] - self.again[0] if len(self.again) > 1 else 0.0


@dataclass
class Audit:
    """Everything stored of a study whose tickets are finished."""

    handle: StoredStudy
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the study once."""
        self.trials = self.handle.trials()
        self._by_ticket: dict[int, list[FrozenTrial]] = defaultdict(list)
        for trial in self.trials:
            self._by_ticket[trial.user_attrs[records.TICKET]].append(trial)
        self._log: dict[int, list[Note]] = defaultdict(list)
        for at, what, trial_id, epoch in self._rows("SELECT * FROM soak_log ORDER BY at"):
            self._log[trial_id].append(Note(float(at), what, epoch))

    def tickets_are_spent_once(self) -> None:
        """Check that the last trial of every ticket finished it, and the others were requeued."""
        assert sorted(self._by_ticket) == list(range(self.handle.spec.tickets))
        for number, trials in self._by_ticket.items():
            ends = [records.is_finished(t) for t in trials]
            assert ends == [False] * (len(ends) - 1) + [True], f"ticket {number}: {trials}"
            assert all(t.state == TrialState.FAIL for t in trials[:-1]), f"ticket {number}"
            for one, other in itertools.pairwise(trials):
                # One that was failed for good never ran.
                if one.datetime_complete and other.datetime_start:
                    assert one.datetime_complete <= other.datetime_start, f"ticket {number}"
        states = Counter(t.state.name.lower() for t in self.trials)
        assert set(states) <= {"complete", "fail"}, f"left open or pruned: {states}"
        last = [trials[-1] for trials in self._by_ticket.values()]
        losses = Counter(t.user_attrs.get(records.RETRIES, 0) for t in last)
        self._say(f"{len(last)} tickets, each spent once, by {len(self.trials)} trials")
        self._say(f"losses of a ticket: {dict(sorted(losses.items()))}")
        for trial in self.failed:
            reason = trial.user_attrs[records.FAILURE]
            assert reason.startswith(f"tried {MAX_RETRIES + 1} times: "), reason
            self._say(f"failed: ticket {trial.user_attrs[records.TICKET]}, {reason}")

    @property
    def failed(self) -> list[FrozenTrial]:
        """The trials that finished their ticket without a result."""
        return [t for t in self.trials if records.FAILURE in t.user_attrs]

    def values_are_those_of(self, undisturbed: dict[int, list[Any]]) -> None:
        """Check for the same configurations and the same losses, bit for bit."""
        own = learnt(self.trials)
        assert len(own) == len(self._by_ticket) - len(self.failed)
        for number, values in own.items():
            assert values == undisturbed[number], f"ticket {number}"
        losses = [t.value for t in self.trials if t.state == TrialState.COMPLETE]
        assert all(value is not None and math.isfinite(value) for value in losses)
        self._say(f"{len(own)} results equal to those of one undisturbed worker, to the last bit")

    def handovers(self) -> Iterator[Handover]:
        """Return the trials that did not end, ticket by ticket."""
        for number, trials in self._by_ticket.items():
            saved = 0
            for trial in trials:
                if records.is_finished(trial):
                    break
                log = self._log[trial._trial_id]
                saved = max([saved, *(note.epoch for note in log if note.what == "save")])
                epochs = [note for note in log if note.what == "epoch"]
                yield Handover(number, saved, [n.at for n in epochs if n.epoch > saved])

    def training_went_on(self, interval: float) -> None:
        """Check that each trial resumed from the last checkpoint, and that it was recent enough."""
        saved: dict[int, int] = {}
        again: list[int] = []
        for handover in self.handovers():
            saved[handover.ticket] = handover.saved
            again.append(len(handover.again))
            # The clock of SQLite counts in milliseconds.
            assert handover.seconds < interval + 0.002, handover
        for trial in learnt(self.trials):
            resumed = self._by_ticket[trial][-1].user_attrs["run"]["resumed_after"]
            assert resumed == saved.get(trial, 0), f"ticket {trial}"
        trained = sum(len(values[1]) for values in learnt(self.trials).values())
        self._say(
            f"{len(again)} trials lost or given back; epochs trained again: {sum(again)} "
            f"beside {trained}, at most {max(again, default=0)} of a trial; "
            f"{sum(1 for epoch in saved.values() if epoch)} tickets went on from a checkpoint"
        )

    def nothing_is_left_over(self) -> None:
        """Check that no checkpoints and no files without an owner are left."""
        rows = self._rows("SELECT count(*) FROM puffin_checkpoints")
        assert rows == [(0,)], f"checkpoints: {rows}"
        self._say("no checkpoint is left")
        bodies = {row[0] for row in self._rows("SELECT artifact_id FROM puffin_artifacts")}
        study, storage = self.handle.optuna_study, self.handle.storage
        owners: dict[str, FrozenTrial | None] = {
            meta.artifact_id: owner if isinstance(owner, FrozenTrial) else None
            for owner in (study, *self.trials)
            for meta in get_all_artifact_meta(owner, storage=storage)
        }
        assert bodies == set(owners), "a file without an owner, or an owner without a file"
        files = Counter(t.number for t in owners.values() if t is not None)
        complete = [t.number for t in trained(self.trials) if t.state == TrialState.COMPLETE]
        assert {files[number] for number in complete} == {1}
        self._say(
            f"{len(bodies)} files, each with its owner; {sum(files.values()) - len(complete)} of "
            "trials that were lost"
        )

    def no_worker_seems_alive(self, killed: set[int]) -> None:
        """Check that only killed workers are listed, and only until the next read."""
        storage = self.handle.storage
        rows = {row[0] for row in self._rows("SELECT pid FROM puffin_workers")}
        assert rows <= killed, "a worker that ended did not sign off"
        assert workers.alive(storage) == []
        me = Registration(storage, "cpu", {}, 60)
        me.write(None, None)
        assert self._rows("SELECT count(*) FROM puffin_workers") == [(1,)]
        me.remove()
        self._say(f"no worker seems alive; {len(rows)} rows of killed ones, forgotten by the next")

    def a_deletion_leaves_nothing(self) -> None:
        """Check that deleting the study leaves no rows."""
        for table in ("puffin_studies", "puffin_artifacts", "studies", "trials", "trial_params"):
            rows = self._rows(f"SELECT count(*) FROM {table}")  # noqa: S608  # our own names
            assert rows == [(0,)], table
        self._say("deleted, the study leaves no row")

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.handle.storage.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]

    def _say(self, line: str) -> None:
        self.lines.append(line)


def said(texts: Iterable[str]) -> Counter[str]:
    """Count the messages of workers by their common first words."""
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return Counter(" ".join(w for w in line.split() if not w.isdigit())[:76] for line in lines)
