"""`tuner trials`: every trial of a study as a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import click

from puffin.models.config import Config
from puffin.studies.json_values import to_json_values
from puffin.studies.overview import TrialRow, trial_row
from puffin.studies.study import load
from puffin.tuner.commands.database import open_database
from puffin.tuner.commands.status import print_trials
from puffin.tuner.messages import stdout

_LARGEST_FIRST = ("skill", "epochs", "seconds")


def trials(url: str, name: str, form: str | None, sort: str, limit: int | None) -> None:
    """Print the trials of a study.

    Parameters
    ----------
    url : str
        Database.
    name : str
        Of the study.
    form : str or None
        "csv" or "json"; by default a table.
    sort : str
        A field of `TrialRow`; trials without a value come last.
    limit : int or None
        Print only so many, the first ones of this order.
    """
    study = load(open_database(url), name)
    rows = _sorted([trial_row(trial) for trial in study.trials()], sort)[:limit]
    if form == "json":
        click.echo(json.dumps([to_json_values(asdict(row)) for row in rows], indent=2))
    elif form == "csv":
        click.echo(_csv(rows), nl=False)
    else:
        print_trials(stdout(), rows, study.spec.parsed_space.searched)


def _sorted(rows: Sequence[TrialRow], key: str) -> list[TrialRow]:
    sign = -1 if key in _LARGEST_FIRST else 1

    def place(row: TrialRow) -> tuple[bool, float, int]:
        value = getattr(row, key)
        return value is None, sign * (value or 0), row.trial

    return sorted(rows, key=place)


def _csv(rows: Sequence[TrialRow]) -> str:
    """Return the trials with a column for each hyperparameter; widths are like ``32/16``."""
    columns = [field.name for field in fields(TrialRow) if field.name != "config"]
    out = io.StringIO()
    writer = csv.DictWriter(
        out, [*columns, *(field.name for field in fields(Config))], lineterminator="\n"
    )
    writer.writeheader()
    for row in rows:
        values: dict[str, Any] = asdict(row)
        config = values.pop("config") or {}
        widths = {"hidden_dims": "/".join(map(str, config["hidden_dims"]))} if config else {}
        writer.writerow(values | config | widths)
    return out.getvalue()
