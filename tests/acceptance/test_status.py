"""`tuner status`: in a table, in detail, in a narrow terminal and as JSON."""

import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.helpers import (
    Command,
    Finished,
    words,
)

pytestmark = pytest.mark.usefixtures("empty_folder")


def in_terminal(columns: int, *args: str) -> str:
    """Run the console script in a terminal of so many columns; return what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS" and not k.startswith("TUNER_")}
    script = Path(sys.executable).with_name("tuner")
    process = subprocess.Popen(
        [script, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=env | {"TERM": "dumb"}
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when its last program has ended
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_status_counts_the_trials(finished: Finished, command: Command) -> None:
    code, out, err = command("status", "--storage", finished.url)
    assert (code, err) == (0, "")
    heading, row = (re.split(r"\s{2,}", line) for line in out.splitlines()[:3:2])
    assert heading == ["study", "state", "trials", "ended as", "loss", "skill"]
    states = [t.state.name for t in finished.trials()]
    ended = {name.lower(): states.count(name) for name in ("COMPLETE", "PRUNED")}
    counts = ", ".join(f"{count} {name}" for name, count in ended.items() if count)
    assert row[:4] == ["tiny-study", "done", "6 of 6", counts]
    assert float(row[4]) == pytest.approx(finished.best_trial().value, abs=1e-4)
    assert "no worker is alive" in out


def test_status_of_a_study_shows_its_data_progress_and_best(
    finished: Finished, command: Command
) -> None:
    code, out, err = command("status", "tiny-study", "--storage", finished.url)
    assert (code, err) == (0, "")
    best = finished.best_trial()
    for part in (
        "done, 6 of 6 trials: ",
        "range, 1 bar ahead, from return, range, volume",
        "sample AAPL, 2011-06-01 to 2013-03-01",
        "440 bars, the last 20 sealed",
        "UTC, ",
        f"trial {best.number}: loss {best.value:.4f}, skill ",
        f"{best.user_attrs['config']['cell']} ",
        f"lookback {best.user_attrs['config']['lookback']}, ",
        f"best epoch {best.user_attrs['best_epoch']}",
        "Last trials",
    ):
        assert part in words(out), part
    last = [line.split()[0] for line in out.partition("Last trials")[2].splitlines() if "." in line]
    in_order = sorted(finished.trials(), key=lambda t: t.datetime_complete, reverse=True)
    assert last == [str(t.number) for t in in_order[:5]]
    # A study that is done is not watched for longer.
    watched = command("status", "tiny-study", "--watch", "9", "--storage", finished.url)
    assert (watched.code, watched.out.count("done, 6 of 6 trials: ")) == (0, 1)
    state = json.loads(command("status", "tiny-study", "--json", "--storage", finished.url).out)
    (study,) = state["studies"]
    assert (study["target"], study["bars"], study["best_config"]) == (
        "range",
        440,
        best.user_attrs["config"],
    )


def test_status_in_a_terminal_of_80_columns_cuts_nothing(
    finished: Finished, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    name = "n" * 64
    with closing(sqlite3.connect(copy.folder / "tuner.db")) as connection, connection:
        connection.execute("UPDATE studies SET study_name = ?", (name,))
        connection.execute("UPDATE puffin_studies SET name = ?", (name,))
        connection.execute("UPDATE trial_values SET value = value * 1e-7")
    lines = in_terminal(80, "status", "--storage", copy.url).splitlines()
    assert max(map(len, lines)) <= 80
    assert name in lines
    loss = min(t.value for t in copy.trials(name) if t.value is not None)
    assert f"loss {loss:.3e}" in " ".join(lines)
    assert "…" not in " ".join(lines)


def test_status_as_json_equals_the_database(finished: Finished, command: Command) -> None:
    code, out, err = command("status", "--json", "--storage", finished.url)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    (state,) = answer.pop("studies")
    assert answer == {"workers": []}
    found = [t.state.name for t in finished.trials()]
    best = min((t for t in finished.trials() if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert state == {
        "name": "tiny-study",
        "tickets": 6,
        "complete": found.count("COMPLETE"),
        "pruned": found.count("PRUNED"),
        "failed": 0,
        "running": 0,
        "workers": [],
        "priority": 1,
        "paused": False,
        "state": "done",
        "best_loss": best.value,
        "best_skill": best.user_attrs["skill"],
        "best_trial": best.number,
        "best_config": best.user_attrs["config"],
        "origins": 0,
        "finished": 6,
        "done": True,
        "search": None,
        "running_trials": [],
        "seconds_left": None,
    }


def test_trials_are_listed_with_the_best_first(finished: Finished, command: Command) -> None:
    url = ("--storage", finished.url)
    code, out, err = command("trials", "tiny-study", *url)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[2:]] == list("012345")
    rows = csv.DictReader(
        command("trials", "tiny-study", "--csv", "--sort", "loss", *url).out.splitlines()
    )
    listed = {int(row["trial"]): row for row in rows}
    best = finished.best_trial()
    shown, config = listed[best.number], best.user_attrs["config"]
    assert (float(shown["loss"]), float(shown["skill"])) == (best.value, best.user_attrs["skill"])
    assert (shown["cell"], shown["hidden_dims"]) == (
        config["cell"],
        "/".join(map(str, config["hidden_dims"])),
    )
    losses = [float(row["loss"]) for row in listed.values()]
    assert losses == sorted(losses)
    (first,) = json.loads(
        command("trials", "tiny-study", "--json", "--sort", "loss", "--limit", "1", *url).out
    )
    assert first["trial"] == next(iter(listed))
    assert first["config"] == finished.trials()[first["trial"]].user_attrs["config"]
