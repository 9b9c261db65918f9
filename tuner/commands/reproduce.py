"""`tuner reproduce`: train an export again from its own files and compare every figure."""

from collections.abc import Sequence
from pathlib import Path

import click

from puffin.models.errors import PuffinError
from puffin.studies.export.checks import Check
from puffin.studies.export.checksums import added_note
from puffin.studies.export.read import load_exported
from puffin.studies.export.reproduce import reproduce as derive
from puffin.studies.text import printable
from puffin.tuner.columns import print_rows
from puffin.tuner.messages import stdout
from puffin.tuner.worker.process import setup_torch


class NotReproducedError(PuffinError):
    """Figures of an export were not reproduced."""


def reproduce(folder: Path, *, verbose: bool) -> None:
    """Train an export again, and print figures that differ beside the exported ones.

    With `verbose` print those that are identical too.

    Raises
    ------
    ExportError
        If the folder is not an export, or a file was changed.
    NotReproducedError
        If a figure differs by more than its tolerance.
    """
    setup_torch("cpu", 1.0)
    exported = load_exported(folder)
    if note := added_note(folder, exported.files):
        click.echo(printable(note), err=True)
    spec = exported.spec
    click.echo(
        f"{printable(str(folder))}: all files are unchanged; training {spec.walk_forward.folds} "
        f"folds again, for up to {spec.training.max_epochs} epochs ...",
        err=True,
    )
    checks = list(derive(exported))
    if shown := [check for check in checks if verbose or check.difference != 0]:
        _print_checks(shown)
    failed = [check.name for check in checks if not check.passes]
    if failed:
        msg = (
            f"{len(failed)} of {len(checks)} figures of {folder} were not reproduced: "
            f"{', '.join(failed)}; the export was altered, or this installation differs from the "
            "one that made it"
        )
        raise NotReproducedError(msg)
    click.echo(_summary(checks), err=True)


def _summary(checks: list[Check]) -> str:
    identical = sum(check.difference == 0 for check in checks)
    if identical == len(checks):
        return f"all {identical} figures were reproduced bit for bit"
    return (
        f"{identical} of {len(checks)} figures were reproduced bit for bit, the others within the "
        "tolerance for another kind of machine"
    )


def _print_checks(checks: Sequence[Check]) -> None:
    """Print exported and recomputed figures side by side."""
    rows = [
        (
            check.name,
            *(f"{value:.6g}" for value in (check.exported, check.recomputed)),
            "identical" if check.difference == 0 else f"{check.difference:.1e}",
            "0" if check.bound == 0 else f"{check.bound:.1e}",
            "" if check.passes else "DIFFERS",
        )
        for check in checks
    ]
    columns = ("figure", "exported", "reproduced", "difference", "tolerance", "")
    print_rows(stdout(), columns, rows, ("tolerance", "difference"))
