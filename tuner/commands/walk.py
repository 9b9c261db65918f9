"""`tuner walk`: the whole search at many origins, each judged on the bars that follow it."""

import json
from collections.abc import Sequence
from pathlib import Path

import click
import optuna

from puffin.studies.bars import cut_holdout
from puffin.studies.lifecycle import require_same
from puffin.studies.outside import OutsideError, OutsideFile, join, store, stored
from puffin.studies.report.folder import PageFolder
from puffin.studies.report.outside import OUTSIDE_COLUMNS, outside_rows
from puffin.studies.spec import Spec, load_spec, override
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.errors import NoStudiesError
from puffin.studies.study import (
    NoStudyError,
    StoredStudy,
    StudyError,
    load_search,
    walk_name,
    walked_name,
)
from puffin.studies.text import counted, p_value, signed
from puffin.studies.walk.origins import origins
from puffin.studies.walk.procedure import Procedure
from puffin.studies.walk.verdict import Walk, judge
from puffin.studies.walk.words import ORIGIN_COLUMNS, origin_rows, sentences, to_json
from puffin.tuner.columns import print_rows
from puffin.tuner.messages import say, stdout
from puffin.tuner.pool import run_workers
from puffin.tuner.progress import Progress
from puffin.tuner.submit import read_prices


def walk(  # noqa: PLR0913  # the options of the command
    spec_or_name: str,
    overrides: Sequence[str],
    storage_url: str,
    devices: Sequence[str],
    *,
    refresh: bool,
    as_json: bool,
    quiet: bool,
    out: Path | None,
) -> None:
    """Search at every origin, judge each winner on its block, print the verdict, write the pages.

    Raises
    ------
    PuffinError
        With the reason if the walk cannot be finished, or its pages cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec, study = _subject(spec_or_name, overrides, storage_url)
    if study is not None:
        search, source = study.load_search_prices(), study.record.data.origin
    else:
        basket = read_prices(spec.data, refresh=refresh)
        search, source = cut_holdout(basket.frames, spec)[0], basket.origin
    all_origins = origins(spec, search, source)
    folder = _folder(out or Path("walks") / spec.name)
    folder.check(spec.name)
    storage = open_storage(storage_url, create=True)
    procedure = Procedure(storage, spec.name, all_origins, spec.walk.warm)
    _search(procedure, spec, storage_url, devices, quiet=quiet)
    if not quiet:
        say("compares the winners with simple models, and draws the figures")
    owner = study or procedure.studies[-1]
    show(spec.name, procedure.studies, owner, folder.folder, as_json=as_json)


def show(  # what there is to show, and how
    name: str,
    searches: Sequence[StoredStudy],
    owner: StoredStudy,
    folder: Path,
    files: Sequence[OutsideFile] = (),
    *,
    as_json: bool,
) -> None:
    """Judge the finished searches of a walk, print the verdict, write the pages, and keep both.

    Parameters
    ----------
    name : str
        Of the study that walks.
    searches : sequence of StoredStudy
        The earliest first.
    owner : StoredStudy
        Keeps the verdict, and has the files of forecasts that are judged too.
    folder : Path
    files : sequence of OutsideFile
        Forecasts that cover the walk, which are kept with the owner.
    as_json : bool

    Raises
    ------
    PuffinError
        If a search or a training of a winner is not done, or the pages cannot be written.
    """
    pages = _folder(folder)
    pages.check(name)
    names = {file.name for file in files}
    kept = [file for file in _outside(owner, searches) if file.name not in names]
    verdict = judge(name, searches, [*kept, *files])
    store(owner, "walk", files, [])
    if as_json:
        click.echo(json.dumps(to_json(verdict), indent=2))
    else:
        _print(verdict)
    _write(pages, verdict, owner)


def _outside(owner: StoredStudy, searches: Sequence[StoredStudy]) -> list[OutsideFile]:
    """Return the files of forecasts that cover a walk; say which were given for other blocks."""
    kept, judged = [], [search.holdout_dataset for search in searches]
    for file in stored(owner, "walk").values():
        try:
            join(file.body, file.name, judged)
        except OutsideError as error:
            say(f"an outside forecast is left out: {error}")
        else:
            kept.append(file)
    return kept


def _subject(
    spec_or_name: str, overrides: Sequence[str], storage_url: str
) -> tuple[Spec, StoredStudy | None]:
    """Return the study file, and the study in the database, whose prices then count.

    Raises
    ------
    PuffinError
        If there is neither, the study is an origin of a walk, or it has other settings.
    """
    study = _find(storage_url, spec_or_name)
    if study is None:
        spec = load_spec(spec_or_name, overrides)
        study = _find(storage_url, spec.name)
        return spec, study and require_same(study, spec)
    if walked_name(study.name):
        msg = f"{study.name!r} is an origin of a walk; name the study that walks"
        raise StudyError(msg)
    others = [each for each in overrides if not each.strip().startswith("walk.")]
    if others:
        msg = (
            f"study {study.name!r} is in the database, so --set changes only walk.*, not "
            f"{others[0]!r}; name a study file instead"
        )
        raise StudyError(msg)
    return override(study.spec, overrides), study


def _find(storage_url: str, name: str) -> StoredStudy | None:
    """Return the search of a name, or None if there is none, or no database yet."""
    try:
        return load_search(open_storage(storage_url), name)
    except (NoStudiesError, NoStudyError):
        return None


def _search(
    procedure: Procedure, spec: Spec, storage_url: str, devices: Sequence[str], *, quiet: bool
) -> None:
    """Run all searches and train their winners again."""
    if not procedure.advance().done:
        if not quiet:
            say(
                f"{spec.name}: {counted(len(procedure.origins), 'origin')} of "
                f"{counted(spec.walk_trials, 'trial')}, each winner trained "
                f"{counted(spec.final.seeds, 'time')} again, on "
                f"{counted(len(devices), 'worker')}; blocks of {spec.walk.block_bars} bars"
            )
        progress = Progress(procedure.origins[0].spec, quiet=quiet, label=procedure.position)
        reads = procedure.advance, procedure.state
        run_workers(walk_name(spec.name), storage_url, devices, *reads, progress)
    procedure.require_winners()


def _folder(folder: Path) -> PageFolder:
    # Imported late, because matplotlib takes as long to load as the rest of this command.
    from puffin.studies.walk.files import walk_folder

    return walk_folder(folder)


def _write(folder: PageFolder, verdict: Walk, study: StoredStudy) -> None:
    """Write the pages to a folder, and store the verdict with a study."""
    from puffin.studies.walk.files import walk_files
    from puffin.studies.walk.stored import store_walk

    files = walk_files(verdict)
    count = folder.write(verdict.study, files)
    store_walk(study, verdict, files["walk.html"])
    say(f"wrote {folder.folder}/walk.html, walk.md, walk.json and {counted(count, 'figure')}")


def _print(verdict: Walk) -> None:
    out = stdout()
    for sentence in sentences(verdict):
        out.print(sentence)
    out.print()
    print_rows(out, ORIGIN_COLUMNS, origin_rows(verdict), ("winner", "loss", "promised"))
    out.print(
        "promised, obtained: skill against persistence on the folds of the search and on the "
        "block; skill: against the simple model that was best before the block"
    )
    out.print()
    if verdict.outside:
        print_rows(out, OUTSIDE_COLUMNS, outside_rows(verdict.outside), ("p of worse", "loss"))
        out.print()
    against_each = [
        (name, signed(gained), p_value(test.p_better))
        for name, (gained, test) in verdict.against().items()
    ]
    print_rows(out, ("against on all blocks", "skill", "p of better"), against_each, ())
