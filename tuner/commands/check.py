"""`tuner check`: the folds and the budget of a study file, without training."""

from collections.abc import Sequence

import click

from puffin.models.errors import PuffinError
from puffin.studies.dataset import Dataset, cut_holdout, union_of_dates
from puffin.studies.remarks import fold_remarks, require_moving_target
from puffin.studies.spec import load_spec
from puffin.studies.study import RETRAINING_SUFFIXES
from puffin.studies.text import printable, when
from puffin.tuner.commands import tables
from puffin.tuner.messages import say, shell_command, stdout
from puffin.tuner.submit import read_prices


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
    for remark in fold_remarks(dataset):
        say(remark)
    for warning in basket.warnings:
        say(f"prices: {warning}")
    if spec.data.target == "price":
        say('few forecasts of prices are better than persistence: consider target = "return"')
    say(f"nothing is wrong; next: `{shell_command('run', path_or_preset)}`")
