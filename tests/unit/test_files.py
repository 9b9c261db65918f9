"""Files of a folder are written whole, one writer at a time, and a kill leaves nothing behind."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from puffin.studies import files
from puffin.studies.files import write_files

OLD = {"config": b"old", "sub/a": b"old", "gone": b"old", "sums": b"old"}
NEW = {"config": b"new", "sub/a": b"new", "b": b"new", "sums": b"new"}

# Ends at once, as by a power cut, when the file of a name would take its place.
KILLED = """
import os, signal, sys
from pathlib import Path
from puffin.studies.files import write_files

folder, last, *names = sys.argv[1:]
replace = Path.replace

def dies(path, target):
    if target == Path(folder, last):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)

Path.replace = dies
write_files(Path(folder), dict.fromkeys(names, b"new"), stale=["gone"])
"""


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder like another process that writes to it."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def test_new_files_replace_old_ones_and_other_files_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_files(folder, OLD)
    (folder / "mine").write_bytes(b"mine")
    (folder / ".git").mkdir()
    write_files(folder, NEW, stale=["gone", "never-there"])
    assert content(folder) == NEW | {"mine": b"mine"}
    assert (folder / ".git").is_dir()


@pytest.mark.parametrize("last", list(NEW))
def test_killed_writer_leaves_complete_files_and_scratch_is_removed(
    tmp_path: Path, last: str
) -> None:
    write_files(tmp_path, OLD)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), last, *NEW], check=False)
    assert done.returncode == -signal.SIGKILL
    left = {k: v for k, v in content(tmp_path).items() if not k.startswith(".tuner-")}
    assert {left[name] for name in set(OLD) & set(left)} <= {b"old", b"new"}
    assert left["sums"] == b"old"
    assert [p.name[:7] for p in tmp_path.iterdir() if p.name.startswith(".")] == [".tuner-"]
    write_files(tmp_path, NEW, stale=["gone"])
    assert content(tmp_path) == NEW
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_link_is_replaced_and_its_target_is_kept(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    write_files(outside, OLD)
    folder.mkdir()
    (folder / "config").symlink_to(outside / "config")
    write_files(folder, {"config": b"new"})
    (folder / "sub").symlink_to(outside / "sub")
    with pytest.raises(OSError, match="sub is a symbolic link"):
        write_files(folder, NEW)
    assert content(outside) == OLD


def test_two_writers_take_turns(tmp_path: Path) -> None:
    write_files(tmp_path, OLD)
    (tmp_path / ".tuner-living").mkdir()
    with held(tmp_path):
        second = threading.Thread(target=write_files, args=(tmp_path, NEW, ["gone"]))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        assert (tmp_path / ".tuner-living").is_dir()
        assert content(tmp_path) == OLD
    second.join(60)
    assert content(tmp_path) == NEW
    assert not (tmp_path / ".tuner-living").exists()


def test_suspended_writer_is_not_waited_for_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.1)
    write_files(tmp_path, OLD)
    with held(tmp_path), pytest.raises(OSError, match="another process is writing to it"):
        write_files(tmp_path, NEW)
    assert content(tmp_path) == OLD


def test_without_locks_files_are_written_and_scratch_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_args: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / ".tuner-living").mkdir()
    write_files(tmp_path, NEW)
    assert content(tmp_path) == NEW
    assert (tmp_path / ".tuner-living").is_dir()


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_modes_heed_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_files(tmp_path / "new", NEW)
    finally:
        os.umask(before)
    assert {(tmp_path / "new" / name).stat().st_mode & 0o777 for name in NEW} == {mode}
    assert (tmp_path / "new").stat().st_mode & 0o666 == mode


def test_failed_write_keeps_old_files_and_leaves_no_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "old", OLD)

    def full(_path: Path, _body: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for name in ("old", "new"):
        with pytest.raises(OSError, match="No space left"):
            write_files(tmp_path / name, NEW)
    assert content(tmp_path / "old") == OLD
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
