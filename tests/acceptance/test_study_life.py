"""Submit, work, pause, resume, priority, extend and delete."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.helpers import (
    Command,
    Finished,
    Run,
    query,
)

pytestmark = pytest.mark.usefixtures("empty_folder")


def state_of(command: Command) -> dict[str, Any]:
    (state,) = json.loads(command("status", "tiny-study", "--json").out)["studies"]
    return state


def test_submit_runs_no_trial_and_a_worker_runs_all(
    finished: Finished, command: Command, tuner: Run, tmp_path: Path
) -> None:
    study = str(finished.folder / "x.toml")
    code, out, err = command("submit", study, "--set", "search.trials=2")
    assert (code, out) == (0, "")
    assert err == "study tiny-study: 2 of 2 trials to do; `tuner worker` runs them\n"
    assert query(tmp_path / "tuner.db", "SELECT study_name FROM studies") == [("tiny-study",)]
    assert query(tmp_path / "tuner.db", "SELECT * FROM trials") == []

    code, out, err = tuner("worker", cwd=tmp_path)
    assert (code, out) == (0, "")
    assert len(re.findall(r" tiny-study trial \d: (complete|pruned), ", err)) == 2
    states = query(tmp_path / "tuner.db", "SELECT state FROM trials")
    assert len(states) == 2
    assert set(states) <= {("COMPLETE",), ("PRUNED",)}


def test_a_study_can_be_paused_resumed_and_given_a_priority(
    finished: Finished, command: Command
) -> None:
    study = str(finished.folder / "x.toml")
    assert command("submit", study).code == 0
    assert state_of(command)["state"] == "open"
    for _ in range(2):  # a second time is no error
        paused = command("pause", "tiny-study")
        assert paused == (0, "", "study tiny-study is paused\n")
    assert (state_of(command)["state"], state_of(command)["paused"]) == ("paused", True)
    assert "paused" in command("status").out
    refused = command("run", study, "--workers", "1")
    assert refused == (
        1,
        "",
        "error: study 'tiny-study' is paused; `tuner resume tiny-study` first\n",
    )
    for _ in range(2):
        assert command("resume", "tiny-study") == (0, "", "study tiny-study is open\n")
    assert (state_of(command)["state"], state_of(command)["paused"]) == ("open", False)
    for priority in ("3", "100", "1"):
        said = command("priority", "tiny-study", priority)
        assert said == (0, "", f"study tiny-study has priority {priority}\n")
        assert state_of(command)["priority"] == int(priority)


def test_a_worker_runs_the_trials_that_extend_adds(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    before = {t.number: t.value for t in copy.trials()}
    extended = command("extend", "tiny-study", "--trials", "2")
    assert extended == (0, "", "study tiny-study has 8 trials now; `tuner worker` runs them\n")
    state = state_of(command)
    assert (state["state"], state["tickets"], state["finished"]) == ("open", 8, 6)
    assert command("worker", "--quiet") == (0, "", "")
    assert sorted(t.user_attrs["ticket"] for t in copy.trials()) == list(range(8))
    assert before.items() <= {t.number: t.value for t in copy.trials()}.items()
    for options in ((), ("--set", "search.trials=8")):
        code, _, err = command("run", "x.toml", *options)
        assert (code, err) == (0, "study tiny-study is complete: 8 trials\n")


def test_delete_without_an_answer_deletes_nothing(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    code, out, err = command("delete", "tiny-study")
    assert (code, out) == (1, "")
    assert "Delete study tiny-study with all its trials? [y/N]" in err
    assert "Aborted!" in err
    assert len(copy.trials()) == 6


def test_delete_with_yes_leaves_no_row(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    database = tmp_path / "tuner.db"
    names = [
        name for (name,) in query(database, "SELECT name FROM sqlite_master WHERE type='table'")
    ]
    kept = {"version_info", "alembic_version", "sqlite_sequence"}
    filled = {name for name in names if query(database, f"SELECT * FROM {name}")} - kept  # noqa: S608
    assert {"studies", "trials", "puffin_studies", "puffin_artifacts"} <= filled

    done = command("delete", "tiny-study", "--yes")

    assert done == (0, "", "deleted study tiny-study\n")
    for name in set(names) - kept:
        assert query(database, f"SELECT * FROM {name}") == [], name  # noqa: S608
    assert (tmp_path / "exports/tiny-study/config.toml").exists()
