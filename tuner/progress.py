"""Live progress of a search or of retraining, on stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from puffin.studies.summary import RunningTrial, Status
from puffin.studies.text import counted, duration, loss, roughly, signed
from puffin.tuner import messages

# Seconds between two lines of progress if stderr is not a terminal.
_QUIET_INTERVAL = 10.0
# A terminal has few lines, and a machine may have many workers.
_MOST_RUNNING = 8
_BAR_WIDTH = 20


class Progress:
    """Live state of a study: updated in place on a terminal, a line every 10 s in a file."""

    def __init__(self) -> None:
        self._console = messages.stderr()
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._started = time.monotonic()
        self._printed = -_QUIET_INTERVAL

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Print a message above the progress."""
        messages.say(line, self._console)

    def show(self, status: Status) -> None:
        """Show a state of the study."""
        elapsed = time.monotonic() - self._started
        if self._console.is_terminal:
            self._live.update(_block(status, elapsed))
        elif time.monotonic() - self._printed >= _QUIET_INTERVAL:
            self._printed = time.monotonic()
            self.say("; ".join([count_line(status), *_details(status, elapsed)]))


def count_line(status: Status) -> str:
    """Return the trials by state: ``12 of 40 trials: 3 complete, 9 pruned``."""
    line = f"{status.finished} of {counted(status.tickets, 'trial')}"
    running = f"{status.running} running" if status.running else ""
    states = ", ".join(part for part in (ended_as(status), running) if part)
    return f"{line}: {states}" if states else line


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


def _details(status: Status, elapsed: float) -> list[str]:
    left = status.seconds_left
    parts = [
        f"paused: `{messages.shell_command('resume', status.name)}` resumes it"
        if status.paused
        else None,
        f"{duration(elapsed)} so far",
        None if left is None or status.paused else f"{roughly(left)} left",
        best_line(status),
    ]
    return [part for part in parts if part]


def _block(status: Status, elapsed: float) -> RenderableType:
    """Return the progress for a terminal: a bar, the details, and the running trials."""
    top = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=status.tickets, completed=status.finished, width=_BAR_WIDTH)
    top.add_row(bar, Text(count_line(status)))
    running = [f"  {running_line(trial)}" for trial in status.running_trials[:_MOST_RUNNING]]
    if more := len(status.running_trials) - _MOST_RUNNING:
        running += [f"  and {more} more in training"] if more > 0 else []
    return Group(top, Text("; ".join(_details(status, elapsed))), *map(Text, running))
