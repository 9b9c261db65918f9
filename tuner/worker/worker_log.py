"""The events of a worker: when it starts, waits and ends, and how its trials end."""

import logging
import time
from collections import Counter
from dataclasses import asdict

from optuna.trial import FrozenTrial, TrialState

from puffin.studies import versions
from puffin.studies.json_values import to_json_values
from puffin.studies.overview import TrialRow, trial_row
from puffin.studies.records import is_requeued
from puffin.studies.text import counted, duration, loss, signed

log = logging.getLogger(__name__)

_ENDS = ("complete", "pruned", "failed")
_SHORT = 10.0  # seconds; longer times have no decimals
_FIGURES = ("state", "loss", "skill", "best_epoch", "epochs", "seconds", "reason")


class WorkerLog:
    """Logs what happens to one worker, and counts its trials."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self._since = time.monotonic()
        self._has_started = False
        self._waits = False

    def starts(self, url: str, device: str) -> None:
        """Log once which worker this is; `url` is the database without its password."""
        if self._has_started:
            return
        self._has_started = True
        packages = versions.installed_versions().items()
        listed = ", ".join(f"{name} {number}" for name, number in packages)
        log.info("starts on %s, %s; %s", device, url, listed)

    def waits(self, reason: str) -> None:
        """Log why there is nothing to do, once until the next trial ends."""
        if not self._waits:
            self._waits = True
            log.info("%s; waiting", reason)

    def trial_ended(self, trial: FrozenTrial, *, is_best: bool = False) -> None:
        """Log how a trial ended; one whose ticket was requeued has only stopped.

        Why a trial failed was logged as a warning when it did.
        """
        self._waits = False
        row = trial_row(trial)
        self._ended[row.state] += 1
        if is_requeued(trial):
            log.info("stopped, waits for a worker again")
        elif trial.state != TrialState.FAIL:
            figures = to_json_values({key: asdict(row)[key] for key in _FIGURES})
            log.info("%s", _end(row, is_best=is_best), extra={"figures": figures})

    def ends(self, reason: str) -> None:
        """Log why the worker ends and what it has done, if it has started."""
        if not self._has_started:
            return
        counts = [f"{self._ended[state]} {state}" for state in _ENDS]
        counts += [f"{self._ended['stopped']} stopped"] if self._ended["stopped"] else []
        elapsed = duration(time.monotonic() - self._since)
        log.info("ends after %s: %s; %s", elapsed, ", ".join(counts), reason)


def _end(row: TrialRow, *, is_best: bool) -> str:
    """Return how a trial ended: ``complete, new best, loss 0.6081 at epoch 7, ...``."""
    parts = [row.state, *(["new best"] if is_best else [])]
    if row.loss is not None:
        at = "" if row.best_epoch is None else f" at epoch {row.best_epoch}"
        parts.append(f"loss {loss(row.loss)}{at}")
    if row.skill is not None:
        parts.append(f"skill {signed(row.skill)}")
    if row.epochs is not None and row.seconds is not None:
        short = row.seconds < _SHORT
        took = f"{row.seconds:.1f} s" if short else duration(row.seconds)
        parts.append(f"{counted(row.epochs, 'epoch')} in {took}")
    if row.reason is not None and not row.reason.startswith("pruned at"):
        parts.append(row.reason)
    return ", ".join(parts)
