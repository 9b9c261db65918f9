"""`tuner run`: a search from its study file to the export."""

import os
import re
import shutil
import signal
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from puffin.models.config import Config
from puffin.models.networks.ensemble import build_ensemble
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from tests.acceptance.helpers import (
    SEALED_EXPORT,
    Command,
    Finished,
    Start,
    children,
    query,
    until,
    words,
)

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_run_prints_its_tables_on_stdout_and_its_messages_on_stderr(finished: Finished) -> None:
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


def test_run_spends_every_ticket_once_and_exports_the_best(finished: Finished) -> None:
    states = {t.user_attrs["ticket"]: t.state.name for t in finished.trials()}
    assert sorted(states) == list(range(6))
    assert len(finished.trials()) == 6
    assert set(states.values()) <= {"COMPLETE", "PRUNED"}
    assert {p.name for p in (finished.folder / "exports").iterdir()} == {"tiny-study"}
    assert {p.name for p in (finished.folder / "exports/tiny-study").iterdir()} == SEALED_EXPORT


def test_a_second_run_trains_nothing_and_prints_the_same_result(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path)
    code, out, err = command("run", "x.toml")
    assert code == 0
    assert err == "study tiny-study is complete: 6 trials\n"
    assert out == finished.first.out
    assert len(copy.trials()) == 6


@pytest.mark.usefixtures("trains_here")
def test_run_searches_and_exports_with_prices_from_a_csv_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

    monkeypatch.chdir(elsewhere)
    code, out, err = command("run", "../mine/own.toml", *given, TUNER_STORAGE=url)

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
    network = build_ensemble(Config.from_dict(exported["config"]), 1, 5)
    network.load_state_dict(weights, strict=True)


@pytest.mark.usefixtures("trains_here")
def test_a_study_resumes_with_its_stored_prices_if_the_file_is_gone(
    command: Command, tmp_path: Path
) -> None:
    frame = load_prices("sample", PriceRequest("AAPL")).frame.iloc[-300:]
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
    gone = command("run", "own.toml", "--workers", "1")
    assert gone.code == 0, gone.err
    assert "the study resumes with its own copy" in gone.err
    assert "Best of study own" in gone.out


def test_run_keeps_and_names_other_files_in_the_export_folder(
    finished: Finished, command: Command, tmp_path: Path
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


def test_a_file_in_place_of_the_export_does_not_hide_the_result(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    finished.copy(tmp_path)
    shutil.rmtree(tmp_path / "exports" / "tiny-study")
    (tmp_path / "exports" / "tiny-study").write_text("mine")
    code, out, err = command("run", "x.toml", "--workers", "1")
    assert (code, "Best of study tiny-study" in out) == (0, True)
    assert "not exported: exports/tiny-study is a file, but an export is a folder" in err
    assert (tmp_path / "exports" / "tiny-study").read_text() == "mine"


def test_a_run_whose_workers_were_stopped_prints_its_progress(
    start: Start, finished: Finished, tmp_path: Path
) -> None:
    long = finished.copy(tmp_path / "copy")
    options = ("--workers", "1", "--set", "name=long", "--set", "search.trials=500")
    running = start("run", "x.toml", *options, cwd=long.folder)
    try:
        until(lambda: children(running.pid), "a worker")
        (worker,) = children(running.pid)
        until(lambda: long.trials("long"), "a trial")  # then it handles signals
        os.kill(worker, signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 1
    assert out == ""
    assert re.search(r"error: the workers were stopped with \d+ of 500 trials done", err)
