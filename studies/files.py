"""Files of a folder, written so that whoever is killed leaves the old one or the new one."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

# Files wait in a folder of this name until all are written.
_SCRATCH = ".tuner-"
# Writing takes far less than a second; who holds a folder for longer is suspended.
_PATIENCE_SECONDS = 10.0


def write_files(folder: Path, files: Mapping[str, bytes], stale: Collection[str] = ()) -> None:
    """Write files into a folder, each of them whole before the first takes its place.

    They take their places in order, and stale ones go before the last does. What a killed process
    left of an earlier attempt is removed. The files' modes heed the umask.

    Parameters
    ----------
    folder : Path
        It is made if it is not there; other files in it are kept.
    files : mapping
        Content by name, ``/`` between folders.
    stale : collection of str
        Names of an older set of files that are to go.

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
    """Hold a folder for this process alone; False where the file system has no locks.

    The system lets go of it when a process ends, however it ends.
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
    """Remove what killed processes left; only who holds the folder may."""
    for path in folder.glob(f"{_SCRATCH}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
