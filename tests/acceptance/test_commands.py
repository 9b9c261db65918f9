"""Each command does what its page says, on one tiny study that was searched once."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.artifacts import get_all_artifact_meta
from safetensors.torch import load_file

import puffin.studies.export.write
import puffin.studies.files
from puffin.models.config import Config
from puffin.models.networks.rnn import build_network
from puffin.models.training.refit import train_epochs
from puffin.studies.prices.load import load_prices
from puffin.studies.spec import load_spec
from puffin.studies.storage.artifacts import SqlArtifactStore
from puffin.studies.storage.database import open_storage

FILES = {
    "config.toml",
    "model.safetensors",
    "README.md",
    "prices-search.csv",
    "forecasts.csv",
    "SHA256SUMS",
}


def words(text: str) -> str:
    """Give a text without its line breaks."""
    return " ".join(text.split())


def query(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def trials(finished: Any) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(
        study_name="tiny-study", storage=open_storage(finished.url)
    ).get_trials()


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with no setting of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNER_STORAGE", raising=False)


@pytest.fixture(scope="module")
def exported(
    finished: Any, tuner: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Export the tiny study by the console script."""
    folder = tmp_path_factory.mktemp("exported")
    code, out, err = tuner("export", "tiny-study", "best", "--storage", finished.url, cwd=folder)
    assert (code, out, err) == (0, "", "wrote best/\n")
    return folder / "best"


@pytest.fixture(scope="module")
def config(exported: Path) -> dict[str, Any]:
    return tomllib.loads((exported / "config.toml").read_text("utf-8"))


# run


def test_run_prints_its_tables_on_stdout_and_its_messages_on_stderr(finished: Any) -> None:
    code, out, err = finished.first
    assert code == 0
    assert "study tiny-study starts with 6 trials on 2 workers (cpu); sample AAPL, 440 bars" in err
    assert "6 trials" not in out
    for part in ("Best of study tiny-study", "walk-forward mse", "LSTM against GRU", "direction"):
        assert part in words(out)
        assert part not in err
    for line in ("study tiny-study in sqlite:///tuner.db", "export exports/tiny-study/"):
        assert line in words(out)
    assert "Traceback" not in err


def test_run_spends_every_ticket_once_and_exports_the_best(finished: Any) -> None:
    states = {t.user_attrs["ticket"]: t.state.name for t in trials(finished)}
    assert sorted(states) == list(range(6))
    assert len(trials(finished)) == 6
    assert set(states.values()) <= {"COMPLETE", "PRUNED"}
    assert {p.name for p in (finished.folder / "exports").iterdir()} == {"tiny-study"}
    assert {p.name for p in (finished.folder / "exports/tiny-study").iterdir()} == FILES


def test_a_second_run_says_that_the_study_is_complete_and_shows_the_same_again(
    finished: Any, tuner: Callable[..., Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    code, out, err = tuner("run", "x.toml", cwd=tmp_path)
    assert code == 0
    assert err == "study tiny-study is complete: 6 trials\n"
    assert out == finished.first.out
    assert len(trials(copy)) == 6


# status, best, compare, check


def test_files_beside_the_export_are_kept_and_named_and_a_run_exports_all_the_same(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    folder = tmp_path / "exports" / "tiny-study"
    others = {name: folder / name for name in (".DS_Store", ".git/HEAD", "README.md~", "notes.txt")}
    for path in others.values():
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (folder / "config.toml").write_text('study = "tiny-study"')
    code, out, err = command("run", "x.toml", "--workers", "1")
    assert (code, "export  exports/tiny-study/" in out) == (0, True)
    assert "exports/tiny-study also holds .DS_Store, .git/, README.md~, notes.txt, which are" in err
    assert {path.read_text() for path in others.values()} == {"mine"}
    code, _, err = command("predict", str(folder))
    assert (code, "also holds .DS_Store, .git/" in err) == (0, True)


def test_a_file_in_the_way_of_the_export_does_not_hide_the_result(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    shutil.rmtree(tmp_path / "exports" / "tiny-study")
    (tmp_path / "exports" / "tiny-study").write_text("mine")
    code, out, err = command("run", "x.toml", "--workers", "1")
    assert (code, "Best of study tiny-study" in out) == (0, True)
    assert "not exported: exports/tiny-study is a file, but an export is a folder" in err
    assert (tmp_path / "exports" / "tiny-study").read_text() == "mine"


def test_an_export_goes_into_a_folder_that_only_a_system_has_written_to(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    for name in ("best/.git", "best/lost+found"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("best/.DS_Store", "best/Thumbs.db"):
        (tmp_path / name).touch()
    code, _, err = command("export", "tiny-study", "best", "--storage", finished.url)
    assert code == 0, err
    assert err.splitlines()[1].startswith("note: best also holds .DS_Store, .git/, Thumbs.db, lost")
    assert (tmp_path / "best" / "lost+found").is_dir()


def test_an_export_that_another_process_holds_is_refused_in_words(
    finished: Any, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puffin.studies.files, "_PATIENCE_SECONDS", 0.0)
    (tmp_path / "best").mkdir()
    descriptor = os.open(tmp_path / "best", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        code, _, err = command("export", "tiny-study", "best", "--storage", finished.url)
    finally:
        os.close(descriptor)
    assert code == 1
    assert "cannot write the export to best: another process is writing to it; give another" in err


def test_an_export_of_weights_that_diverged_is_refused_and_leaves_the_older_one(
    finished: Any, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*args: Any) -> torch.nn.Module:
        network = train_epochs(*args)
        torch.nn.init.constant_(network.get_parameter("fc.bias"), float("nan"))
        return network

    monkeypatch.setattr(puffin.studies.export.write, "train_epochs", diverged)
    code, _, err = command("export", "tiny-study", "best", "--storage", finished.url)
    assert code == 1
    assert "no forecaster to export: model.safetensors: fc.bias should be finite" in err
    assert not (tmp_path / "best").exists()


def test_an_export_below_a_file_is_refused_in_words(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    target = str(tmp_path / "notes.txt" / "sub")
    code, out, err = command("export", "tiny-study", target, "--storage", finished.url)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: cannot write the export to {target}: ")


def test_notes_of_a_user_are_no_export(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("my notes")
    code, _, err = command("export", "tiny-study", str(tmp_path), "--storage", finished.url)
    assert code == 1
    assert "holds README.md, but no config.toml of an export" in err
    assert (tmp_path / "README.md").read_text() == "my notes"


def test_a_study_goes_on_when_its_prices_have_become_too_few_or_are_gone(
    tuner: Callable[..., Any], command: Callable[..., Any], tmp_path: Path
) -> None:
    frame = load_prices("sample", "AAPL").frame.iloc[-300:]
    spec = """
name = "own"
[data]
source = "csv"
path = "p.csv"
features = ["return"]
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[training]
max_epochs = 1
[space]
hidden_dim = [4, 5]
lookback = 3
[search]
trials = 1
"""
    (tmp_path / "own.toml").write_text(spec)
    frame.to_csv(tmp_path / "p.csv")
    assert command("submit", "own.toml").code == 0
    frame.iloc[:79].to_csv(tmp_path / "p.csv")
    shorter = command("submit", "own.toml")
    assert shorter.code == 0, shorter.err
    assert "p.csv has changed since study own was submitted" in shorter.err
    (tmp_path / "p.csv").unlink()
    gone = tuner("run", "own.toml", "--workers", "1", cwd=tmp_path)
    assert gone.code == 0, gone.err
    assert "the study resumes with its own copy" in gone.err
    assert "Best of study own" in gone.out


def test_a_grid_says_which_points_it_does_not_run(command: Callable[..., Any]) -> None:
    said = words(command("check", "grid").out)
    assert "budget: 126 trials" in said
    assert "the grid has 162 points, 36 of which repeat another network" in said


def test_tables_in_a_file_are_whole_however_long_a_name_is(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    name = "n" * 64
    finished.copy(tmp_path)
    assert command("submit", "x.toml", "--set", f"name={name}").code == 0
    for args in (("status",), ("check", "x.toml")):
        assert "…" not in command(*args).out
    assert name in command("status").out


def test_an_export_is_refitted_with_one_thread_whatever_the_machine_has(
    finished: Any, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def watched(*args: Any) -> torch.nn.Module:
        used.append(torch.get_num_threads())
        return train_epochs(*args)

    monkeypatch.setattr(puffin.studies.export.write, "train_epochs", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert (
            command("export", "tiny-study", str(tmp_path / "out"), "--storage", finished.url).code
            == 0
        )
        assert (used, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_status_counts_the_trials(finished: Any, command: Callable[..., Any]) -> None:
    code, out, err = command("status", "--storage", finished.url)
    assert (code, err) == (0, "")
    heading, row = (re.split(r"\s{2,}", line) for line in out.splitlines()[:3:2])
    assert heading == ["study", "state", "trials", "ended as", "loss", "skill"]
    states = [t.state.name for t in trials(finished)]
    ended = {name.lower(): states.count(name) for name in ("COMPLETE", "PRUNED")}
    counts = ", ".join(f"{count} {name}" for name, count in ended.items() if count)
    assert row[:4] == ["tiny-study", "done", "6 of 6", counts]
    assert float(row[4]) == pytest.approx(best_trial(finished).value, abs=1e-4)
    assert "no worker is alive" in out


def test_status_of_a_study_says_what_it_is_and_how_it_stands(
    finished: Any, command: Callable[..., Any]
) -> None:
    code, out, err = command("status", "tiny-study", "--storage", finished.url)
    assert (code, err) == (0, "")
    best = best_trial(finished)
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
    in_order = sorted(trials(finished), key=lambda t: t.datetime_complete, reverse=True)
    assert last == [str(t.number) for t in in_order[:5]]
    state = json.loads(command("status", "tiny-study", "--json", "--storage", finished.url).out)
    (study,) = state["studies"]
    assert (study["target"], study["bars"], study["config"]) == (
        "range",
        440,
        best.user_attrs["config"],
    )


def test_status_in_a_terminal_of_80_columns_cuts_nothing(finished: Any, tmp_path: Path) -> None:
    copy = finished.copy(tmp_path)
    name = "n" * 64
    with closing(sqlite3.connect(copy.folder / "tuner.db")) as connection, connection:
        connection.execute("UPDATE studies SET study_name = ?", (name,))
        connection.execute("UPDATE puffin_studies SET name = ?", (name,))
        connection.execute("UPDATE trial_values SET value = value * 1e-7")
    lines = in_terminal(80, "status", "--storage", copy.url).splitlines()
    assert max(map(len, lines)) <= 80
    assert name in lines
    loss = min(t.value for t in trials_of(copy, name) if t.value is not None)
    assert f"loss {loss:.3e}" in " ".join(lines)
    assert "…" not in " ".join(lines)


def test_a_stream_that_is_closed_or_full_is_no_surprise(finished: Any) -> None:
    script = Path(sys.executable).with_name("tuner")
    line = f"{script} status --storage {finished.url}"
    ends = {">&-": (0, ""), "| read -r x": (0, ""), ">/dev/full": (1, "No space left on device")}
    for redirection, (code, words) in ends.items():
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", f"{line} {redirection}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (code, ""), redirection
        assert words in done.stderr
        assert done.stderr.count("\n") == code
        assert "unexpected" not in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("status", "\udcff"), "\\udcff is not valid UTF-8"),
        (("worker", "--study", "\udcff"), "\\udcff is not valid UTF-8"),
        (("run", "demo", "--workers", "99999999999999999999"), "is not in the range 1<=x<=1000"),
        (("report", "demo", "--workers", "1001"), "is not in the range 1<=x<=1000"),
        (("report", "demo", "--seeds", "1000000000"), "is not in the range 3<=x<=1000"),
        (("report", "demo", "--top", "1000000000"), "is not in the range 1<=x<=1000"),
    ],
)
def test_what_no_machine_can_do_is_wrong_usage(
    args: tuple[str, ...], words: str, command: Callable[..., Any]
) -> None:
    code, out, err = command(*args)
    assert (code, out) == (2, "")
    assert words in err


def trials_of(study: Any, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=open_storage(study.url)).get_trials()


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


def test_status_as_json_says_the_same_as_the_database(
    finished: Any, command: Callable[..., Any]
) -> None:
    code, out, err = command("status", "--json", "--storage", finished.url)
    assert (code, err) == (0, "")
    answer = json.loads(out)
    (state,) = answer.pop("studies")
    assert answer == {"workers": []}
    found = [t.state.name for t in trials(finished)]
    best = min((t for t in trials(finished) if t.state.name == "COMPLETE"), key=lambda t: t.value)
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
        "finished": 6,
        "done": True,
        "search": None,
        "running_trials": [],
        "seconds_left": None,
    }


def test_best_as_toml_and_as_json_are_one_record_of_the_best_trial(
    finished: Any, command: Callable[..., Any]
) -> None:
    as_toml = command("best", "tiny-study", "--storage", finished.url)
    as_json = command("best", "tiny-study", "--storage", finished.url, "--format", "json")
    assert (as_toml.code, as_toml.err, as_json.code, as_json.err) == (0, "", 0, "")
    record = json.loads(as_json.out)
    assert tomllib.loads(as_toml.out) == record
    best = trials(finished)[record["trial"]]
    assert record["scores"]["loss"] == best.value
    assert record["config"] == best.user_attrs["config"]
    assert record["epochs"] == best.user_attrs["best_epoch"]


def test_best_as_python_builds_the_network(finished: Any, command: Callable[..., Any]) -> None:
    code, out, err = command("best", "tiny-study", "--storage", finished.url, "--format", "python")
    assert (code, err) == (0, "")
    names: dict[str, Any] = {}
    exec(compile(out.replace("...", "3"), "best.py", "exec"), names)  # noqa: S102
    best = min((t for t in trials(finished) if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert names["config"] == Config.from_dict(best.user_attrs["config"])
    assert names["epochs"] == best.user_attrs["best_epoch"]
    windows = torch.zeros(2, names["config"].lookback, 3)
    assert names["network"](windows).shape == (2, 1)


def test_compare_sets_the_lstm_beside_the_gru(finished: Any, command: Callable[..., Any]) -> None:
    code, out, err = command("compare", "tiny-study", "--storage", finished.url)
    assert (code, err) == (0, "")
    counts = [t.user_attrs["config"]["cell"] for t in trials(finished)]
    (heading,) = [line.split() for line in out.splitlines() if "LSTM  " in line]
    assert heading == ["LSTM", "GRU"]
    (row,) = [line.split()[1:] for line in out.splitlines() if line.startswith("  trials")]
    assert row == [str(counts.count("lstm")), str(counts.count("gru"))]


# Everything that trials can be compared by, and how a configuration tells it.
TOLD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "cell": lambda config: config["cell"],
    "layers": lambda config: len(config["hidden_dims"]),
    "hidden_dim": lambda config: config["hidden_dims"][0],
    "dropout": lambda config: config["dropout"] if len(config["hidden_dims"]) > 1 else None,
    "lookback": lambda config: config["lookback"],
    "lr": lambda config: config["lr"],
    "weight_decay": lambda config: config["weight_decay"],
    "batch_size": lambda config: config["batch_size"],
    "noise": lambda config: config["noise"],
}


@pytest.mark.parametrize("by", TOLD)
def test_compare_by_anything_counts_every_trial_once_or_says_why_there_is_nothing_to_compare(
    by: str, finished: Any, command: Callable[..., Any]
) -> None:
    values = [TOLD[by](t.user_attrs["config"]) for t in trials(finished)]
    counts = [values.count(value) for value in sorted({v for v in values if v is not None})]
    code, out, err = command("compare", "tiny-study", "--by", by, "--storage", finished.url)
    if len(counts) > 1:
        assert (code, err) == (0, "")
        (row,) = [line.split()[1:] for line in out.splitlines() if line.startswith("  trials")]
        shown = [int(count) for count in row]
        assert shown == (counts[::-1] if by == "cell" else counts)  # the LSTM comes first
        assert len([line for line in out.splitlines() if "median loss" in line]) == 1
    else:
        why = f"{by} = " if counts else "one layer, where dropout does nothing"
        assert (code, out) == (1, "")
        assert err.startswith(f"error: all finished trials of study 'tiny-study' have {why}")
        assert err.count("\n") == 1


def test_some_ways_to_compare_the_tiny_study_work_and_some_do_not(
    finished: Any, command: Callable[..., Any]
) -> None:
    options = ("--storage", finished.url)
    codes = {by: command("compare", "tiny-study", "--by", by, *options).code for by in TOLD}
    assert {codes[by] for by in ("cell", "hidden_dim", "lookback")} == {0}
    assert {codes[by] for by in ("lr", "weight_decay", "batch_size", "noise")} == {1}


def test_compare_by_something_unknown_lists_what_there_is(
    finished: Any, command: Callable[..., Any]
) -> None:
    code, out, err = command("compare", "tiny-study", "--by", "colour", "--storage", finished.url)
    assert (code, out) == (2, "")
    assert "'colour' is not one of" in err
    for by in TOLD:
        assert f"'{by}'" in err


def test_compare_before_the_first_trial_says_what_is_missing(
    finished: Any, command: Callable[..., Any]
) -> None:
    assert command("submit", str(finished.folder / "x.toml")).code == 0
    for by in ("cell", "layers"):
        code, out, err = command("compare", "tiny-study", "--by", by)
        assert (code, out) == (1, "")
        assert err.startswith("error: study 'tiny-study' has no finished trial yet: ")


# The direction of moves: in the table, the record and the card


def direction_of(finished: Any, trial: optuna.trial.FrozenTrial) -> tuple[float, float, float]:
    """Give a trial's accuracy and its interval, from the forecasts that it left.

    Wilson (1927): centre ``(p + z² / 2n) / (1 + z² / n)``, and so much to either side.
    """
    storage = open_storage(finished.url)
    (meta,) = get_all_artifact_meta(trial, storage=storage)
    with SqlArtifactStore(storage.engine).open_reader(meta.artifact_id) as reader:
        table = pd.read_csv(reader)
    moved = table[table["actual"] != table["persistence"]]
    up, rose = (moved[name] > moved["persistence"] for name in ("forecast", "actual"))
    n, p, z = len(moved), float((up == rose).mean()), 1.959963984540054
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, centre - half, centre + half


def best_trial(finished: Any) -> optuna.trial.FrozenTrial:
    complete = [t for t in trials(finished) if t.state.name == "COMPLETE"]
    return min(complete, key=lambda t: t.value)


def test_run_prints_the_direction_accuracy_of_the_best_with_its_interval(finished: Any) -> None:
    found = re.search(
        r"direction accuracy ([\d.]+) %, 95 % interval ([\d.]+) % to ([\d.]+) %; "
        r"of the training mean ([\d.]+) %",
        finished.first.out,
    )
    assert found
    own = direction_of(finished, best_trial(finished))
    assert list(found.groups()[:3]) == [f"{100 * share:.1f}" for share in own]
    assert own[1] < own[0] < own[2]


def test_the_record_of_the_best_has_its_direction_accuracy_with_the_interval(
    finished: Any, command: Callable[..., Any]
) -> None:
    out = command("best", "tiny-study", "--storage", finished.url, "--format", "json").out
    scores = json.loads(out)["scores"]
    p, low, high = direction_of(finished, best_trial(finished))
    assert scores["direction_accuracy"] == pytest.approx(p, rel=1e-12)
    assert scores["direction_interval"] == pytest.approx([low, high], rel=1e-9)


def test_the_card_has_the_direction_accuracy_with_its_interval(
    finished: Any, exported: Path, config: dict[str, Any]
) -> None:
    p, low, high = direction_of(finished, best_trial(finished))
    card = (exported / "README.md").read_text("utf-8")
    p_text, low_text, high_text = (f"{100 * x:.1f} %" for x in (p, low, high))
    assert f"| direction accuracy | {p_text} ({low_text} to {high_text}) |\n" in card
    mean = config["scores"]["mean_direction_accuracy"]
    assert f"| direction accuracy of the training mean | {100 * mean:.1f} % |\n" in card


def test_check_prints_the_folds_and_writes_no_database(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    code, out, err = command("check", str(finished.folder / "x.toml"))
    assert (code, err) == (0, "")
    assert "tiny-study: sample AAPL, 440 bars" in out
    assert "2011-06-09 to 2012-12-03" in out
    assert "2011-06-09 to 2013-01-02" in out
    assert "holdout: 20 targets from 2013-02-01" in out
    assert "budget: 6 trials, sampler tpe" in out
    assert list(tmp_path.iterdir()) == []


# export


def test_an_export_holds_these_files_and_no_other_while_sealed(
    exported: Path,
) -> None:
    assert {p.name for p in exported.iterdir()} == FILES
    assert [p.name for p in exported.parent.iterdir()] == ["best"]


def test_export_can_be_repeated_with_the_very_same_bytes(
    finished: Any, exported: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    for _ in range(2):
        assert command("export", "tiny-study", "again", "--storage", finished.url).code == 0
        for name in FILES:
            same = (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()
            assert same, name
    for name in FILES:
        by_run = (finished.folder / "exports/tiny-study" / name).read_bytes()
        assert by_run == (exported / name).read_bytes()


def test_the_exported_weights_fit_the_exported_configuration(
    exported: Path, config: dict[str, Any]
) -> None:
    network = build_network(Config.from_dict(config["config"]), len(config["input"]["features"]))
    network.load_state_dict(load_file(exported / "model.safetensors"), strict=True)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_exported_weights_are_those_of_an_independent_refit(
    finished: Any, exported: Path, config: dict[str, Any]
) -> None:
    ((body,),) = query(
        finished.folder / "tuner.db",
        "SELECT body FROM puffin_artifacts WHERE CAST(body AS TEXT) LIKE 'date,open%' "
        "ORDER BY length(body) DESC LIMIT 1",
    )
    assert hashlib.sha256(body).hexdigest() == config["data"]["sha256"]["prices-search.csv"]
    head, *lines = (line.split(",") for line in body.decode().splitlines())
    bars = pd.DataFrame([[float(cell) for cell in line[1:]] for line in lines], columns=head[1:])
    spread = np.log(np.maximum(np.log(bars["high"] / bars["low"]), 1e-4))
    features = np.column_stack(
        [np.log(bars["close"]).diff(), spread, np.log1p(bars["volume"]).diff()]
    )
    given, lookback = config["input"], config["config"]["lookback"]
    first = 5 + 1  # the longest lookback of the space, and the bar that a return needs
    seen, targets = features[first - 5 : -1], np.asarray(spread)[first:]
    assert given["feature_mean"] == pytest.approx(seen.mean(axis=0), rel=1e-12)
    assert given["feature_std"] == pytest.approx(seen.std(axis=0), rel=1e-12)
    assert given["target_mean"] == pytest.approx(targets.mean(), rel=1e-12)
    assert given["target_std"] == pytest.approx(targets.std(), rel=1e-12)

    rows = (features - np.array(given["feature_mean"])) / np.array(given["feature_std"])
    windows = np.stack([rows[t - lookback : t] for t in range(first, len(bars))])
    scaled = (targets - given["target_mean"]) / given["target_std"]
    network = train_epochs(
        torch.tensor(windows, dtype=torch.float32),
        torch.tensor(scaled[:, None], dtype=torch.float32),
        Config.from_dict(config["config"]),
        config["refit"]["loss"],
        config["epochs"],
        config["refit"]["seed"],
    )
    written, own = load_file(exported / "model.safetensors"), network.state_dict()
    assert len(targets) == config["refit"]["targets"]
    assert written.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(written[name], value), name


def test_the_exported_scores_are_those_of_the_trial_in_the_database(
    finished: Any, config: dict[str, Any]
) -> None:
    trial, scores = trials(finished)[config["trial"]], config["scores"]
    complete = [t.value for t in trials(finished) if t.state.name == "COMPLETE"]
    assert scores["loss"] == trial.value == min(complete)
    assert scores["loss"] == min(trial.intermediate_values.values())
    assert scores["fold_losses"] == trial.user_attrs["fold_losses"]
    assert scores["loss"] == pytest.approx(np.mean(scores["fold_losses"]), rel=1e-12)
    assert scores["skill"] == trial.user_attrs["skill"]
    assert scores["skill"] == 1 - scores["loss"] / scores["persistence_loss"]
    assert scores["direction_accuracy"] == trial.user_attrs["direction_accuracy"]
    assert scores["direction_interval"] == trial.user_attrs["direction_interval"]
    assert config["epochs"] == trial.user_attrs["best_epoch"]


def test_the_card_names_data_folds_seed_and_scores(exported: Path, config: dict[str, Any]) -> None:
    card = words((exported / "README.md").read_text("utf-8"))
    for digest in config["data"]["sha256"].values():
        assert digest in card
    assert len(config["folds"]) == 2
    for fold, loss in zip(config["folds"], config["scores"]["fold_losses"], strict=True):
        line = (
            f"{fold['train_first']} to {fold['train_last']} "
            f"| {fold['valid_first']} to {fold['valid_last']} | {loss:#.4g} |"
        )
        assert line in card
    assert "seed 3" in card
    for name in ("loss", "persistence_loss", "mean_loss"):
        assert f"| {config['scores'][name]:#.4g} |" in card
    assert f"{100 * config['scores']['skill']:+.1f} %" in card
    assert "sample AAPL" in card


# submit and worker


def test_submit_returns_without_a_trial_and_a_worker_does_the_rest(
    finished: Any, tuner: Callable[..., Any], tmp_path: Path
) -> None:
    study = str(finished.folder / "x.toml")
    code, out, err = tuner("submit", study, "--set", "search.trials=2", cwd=tmp_path)
    assert (code, out) == (0, "")
    assert err == "study tiny-study: 2 of 2 trials to do; `tuner worker` runs them\n"
    assert query(tmp_path / "tuner.db", "SELECT study_name FROM studies") == [("tiny-study",)]
    assert query(tmp_path / "tuner.db", "SELECT * FROM trials") == []

    code, out, err = tuner("worker", cwd=tmp_path)
    assert (code, out) == (0, "")
    assert len(re.findall(r"^trial \d of study tiny-study: ", err, re.MULTILINE)) == 2
    states = query(tmp_path / "tuner.db", "SELECT state FROM trials")
    assert len(states) == 2
    assert set(states) <= {("COMPLETE",), ("PRUNED",)}


# pause, resume, priority, extend


def state_of(command: Callable[..., Any]) -> dict[str, Any]:
    (state,) = json.loads(command("status", "tiny-study", "--json").out)["studies"]
    return state


def test_a_study_is_paused_resumed_and_given_a_priority(
    finished: Any, command: Callable[..., Any]
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


def test_a_finished_study_is_extended_done_by_a_worker_and_shown_by_run_on_the_same_file(
    finished: Any, command: Callable[..., Any], tuner: Callable[..., Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    before = {t.number: t.value for t in trials(copy)}
    extended = command("extend", "tiny-study", "--trials", "2")
    assert extended == (0, "", "study tiny-study has 8 trials now; `tuner worker` runs them\n")
    state = state_of(command)
    assert (state["state"], state["tickets"], state["finished"]) == ("open", 8, 6)
    assert tuner("worker", "--quiet", cwd=tmp_path) == (0, "", "")
    assert sorted(t.user_attrs["ticket"] for t in trials(copy)) == list(range(8))
    assert before.items() <= {t.number: t.value for t in trials(copy)}.items()
    for options in ((), ("--set", "search.trials=8")):
        code, _, err = command("run", "x.toml", *options)
        assert (code, err) == (0, "study tiny-study is complete: 8 trials\n")


# delete


def test_delete_asks_and_without_an_answer_deletes_nothing(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    code, out, err = command("delete", "tiny-study")
    assert (code, out) == (1, "")
    assert "Delete study tiny-study with all its trials? [y/N]" in err
    assert "Aborted!" in err
    assert len(trials(copy)) == 6


def test_delete_with_yes_leaves_not_a_row(
    finished: Any, command: Callable[..., Any], tmp_path: Path
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


# A user's own prices, flags and variables


def test_prices_of_the_users_own_go_the_whole_way(
    tuner: Callable[..., Any], tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    days = pd.bdate_range("2022-01-03", periods=200)
    closes = 50 * np.exp(np.cumsum(0.02 * np.sin(np.arange(200) ** 2)))
    rows = [f"{day.date()},{close:.4f}" for day, close in zip(days, closes, strict=True)]
    (folder / "prices.csv").write_text("\n".join(["DATE,cLoSe", *rows]))
    (folder / "own.toml").write_text(
        'name = "own"\n[data]\nsource = "csv"\npath = "prices.csv"\nfeatures = ["return"]\n'
        'target = "return"\n[walk_forward]\nfolds = 2\nvalid_bars = 20\nholdout_bars = 20\n'
        '[training]\nmax_epochs = 2\n[space]\ncell = ["lstm", "gru"]\nhidden_dim = 4\n'
        "lookback = 5\n"
    )
    given = ["--set", "search.trials=2", "--set", "name=mine", "--workers", "1"]
    url = f"sqlite:///{tmp_path / 'set.db'}"

    code, out, err = tuner("run", "../mine/own.toml", *given, cwd=elsewhere, TUNER_STORAGE=url)

    assert code == 0, err
    assert "study mine starts with 2 trials" in err
    assert "csv prices.csv, 200 bars" in err
    assert f"study mine in {url}" in words(out)
    assert query(tmp_path / "set.db", "SELECT study_name FROM studies") == [("mine",)]
    assert not list(elsewhere.glob("*.db"))
    exported = tomllib.loads((elsewhere / "exports/mine/config.toml").read_text("utf-8"))
    assert exported["data"]["origin"] == "csv prices.csv"
    assert exported["input"]["features"] == ["return"]
    assert exported["spec"]["search"]["trials"] == 2
    weights = load_file(elsewhere / "exports/mine/model.safetensors")
    network = build_network(Config.from_dict(exported["config"]), 1)
    network.load_state_dict(weights, strict=True)


def test_set_overrides_one_key_and_leaves_the_others(finished: Any) -> None:
    path = str(finished.folder / "x.toml")
    changed = ["walk_forward.folds=3", "space.cell=gru", "data.start=2010-01-04", "name=other"]
    before, after = load_spec(path).to_json(), load_spec(path, changed).to_json()
    before["walk_forward"]["folds"] = 3
    before["space"]["cell"] = "gru"
    before["data"]["start"] = "2010-01-04"
    before["name"] = "other"
    assert after == before


def test_only_debug_shows_a_traceback(
    tuner: Callable[..., Any], command: Callable[..., Any], tmp_path: Path
) -> None:
    said = "there is no database tuner.db; `tuner run demo` or `tuner submit` makes one"
    assert command("best", "tiny-study") == (1, "", f"error: {said}\n")
    code, out, err = tuner("--debug", "best", "tiny-study", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last)")
    assert err.endswith(f"NoStudiesError: {said}\n")


def test_a_run_whose_workers_were_ended_says_how_far_it_came(
    start: Callable[..., Any], finished: Any, tmp_path: Path
) -> None:
    folder = finished.copy(tmp_path / "copy").folder
    options = ("--workers", "1", "--set", "name=long", "--set", "search.trials=500")
    running = start("run", "x.toml", *options, cwd=folder)
    try:
        until(lambda: children(running.pid), "a worker")
        (worker,) = children(running.pid)
        time.sleep(3)
        os.kill(worker, signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 1
    assert out == ""
    assert re.search(r"error: the workers were stopped with \d+ of 500 trials done", err)


def children(pid: int) -> list[int]:
    """Give the processes that a process has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def until(ready: Callable[[], object], what: str) -> None:
    """Wait for something, half a minute at most."""
    end = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.1)
