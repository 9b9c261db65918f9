"""`tuner export`: the best of a study as files."""

from pathlib import Path

from puffin.studies.export import write
from puffin.studies.export.checksums import added_note, read_checksums
from puffin.studies.rules import choose
from puffin.studies.study import load_search
from puffin.tuner.commands.database import open_database
from puffin.tuner.group import write_message


def export(name: str, folder: Path, refit: str, rule: str, trial: int | None, url: str) -> None:
    """Write the chosen trial of a study to a folder, refitted on the data that `refit` names."""
    study = load_search(open_database(url), name)
    write.check_folder(folder, study.name)
    written = write.export(study, folder, refit, choose(study, rule, trial))
    write_message(f"wrote {written}/")
    if note := added_note(written, read_checksums(written)):
        write_message(note)
