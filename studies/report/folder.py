"""A folder of pages: which study they are of, and how new pages take the place of earlier ones."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from puffin.models.errors import PuffinError
from puffin.studies.files import write_files

PICTURES = "pictures"
_FIX = "choose another folder (--out DIR)"


class PagesError(PuffinError):
    """Pages cannot be written to a folder."""


@dataclass(frozen=True)
class PageFolder:
    """A folder for the pages of one study.

    Attributes
    ----------
    folder : where
    kind : ``report`` or ``walk``, the name of the pages without their endings
    pictures : names of all pictures that there may be
    """

    folder: Path
    kind: str
    pictures: frozenset[str]

    @property
    def pages(self) -> tuple[str, ...]:
        """Names of the pages."""
        return tuple(f"{self.kind}.{ending}" for ending in ("md", "json", "html"))

    def check(self, study: str) -> None:
        """Raise if the pages of a study cannot be written; leave nothing behind.

        Raises
        ------
        PagesError
            If the folder holds the pages of another study, or cannot be written.
        """
        try:
            for place in (self.folder, self.folder / PICTURES):
                _probe_writable(place)
            owner = self._owner()
        except OSError as error:
            raise self._unwritable(error) from None
        if owner not in (None, study):
            msg = (
                f"{self.folder} holds the {self.kind} of {owner}, and a folder can hold one "
                f"{self.kind}; {_FIX}"
            )
            raise PagesError(msg)

    def write(self, study: str, files: dict[str, bytes]) -> int:
        """Write pages and pictures, and return the number of pictures.

        Earlier ones of the same study are replaced once all files are written.

        Raises
        ------
        PagesError
            If the folder holds the pages of another study, or cannot be written.
        """
        self.check(study)
        known = {*self.pages, *(f"{PICTURES}/{name}" for name in self.pictures)}
        try:
            # First the file that names the study: without it later pages would be refused.
            write_files(
                self.folder, {self._naming: files[self._naming], **files}, known - set(files)
            )
        except OSError as error:
            raise self._unwritable(error) from None
        return len(files) - len(self.pages)

    @property
    def _naming(self) -> str:
        """The page that names the study."""
        return f"{self.kind}.json"

    def _owner(self) -> str | None:
        """Return the study whose pages a folder holds; None if it holds none."""
        if not any((self.folder / name).exists() for name in self.pages):
            return None
        try:
            values = json.loads((self.folder / self._naming).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return "something else"
        return str(values.get("study")) if isinstance(values, dict) else "something else"

    def _unwritable(self, error: OSError) -> PagesError:
        msg = f"cannot write the {self.kind} to {self.folder}: {error.strerror}; {_FIX}"
        return PagesError(msg)


def _probe_writable(place: Path) -> None:
    """Write a file to the folder `place`, or to its closest parent that exists."""
    while not place.exists():
        place = place.parent
    with tempfile.TemporaryFile(dir=place):
        pass
