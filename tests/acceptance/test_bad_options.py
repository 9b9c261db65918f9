"""Options and databases that cannot be used are refused with the rule and the fix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input import CHECK, RUN, Case, require_refused, study

CASES = [
    Case(
        "--set without an equals sign",
        f"{RUN} --set search.trials",
        ("--set takes KEY=VALUE", "'search.trials'"),
        study(),
    ),
    Case(
        "--set of a list of bare words",
        f"{CHECK} --set data.features=[range]",
        ("--set data.features=[range]", "strings in it need quotes", 'features=["range"]'),
        study(),
    ),
    Case("--set without a key", f"{RUN} --set =3", ("--set takes KEY=VALUE", "'=3'"), study()),
    Case(
        "--set of an unknown key",
        f"{CHECK} --set search.trails=3",
        ("search.trails", "unknown key", "'trials'"),
        study(),
    ),
    Case(
        "--set below a value",
        f"{CHECK} --set name.first=3",
        ("--set name.first=3", "name is a value"),
        study(),
    ),
    Case(
        "unknown device",
        "run demo --device tpu",
        ("--device must be auto, cpu", "'tpu'"),
        process=True,
    ),
    Case(
        "GPU that is not there", "run demo --device cuda:99", ("--device cuda:99", "this machine")
    ),
    Case("no workers", "run demo --workers 0", ("--workers", "1<=x<=1000"), code=2, process=True),
    Case("workers in words", "run demo --workers two", ("--workers", "'two'"), code=2),
    Case("no workers on a GPU", "run demo --workers-per-gpu 0", ("--workers-per-gpu",), code=2),
    Case(
        "timeout without a unit",
        "run demo --timeout 30",
        ("--timeout", "'30' is not a time like 90s, 30m, 2h or 1h30m"),
        code=2,
    ),
    Case("timeout of nothing", "run demo --timeout 0m", ("--timeout", "'0m'"), code=2),
    Case(
        "JSON again and again",
        "status --watch 5 --json",
        ("--watch shows a page", "use one of them"),
        code=2,
    ),
    Case("more than all memory", "worker --memory-share 2", ("--memory-share", "0<x<=1"), code=2),
    Case("unknown option", "run demo --gpus 2", ("No such option", "--gpus"), code=2),
    Case("unknown command", "optimise demo", ("No such command", "'optimise'"), code=2),
    Case("run of nothing", "run", ("Missing argument", "SPEC"), code=2),
    Case("best of nothing", "best", ("Missing argument", "NAME"), code=2),
    Case("unknown format", "best tiny --format xml", ("'xml'", "toml", "json", "python"), code=2),
    Case("port beyond the last", "dashboard --port 70000", ("--port", "65535"), code=2),
    # The database
    Case(
        "storage that is no URL",
        "run demo --storage tuner.db",
        ("not a database URL", "sqlite:///tuner.db"),
    ),
    Case(
        "storage of an unknown kind",
        "run demo --storage paper:///tuner.db",
        ("a database of paper://", "only sqlite and postgresql are known"),
    ),
    Case(
        "storage with a bad port",
        "run demo --storage postgresql://me:secret@host:port/x",
        ("cannot be read for certain",),
    ),
    Case(
        "storage on another kind of server",
        "run demo --storage mysql://me:secret@host/x",
        ("a database of mysql://", "only sqlite and postgresql are known"),
    ),
    Case(
        "storage that does not answer",
        "run demo --storage postgresql://me@127.0.0.1:1/x",
        ("me@127.0.0.1:1/x does not answer", "onnection refused"),
    ),
    Case(
        "storage without a name",
        "run demo --storage postgresql://me:secret@127.0.0.1:1",
        ("me:***@127.0.0.1:1 names no database",),
    ),
    Case(
        "storage with a password",
        "run demo --storage postgresql://me:secret@127.0.0.1:1/x",
        ("the URL of --storage holds a password", "PGPASSWORD", "set TUNER_STORAGE"),
        code=2,
    ),
    Case("storage in memory", "run demo --storage sqlite://", ("memory cannot be shared",)),
    Case(
        "storage in a missing folder",
        "run demo --storage sqlite:///no/such/tuner.db",
        ("the folder of no/such/tuner.db does not exist",),
    ),
    Case(
        "storage that is a folder",
        "run demo --storage sqlite:///folder",
        ("folder is a folder", "sqlite:///folder/tuner.db"),
        {"folder/": ""},
    ),
    Case(
        "storage that is no database",
        "run demo --storage sqlite:///notes.txt",
        ("sqlite:///notes.txt cannot be used", "file is not a database"),
        {"notes.txt": "buy low\n" * 99},
    ),
    Case(
        "status of what is no database",
        "status --storage sqlite:///notes.txt",
        ("sqlite:///notes.txt cannot be used", "file is not a database"),
        {"notes.txt": "buy low\n" * 99},
    ),
    Case(
        "status of an empty file",
        "status",
        ("holds no studies", "tuner run demo"),
        {"tuner.db": ""},
    ),
    Case(
        "status without a database",
        "status",
        ("there is no database tuner.db", "tuner run demo"),
        process=True,
    ),
    Case("worker without a database", "worker", ("there is no database tuner.db",), process=True),
    Case("dashboard without a database", "dashboard", ("there is no database tuner.db",)),
    Case("best without a database", "best tiny", ("there is no database tuner.db",)),
    Case("delete without a database", "delete tiny --yes", ("there is no database tuner.db",)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_option_is_refused_and_nothing_is_written(
    case: Case,
    tmp_path: Path,
    tuner: Callable[..., tuple[int, str, str]],
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_refused(case, tmp_path, tuner if case.process else command, monkeypatch)
