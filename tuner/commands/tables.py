"""Tables of results."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from puffin.models.evaluation.metrics import skill
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.comparison import Group, SymbolResult
from puffin.studies.networks import describe_networks
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.spec import Spec
from puffin.studies.study import StoredStudy
from puffin.studies.text import loss, percent, printable, signed, when
from puffin.tuner.columns import new_table, print_rows
from puffin.tuner.messages import stdout

if TYPE_CHECKING:  # `compare` does not wait for pandas
    from puffin.studies.dataset import Dataset
    from puffin.studies.prices.basket import Basket


def print_result(study: StoredStudy, record: dict[str, Any], cells: Sequence[Group]) -> None:
    """Print the result of a search: best configuration, its folds, and LSTM against GRU."""
    out = stdout()
    out.print(Text(f"Best of study {record['study']}: trial {record['trial']}", "bold"))
    out.print(_config_table(record))
    out.print(Text("Validation", "bold"))
    out.print(_fold_table(study, record))
    out.print(Text(_direction(record["scores"])))
    out.print()
    out.print(Text("LSTM against GRU", "bold"))
    out.print(group_table(cells))


def _config_table(record: dict[str, Any]) -> Table:
    table = new_table("hyperparameter", "value")
    for key, value in record["config"].items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        table.add_row(key, f"{shown:.3g}" if isinstance(shown, float) else str(shown))
    table.add_row("epochs", str(record["epochs"]))
    return table


def _fold_table(study: StoredStudy, record: dict[str, Any]) -> Table:
    scores = record["scores"]
    heading = f"walk-forward {study.spec.training.loss}"
    table = new_table("fold", heading, "persistence", "training mean", "skill")
    persistence, means = study.record.persistence_losses, study.record.mean_losses
    rows = zip(scores["fold_losses"], persistence, means, strict=True)
    for number, (value, last, mean) in enumerate(rows, start=1):
        table.add_row(str(number), *map(loss, (value, last, mean)), signed(skill(value, last)))
    table.add_section()
    averages = scores["loss"], float(np.mean(persistence)), float(np.mean(means))
    table.add_row("mean", *map(loss, averages), signed(scores["skill"]))
    return table


def _direction(scores: dict[str, Any]) -> str:
    low, high = scores["direction_interval"]
    return (
        f"direction accuracy {percent(scores['direction_accuracy'])}, 95 % interval "
        f"{percent(low)} to {percent(high)}; of the training mean "
        f"{percent(scores['mean_direction_accuracy'])}"
    )


def group_table(groups: Sequence[Group]) -> Table:
    """Return a table with one column per group of trials."""
    table = new_table("", *(group.label for group in groups))
    epoch = groups[0].epoch
    rows: dict[str, list[str]] = {
        "trials": [str(g.trials) for g in groups],
        "complete / pruned / failed": [f"{g.complete} / {g.pruned} / {g.failed}" for g in groups],
        "median loss": [_loss_or_dash(g.median_loss) for g in groups],
        "best loss": [_score(g, lambda scores: loss(scores.best_loss)) for g in groups],
        f"best loss up to epoch {epoch}": [_loss_or_dash(g.loss_at_epoch) for g in groups],
        "folds won": [_or_dash(g.folds_won, "d") for g in groups],
        "skill": [_score(g, lambda scores: signed(scores.skill)) for g in groups],
        "direction accuracy": [
            _score(g, lambda scores: percent(scores.direction_accuracy)) for g in groups
        ],
        "widths": [_config(g, "hidden_dims") for g in groups],
        "lookback": [_config(g, "lookback") for g in groups],
        "seconds per epoch": [_or_dash(g.seconds_per_epoch, ".2f") for g in groups],
    }
    if epoch is None:
        del rows[f"best loss up to epoch {epoch}"]
    else:
        table.caption = _compared_early(groups, epoch)
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def symbol_table(results: Sequence[SymbolResult]) -> Table:
    """Return a table with one row per symbol of a basket, the highest skill first."""
    table = new_table("symbol", "loss of the best trial", "persistence", "skill")
    for result in results:
        table.add_row(
            printable(result.symbol),
            loss(result.loss),
            loss(result.persistence),
            signed(result.skill),
        )
    return table


def _compared_early(groups: Sequence[Group], epoch: int) -> Text:
    """Return the explanation of losses that are compared before the end of the training."""
    labels = ", ".join(g.label for g in groups if g.best is None and g.loss_at_epoch is not None)
    return Text(
        f"No trial of {labels} was trained to its end: compare the losses up to epoch {epoch}, "
        "which all groups have reached. A group that learns more slowly looks worse there than at "
        'the end; search.pruner = "none" trains all trials to their end.',
        justify="left",
    )


def _loss_or_dash(value: float | None) -> str:
    return "-" if value is None else loss(value)


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _score(group: Group, form: Callable[[Scores], str]) -> str:
    return form(Scores.read(group.best)) if group.best else "-"


def _config(group: Group, key: str) -> str:
    if group.best is None:
        return "-"
    value = TrialRecord.read(group.best).config[key]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def print_coverage(out: Console, basket: "Basket", dataset: "Dataset") -> None:
    """Print the bars of each symbol, and the folds that it takes part in."""
    folds = Counter(part.member.symbol for found in dataset.parts for part in found)
    rows = [
        (
            printable(symbol),
            when(prices.frame.index[0]),
            when(prices.frame.index[-1]),
            str(len(prices.frame)),
            f"{folds[symbol]} of {len(dataset.folds)}",
            str(len(prices.warnings)),
        )
        for symbol, prices in basket.members.items()
    ]
    columns = ("symbol", "first bar", "last bar", "bars", "folds", "warnings")
    print_rows(out, columns, rows, ("warnings",))


def print_folds(out: Console, dataset: "Dataset") -> None:
    """Print the folds of a study with their dates and the losses of two simple forecasts."""
    dates = dataset.dates
    rows = [
        (
            str(i + 1),
            f"{when(dates[fold.train.start])} to {when(dates[fold.train.stop - 1])}",
            str(sum(len(part.fold.train) for part in dataset.parts[i])),
            f"{when(dates[fold.valid.start])} to {when(dates[fold.valid.stop - 1])}",
            loss(dataset.persistence_losses[i]),
            loss(dataset.mean_losses[i]),
        )
        for i, fold in enumerate(dataset.folds)
    ]
    columns = ("fold", "trained on", "targets", "validated on", "persistence", "mean")
    print_rows(out, columns, rows, ("targets",))
    out.print("persistence, mean: losses of the last value and of the training mean as forecasts")


def grid_note(spec: Spec) -> str | None:
    """Return how many networks a small space has, or how many points of a grid repeat one."""
    if not SAMPLERS[spec.search.sampler].enumerates:
        return describe_networks(spec.parsed_space, spec.tickets) or None
    repeats = spec.grid.repeats
    return (
        f"the grid has {spec.tickets + repeats} points, {repeats} of which repeat another network "
        "(dropout is inert at one layer) and are not run"
    )
