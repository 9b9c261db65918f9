"""What changes a study without training: pause, resume, priority, extend, copy and delete."""

import shlex

import click

from puffin.studies import copy as copies
from puffin.studies import lifecycle
from puffin.studies.storage import registry
from puffin.studies.storage.database import open_storage
from puffin.studies.storage.url import masked_url
from puffin.studies.study import StoredStudy, load, searches_of_walk, walk_of, walked_name
from puffin.studies.text import counted, printable
from puffin.tuner.commands.database import open_database
from puffin.tuner.group import write_message
from puffin.tuner.messages import shell_command


def set_paused(url: str, name: str, *, paused: bool) -> None:
    """Pause or resume a study, or all searches of a walk."""
    for study in _load_each(url, name):
        registry.set_paused(study.storage, study.creation_id, paused=paused)
        write_message(f"study {study.name} is {'paused' if paused else 'open'}")


def set_priority(url: str, name: str, priority: int) -> None:
    """Set the share of the workers' time of a study, or of each search of a walk."""
    for study in _load_each(url, name):
        registry.set_priority(study.storage, study.creation_id, priority)
        write_message(f"study {study.name} has priority {priority}")


def _load_each(url: str, name: str) -> list[StoredStudy]:
    """Return the study of a name, or all searches of a walk."""
    database = open_database(url)
    return [load(database, each) for each in searches_of_walk(database, name) or [name]]


def extend(url: str, name: str, trials: int) -> None:
    """Add trials to a study."""
    total = counted(lifecycle.extend(open_database(url), name, trials), "trial")
    write_message(
        f"study {name} has {total} now; `{shell_command('worker', storage=url)}` runs them"
    )


def copy(url: str, name: str, to: str) -> None:
    """Copy a study to the database at the URL `to`."""
    study = load(open_database(url), name)
    copied = copies.copy(study, open_storage(to, create=True))
    write_message(
        f"copied study {name} to {masked_url(to)}: {copied.trials} trials, {copied.artifacts} files"
    )
    if copied.in_training:
        write_message(
            f"{copied.in_training} of the trials are running here and wait there; `tuner delete "
            f"{shlex.quote(name)}` keeps workers from finishing them here"
        )


def delete(url: str, name: str, *, yes: bool) -> None:
    """Delete a study, after a question unless `yes`."""
    database = open_database(url)
    # A deletion that was interrupted has left a search closed, and is completed.
    left = (each for each in registry.closed_names(database) if walk_of(each) == name)
    walk = sorted({*searches_of_walk(database, name), *filter(walked_name, left)})
    searches = walk or [name]
    for each in searches:
        lifecycle.require_deletable(database, each)
    if not yes:
        what = f"the {len(walk)} searches of walk" if walk else "study"
        click.confirm(f"Delete {what} {printable(name)} with all its trials?", abort=True, err=True)
    for each in searches:
        lifecycle.delete(database, each)
        write_message(f"deleted study {each}")
