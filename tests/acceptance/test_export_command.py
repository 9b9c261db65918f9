"""`tuner export`: the files of an export, and where it may be written."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import puffin.studies.export.write
import puffin.studies.files
from puffin.models.config import Config
from puffin.models.losses import LOSSES
from puffin.models.networks.ensemble import build_ensemble
from puffin.models.training.refit import Refit
from puffin.models.windows import Windows
from puffin.studies.export.read import load_exported
from tests.acceptance.helpers import SEALED_EXPORT, Command, Finished, query, words

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_a_sealed_export_has_exactly_these_files(
    exported: Path,
) -> None:
    assert {p.name for p in exported.iterdir()} == SEALED_EXPORT
    assert [p.name for p in exported.parent.iterdir()] == ["best"]


def test_a_repeated_export_is_identical_byte_for_byte(
    finished: Finished, exported: Path, command: Command, tmp_path: Path
) -> None:
    for _ in range(2):
        assert command("export", "tiny-study", "again", "--storage", finished.url).code == 0
        for name in SEALED_EXPORT:
            same = (tmp_path / "again" / name).read_bytes() == (exported / name).read_bytes()
            assert same, name
    for name in SEALED_EXPORT:
        by_run = (finished.folder / "exports/tiny-study" / name).read_bytes()
        assert by_run == (exported / name).read_bytes()


def test_the_exported_weights_fit_the_exported_configuration(
    exported: Path, config: dict[str, Any]
) -> None:
    inputs = len(config["input"]["features"])
    network = build_ensemble(Config.from_dict(config["config"]), inputs, 3)
    network.load_state_dict(load_file(exported / "model.safetensors"), strict=True)
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_exported_weights_are_those_of_an_independent_refit(
    finished: Finished, exported: Path, config: dict[str, Any]
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
    scaled = (targets - given["target_mean"]) / given["target_std"]
    windows = Windows.of(
        torch.tensor(rows[first - lookback :], dtype=torch.float32),
        torch.tensor(scaled[:, None], dtype=torch.float32),
        lookback,
    )
    loss = LOSSES[config["refit"]["loss"]]
    settings = Config.from_dict(config["config"]), loss, config["epochs"]
    own = {
        f"members.{place}.{name}": value
        for place, network in enumerate(Refit(windows, *settings, [3, 4, 5]).train())
        for name, value in network.state_dict().items()
    }
    written = load_file(exported / "model.safetensors")
    assert len(targets) == config["refit"]["targets"]
    assert written.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(written[name], value), name


def test_the_exported_scores_are_those_of_the_trial_in_the_database(
    finished: Finished, config: dict[str, Any]
) -> None:
    trial, scores = finished.trials()[config["trial"]], config["scores"]
    complete = [t.value for t in finished.trials() if t.state.name == "COMPLETE"]
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
    assert "mean of 3 networks, trained with seed 3, 4, 5." in card
    for name in ("loss", "persistence_loss", "mean_loss"):
        assert f"| {config['scores'][name]:#.4g} |" in card
    assert f"{100 * config['scores']['skill']:+.1f} %" in card
    assert "sample AAPL" in card


def test_an_export_ignores_files_that_systems_create_in_folders(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    for name in ("best/.git", "best/lost+found"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("best/.DS_Store", "best/Thumbs.db"):
        (tmp_path / name).touch()
    code, _, err = command("export", "tiny-study", "best", "--storage", finished.url)
    assert code == 0, err
    assert err.splitlines()[1].startswith("note: best also holds .DS_Store, .git/, Thumbs.db, lost")
    assert (tmp_path / "best" / "lost+found").is_dir()


def test_an_export_that_another_process_has_locked_is_refused(
    finished: Finished, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_an_export_of_diverged_weights_is_refused_and_writes_nothing(
    finished: Finished, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverged(Refit):
        def train(self) -> list[torch.nn.Module]:
            for network in super().train():
                torch.nn.init.constant_(network.get_parameter("fc.bias"), float("nan"))
            return self.networks

    monkeypatch.setattr(puffin.studies.export.write, "Refit", Diverged)
    code, _, err = command("export", "tiny-study", "best", "--storage", finished.url)
    assert code == 1
    assert "cannot be exported: model.safetensors: members.0.fc.bias should be finite" in err
    assert not (tmp_path / "best").exists()


def test_an_export_leaves_out_a_network_that_diverged(
    finished: Finished, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = list[torch.nn.Module]()

    class SecondDiverges(Refit):
        def train(self) -> list[torch.nn.Module]:
            trained.extend(super().train())
            torch.nn.init.constant_(trained[1].get_parameter("fc.bias"), float("nan"))
            return trained

    monkeypatch.setattr(puffin.studies.export.write, "Refit", SecondDiverges)
    done = command("export", "tiny-study", str(tmp_path / "best"), "--storage", finished.url)
    assert done.code == 0, done.err
    found = load_exported(tmp_path / "best")
    assert found.record.refit.seeds == [3, 5]
    expected = (trained[0].get_parameter("fc.bias"), trained[2].get_parameter("fc.bias"))
    assert torch.equal(found.weights["members.0.fc.bias"], expected[0])
    assert torch.equal(found.weights["members.1.fc.bias"], expected[1])


def test_an_export_below_a_file_is_refused(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    target = str(tmp_path / "notes.txt" / "sub")
    code, out, err = command("export", "tiny-study", target, "--storage", finished.url)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: cannot write the export to {target}: ")


def test_a_folder_with_notes_is_not_overwritten_by_an_export(
    finished: Finished, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("my notes")
    code, _, err = command("export", "tiny-study", str(tmp_path), "--storage", finished.url)
    assert code == 1
    assert "holds README.md, but no config.toml of an export" in err
    assert (tmp_path / "README.md").read_text() == "my notes"


def test_an_export_is_refitted_with_one_thread(
    finished: Finished, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    class Watched(Refit):
        def train(self) -> list[torch.nn.Module]:
            used.append(torch.get_num_threads())
            return super().train()

    monkeypatch.setattr(puffin.studies.export.write, "Refit", Watched)
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
