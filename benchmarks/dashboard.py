"""How long the pages of the dashboard take, of studies with a long history.

A finished study is filled up with copies of its trials, each with 50 epochs, in a SQLite file. The
dashboard is called in this process, as its server calls it, so the figures have neither a network
nor a browser in them. They are processor seconds, because other programs share the machine. `cold`
is the first request after a start, `ready` what the dashboard reads by itself after a start,
`first` the request after that, and `warm` the median of the requests that follow.

    python benchmarks/dashboard.py --trials 100 1000 5000
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import TrialIntermediateValueModel
from optuna.trial import TrialState, create_trial

from puffin.studies.records import TrialRecord, updated_attrs
from puffin.studies.storage import registry
from puffin.studies.storage.database import transaction
from puffin.studies.storage.optuna_internals import trial_id
from puffin.studies.study import StoredStudy
from puffin.tuner.dashboard.app import dashboard_app, open_for_requests
from puffin.tuner.dashboard.view import StudyView
from puffin.tuner.submit import open_study
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt

TRAINED, EPOCHS, WARM = 8, 50, 5
CHANGES = (f"search.trials={TRAINED}", "search.pruner=none", "training.max_epochs=2")
FIRST = "/api/studies/1"


def fill(study: StoredStudy, count: int) -> None:
    """Copy the finished trials, in turn, until there are `count`, each with `EPOCHS` epochs."""
    done = [t for t in study.trials() if t.state == TrialState.COMPLETE]
    copies, there = [], len(study.trials())
    for ticket in range(there, count):
        twin = done[ticket % len(done)]
        loss = float(twin.value or 0.0) * (1 + 0.5 * (ticket % 97) / 97)
        copies.append(
            create_trial(
                state=TrialState.COMPLETE,
                value=loss,
                params=twin.params,
                distributions=twin.distributions,
                user_attrs=updated_attrs(twin, TrialRecord(ticket=ticket)),
            )
        )
    study.optuna_study.add_trials(copies)
    curves = [
        {
            "trial_id": trial_id(trial),
            "step": epoch,
            "intermediate_value": float(trial.value or 0.0) * (1 + 1 / epoch),
            "intermediate_value_type": "FINITE",
        }
        for trial in study.trials()[there:]
        for epoch in range(1, EPOCHS + 1)
    ]
    with transaction(study.storage) as connection:
        # Optuna would take minutes to add them.
        connection.execute(sa.insert(TrialIntermediateValueModel), curves)
        registry.set_budget(connection, study.creation_id, tickets=count, issued=count)


def get(app: Callable[..., Any], path: str) -> tuple[float, int]:
    """Request a page; return the processor seconds, and the bytes of the answer."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8080",
        "HTTP_HOST": "127.0.0.1:8080",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    answers: list[str] = []
    started = time.process_time()
    body = b"".join(app(environ, lambda status, *_: answers.append(status)))
    seconds = time.process_time() - started
    if not answers[-1].startswith("200"):
        msg = f"{path}: {answers[-1]}, {body[:200]!r}"
        raise SystemExit(msg)
    return seconds, len(body)


def started(url: str) -> tuple[Callable[..., Any], StudyView]:
    """Return a dashboard as `tuner dashboard` makes it, before it has read anything."""
    storage = open_for_requests(url)
    view = StudyView(storage)
    return dashboard_app(storage, writable=False, password=None, view=view), view


def measure(url: str, trials: int) -> None:
    """Print a line for a study."""
    app, _ = started(url)
    home, _ = get(app, "/")
    cold, _ = get(app, FIRST)
    app, view = started(url)
    begin = time.process_time()
    view.warm_up()
    ready = time.process_time() - begin
    first, size = get(app, FIRST)
    warm = statistics.median(get(app, FIRST)[0] for _ in range(WARM))
    listed = statistics.median(get(app, "/api/studies")[0] for _ in range(WARM))
    later = statistics.median(get(app, "/")[0] for _ in range(WARM))
    print(
        f"{trials:6} {home:8.2f} {later:6.2f} {listed:6.2f} {cold:8.2f} {ready:8.2f} {first:8.2f}"
        f" {warm:6.2f} {size / 1e6:6.1f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    given = parser.parse_args()
    print("        start page          list  study page")
    print("trials     cold   warm   warm     cold    ready    first   warm     MB")
    for trials in given.trials:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'tuner.db'}"
            study = open_study("demo", CHANGES, url)
            work(url, Interrupt(), WorkerOptions(study.name, device="cpu"))
            fill(study, trials)
            measure(url, trials)


if __name__ == "__main__":
    main()
