"""`tuner reproduce`: train an export again from its own files and compare every figure."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from puffin.models.errors import PuffinError
from puffin.studies.export.checksums import added_note
from puffin.studies.export.read import load_exported
from puffin.studies.export.reproduce import Check
from puffin.studies.export.reproduce import reproduce as derive
from puffin.studies.text import printable
from puffin.tuner.commands import tables
from puffin.tuner.messages import stdout
from puffin.tuner.worker.process import setup_torch


class NotReproducedError(PuffinError):
    """Figures of an export that do not come out again."""


def reproduce(folder: Path) -> None:
    """Derive an export again and print each figure beside the new one.

    Raises
    ------
    ExportError
        If the folder is no export, or not as it was exported.
    NotReproducedError
        If a figure is further off than it may be.
    """
    setup_torch("cpu", 1.0)
    exported = load_exported(folder)
    if note := added_note(folder, exported.files):
        click.echo(printable(note), err=True)
    spec = exported.spec
    click.echo(
        f"{printable(str(folder))}: every file is as it was exported; training "
        f"{spec.walk_forward.folds} folds again, for up to {spec.training.max_epochs} epochs ...",
        err=True,
    )
    checks = list(derive(exported))
    stdout().print(_check_table(checks))
    off = [check.name for check in checks if not check.passes]
    if off:
        msg = (
            f"{len(off)} of {len(checks)} figures of {folder} do not come out again: "
            f"{', '.join(off)}; the export was altered, or this installation differs from its own"
        )
        raise NotReproducedError(msg)
    click.echo(_summary(checks), err=True)


def _summary(checks: list[Check]) -> str:
    same = sum(check.difference == 0 for check in checks)
    if same == len(checks):
        return f"all {same} figures come out again, to the last bit"
    return (
        f"{same} of {len(checks)} figures come out again to the last bit, the others within what "
        "another machine may round"
    )


def _check_table(checks: Sequence[Check]) -> Table:
    """Set the figures of an export beside those that came of deriving it again."""
    table = tables.new_table("", "exported", "again", "apart", "may be", "")
    for check in checks:
        numbers = (f"{value:.6g}" for value in (check.exported, check.found))
        apart = "same bits" if check.difference == 0 else f"{check.difference:.1e}"
        bound = "0" if check.bound == 0 else f"{check.bound:.1e}"
        table.add_row(Text(check.name), *numbers, apart, bound, "" if check.passes else "OFF")
    return table
