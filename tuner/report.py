"""`tuner report`: open the seal, have the refits done, say what they show."""

import json
from collections.abc import Sequence

import click
import optuna

from studies import report as reports
from studies.holdout import open_seal
from studies.storage import open_storage
from studies.study import load, load_search
from studies.tickets import retry_stale
from studies.verdict import sentences, to_json
from tuner import present
from tuner.run import search


def report(name: str, storage_url: str, devices: Sequence[str], *, as_json: bool) -> None:
    """Judge the best of a study on its holdout.

    Raises
    ------
    StudyError
        If the search is not done, or has found nothing.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    handle = load_search(open_storage(storage_url, on_stale_trial=retry_stale), name)
    holdout = open_seal(handle)
    click.echo(
        f"the seal of study {name} is open; {len(holdout.attrs['refits'])} refits are judged",
        err=True,
    )
    search(holdout, storage_url, devices)
    found = reports.build(handle, load(handle.storage, holdout.name))
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
        return
    out = present.stdout()
    for sentence in sentences(found):
        out.print(sentence)
    out.print(present.rival_table(found))
