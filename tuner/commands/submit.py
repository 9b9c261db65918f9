"""`tuner submit`: write a study into the database for workers elsewhere."""

from collections.abc import Sequence

from puffin.studies import summary
from puffin.studies.text import counted
from puffin.tuner.group import write_message
from puffin.tuner.messages import shell_command
from puffin.tuner.submit import open_studies


def submit(path_or_preset: str, overrides: Sequence[str], url: str, *, refresh: bool) -> None:
    """Create the studies of a file, or find them, and print how many trials are left."""
    for study in open_studies(path_or_preset, overrides, url, refresh=refresh):
        state = summary.status(study)
        write_message(
            f"study {study.name}: {state.tickets - state.finished} of "
            f"{counted(state.tickets, 'trial')} to do; `{shell_command('worker', storage=url)}` "
            "runs them"
        )
