"""Share of a trial's time that is not training: suggest, report, prune, attributes, artifact, tell.

Runs one worker of a study in this process and times every call into the training iterator; what is
left of the worker's time is bookkeeping. `--filled N` first puts N finished trials into the study,
copied from its own first trials, so that sampler and pruner have a long history to read.

    python benchmarks/bookkeeping.py daily --trials 12 --filled 180
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial

from puffin.models.training.fold_training import Epoch
from puffin.studies.records import TrialRecord, updated_attrs
from puffin.studies.storage.database import GRACE_SECONDS, open_storage
from puffin.studies.storage.workers import Registration
from puffin.studies.study import StoredStudy
from puffin.studies.versions import installed_versions
from puffin.tuner.submit import open_study
from puffin.tuner.worker.heartbeat import Heartbeat
from puffin.tuner.worker.process import setup_torch
from puffin.tuner.worker.signals import Interrupt
from puffin.tuner.worker.worker import Worker


class Stopwatch(Interrupt):
    """Times the training inside `guard`."""

    def __init__(self) -> None:
        super().__init__()
        self.training = 0.0

    def interruptible(self, items: Iterator[Epoch]) -> Iterator[Epoch]:  # type: ignore[override]  # of epochs
        """Pass on epochs, and sum the time that each takes to make."""
        while True:
            started = time.perf_counter()
            item = next(items, None)
            self.training += time.perf_counter() - started
            if item is None:
                return
            yield item


def fill(study: StoredStudy, count: int) -> None:
    """Copy finished trials, in turn, until there are `count` more."""
    done = [t for t in study.trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    for i in range(count):
        twin = done[i % len(done)]
        study.optuna_study.add_trial(
            create_trial(
                state=twin.state,
                value=twin.value,
                params=twin.params,
                distributions=twin.distributions,
                user_attrs=updated_attrs(twin, TrialRecord(ticket=-1)),
                system_attrs={k: v for k, v in twin.system_attrs.items() if "rung" in k},
                intermediate_values=twin.intermediate_values,
            )
        )


def run(study: StoredStudy, worker: Worker, watch: Stopwatch, trials: int, label: str) -> None:
    """Run trials and print the shares."""
    rows = []
    for _ in range(trials):
        watch.training = 0.0
        started = time.perf_counter()
        worker.step(study)
        rows.append((time.perf_counter() - started, watch.training))
    states = [t.state.name for t in study.trials()[-trials:]]
    for state in sorted(set(states)):
        chosen = [row for row, s in zip(rows, states, strict=True) if s == state]
        report(f"{label}, {state.lower()}", chosen)
    report(f"{label}, all", rows)


def report(label: str, rows: list[tuple[float, float]]) -> None:
    """Print one line of the table."""
    total, training = (sum(column) for column in zip(*rows, strict=True))
    each = (total - training) / len(rows)
    print(
        f"{label:28} {len(rows):4} trials {total:8.1f} s  bookkeeping {each * 1e3:6.0f} ms a trial"
        f"  {1 - training / total:.2%}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="daily")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--filled", type=int, default=180)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        study = open_study(options.spec, [], url)
        watch = Stopwatch()
        storage = open_storage(url)
        me = Registration(storage, "cpu", installed_versions(), GRACE_SECONDS)
        with Heartbeat(storage, me) as heartbeat:
            worker = Worker(storage, setup_torch("cpu", 1.0), watch, heartbeat)
            worker.step(study)  # reads the prices, once per study
            run(study, worker, watch, options.trials, "from the start")
            fill(study, options.filled)
            run(study, worker, watch, options.trials, f"after {options.filled} more")


if __name__ == "__main__":
    main()
