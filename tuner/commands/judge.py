"""`tuner judge` and `tuner targets`: forecasts that another program made, under the same seal."""

from collections.abc import Sequence
from pathlib import Path

import click
import optuna

from puffin.models.features import TARGETS
from puffin.studies.outside import OutsideError, OutsideFile, join, targets
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.retraining import TOP
from puffin.studies.storage.database import open_storage
from puffin.studies.study import (
    WALK,
    NoStudyError,
    StoredStudy,
    StudyError,
    load,
    load_search,
    searches_of_walk,
)
from puffin.studies.text import counted, when
from puffin.tuner.commands.report import report
from puffin.tuner.commands.walk import show
from puffin.tuner.messages import say


def judge(  # noqa: PLR0913  # the options of the command
    name: str,
    paths: Sequence[Path],
    trained_until: Sequence[str],
    storage_url: str,
    devices: Sequence[str],
    *,
    as_json: bool,
    quiet: bool,
    out: Path | None,
) -> None:
    """Judge forecasts that are in files beside the winner of a study, or of each origin of a walk.

    Raises
    ------
    PuffinError
        If a file cannot be judged. This is checked before the holdout is opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    files = _read(paths, trained_until)
    searches, owner = _subject(storage_url, name)
    judged = [search.holdout_dataset for search in searches]
    for path, file in zip(paths, files, strict=True):
        join(file.body, str(path), judged)
    if not name.endswith(WALK):
        folder = Path("reports") / name if out is None else out
        report(
            name,
            storage_url,
            devices,
            top=TOP,
            rule="loss",
            trial=None,
            as_json=as_json,
            quiet=quiet,
            out=folder,
            outside=files,
        )
        return
    walked = name.removesuffix(WALK)
    folder = Path("walks") / walked if out is None else out
    show(walked, searches, owner, folder, files, as_json=as_json)


def print_targets(name: str, storage_url: str) -> None:
    """Print the date, and of a basket the symbol, of every target that a forecast has to cover.

    Raises
    ------
    PuffinError
        If there is no such study or walk.
    """
    searches, study = _subject(storage_url, name)
    judged, data = [search.holdout_dataset for search in searches], study.spec.data
    wanted = targets(judged)
    is_basket = any(dataset.is_basket for dataset in judged)
    lines = [
        f"{when(row.date)},{row.symbol}" if is_basket else when(row.date)
        for row in wanted.itertuples()
    ]
    click.echo("\n".join(["date,symbol" if is_basket else "date", *lines]))
    say(
        f"{counted(len(wanted), 'target')}: {target_in_words(data, series_name(data))}, at the "
        f"date of the bar that it ends with, as {TARGETS[data.target].unit}; a forecast of it may "
        f"know what was known {counted(data.horizon, 'bar')} before"
    )


def _read(paths: Sequence[Path], trained_until: Sequence[str]) -> list[OutsideFile]:
    """Return the files of forecasts, with the last day that the model of each has seen.

    Raises
    ------
    OutsideError
        If a file cannot be read, two have one name, or the numbers of files and days differ.
    """
    if len(trained_until) not in (0, 1, len(paths)):
        msg = (
            f"--trained-until is given {counted(len(trained_until), 'time')} for "
            f"{counted(len(paths), 'file')}; give it once for all, or once for each in their order"
        )
        raise OutsideError(msg)
    days: Sequence[str | None] = trained_until or [None]
    if len(days) == 1:
        days = [*days] * len(paths)
    files = [OutsideFile.read(path, day) for path, day in zip(paths, days, strict=True)]
    names = [file.name for file in files]
    if twice := [name for name in names if names.count(name) > 1]:
        msg = f"two files have the name {twice[0]}, by which the report calls them; rename one"
        raise OutsideError(msg)
    return files


def _subject(storage_url: str, name: str) -> tuple[list[StoredStudy], StoredStudy]:
    """Return the searches whose holdouts are judged, and the study that keeps the verdict."""
    if name.endswith(WALK):
        return _walk(storage_url, name)
    study = load_search(open_storage(storage_url), name)
    return [study], study


def _walk(storage_url: str, name: str) -> tuple[list[StoredStudy], StoredStudy]:
    """Return the searches of a walk, and the study that keeps its verdict.

    Raises
    ------
    StudyError
        If there is no such walk, or not all its searches have begun.
    """
    storage = open_storage(storage_url)
    searches = [load(storage, each) for each in searches_of_walk(storage, name)]
    if not searches or len(searches) < searches[0].record.origins:
        done = f"has begun {len(searches)} of its origins" if searches else "is not there"
        msg = f"walk {name!r} {done}; `tuner walk {name.removesuffix(WALK)}` takes it"
        raise StudyError(msg)
    try:
        return searches, load_search(storage, name.removesuffix(WALK))
    except NoStudyError:
        return searches, searches[-1]
