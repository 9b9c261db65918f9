"""SHA256SUMS: the list of an export's files, which are read only if they are unchanged."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from puffin.models.errors import PuffinError

# A folder without these files is not an export.
SUMS_FILE, CONFIG_FILE = "SHA256SUMS", "config.toml"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
# Limits: an export has about 20 files, and the prices of 5 million bars take less than 512 MiB.
_MOST_FILES, _MOST_SUMS_BYTES, _MOST_BYTES = 1000, 1 << 20, 512 << 20
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_NAMED = 5


class ExportError(PuffinError):
    """A folder is not an export, was changed, or must not be written to."""


def checksums(files: Mapping[str, bytes]) -> bytes:
    """Return the checksums of files in the format of ``sha256sum --check``."""
    return "".join(f"{_sha256(body)}  {name}\n" for name, body in sorted(files.items())).encode()


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the checksums of a folder: sha256 by name.

    Raises
    ------
    ExportError
        If the list is malformed, or names something outside of the folder.
    OSError
        If the list cannot be read.
    """
    try:
        link_or_folder = _not_a_file(folder, SUMS_FILE)
        body = b"" if link_or_folder else _read(folder / SUMS_FILE, _MOST_SUMS_BYTES)
        # git may have changed the line ends; `splitlines` would also split names.
        text = _with_lf(body).decode()
    except UnicodeDecodeError:
        text = ""
    matches = [_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    listed = {match[2]: match[1] for match in matches if match}
    if not all(matches) or len(listed) > _MOST_FILES:
        raise ExportError(f"{folder}/{SUMS_FILE} is not readable; export the study again")
    if outside := [name for name in listed if not _is_inside(name)]:
        msg = (
            f"{folder}/{SUMS_FILE} lists {named(outside)}, which is not a file inside of the folder"
        )
        raise ExportError(msg)
    return listed


def require_export(folder: Path) -> None:
    """Raise unless a folder has the two files that mark an export.

    Raises
    ------
    ExportError
        If a file or the folder is missing.
    """
    try:
        if not folder.is_dir():
            raise ExportError(f"{folder} is not a folder; name one that `tuner export` wrote")
        lacking = [n for n in (SUMS_FILE, CONFIG_FILE) if not os.path.lexists(folder / n)]
    except OSError as error:
        raise _unreadable(folder, error) from None
    if lacking:
        msg = f"{folder} is not an export: it has no {' and '.join(lacking)} of `tuner export`"
        raise ExportError(msg)


def read_listed(folder: Path) -> dict[str, bytes]:
    """Read the files that SHA256SUMS of a folder lists, and no other.

    A file whose line ends were changed from LF to CRLF, as git does on some machines, is read with
    its original line ends.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict
        Content by name, ``/`` between folders.

    Raises
    ------
    ExportError
        If the folder is not an export, or a listed file is missing, changed or a symbolic link.
    """
    require_export(folder)
    try:
        return _read_all(folder, read_checksums(folder))
    except OSError as error:
        raise _unreadable(folder, error) from None


def added_note(folder: Path, listed: Collection[str]) -> str | None:
    """Return a sentence that names files beside those of an export; None if there are none.

    A folder without a listed file is named, but its content is not read.
    """
    places = {str(place) for name in listed for place in PurePosixPath(name).parents}
    added = sorted(_unknown_files(folder, {*listed, SUMS_FILE}, places))
    if not added:
        return None
    verb = "is" if len(added) == 1 else "are"
    return f"note: {folder} also holds {named(added)}, which {verb} not part of the export"


def named(names: Sequence[str]) -> str:
    """Return the first names of a list and the number of the others."""
    shown = ", ".join(n if len(n) <= 200 else f"{n[:200]}..." for n in names[:_MOST_NAMED])
    return shown if len(names) <= _MOST_NAMED else f"{shown} and {len(names) - _MOST_NAMED} more"


def _unreadable(folder: Path, error: OSError) -> ExportError:
    return ExportError(f"cannot read {error.filename or folder}: {error.strerror or error}")


def _read_all(folder: Path, listed: Mapping[str, str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    problems: dict[str, list[str]] = defaultdict(list)
    left = _MOST_BYTES
    for name, digest in listed.items():
        if problem := _not_a_file(folder, name):
            problems[problem].append(name)
            continue
        body = _read(folder / name, left)
        left -= len(body)
        if (written := _as_written(body, digest)) is not None:
            files[name] = written
        elif body.startswith(_LFS_POINTER):
            problems["not fetched by `git lfs pull`"].append(name)
        else:
            problems["changed"].append(name)
    if problems:
        what = "; ".join(f"{problem}: {named(names)}" for problem, names in problems.items())
        msg = f"{folder} was changed after its export ({what}); export the study again"
        raise ExportError(msg)
    return files


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = len(name) <= 255 and "\0" not in name and str(path) == name
    return plain and path.name != "" and not path.is_absolute() and ".." not in path.parts


def _not_a_file(folder: Path, name: str) -> str | None:
    """Return the reason why a listed name cannot be read; None if it can."""
    *places, _ = PurePosixPath(name).parents
    if any((folder / part).is_symlink() for part in (PurePosixPath(name), *places)):
        return "a symbolic link"
    return None if (folder / name).is_file() else "missing"


def _read(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= most and len(body := file.read(most + 1)) <= most:
            return body
    raise ExportError(f"{path} is larger than any file of an export; export the study again")


def _as_written(body: bytes, digest: str) -> bytes | None:
    """Return the bytes that match a digest: the file's, or those before LF became CRLF."""
    if _sha256(body) == digest:
        return body
    with_lf = _with_lf(body)
    return with_lf if _sha256(with_lf) == digest else None


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _with_lf(body: bytes) -> bytes:
    return body.replace(b"\r\n", b"\n")


def _unknown_files(folder: Path, listed: Collection[str], places: Collection[str]) -> Iterator[str]:
    """Yield what is not listed, in the folder itself and in the folders of listed files."""
    for place in places:
        if place != "." and (folder / place).is_symlink():
            continue
        try:
            entries = list(os.scandir(folder / place))
        except OSError:
            continue  # unreadable, so nothing in it can be named
        for entry in entries:
            name = str(PurePosixPath(place, entry.name))
            is_folder = entry.is_dir(follow_symlinks=False)
            if name not in listed and not (is_folder and name in places):
                yield f"{name}/" if is_folder else name
