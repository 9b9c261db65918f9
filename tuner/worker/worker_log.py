"""The log of a worker on stderr: a line when it starts, waits and ends, and one per trial."""

import contextlib
import time
from collections import Counter

import click
from optuna.trial import FrozenTrial, TrialState

from puffin.studies import versions
from puffin.studies.records import TrialRecord, is_finished
from puffin.studies.storage.workers import process_name
from puffin.studies.text import counted, duration, loss, printable

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class WorkerLog:
    """Writes what happens to the trials of one worker, and counts them.

    Parameters
    ----------
    quiet : bool
        Whether to write nothing. Warnings do not pass through this class.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._ended: Counter[str] = Counter()
        self._since = time.monotonic()
        self._has_started = False
        self._waits = False

    def _say(self, line: str) -> None:
        if not self._quiet:
            with contextlib.suppress(OSError):  # work continues without a reader of stderr
                click.echo(printable(line), err=True)

    def starts(self, url: str, device: str) -> None:
        """Write once which worker this is; `url` is the database without its password."""
        if self._has_started:
            return
        self._has_started = True
        packages = versions.installed_versions().items()
        listed = ", ".join(f"{name} {number}" for name, number in packages)
        self._say(f"worker {process_name()} on {device}, {url}; {listed}")

    def waits(self, reason: str) -> None:
        """Write why there is nothing to do, once until the next trial ends."""
        if not self._waits:
            self._waits = True
            self._say(f"{reason}; waiting")

    def trial_ended(self, study: str, trial: FrozenTrial) -> None:
        """Write how a trial ended; one whose ticket was requeued has only stopped."""
        self._waits = False
        if not is_finished(trial):
            self._ended["requeued"] += 1
            self._say(f"trial {trial.number} of study {study}: stopped, waits for a worker again")
            return
        state, record = _STATES[trial.state], TrialRecord.read(trial)
        self._ended[state] += 1
        parts = [state]
        if (scores := record.scores) is not None:
            parts.append(f"loss {loss(scores.best_loss)} at epoch {scores.best_epoch}")
        if (run := record.run) is not None:
            parts.append(f"{counted(run.epochs, 'epoch')} in {run.seconds:.1f} s")
        self._say(f"trial {trial.number} of study {study}: {', '.join(parts)}")

    def ends(self, reason: str) -> None:
        """Write why the worker ends and what it has done, if it has started."""
        if not self._has_started:
            return
        states = {state: self._ended[state] for state in _STATES.values()}
        states |= {"requeued": self._ended["requeued"]} if self._ended["requeued"] else {}
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        elapsed = duration(time.monotonic() - self._since)
        self._say(f"worker {process_name()} ends after {elapsed}: {counts}; {reason}")
