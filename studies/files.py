"""Atomic writing of the files of a folder: a killed process leaves each file old or new."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

# Prefix of the scratch folder in which files are written before they are moved.
_SCRATCH = ".tuner-"
# Writing takes far less than a second: a process that holds the lock for longer is suspended.
_PATIENCE_SECONDS = 10.0


def write_files(folder: Path, files: Mapping[str, bytes], stale: Collection[str] = ()) -> None:
    """Write files into a folder: all are complete before the first is moved into place.

    The files are moved in order, and stale ones are deleted before the last is moved. Scratch files
    of killed processes are removed. The modes of the files follow the umask.

    Parameters
    ----------
    folder : Path
        Created if missing; other files in it are kept.
    files : mapping
        Content by name, ``/`` between folders.
    stale : collection of str
        Names of files of an older set, which are deleted.

    Raises
    ------
    OSError
        If the folder cannot be written, or another process writes to it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder) as is_alone:
            if is_alone:
                _remove_scratch(folder)
            _write(folder, files, stale)
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # only if nothing is in it
        raise


def _write(folder: Path, files: Mapping[str, bytes], stale: Collection[str]) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    try:
        for name, body in files.items():
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / name).write_bytes(body)
        *first, last = files
        for name in first:
            _move(scratch, folder, name)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
        _move(scratch, folder, last)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move(scratch: Path, folder: Path, name: str) -> None:
    place = (folder / name).parent
    if place != folder and place.is_symlink():
        raise OSError(errno.ELOOP, f"{place} is a symbolic link")
    place.mkdir(exist_ok=True)
    (scratch / name).replace(folder / name)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder for this process; yield False if the file system has no locks.

    The system releases the lock when the process ends for any reason.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise OSError(errno.EBUSY, "another process is writing to it") from None
            time.sleep(0.05)
        except OSError:
            return False
        else:
            return True


def _remove_scratch(folder: Path) -> None:
    """Remove scratch folders of killed processes; the caller must hold the lock."""
    for path in folder.glob(f"{_SCRATCH}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
