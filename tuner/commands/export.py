"""`tuner export`: the best of a study as files."""

from pathlib import Path

from puffin.studies.export import write
from puffin.studies.export.checksums import added_note, read_checksums
from puffin.studies.study import load_search
from puffin.tuner.commands.database import open_database
from puffin.tuner.group import write_message


def export(name: str, folder: Path, refit: str, url: str) -> None:
    """Write the best trial of a study to a folder, refitted on the data that `refit` names."""
    written = write.export(load_search(open_database(url), name), folder, refit)
    write_message(f"wrote {written}/")
    if note := added_note(written, read_checksums(written)):
        write_message(note)
