"""Studies of other versions, and studies that cannot be read."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.storages import RDBStorage

from puffin.studies import versions
from puffin.studies.storage import registry
from puffin.studies.study import StoredStudy, StudyError, load
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import StudyScheduler, WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.integration.helpers import MakeStudy, MakeWorker, finished

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def url(request: pytest.FixtureRequest, new_url: Callable[[str], str]) -> str:
    return new_url(getattr(request, "param", "sqlite"))


def of_another_torch(study: StoredStudy) -> None:
    study.optuna_study.set_user_attr(
        "made_with", versions.installed_versions() | {"torch": "1.0.0"}
    )


NEEDS_A_STUDY = [
    ["status", "tiny"],
    ["worker", "--study", "tiny"],
    ["best", "tiny"],
    ["compare", "tiny"],
    ["export", "tiny", "out"],
    ["pause", "tiny"],
    ["resume", "tiny"],
    ["priority", "tiny", "2"],
    ["extend", "tiny", "--trials", "1"],
    ["copy", "tiny", "--to", "sqlite:///other.db"],
]


@pytest.mark.usefixtures("own_signals")
def test_a_worker_refuses_a_study_of_another_torch(
    storage: RDBStorage, url: str, one_epoch: MakeStudy
) -> None:
    study = one_epoch()
    of_another_torch(study)
    said = CliRunner().invoke(main, ["worker", "--study", "tiny", "--storage", url])
    assert said.exit_code == 1
    assert "\nerror: study 'tiny': it was made with torch 1.0.0, but this is" in said.stderr
    assert study.trials() == []
    assert registry.budgets(storage)[study.name].issued == 0


def test_a_study_of_another_torch_is_skipped_and_logged_once(
    url: str, one_epoch: MakeStudy, caplog: pytest.LogCaptureFixture
) -> None:
    other, own = one_epoch("other"), one_epoch("own", 3)
    of_another_torch(other)
    with caplog.at_level(logging.WARNING):
        work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert (other.trials(), finished(own)) == ([], 3)
    (said,) = caplog.messages
    assert said.startswith("not serving study 'other': it was made with torch 1.0.0, but this is")


def test_another_patch_version_is_logged_once_and_served(
    url: str, one_epoch: MakeStudy, caplog: pytest.LogCaptureFixture
) -> None:
    study = one_epoch(trials=3)
    own = versions.installed_versions()["torch"]
    patched = ".".join([*own.split(".")[:2], "99"])
    study.optuna_study.set_user_attr(
        "made_with", versions.installed_versions() | {"torch": patched}
    )
    with caplog.at_level(logging.WARNING):
        work(url, Interrupt(), WorkerOptions(device="cpu"))
    assert caplog.messages == [f"study 'tiny': it was made with torch {patched}, this is {own}"]
    assert finished(study) == 3


def test_a_study_of_another_torch_can_be_read_but_not_run(
    url: str,
    one_epoch: MakeStudy,
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    study = one_epoch(trials=2)
    work(url, Interrupt(), WorkerOptions(device="cpu", max_trials=1))
    of_another_torch(study)
    monkeypatch.chdir(tmp_path)
    tiny_file.write_text(
        tiny_file.read_text().replace("= 3\npatience", "= 1\npatience").replace("= 8\n", "= 2\n")
    )

    def tuner(*args: str) -> Any:
        return CliRunner().invoke(main, [*args, "--storage", url])

    ran = tuner("run", str(tiny_file), "--workers", "1")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("error: study 'tiny': it was made with torch 1.0.0, but this is")
    for args in (["status"], ["status", "tiny"], ["best", "tiny"], ["delete", "tiny", "--yes"]):
        assert tuner(*args).exit_code == 0, args
    assert tuner("status", "tiny").exit_code == 1


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            "version",
            "'tiny' was made by another version of Puffin Tuner and cannot be read by this",
        ),
        (
            "settings",
            "'tiny' has lost its trials or its settings to another program; `tuner delete",
        ),
        ("study", "'tiny' has lost its trials or its settings to another program; `tuner delete"),
    ],
)
def test_an_unreadable_study_is_named_in_errors_and_can_be_deleted(
    storage: RDBStorage,
    one_epoch: MakeStudy,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    words: str,
) -> None:
    url = str(storage.engine.url)
    one_epoch("sound")
    study = one_epoch()
    if broken == "study":
        optuna.delete_study(study_name="tiny", storage=storage)
    else:
        with storage.engine.begin() as connection:
            key = {"version": "spec_version", "settings": "spec"}[broken]
            query = "DELETE FROM study_user_attributes WHERE key = :key AND study_id = :study"
            own = {"key": key, "study": study.optuna_study._study_id}
            connection.execute(sa.text(query), own)
    monkeypatch.chdir(Path(url.removeprefix("sqlite:///")).parent)
    for args in NEEDS_A_STUDY[: len(NEEDS_A_STUDY) if broken == "version" else 2]:
        said = CliRunner().invoke(main, [*args, "--storage", url])
        assert (said.exit_code, said.stdout) == (1, ""), args
        assert "error: study " in said.stderr, args
        assert words in said.stderr, args
    with pytest.raises(StudyError, match=words[:40]):
        one_epoch()  # it is submitted again
    listed = CliRunner().invoke(main, ["status", "--json", "--storage", url])
    assert listed.exit_code == 0
    assert [s["name"] for s in json.loads(listed.stdout)["studies"]] == ["sound"]
    assert ("not listed: study 'tiny'" in listed.stderr) == (broken != "study")
    scheduler = StudyScheduler(make_worker(), None, forever=False)
    while scheduler.run_one():
        pass
    assert finished(load(storage, "sound")) == 2
    done = CliRunner().invoke(main, ["delete", "tiny", "--yes", "--storage", url])
    assert done.exit_code == 0
    assert one_epoch().trials() == []
