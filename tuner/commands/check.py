"""`tuner check`: the folds, the budget and the likely time of a study file, without a search."""

from collections.abc import Sequence

import click
import optuna

from puffin.models.errors import PuffinError
from puffin.studies.dataset import Dataset, cut_holdout, union_of_dates
from puffin.studies.remarks import fold_remarks, require_moving_target
from puffin.studies.spec import load_spec
from puffin.studies.study import RETRAINING_SUFFIXES
from puffin.studies.text import counted, printable, roughly, when
from puffin.tuner.commands import tables
from puffin.tuner.messages import say, shell_command, stdout
from puffin.tuner.submit import read_prices
from puffin.tuner.worker.devices import assign


def check(path_or_preset: str, overrides: Sequence[str], *, refresh: bool) -> None:
    """Check a study file and its prices, and print the folds.

    Raises
    ------
    PuffinError
        With everything that is wrong.
    """
    spec = load_spec(path_or_preset, overrides)
    if spec.name.endswith(RETRAINING_SUFFIXES):
        msg = (
            f"name = {spec.name!r}: names that end in {' or '.join(RETRAINING_SUFFIXES)} are "
            "reserved for what `tuner report` retrains; use another name (--set name=...)"
        )
        raise PuffinError(msg)
    basket = read_prices(spec.data, refresh=refresh)
    search, holdout = cut_holdout(basket.frames, spec)
    dataset = Dataset.build(spec, search)
    require_moving_target(dataset)
    out = stdout()
    bars = sum(map(len, basket.frames.values()))
    click.echo(printable(f"{spec.name}: {basket.origin}, {bars} bars"))
    if dataset.is_basket:
        tables.print_coverage(out, basket, dataset)
    tables.print_folds(out, dataset)
    dates = union_of_dates(holdout)
    click.echo(f"holdout: {len(dates) - spec.purge} dates from {when(dates[spec.purge])}")
    each = " for each symbol" * (spec.data.pooling == "each")
    click.echo(f"budget: {spec.tickets} trials{each}, sampler {spec.search.sampler}")
    if note := tables.grid_note(spec):
        click.echo(note)
    if estimate := _estimate(dataset):
        click.echo(estimate)
    for remark in fold_remarks(dataset):
        say(remark)
    for warning in basket.warnings:
        say(f"prices: {warning}")
    if spec.data.target == "price":
        say('few forecasts of prices are better than persistence: consider target = "return"')
    say(f"nothing is wrong; next: `{shell_command('run', path_or_preset)}`")


def _estimate(dataset: Dataset) -> str:
    """Return about how long the search takes on this machine; empty if that is not known."""
    devices = assign("auto", None, 1)  # as `tuner run` does without options
    if set(devices) != {"cpu"}:
        return ""  # a GPU would take longer to start than this command takes
    # Imported late, because loading torch takes as long as the rest of this command.
    from puffin.studies.search_cost import search_cost
    from puffin.tuner.worker.process import setup_torch

    setup_torch("cpu", 1.0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cost = search_cost(dataset)
    if cost is None:
        return ""
    workers = min(len(devices), dataset.spec.tickets)
    least, most = (roughly(seconds) for seconds in cost.seconds(workers))
    time = least if least == most else f"{least} to {most.removeprefix('about ')}"
    return f"time: {time} with {counted(workers, 'worker')} on this machine"
