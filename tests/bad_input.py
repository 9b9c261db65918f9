"""Commands with bad input: what is typed, and what must come of it."""

import shlex
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STUDY = """\
name = "tiny"
[data]
source = "sample"
symbol = "AAPL"
start = 2011-06-01
features = ["return", "range", "volume"]
target = "range"
horizon = 1
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[training]
max_epochs = 3
loss = "mse"
[space]
cell = ["lstm", "gru"]
layers = { low = 1, high = 2 }
hidden_dim = { low = 4, high = 8 }
lookback = { low = 3, high = 5 }
[search]
trials = 6
sampler = "tpe"
pruner = "none"
"""


def study(old: str = "", new: str = "") -> dict[str, str]:
    """Return a study file that is right except for one change."""
    assert old in STUDY
    return {"x.toml": STUDY.replace(old, new, 1)}


@dataclass(frozen=True)
class Case:
    """A command with bad input, and the message that it must end with."""

    about: str
    typed: str  # the command line without `tuner`
    words: tuple[str, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    code: int = 1
    process: bool = False  # by the console script in a separate process
    submitted: bool = False  # with a database that has the study "tiny", without trials

    def __str__(self) -> str:
        return self.about.replace(" ", "-")


RUN = "run x.toml --workers 1"
CHECK = "check x.toml"


def rows_of(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of all tables of a database, without those of schema versions."""
    if not database.is_file() or not database.read_bytes().startswith(b"SQLite format 3"):
        return {}
    found = {}
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in names.fetchall():
            if name not in ("version_info", "alembic_version"):
                found[name] = connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
    return {name: rows for name, rows in found.items() if rows}


def lay_out(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files; a name that ends in a slash is a folder."""
    for name, body in files.items():
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(body.encode() if isinstance(body, str) else body)


def require_refused(
    case: Case, folder: Path, run: Callable[..., tuple[int, str, str]], patch: pytest.MonkeyPatch
) -> None:
    """Run the command in a folder, and require its message and that it changed nothing.

    Parameters
    ----------
    case : Case
    folder : Path
        May have a database already.
    run : callable
        Runs the program; returns exit code, stdout and stderr.
    patch : MonkeyPatch
    """
    lay_out(folder, case.files)
    before = {p.name: rows_of(p) for p in folder.iterdir()}
    files = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".db"}
    patch.chdir(folder)

    code, out, err = run(*shlex.split(case.typed))

    message = err.replace(str(folder), "...").strip()
    assert code == case.code, f"exit code {code}: {message}"
    assert out == "", out
    for words in case.words:
        assert words in message, f"{words!r} is not in {message!r}"
    for never in ("Traceback", "unexpected", "pydantic", "secret"):
        assert never not in err, err
    if case.code == 1:
        assert message.startswith("error: "), message
        assert message.count("error: ") == 1, message
    for path, body in files.items():
        assert path.read_bytes() == body, f"{path} was changed"
    for path in folder.iterdir():
        assert rows_of(path) == before.get(path.name, {}), f"{path} was changed"
    assert not (folder / "exports").exists()
