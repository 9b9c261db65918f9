"""`tuner report`: train the best again, open the seal, say what it shows."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import optuna
from rich.table import Table

from studies import report as reports
from studies.pages import check_folder, write_pages
from studies.reruns import open_seal, rerun_seeds
from studies.retraining_cost import Cost, retraining_cost
from studies.storage import open_storage
from studies.study import load_search
from studies.text import counted, loss, p_value
from studies.verdict import sentences, to_json
from tuner import present
from tuner.run import report_cost, search

_LEGEND = (
    "direction: share of moves in the right direction, - where no move is forecast; DM: "
    "Diebold-Mariano; CW: Clark-West, - where the baseline is no special case of the network"
)


def report(
    name: str,
    storage_url: str,
    devices: Sequence[str],
    *,
    top: int,
    seeds: int,
    as_json: bool,
    out: Path,
) -> None:
    """Judge the best of a study on its holdout: print the verdict, then write the pages.

    Raises
    ------
    StudyError
        If the search is not done, or has found nothing.
    PagesError
        If the pages cannot be written; where that can be known the seal stays closed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    handle = load_search(open_storage(storage_url), name)
    check_folder(out, name)
    again = rerun_seeds(handle, top, seeds)
    _announce(retraining_cost(handle, top, seeds), len(devices))
    search(again, storage_url, devices)
    holdout = open_seal(handle, top, seeds)
    present.say(f"the holdout of study {name} is open")
    search(holdout, storage_url, devices)
    found = reports.build(handle)
    _print(found, as_json=as_json)
    pictures = write_pages(out, handle, found)
    present.say(f"wrote {out}/report.html, report.md, report.json and {pictures} pictures")


def _announce(cost: Cost, workers: int) -> None:
    """Say what there is to train before it starts; nothing where all has been trained before."""
    if cost.trainings:
        present.say(
            f"{report_cost(cost, workers)} on {counted(workers, 'worker')}: {cost.seeds} "
            f"with other seeds, then {cost.holdout} to be judged on the holdout"
        )


def _print(found: reports.Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
        return
    console = present.stdout()
    for sentence in sentences(found):
        console.print(sentence)
    console.print(_rival_table(found))
    console.print(_LEGEND)


def _rival_table(found: reports.Report) -> Table:
    """Set the winner beside the baselines, on the search folds and on the holdout."""
    table = present.new_table(
        "", "search loss", "holdout loss", "direction", "skill of winner", "p of DM", "p of CW"
    )
    accuracy = present.percent(found.direction.accuracy)
    table.add_row("winner", *map(loss, (found.search_loss, found.loss)), accuracy, "", "", "")
    for rival in found.judgement.rivals:
        table.add_row(
            rival.label,
            *map(loss, (rival.search_loss, rival.holdout_loss)),
            present.percent(rival.direction.accuracy) if rival.direction else "-",
            present.signed_percent(rival.skill),
            p_value(rival.diebold_mariano.p_better),
            p_value(rival.clark_west.p_better) if rival.clark_west else "-",
        )
    return table
