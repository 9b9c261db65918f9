"""Live progress of a search or of retraining, on stderr."""

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from puffin.studies.spec import Spec
from puffin.studies.summary import RunningTrial, Status
from puffin.studies.text import (
    configuration,
    counted,
    duration,
    loss,
    roughly,
    shortened,
    signed,
)
from puffin.tuner import messages
from puffin.tuner.columns import CONFIGURATION, fitted_table

# Most seconds between two lines of progress if stderr is not a terminal.
_LINE_SECONDS = 60.0
# A terminal has few lines, and a machine may have many workers.
_MOST_ROWS = 8
_MOST_BAR, _LEAST_BAR = 24, 10
_COLUMNS = ("worker", "trial", "epoch", "loss", CONFIGURATION)
_OPTIONAL = (CONFIGURATION, "loss", "epoch")


class Progress:
    """Live state of a study: updated in place on a terminal, a line per change elsewhere.

    Parameters
    ----------
    spec : Spec
        The study file.
    quiet : bool
        Whether to show nothing but what `say` prints.
    label : callable
        Returns what is shown before the counts.
    """

    def __init__(self, spec: Spec, *, quiet: bool = False, label: Callable[[], str] = str) -> None:
        self._console = messages.stderr()
        self._searched = spec.parsed_space.searched
        self._quiet = quiet
        self._label = label
        # A dumb terminal cannot move its cursor, and FORCE_COLOR makes a file look like a terminal.
        self._is_live = self._console.is_interactive and self._console.file.isatty() and not quiet
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._started = self._last_line = time.monotonic()
        self._last: Status | None = None
        self._countdown = _Countdown()

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._is_live and self._last is not None and self._last.done:
            took = duration(time.monotonic() - self._started)
            self.say(f"{self._label()}{count_line(self._last)}; {took}")

    def say(self, line: str) -> None:
        """Print a message above the progress."""
        messages.say(line, self._console)

    def show(self, status: Status, workers: Mapping[str, str]) -> None:
        """Show a state of the study.

        Parameters
        ----------
        status : Status
        workers : mapping
            The worker processes of this command, "host:pid" to a short name.
        """
        last, self._last = self._last, status
        now = time.monotonic()
        left = self._countdown.left(status, now)
        if self._quiet:
            return
        if last is not None and status.best_trial not in (None, last.best_trial):
            self._say_best(status)
        if self._is_live:
            self._live.update(self._block(status, workers, now - self._started, left), refresh=True)
        elif self._is_due(last, status, now):
            self._last_line = now
            details = _details(status, now - self._started, left)
            self.say(self._label() + "; ".join([count_line(status), *details]))

    def _is_due(self, last: Status | None, status: Status, now: float) -> bool:
        ended = last is not None and status.finished != last.finished
        return ended or now - self._last_line >= _LINE_SECONDS

    def _say_best(self, status: Status) -> None:
        line = f"new {best_line(status)}"
        if status.best_config:
            line += f", {configuration(status.best_config, self._searched)}"
        if self._console.is_terminal:
            line = shortened(line, self._console.width)
        self._console.print(Text(line, "bold green"), soft_wrap=True)

    def _block(
        self, status: Status, workers: Mapping[str, str], elapsed: float, left: float | None
    ) -> RenderableType:
        """Return the progress for a terminal: bar, counts, best trial, and a row per worker."""
        title = Text(self._label() + ", ".join([done_of(status), *_times(status, elapsed, left)]))
        bar = self._console.width - title.cell_len - 1
        top = Table.grid(padding=(0, 1))
        top.add_row(
            ProgressBar(
                total=max(status.tickets, 1),
                completed=status.finished + sum(map(_share, status.running_trials)),
                width=max(_LEAST_BAR, min(bar, _MOST_BAR)),
            ),
            title,
        )
        counts = "; ".join(part for part in (ended_as(status), _paused(status)) if part)
        return Group(
            Text(),
            top,
            Text(counts or "none has ended yet", "dim"),
            *self._best(status),
            *self._rows(status, workers),
        )

    def _best(self, status: Status) -> Iterator[RenderableType]:
        if (line := best_line(status)) is not None:
            yield Text(line, "green")
            if status.best_config:
                shown = configuration(status.best_config, self._searched)
                yield Padding(Text(shown, "green"), (0, 0, 0, 2))

    def _rows(self, status: Status, workers: Mapping[str, str]) -> Iterator[RenderableType]:
        trials = {trial.worker: trial for trial in status.running_trials if trial.worker}
        others = {name: name for name in trials if name not in workers}
        rows = [
            self._row(label, trials.get(name))
            for name, label in (*workers.items(), *others.items())
        ]
        table = fitted_table(self._console, _COLUMNS, rows[:_MOST_ROWS], _OPTIONAL)
        if rows and table is not None:
            yield Text()
            yield table
        if (more := len(rows) - _MOST_ROWS) > 0:
            yield Text(f"and {counted(more, 'worker')} more", "dim")

    def _row(self, label: str, trial: RunningTrial | None) -> tuple[str, ...]:
        if trial is None:
            return (label, "-", "-", "-", "waits for a trial")
        shown = configuration(trial.config, self._searched) if trial.config else "-"
        return (
            label,
            str(trial.trial),
            f"{trial.epoch} of {trial.max_epochs}" if trial.epoch else "-",
            "-" if trial.loss is None else loss(trial.loss),
            shown if trial.seed is None else f"seed {trial.seed}, {shown}",
        )


class _Countdown:
    """The time left, which runs down between two estimates."""

    def __init__(self) -> None:
        self._basis: tuple[int, ...] = ()
        self._end: float | None = None

    def left(self, status: Status, now: float) -> float | None:
        """Return the seconds left; a new estimate counts once an epoch or a trial has ended."""
        epochs = sum(trial.epoch for trial in status.running_trials)
        basis = (status.finished, epochs, len(status.workers), status.tickets)
        if basis != self._basis:
            self._basis = basis
            self._end = None if status.seconds_left is None else now + status.seconds_left
        return None if self._end is None else max(self._end - now, 0.0)


def done_of(status: Status) -> str:
    """Return how much is done: ``12 of 40 trials``."""
    noun = "trial" if status.search is None else "training"
    return f"{status.finished} of {counted(status.tickets, noun)}"


def count_line(status: Status) -> str:
    """Return the trials by state: ``12 of 40 trials: 3 complete, 9 pruned``."""
    running = f"{status.running} running" if status.running else ""
    states = ", ".join(part for part in (ended_as(status), running) if part)
    return f"{done_of(status)}: {states}" if states else done_of(status)


def ended_as(status: Status) -> str:
    """Return how trials have ended: ``3 complete, 9 pruned``."""
    counts = {state: getattr(status, state) for state in ("complete", "pruned", "failed")}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def best_line(status: Status) -> str | None:
    """Return the best trial so far, or None, as for a study that retrains."""
    if status.best_loss is None:
        return None
    skill = signed(status.best_skill)
    return f"best trial {status.best_trial}: loss {loss(status.best_loss)}, skill {skill}"


def running_line(trial: RunningTrial) -> str:
    """Return how far a running trial is."""
    if not trial.epoch or trial.loss is None:
        return f"trial {trial.trial}: in training"
    return (
        f"trial {trial.trial}: epoch {trial.epoch} of {trial.max_epochs}, "
        f"lowest loss {loss(trial.loss)}"
    )


def _share(trial: RunningTrial) -> float:
    return min(trial.epoch / max(trial.max_epochs, 1), 1.0)


def _times(status: Status, elapsed: float, left: float | None) -> list[str]:
    unknown = left is None or status.paused
    return [f"{duration(elapsed)} so far", *([] if unknown else [f"{roughly(left or 0)} left"])]


def _paused(status: Status) -> str:
    if not status.paused:
        return ""
    return f"paused: `{messages.shell_command('resume', status.name)}` resumes it"


def _details(status: Status, elapsed: float, left: float | None) -> list[str]:
    parts = [_paused(status), *_times(status, elapsed, left), best_line(status)]
    return [part for part in parts if part]
