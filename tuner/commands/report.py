"""`tuner report`: train the best again, open the seal, say what it shows; or show it once more."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import optuna
from rich.table import Table

from puffin.studies.openings import looks_at
from puffin.studies.report import build as reports
from puffin.studies.report.files import check_folder, write_pages
from puffin.studies.report.verdict import sentences, to_json
from puffin.studies.retraining import is_opened, open_seal, retrain_with_seeds
from puffin.studies.retraining_cost import Cost, retraining_cost
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load_search, lowest_complete
from puffin.studies.text import counted, loss, p_value, percent, signed, times
from puffin.tuner.commands import tables
from puffin.tuner.commands.run import describe_cost
from puffin.tuner.messages import say, stdout
from puffin.tuner.pool import run_workers_until_done

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

    A report that is finished is shown again: nothing is trained or opened for it, and as JSON it
    leaves the pages as they are.

    Raises
    ------
    StudyError
        If the search is not done, or has found nothing.
    PagesError
        If the pages cannot be written; where that can be known the seal stays closed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = load_search(open_storage(storage_url), name)
    finished = _is_finished(study, top, seeds)
    writes_pages = not (finished and as_json)
    if writes_pages:
        check_folder(out, name)
    again = retrain_with_seeds(study, top, seeds)
    _announce(study, retraining_cost(study, top, seeds), len(devices), finished=finished)
    run_workers_until_done(again, storage_url, devices)
    first_look = not is_opened(study)
    holdout = open_seal(study, top, seeds)
    if first_look:
        say(f"the holdout of study {name} is open")
    run_workers_until_done(holdout, storage_url, devices)
    found = reports.build(study)
    _print(found, as_json=as_json)
    if writes_pages:
        pictures = write_pages(out, study, found)
        say(f"wrote {out}/report.html, report.md, report.json and {pictures} pictures")


def _is_finished(study: StoredStudy, top: int, seeds: int) -> bool:
    """Return whether the winner was judged before, and all has been trained that is asked for."""
    if lowest_complete(study.trials()) is None:
        return False  # there is no winner to judge, and `retrain_with_seeds` says so
    return is_opened(study) and not retraining_cost(study, top, seeds).trainings


def _announce(study: StoredStudy, cost: Cost, workers: int, *, finished: bool) -> None:
    """Say before it starts what there is to train, and who has looked at the holdout before."""
    if finished:
        say(f"the report of study {study.name} is finished: nothing is trained or opened for it")
    if cost.trainings:
        say(
            f"{describe_cost(cost, workers)} on {counted(workers, 'worker')}: {cost.seeds} "
            f"with other seeds, then {cost.holdout} to be judged on the holdout"
        )
    if not is_opened(study) and (looks := looks_at(study)):
        names = ", ".join(dict.fromkeys(look.study for look in looks))
        say(f"the bars of this holdout have been looked at {times(len(looks))} before, by {names}")


def _print(found: reports.Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
        return
    console = stdout()
    for sentence in sentences(found):
        console.print(sentence)
    console.print(_rival_table(found))
    console.print(_LEGEND)


def _rival_table(found: reports.Report) -> Table:
    """Set the winner beside the baselines, on the search folds and on the holdout."""
    table = tables.new_table(
        "", "search loss", "holdout loss", "direction", "skill of winner", "p of DM", "p of CW"
    )
    accuracy = percent(found.direction.accuracy)
    table.add_row("winner", *map(loss, (found.search_loss, found.loss)), accuracy, "", "", "")
    for rival in found.comparison.baselines:
        table.add_row(
            rival.label,
            *map(loss, (rival.search_loss, rival.holdout_loss)),
            percent(rival.direction.accuracy) if rival.direction else "-",
            signed(rival.skill),
            p_value(rival.diebold_mariano.p_better),
            p_value(rival.clark_west.p_better) if rival.clark_west else "-",
        )
    return table
