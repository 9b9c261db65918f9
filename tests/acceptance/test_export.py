"""Exports can be checked, reproduced and used, with this program and without it."""

import contextlib
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch

from puffin.studies.export.card import model_card
from puffin.studies.export.read import load_exported
from puffin.studies.export.record import ExportRecord


def config_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "config.toml").read_text("utf-8"))


def seal_again(folder: Path) -> None:
    """Write valid checksums of altered files."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "SHA256SUMS"
        )
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def write_again(folder: Path, record: dict[str, Any]) -> None:
    """Write an altered record with a matching model card and checksums."""
    (folder / "config.toml").write_text(tomli_w.dumps(record))
    (folder / "README.md").write_text(model_card(ExportRecord.of(record)))
    seal_again(folder)


@pytest.mark.parametrize(
    ("name", "as_"), [("sealed", "command"), ("best", "command"), ("all", "tuner")]
)
def test_an_export_is_reproduced_bit_for_bit_from_its_files(
    name: str, as_: str, reported: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """In this process, and in one that has trained nothing before."""
    shutil.copytree(reported.folder / name, tmp_path / name)
    run = request.getfixturevalue(as_)
    with contextlib.chdir(tmp_path):
        code, out, err = run("reproduce", name, "--verbose")
    assert code == 0, err
    assert "figures were reproduced bit for bit" in err
    figures = {line.split()[0]: line for line in out.splitlines() if " identical " in line}
    expected = {"scores.loss", "scores.fold_losses", "scores.skill", "epochs", "weights"}
    if name != "sealed":
        expected |= {"holdout.loss", "holdout.skill", "holdout.baselines.ridge.holdout_loss"}
    assert expected <= set(figures)
    # The exported column is what config.toml says.
    loss = config_of(tmp_path / name)["scores"]["loss"]
    assert f" {loss:.6g} " in figures["scores.loss"]


def test_the_sums_are_those_of_sha256sum(reported: Any) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],  # noqa: S607  # coreutils
        cwd=reported.folder / "best",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split(":")[0] for line in done.stdout.splitlines()}
    there = {
        path.relative_to(reported.folder / "best").as_posix()
        for path in (reported.folder / "best").rglob("*")
        if path.is_file()
    }
    assert listed == there - {"SHA256SUMS"}


def flip_a_digit(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[-2] = ord("1") if body[-2] != ord("1") else ord("2")
    path.write_bytes(bytes(body))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: flip_a_digit(f / "forecasts.csv"), "changed: forecasts.csv"),
        (lambda f: flip_a_digit(f / "prices-holdout.csv"), "changed: prices-holdout.csv"),
        (lambda f: flip_a_digit(f / "model.safetensors"), "changed: model.safetensors"),
        (lambda f: (f / "forecasts.csv").unlink(), "missing: forecasts.csv"),
        (lambda f: (f / "SHA256SUMS").unlink(), "it has no SHA256SUMS"),
        (lambda f: (f / "SHA256SUMS").write_bytes(b"\xff\n"), "SHA256SUMS is not readable"),
        (shutil.rmtree, "is not a folder"),
    ],
)
def test_a_changed_file_is_refused_before_training(
    change: Callable[[Path], Any],
    said: str,
    reported: Any,
    command: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    change(folder)
    code, out, err = command("reproduce", str(folder))
    assert (code, out) == (1, "")
    assert said in err
    assert len(err.splitlines()) == 1


def flatter(section: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record[section]["loss"] *= 0.999

    return change


def other_machine(record: dict[str, Any]) -> None:
    for machine in record["machine"].values():
        machine["processor"] = "another one"
    record["scores"]["loss"] *= 0.9


@pytest.mark.parametrize(
    ("change", "off"),
    [
        (flatter("scores"), "scores.loss"),
        (flatter("holdout"), "holdout.loss"),
        (lambda r: r["config"].update(lr=r["config"]["lr"] * 1.01), "weights"),
        (lambda r: r["config"].update(lr=1e308), "holdout.loss"),
        (other_machine, "scores.loss"),
    ],
)
def test_altered_scores_with_new_checksums_are_not_reproduced(
    change: Callable[[dict[str, Any]], None],
    off: str,
    reported: Any,
    command: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    record = config_of(folder)
    change(record)
    (folder / "config.toml").write_text(tomli_w.dumps(record))
    seal_again(folder)
    code, out, err = command("reproduce", str(folder))
    assert code == 1
    assert off in err.splitlines()[-1]
    assert "were not reproduced" in err
    (row,) = [line for line in out.splitlines() if line.split()[:1] == [off]]
    assert row.rstrip().endswith("DIFFERS")


def test_an_altered_price_is_found_despite_new_checksums(
    reported: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    flip_a_digit(folder / "prices-search.csv")
    seal_again(folder)
    code, _, err = command("reproduce", str(folder))
    assert code == 1
    assert "prices-search.csv has sha256" in err
    assert "the file was changed" in err


def test_figures_of_another_machine_may_differ_within_tolerance(
    reported: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    record = config_of(folder)
    for machine in record["machine"].values():
        machine["processor"] = "another one"
    record["scores"]["loss"] *= 1.0005
    write_again(folder, record)
    code, out, err = command("reproduce", str(folder))
    assert code == 0, err
    assert "the others within the tolerance for another kind of machine" in err
    _, _, row = map(str.split, out.splitlines())  # identical figures have no row
    assert (row[0], row[-1] != "DIFFERS") == ("scores.loss", True)


def test_an_export_of_another_version_is_refused(
    reported: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    record = config_of(folder)
    record["made_with"]["puffin-tuner"] = "0.1.0"
    write_again(folder, record)
    code, out, err = command("reproduce", str(folder))
    assert (code, out) == (1, "")
    assert "it was made with puffin-tuner 0.1.0, but this is puffin-tuner " in err
    assert "install those versions here" in err


def test_the_card_loads_the_network_in_plain_torch(reported: Any) -> None:
    folder = reported.folder / "best"
    (block,) = re.findall(r"```python\n(.*?)\n```", (folder / "README.md").read_text(), re.DOTALL)
    assert len([line for line in block.splitlines() if line]) == 17
    program = block.replace("torch.zeros(", "torch.ones(") + (
        "\nimport sys\nown = {'models', 'studies', 'tuner', 'puffin'} & set(sys.modules)\n"
        "assert not own, own"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (value,) = re.findall(r"-?\d+\.\d+(?:e-?\d+)?", done.stdout)
    exported = load_exported(folder)
    shape = (1, exported.config.lookback, len(exported.record.input.features))
    with torch.no_grad():
        own = float(exported.network(torch.ones(shape)))
    assert float(value) == pytest.approx(own, abs=1e-4)


def test_an_export_of_a_sealed_study_holds_no_bar_of_the_holdout(reported: Any) -> None:
    sealed = load_exported(reported.folder / "sealed")
    assert sealed.holdout == {}
    assert sealed.record.holdout is None
    assert "The holdout is sealed: " in sealed.files["README.md"].decode()
    opened = load_exported(reported.folder / "best")
    first = opened.holdout["AAPL"].index[0]
    assert sealed.search["AAPL"].index[-1] < first
    for name, body in sealed.files.items():
        assert f"{first:%Y-%m-%d}".encode() not in body, name


def test_weights_of_all_bars_differ_and_keep_the_older_scores(
    reported: Any,
) -> None:
    best, everything = (load_exported(reported.folder / name) for name in ("best", "all"))
    assert best.record.holdout == everything.record.holdout
    assert best.record.scores == everything.record.scores
    assert best.record.refit.last == best.record.data.search_last
    assert everything.record.refit.last == everything.record.data.last
    more = everything.record.refit.targets - best.record.refit.targets
    assert more == best.spec.walk_forward.holdout_bars
    name = "members.0.fc.weight"
    assert not torch.equal(best.weights[name], everything.weights[name])
    texts = [e.files["README.md"].decode() for e in (best, everything)]
    assert ["the scores of the older fit" in " ".join(text.split()) for text in texts] == [
        False,
        True,
    ]


def test_refit_all_is_refused_while_the_seal_is_closed(
    finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    code, _, err = command(
        "export", "tiny-study", str(tmp_path / "x"), "--refit", "all", "--storage", finished.url
    )
    assert code == 1
    assert "the holdout of study 'tiny-study' has not been opened for its best" in err
    assert not (tmp_path / "x").exists()


def test_an_export_replaces_a_larger_one_completely(
    reported: Any, finished: Any, command: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    done = command("export", "tiny-study", str(folder), "--storage", finished.url)
    assert done.code == 0, done.err
    assert load_exported(folder).holdout == {}


def test_card_and_record_have_the_sentences_of_the_report(reported: Any) -> None:
    exported = load_exported(reported.folder / "best")
    text = " ".join(exported.files["README.md"].decode().split())
    for sentence in exported.record.holdout.sentences:
        assert sentence in text
    rows = pd.read_csv(reported.folder / "best/forecasts-holdout.csv")
    assert len(rows) == exported.record.holdout.bars == 20
    assert exported.record.seal.openings[0].trial == exported.record.trial


def test_the_1se_rule_needs_trainings_with_other_seeds(
    reported: Any, finished: Any, command: Callable[..., Any]
) -> None:
    args = ("best", "tiny-study", "--rule", "1se", "--storage")
    before = command(*args, finished.url)
    assert before.code == 1
    assert "has not been trained with other seeds yet: `tuner report tiny-study` does it" in (
        before.err
    )
    after = command(*args, reported.url)
    assert after.code == 0, after.err
    assert tomllib.loads(after.out)["study"] == "tiny-study"


def as_if_always_right(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        frame = pd.read_csv(folder / name)
        frame["forecast"] = frame["actual"]
        frame.to_csv(folder / name, index=False)

    return change


def record_change(section: str, key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        record = config_of(folder)
        record[section][key] = value
        (folder / "config.toml").write_text(tomli_w.dumps(record))

    return change


def boast(folder: Path) -> None:
    page = folder / "README.md"
    page.write_text(page.read_text().replace("mean loss", "best loss"))


@pytest.mark.parametrize(
    ("change", "off"),
    [
        (as_if_always_right("forecasts.csv"), "forecasts.csv forecast"),
        (as_if_always_right("forecasts-holdout.csv"), "forecasts-holdout.csv forecast"),
        (record_change("holdout", "outcome", "grand"), "holdout.outcome"),
        (record_change("holdout", "sentences", ["It wins."]), "holdout.sentences"),
        (record_change("input", "target_mean", 0.25), "input.target_mean"),
        (record_change("scores", "direction_interval", [0.6, 0.9]), "scores.direction_interval[0]"),
        (boast, "README.md"),
    ],
)
def test_alterations_of_any_exported_figure_are_not_reproduced(
    change: Callable[[Path], None],
    off: str,
    reported: Any,
    command: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "best", folder)
    change(folder)
    seal_again(folder)
    code, _, err = command("reproduce", str(folder))
    assert code == 1
    assert off in err.splitlines()[-1]


def test_a_killed_export_is_completed_by_the_next(
    reported: Any, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "best"
    shutil.copytree(reported.folder / "sealed", folder)
    args = ("export", "tiny-study", str(folder), "--storage", reported.url)
    replace, left = Path.replace, iter(range(6))

    def dies(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".tuner-") and next(left, None) is None:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        assert command(*args).code == 130
    assert "was changed after its export" in command("reproduce", str(folder)).err
    assert command(*args).code == 0
    assert list(load_exported(folder).holdout) == ["AAPL"]
