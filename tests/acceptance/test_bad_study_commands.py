"""Commands on studies refuse names, numbers and databases that cannot be meant."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.bad_input import RUN, STUDY, Case, require_refused, study

CASES = [
    Case(
        "status of an unknown study",
        "status other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "best of an unknown study",
        "best other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "compare of an unknown study",
        "compare other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "export of an unknown study",
        "export other best",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "delete of an unknown study that would ask",
        "delete other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "worker of a study without a URL",
        "worker --study tiny --storage tuner.db",
        ("tuner.db is a path, not a database URL; write sqlite:///tuner.db",),
        process=True,
    ),
    Case(
        "storage of an unknown driver",
        "run demo --storage sqlite+pysqlcipher:///a.db",
        ("only sqlite and postgresql are known",),
    ),
    Case(
        "storage with options",
        "run demo --storage sqlite:///x.db?timeout=abc",
        ("takes no options after a question mark",),
    ),
    Case(
        "width of a novel",
        RUN,
        ("hidden_dim = ", "must be at most 1000000"),
        study("hidden_dim = { low = 4, high = 8 }", "hidden_dim = [4, " + "9" * 400 + "]"),
    ),
    Case(
        "horizon longer than the series",
        "check x.toml --set data.horizon=300",
        ("too few bars",),
        study(),
    ),
    Case(
        "more trials than can be counted",
        "check x.toml --set search.trials=1000000000000000000000",
        ("search.trials = 1000000000000000000000: should be at most 1000000",),
        study(),
    ),
    Case(
        "name longer than a file's",
        "run " + "x" * 300,
        ("is neither a file nor a preset",),
    ),
    Case(
        "number for a date",
        RUN,
        ("data.start = 0", "a day like 2005-01-31"),
        study("start = 2011-06-01", "start = 0"),
    ),
    Case(
        "delete of an unknown study",
        "delete other --yes",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "best before a trial is complete",
        "best tiny",
        ("'tiny' has no complete trial yet", "tuner run"),
        submitted=True,
    ),
    Case(
        "export before a trial is complete",
        "export tiny best",
        ("'tiny' has no complete trial yet", "tuner run"),
        submitted=True,
    ),
    Case(
        "export among strangers",
        "export tiny best",
        ("best holds notes.txt", "another folder"),
        {"best/": "", "best/notes.txt": "mine"},
        submitted=True,
    ),
    Case(
        "export over that of another study",
        "export tiny best",
        ("best holds the export of other", "another folder"),
        {
            "best/": "",
            "best/config.toml": 'study = "other"',
            "best/SHA256SUMS": "0  config.toml\n",
        },
        submitted=True,
    ),
    Case(
        "export onto a file",
        "export tiny best",
        ("best is a file",),
        {"best": "mine"},
        submitted=True,
    ),
    # The new words for a study, how long a worker works, and another database
    *(
        Case(
            f"{typed.split()[0]} of an unknown study",
            typed,
            ("there is no study 'other'", "studies there: tiny"),
            submitted=True,
        )
        for typed in (
            "pause other",
            "resume other",
            "priority other 2",
            "extend other --trials 1",
            "copy other --to sqlite:///x.db",
        )
    ),
    *(
        Case(
            f"{typed.split()[0]} without a database",
            typed,
            ("there is no database tuner.db", "tuner run demo"),
        )
        for typed in (
            "pause tiny",
            "resume tiny",
            "priority tiny 2",
            "extend tiny --trials 1",
            "copy tiny --to sqlite:///x.db",
        )
    ),
    *(
        Case(f"{name} of nothing", name, ("Missing argument", "NAME"), code=2)
        for name in ("pause", "resume", "priority", "extend", "copy")
    ),
    Case("no priority", "priority tiny", ("Missing argument", "PRIORITY"), code=2),
    Case("priority 0", "priority tiny 0", ("0 is not in the range", "1<=x<=100"), code=2),
    Case("priority 101", "priority tiny 101", ("101 is not in the range",), code=2),
    Case("priority in words", "priority tiny high", ("'high' is not a valid integer",), code=2),
    Case("priority of a half", "priority tiny 1.5", ("'1.5' is not a valid integer",), code=2),
    Case("extension by no number", "extend tiny", ("Missing option", "--trials"), code=2),
    Case("extension by nothing", "extend tiny --trials 0", ("--trials", "x>=1"), code=2),
    Case("extension by less", "extend tiny --trials -5", ("--trials", "x>=1"), code=2),
    Case(
        "extension beyond all limits",
        "extend tiny --trials 999999",
        ("at most 1000000 trials", "6 + 999999"),
        submitted=True,
    ),
    Case(
        "file with more trials than the study",
        f"{RUN} --set search.trials=9",
        ("search.trials: 6 there, 9 here", "`tuner extend tiny --trials N`", "to its 6 trials"),
        study(),
        submitted=True,
    ),
    Case("copy to nowhere", "copy tiny", ("Missing option", "--to", "TUNER_TO"), code=2),
    Case(
        "copy to itself",
        "copy tiny --to sqlite:///tuner.db",
        ("a study 'tiny' is in that database already", "`tuner delete` it there first"),
        submitted=True,
    ),
    Case("copy to what is no URL", "copy tiny --to x.db", ("not a database URL",), submitted=True),
    Case(
        "copy to a database of another kind",
        "copy tiny --to mysql://me:secret@host/x",
        ("a database of mysql://", "only sqlite and postgresql are known"),
        submitted=True,
    ),
    Case(
        "copy to a database that does not answer",
        "copy tiny --to postgresql://me@127.0.0.1:1/x",
        ("me@127.0.0.1:1/x does not answer", "onnection refused"),
        submitted=True,
    ),
    Case(
        "copy to a URL with a password",
        "copy tiny --to postgresql://me:secret@127.0.0.1:1/x",
        ("the URL of --to holds a password", "PGPASSWORD", "set TUNER_TO"),
        submitted=True,
        code=2,
    ),
    Case(
        "init of what is no database",
        "init --storage sqlite:///notes.txt",
        ("sqlite:///notes.txt cannot be used", "file is not a database"),
        {"notes.txt": "buy low\n" * 99},
    ),
    Case(
        "init of a database that does not answer",
        "init --storage postgresql://me@127.0.0.1:1/x",
        ("me@127.0.0.1:1/x does not answer", "onnection refused"),
    ),
    Case(
        "init of a database that can never come, with time to wait",
        "init --wait 600 --storage sqlite:///no/such/tuner.db",
        ("the folder of no/such/tuner.db does not exist",),
    ),
    Case("init with no time", "init --wait soon", ("'soon' is not a valid float",), code=2),
    Case("init with less than no time", "init --wait -1", ("--wait", "x>=0"), code=2),
    Case("init with a time that is no number", "init --wait nan", ("--wait", "'nan'"), code=2),
    Case("worker for no trial", "worker --max-trials 0", ("--max-trials", "x>=1"), code=2),
    Case("worker for half a trial", "worker --max-trials 0.5", ("--max-trials",), code=2),
    Case("worker for no time", "worker --max-time 0", ("--max-time", "0<x"), code=2),
    Case("worker for less than no time", "worker --max-time -3", ("--max-time", "0<x"), code=2),
    Case("worker for a time in words", "worker --max-time 1h", ("--max-time", "'1h'"), code=2),
    Case("worker for a time of nan", "worker --max-time nan", ("--max-time", "'nan'"), code=2),
    Case("worker for longer than a clock counts", "worker --max-time inf", ("--max-time",), code=2),
    Case("worker without grace", "worker --grace-seconds 0", ("--grace-seconds", "x<="), code=2),
    Case("worker with grace for ever", "worker --grace-seconds 9999999999", ("86400",), code=2),
    Case("worker with half a grace", "worker --grace-seconds 1.5", ("--grace-seconds",), code=2),
    Case(
        "worker with a checkpoint at no time",
        "worker --checkpoint-seconds nan",
        ("--checkpoint-seconds", "'nan'"),
        code=2,
    ),
    Case(
        "worker with a share that is no number",
        "worker --memory-share nan",
        ("--memory-share", "'nan'"),
        code=2,
    ),
    Case(
        "same name with other settings",
        f"{RUN} --set walk_forward.folds=3 --set search.seed=1",
        (
            "a study 'tiny' with other settings",
            "walk_forward.folds: 2 there, 3 here",
            "search.seed: 0 there, 1 here",
            "tuner delete tiny",
        ),
        study(),
        submitted=True,
    ),
]


@pytest.fixture(scope="module")
def submitted(
    command: Callable[..., object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Return a database with a study without trials."""
    folder = tmp_path_factory.mktemp("submitted")
    (folder / "x.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("submit", "x.toml")
    # What is in the write-ahead log must be in the file that is copied.
    with closing(sqlite3.connect(folder / "tuner.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    yield folder / "tuner.db"
    shutil.rmtree(folder)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_study_command_is_refused_and_nothing_is_written(
    case: Case,
    tmp_path: Path,
    submitted: Path,
    tuner: Callable[..., tuple[int, str, str]],
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if case.submitted:
        shutil.copy(submitted, tmp_path)
    require_refused(case, tmp_path, tuner if case.process else command, monkeypatch)
