"""`tuner report`: retrain the best, open the holdout and print the verdict."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import click
import optuna
from optuna.trial import FrozenTrial
from rich.console import Console

from puffin.studies.openings import looks_at, outside_opening
from puffin.studies.outside import OutsideFile, is_new, store
from puffin.studies.report import build as reports
from puffin.studies.report.by_symbol import counts_in_words
from puffin.studies.report.files import report_files, report_folder
from puffin.studies.report.stored import store_report
from puffin.studies.report.verdict import sentences, to_json
from puffin.studies.retraining import is_opened, open_seal, retrain_with_seeds
from puffin.studies.retraining_cost import retraining_cost
from puffin.studies.rules import choose
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load_search, lowest_complete
from puffin.studies.text import counted, loss, p_value, percent, printable, signed, times
from puffin.tuner.columns import print_rows
from puffin.tuner.commands.run import describe_cost
from puffin.tuner.messages import say, stdout
from puffin.tuner.pool import run_workers_until_done

_LEGEND = (
    "search, holdout: losses; direction: share of moves forecast in the right direction, - if no "
    "move is forecast; skill: of the winner against this model; p: how often chance alone gives "
    "such a lead; CW: p of Clark-West, - if the loss is not mse or the model is no special case of "
    "the network; MCS: p of the model confidence set: with a confidence of 95 % the best model has "
    "a p of at least 0.05"
)


def report(  # noqa: PLR0913  # the options of the command
    name: str,
    storage_url: str,
    devices: Sequence[str],
    *,
    top: int,
    rule: str,
    trial: int | None,
    as_json: bool,
    quiet: bool,
    out: Path,
    outside: Sequence[OutsideFile] = (),
) -> None:
    """Judge a trial of a study on its holdout, print the verdict, then write the pages.

    Forecasts that are given as files, and cover the holdout, are kept with the study; each is an
    opening of its own. The verdict on the best is stored with the study too. A finished report is
    printed again without training or opening anything; with `as_json` its pages are not written
    again.

    Raises
    ------
    StudyError
        If the search is not done, or has no complete trial, or the chosen trial is not complete.
    PagesError
        If the pages cannot be written. This is checked before the holdout is opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = load_search(open_storage(storage_url), name)
    if trial is not None:
        choose(study, rule, trial)  # raises before anything is trained
    new = [file for file in outside if is_new(study, "holdout", file)]
    finished = _is_finished(study, top, rule, trial)
    writes_pages = bool(new) or not (finished and as_json)
    if writes_pages:
        report_folder(out).check(name)
    again = retrain_with_seeds(study, top)
    if not quiet:
        # The rule 1se may choose another one after the trainings.
        likely = study.best() if trial is None else choose(study, rule, trial)
        _announce(study, top, likely, len(devices), finished=finished and not new)
    run_workers_until_done(again, storage_url, devices, quiet=quiet)
    winner = choose(study, rule, trial)
    first_look = not is_opened(study, winner)
    holdout = open_seal(study, top, winner)
    if first_look:
        say(f"the holdout of study {name} is open")
    run_workers_until_done(holdout, storage_url, devices, quiet=quiet)
    if new:
        store(
            study,
            "holdout",
            new,
            [outside_opening(study, winner.number, f.name, f.body) for f in new],
        )
    if not (finished or quiet):
        say("compares the winner with simple models, and draws the figures")
    result = reports.build(study, winner)
    _print(result, as_json=as_json)
    if writes_pages:
        files = report_files(study, result)
        count = report_folder(out).write(name, files)
        if winner.number == study.best().number:
            store_report(study, result, files["report.html"])
        say(f"wrote {out}/report.html, report.md, report.json and {count} figures")


def _is_finished(study: StoredStudy, top: int, rule: str, trial: int | None) -> bool:
    """Return whether the winner was judged and everything requested has been trained."""
    if lowest_complete(study.trials()) is None:
        return False  # there is no winner: `retrain_with_seeds` raises
    if retraining_cost(study, top).seeds:
        return False  # the rule may need these
    winner = choose(study, rule, trial)
    return is_opened(study, winner) and not retraining_cost(study, top, winner).trainings


def _announce(
    study: StoredStudy, top: int, winner: FrozenTrial, workers: int, *, finished: bool
) -> None:
    """Print what will be trained, and who has looked at the holdout before."""
    cost = retraining_cost(study, top, winner)
    if finished:
        say(f"the report of study {study.name} is finished: nothing is trained or opened again")
    if cost.trainings:
        say(
            f"{describe_cost(cost, workers)} on {counted(workers, 'worker')}: {cost.seeds} "
            f"with other seeds, then {cost.holdout} for the holdout"
        )
    if not is_opened(study, winner) and (looks := looks_at(study)):
        names = ", ".join(dict.fromkeys(look.study for look in looks))
        say(f"the bars of this holdout have been looked at {times(len(looks))} before, by {names}")


def _print(result: reports.Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_json(result), indent=2))
        return
    console = stdout()
    for sentence in sentences(result):
        console.print(sentence)
    console.print()
    _print_baselines(console, result)
    console.print(_LEGEND)
    if result.is_basket:
        _print_symbols(console, result)


def _print_baselines(out: Console, result: reports.Report) -> None:
    """Print the winner and the baselines on the search folds and the holdout."""
    losses = map(loss, (result.search_loss, result.loss))
    direction, p = percent(result.direction.accuracy), _short(result.comparison.mcs_p)
    rows = [("winner", *losses, direction, "", "", "", p)]
    rows += [
        (
            baseline.label,
            *map(loss, (baseline.search_loss, baseline.holdout_loss)),
            percent(baseline.direction.accuracy) if baseline.direction else "-",
            signed(baseline.skill),
            _short(baseline.test.p_better),
            _short(baseline.clark_west.p_better) if baseline.clark_west else "-",
            _short(baseline.mcs_p),
        )
        for baseline in result.comparison.baselines
    ]
    rows += [
        (
            f"{printable(o.name)} (outside)",
            "-",
            loss(o.loss),
            "-",
            signed(o.skill),
            _short(o.test.p_better),
            "-",
            "-",
        )
        for o in result.outside
    ]
    columns = ("model", "search", "holdout", "direction", "skill", "p", "CW", "MCS")
    print_rows(out, columns, rows, ("CW", "search", "direction"))


def _print_symbols(out: Console, result: reports.Report) -> None:
    """Print the winner beside the best baseline on each symbol, the highest skill first."""
    out.print()
    ordered = sorted(result.by_symbol, key=lambda of: (math.isnan(of.skill), -of.skill))
    rows = [
        (
            of.symbol,
            str(of.bars),
            *map(loss, (of.loss, of.reference_loss)),
            signed(of.skill),
            _short(of.p_better),
            _short(of.p_holm),
        )
        for of in ordered
    ]
    columns = ("symbol", "bars", "winner", "baseline", "skill", "p", "Holm")
    print_rows(out, columns, rows, ("bars", "p"))
    out.print(
        f"The winner beside {result.comparison.reference.label} on the holdout of each symbol: "
        f"{counts_in_words(result.by_symbol)}, which makes p larger, for the number of "
        "symbols"
    )


def _short(p: float) -> str:
    return p_value(p).replace("below ", "<")
