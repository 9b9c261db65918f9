"""`tuner check`: what a study file leads to, without training."""

from collections.abc import Sequence

import click

from studies.space import grid_points
from studies.spec import load_spec
from studies.validation import when
from studies.workload import Workload, cut_holdout
from tuner import present
from tuner.run import read_prices


def check(path_or_preset: str, overrides: Sequence[str]) -> None:
    """Check a study file and its prices, and print the folds.

    Raises
    ------
    PuffinError
        With everything that is wrong.
    """
    spec = load_spec(path_or_preset, overrides)
    prices = read_prices(spec)
    search, holdout = cut_holdout(prices.frame, spec)
    workload = Workload.build(spec, search)
    out = present.stdout()
    click.echo(f"{spec.name}: {prices.origin}, {len(prices.frame)} bars")
    out.print(present.fold_dates_table(workload))
    click.echo(f"holdout: {len(holdout) - spec.purge} targets from {when(holdout.index[0])}")
    budget = f"budget: {spec.tickets} trials, sampler {spec.search.sampler}"
    if spec.search.sampler == "grid":
        repeats = grid_points(spec.parsed_space).repeats
        points = spec.tickets + repeats
        budget += (
            f"; the grid has {points} points, {repeats} of which repeat another network "
            "(dropout is inert at one layer) and are not run"
        )
    click.echo(budget)
    for warning in prices.warnings:
        click.echo(f"prices: {warning}", err=True)
