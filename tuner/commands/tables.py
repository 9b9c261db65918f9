"""What a person sees: numbers, messages and tables. stdout is data, stderr is messages."""

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from puffin.models.evaluation.metrics import skill
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.dataset import Dataset
from puffin.studies.networks import describe_networks
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.spec import Spec
from puffin.studies.storage.url import masked_url
from puffin.studies.study import StoredStudy
from puffin.studies.summary import Group
from puffin.studies.text import loss, percent, printable, printable_lines, signed, when

# Where the output goes to a file nothing is cut or wrapped.
_FILE_WIDTH = 10_000


class _Results(Console):
    """A console that leaves a broken pipe to the command line, which ends quietly then."""

    def on_broken_pipe(self) -> None:
        """Raise what the write has raised."""
        raise BrokenPipeError


# Names come from anywhere, so nothing in them is markup.
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}


def stdout() -> Console:
    """Make the console of results."""
    return _wide_enough(_Results(width=_width(sys.stdout), **_PLAIN))


def stderr() -> Console:
    """Make the console of messages."""
    return _wide_enough(Console(stderr=True, width=_width(sys.stderr), **_PLAIN))


def _width(stream: TextIO) -> int | None:
    return None if stream.isatty() else _FILE_WIDTH


def _wide_enough(console: Console) -> Console:
    if console.width < 1:  # COLUMNS=0
        console.width = 80
    return console


def say(message: str, console: Console | None = None) -> None:
    """Print a message to stderr; a terminal breaks it between words, a file not at all."""
    out = console or stderr()
    out.print(Text(printable_lines(message)), soft_wrap=not out.is_terminal)


def signed_percent(value: float | None) -> str:
    """Write a share as ``+12.3 %``."""
    return "-" if value is None else signed(value)


def new_table(*columns: str, edge: bool = True) -> Table:
    """Make an empty table, its first column to the left, with or without space around it."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=edge, pad_edge=edge)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", overflow="fold")
    return table


def print_rows(
    out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str]
) -> None:
    """Print a table of which no cell is ever cut.

    Parameters
    ----------
    out : Console
    columns : sequence of str
        The first one names a row.
    rows : sequence of sequence of str
    optional : sequence of str
        Bars to leave out, one after the other, until the table is narrow enough. If it never
        is, each row is written as a name with its values below.
    """
    safe = [dict(zip(columns, map(printable, row), strict=True)) for row in rows]
    wide = out.options.update(width=_FILE_WIDTH)
    for dropped in range(len(optional) + 1):
        kept = [name for name in columns if name not in optional[:dropped]]
        table = new_table(*kept, edge=False)
        for row in safe:
            table.add_row(*(row[name] for name in kept))
        if out.measure(table, options=wide).maximum <= out.width:
            out.print(table)
            return
    for row in safe:
        name, *values = columns
        out.print(row[name], soft_wrap=True)
        details = "; ".join(f"{value} {row[value]}" for value in values if row[value] != "-")
        out.print(Padding(Text(details), (0, 0, 1, 2)))


def print_result(study: StoredStudy, record: dict[str, Any], cells: Sequence[Group]) -> None:
    """Print what a finished search has found: configuration, folds, one cell against another."""
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
    for number, (own, last, mean) in enumerate(rows, start=1):
        table.add_row(str(number), *map(loss, (own, last, mean)), signed_percent(skill(own, last)))
    table.add_section()
    averages = scores["loss"], float(np.mean(persistence)), float(np.mean(means))
    table.add_row("mean", *map(loss, averages), signed_percent(scores["skill"]))
    return table


def _direction(scores: dict[str, Any]) -> str:
    low, high = scores["direction_interval"]
    return (
        f"direction accuracy {percent(scores['direction_accuracy'])}, 95 % interval "
        f"{percent(low)} to {percent(high)}; of the training mean "
        f"{percent(scores['mean_direction_accuracy'])}"
    )


def group_table(groups: Sequence[Group]) -> Table:
    """Set groups of trials side by side."""
    table = new_table("", *(group.label for group in groups))
    epoch = groups[0].epoch
    rows: dict[str, list[str]] = {
        "trials": [str(g.trials) for g in groups],
        "complete / pruned / failed": [f"{g.complete} / {g.pruned} / {g.failed}" for g in groups],
        "median loss": [_loss_or_dash(g.median_loss) for g in groups],
        "best loss": [_score(g, lambda scores: loss(scores.best_loss)) for g in groups],
        f"best loss up to epoch {epoch}": [_loss_or_dash(g.loss_at_epoch) for g in groups],
        "folds won": [_or_dash(g.folds_won, "d") for g in groups],
        "skill": [_score(g, lambda scores: signed_percent(scores.skill)) for g in groups],
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


def _compared_early(groups: Sequence[Group], epoch: int) -> Text:
    """Say why losses are compared before the end of the training."""
    labels = ", ".join(g.label for g in groups if g.best is None and g.loss_at_epoch is not None)
    return Text(
        f"No trial of {labels} was trained to its end: compare the losses up to epoch {epoch}, "
        "which all groups have come to. One that learns more slowly looks worse there than at the "
        'end; search.pruner = "none" trains all to their end.',
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


def fold_dates_table(dataset: Dataset) -> Table:
    """Show what a study file leads to: its folds with their dates and baselines."""
    table = new_table(
        "fold", "trained on", "targets", "validated on", "persistence", "training mean"
    )
    dates = dataset.dates
    for i, fold in enumerate(dataset.folds):
        table.add_row(
            str(i + 1),
            f"{when(dates[fold.train.start])} to {when(dates[fold.train.stop - 1])}",
            str(len(fold.train)),
            f"{when(dates[fold.valid.start])} to {when(dates[fold.valid.stop - 1])}",
            loss(dataset.persistence_losses[i]),
            loss(dataset.mean_losses[i]),
        )
    return table


def grid_note(spec: Spec) -> str | None:
    """Say how many networks a small space holds, or how many points of a grid repeat one."""
    if not SAMPLERS[spec.search.sampler].enumerates:
        return describe_networks(spec.parsed_space, spec.tickets) or None
    repeats = spec.grid.repeats
    return (
        f"the grid has {spec.tickets + repeats} points, {repeats} of which repeat another network "
        "(dropout is inert at one layer) and are not run"
    )


def typed(*words: str, storage: str = "", program: str = "tuner") -> str:
    """Write a command of this program as it can be typed into a shell.

    Parameters
    ----------
    words : str
        The command and its arguments.
    storage : str
        Database that the command is to use; left out of the command where it is the default, or
        where it holds a password, which is not shown: the environment has it.
    program : str
        The program, or its path where no shell finds it by its name.
    """
    options = []
    if storage not in ("", "sqlite:///tuner.db") and masked_url(storage) == storage:
        options = ["--storage", storage]
    return shlex.join([program, *words, *options])


_IN_ENVIRONMENT = " (the commands below take it from TUNER_STORAGE)"


def next_steps(name: str, storage: str, folder: Path | None, reports: str = "") -> str:
    """Say where everything lies and what to type next.

    Parameters
    ----------
    name : str
        Of a finished search.
    storage : str
        Its database.
    folder : Path or None
        Of the export, if there is one.
    reports : str
        How long ``tuner report`` is going to take, in words.
    """
    shown, program = masked_url(storage), _own_name()
    report, compare, best, dashboard = (
        typed(*words, storage=storage, program=program)
        for words in (["report", name], ["compare", name], ["best", name], ["dashboard"])
    )
    steps = {
        report: "is it any good? opens the sealed holdout" + (f"; {reports}" if reports else ""),
        compare: "best LSTM beside best GRU",
        best: "the configuration as TOML",
        dashboard: "every trial in a browser",
    }
    lines = _beside(steps, stdout().width - len(_INDENT))
    lines[0] = f"next    {lines[0]}"
    return "\n".join(
        [
            f"study   {printable(name)} in {shown}{_IN_ENVIRONMENT if shown != storage else ''}",
            f"export  {f'{folder}/' if folder else 'none'}",
            lines[0],
            *(f"{_INDENT}{line}" for line in lines[1:]),
        ]
    )


_INDENT = " " * 8


def _beside(steps: Mapping[str, str], width: int) -> list[str]:
    """Write commands with what they are for: beside them, or below where that is too wide."""
    longest = max(map(len, steps))
    beside = [f"{command:{longest}}   {why}" for command, why in steps.items()]
    if max(map(len, beside)) <= width:
        return beside
    return [line for command, why in steps.items() for line in (command, f"    {why}")]


def _own_name() -> str:
    """Return what to type to start this program: its name where a shell finds it, or its path."""
    argument, found = Path(sys.argv[0]), shutil.which("tuner")
    if argument.name != "tuner" or (found and Path(found).resolve() == argument.resolve()):
        return "tuner"
    return str(argument)
