"""`tuner check`: the folds, the budget and the likely time of a study file, without a search."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import optuna

from puffin.models.errors import PuffinError
from puffin.models.features import TARGETS
from puffin.studies.bars import Frames, cut_holdout, union_of_dates
from puffin.studies.dataset import Dataset
from puffin.studies.lifecycle import require_no_walk
from puffin.studies.remarks import fold_remarks, require_moving_target
from puffin.studies.spec import Spec, load_spec
from puffin.studies.study import RETRAINING_SUFFIXES
from puffin.studies.text import counted, printable, roughly, when
from puffin.studies.walk.origins import origins
from puffin.tuner.commands import tables
from puffin.tuner.messages import say, shell_command, stdout
from puffin.tuner.submit import read_prices
from puffin.tuner.worker.devices import assign

if TYPE_CHECKING:
    from puffin.studies.search_cost import SearchCost


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
    require_no_walk(spec.name)
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
    devices = assign("auto", None, 1)  # as `tuner run` does without options
    if set(devices) == {"cpu"}:  # a GPU would take longer to start than this command takes
        # Imported late, because loading torch takes as long as the rest of this command.
        from puffin.studies.search_cost import search_cost

        if cost := search_cost(_ready_to_time(dataset)):
            click.echo(f"time: {_on_this_machine(cost, len(devices), spec.tickets)}")
    given = spec.model_fields_set
    for line in (
        *([_walk(spec, search, basket.origin, devices)] if "walk" in given else []),
        *([_backtest(spec)] if "backtest" in given else []),
    ):
        click.echo(line)
    for remark in fold_remarks(dataset):
        say(remark)
    for warning in basket.warnings:
        say(f"prices: {warning}")
    if spec.data.target == "price":
        say('few forecasts of prices are better than persistence: consider target = "return"')
    say(f"nothing is wrong; next: `{shell_command('run', path_or_preset)}`")


def _backtest(spec: Spec) -> str:
    """Return the rules by which the report trades."""
    # Imported late, because it loads scipy.
    from puffin.studies.report.money import costs_in_words, position_rule

    rules, rule = (
        spec.backtest,
        f"volatility timing, weights of at most {spec.backtest.max_weight:g}",
    )
    if not TARGETS[spec.data.target].is_volatility:
        rule = position_rule(rules)
    return f"backtest: {rule}; each trade costs {costs_in_words(rules)}"


def _ready_to_time(dataset: Dataset) -> Dataset:
    """Set torch up as a worker does, and return the dataset."""
    from puffin.tuner.worker.process import setup_torch

    setup_torch("cpu", 1.0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return dataset


def _on_this_machine(cost: "SearchCost", devices: int, trials: int) -> str:
    """Return about how long trials take: ``30 s to 1 min with 2 workers on this machine``."""
    workers = min(devices, trials)
    least, most = (roughly(seconds) for seconds in cost.seconds(workers))
    time = least if least == most else f"{least} to {most.removeprefix('about ')}"
    return f"{time} with {counted(workers, 'worker')} on this machine"


def _walk(spec: Spec, search: Frames, source: str, devices: Sequence[str]) -> str:
    """Return what `tuner walk` would train, and about how long that takes."""
    found = origins(spec, search, source)
    datasets = [
        Dataset.build(each.spec, cut_holdout(each.basket.frames, each.spec)[0]) for each in found
    ]
    first = union_of_dates(search)[-spec.walk.origins * spec.walk.block_bars]
    said = (
        f"walk: {counted(len(found), 'origin')} of {counted(spec.walk_trials, 'trial')}, each "
        f"winner trained {counted(spec.final.seeds, 'time')} again; "
        f"{spec.walk.block_bars} dates each from {when(first)}"
    )
    if set(devices) != {"cpu"}:
        return said
    from puffin.studies.search_cost import walk_cost

    cost = walk_cost(datasets)
    trials = len(found) * (spec.walk_trials + spec.final.seeds)
    return said if cost is None else f"{said}; {_on_this_machine(cost, len(devices), trials)}"
