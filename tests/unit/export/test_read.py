"""An export is read only if its files are unchanged and consistent with one another."""

import io
import math
import os
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch
from safetensors.torch import load, save

from puffin.studies.export import checksums
from puffin.studies.export.checksums import ExportError, added_note
from puffin.studies.export.read import FORECAST_FILES, load_exported
from puffin.studies.prices.snapshot import to_csv
from tests.exports import LOOKBACK, bars, export_files, record_values, write_export

Files = dict[str, bytes]
SEARCH, HOLDOUT = "prices-search.csv", "prices-holdout.csv"
FILES = export_files(record_values(opened=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_export(tmp_path / "best", FILES)


@pytest.mark.parametrize("opened", [True, False])
def test_an_export_is_read_back(tmp_path: Path, *, opened: bool) -> None:
    files = export_files(record_values(opened=opened))
    found = load_exported(write_export(tmp_path / "best", files))
    assert found.files == files
    assert {name: len(frame) for name, frame in found.prices.items()} == {
        "AAPL": 100 if opened else 80
    }
    assert len(found.scores[FORECAST_FILES[0]]["AAPL"]) == 60
    assert added_note(found.folder, found.files) is None


def test_an_export_of_an_earlier_version_is_an_ensemble_of_one(tmp_path: Path) -> None:
    values = tomllib.loads(FILES["config.toml"].decode())
    (values["refit"]["seed"],) = values["refit"].pop("seeds")
    weights = load(FILES["model.safetensors"])
    alone = {name.removeprefix("members.0."): weight for name, weight in weights.items()}
    older = FILES | {
        "config.toml": tomli_w.dumps(values).encode(),
        "model.safetensors": save(alone),
    }
    found = load_exported(write_export(tmp_path / "older", older))
    assert found.record.refit.seeds == [0]
    windows = torch.randn(5, LOOKBACK, 1)
    same = load_exported(write_export(tmp_path / "best", FILES)).network(windows)
    assert torch.equal(found.network(windows), same)


# Files beside an export


LITTER = (".DS_Store", ".git/", ".ipynb_checkpoints/", "README.md~", "Thumbs.db", "notes.txt")


def test_files_beside_an_export_are_named_and_not_read(folder: Path) -> None:
    for name in LITTER:
        (folder / name).mkdir() if name.endswith("/") else (folder / name).write_text("mine")
    (folder / ".git" / "config").write_text("[core]")
    assert load_exported(folder).files == FILES
    note = added_note(folder, FILES)
    assert note is not None
    assert note.startswith(f"note: {folder} also holds .DS_Store, .git/, .ipynb_checkpoints/, ")
    assert note.endswith(" and 1 more, which are not part of the export")


def test_an_added_file_is_named_with_its_folder(tmp_path: Path) -> None:
    files = FILES | {"pictures/curves.svg": b"svg"}
    folder = write_export(tmp_path / "best", files)
    (folder / "pictures" / ".DS_Store").touch()
    assert "also holds pictures/.DS_Store, which is not part" in str(added_note(folder, files))


def test_a_symbolic_link_to_an_export_is_read(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    (folder / ".DS_Store").touch()
    assert load_exported(link).files == FILES
    assert ".DS_Store" in str(added_note(link, FILES))


# Line ends


def test_line_ends_changed_by_git_are_restored(folder: Path) -> None:
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_exported(folder).files == FILES


def test_a_changed_word_is_found_despite_line_ends(folder: Path) -> None:
    path = folder / "README.md"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").replace(b"own", b"new"))
    with pytest.raises(ExportError, match=r"was changed after its export \(changed: README\.md\)"):
        load_exported(folder)


# Folders that are not an export, or were changed


def test_a_folder_that_is_no_export_is_not_read(tmp_path: Path) -> None:
    opened: list[Any] = []
    for name in ("a", "b/c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "huge.bin").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        for reader in ("open", "read_bytes", "rglob"):
            patch.setattr(Path, reader, lambda *args: opened.append(args))
        with pytest.raises(ExportError, match=r"has no SHA256SUMS and config\.toml"):
            load_exported(tmp_path)
    assert opened == []


def listing(*lines: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def replace_by_link(name: str, target: str) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return change


def make_pipe(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    os.mkfifo(folder / "SHA256SUMS")


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, "is not a folder; name one that `tuner export` wrote"),
        (lambda f: (f / "config.toml").unlink(), "is not an export: it has no config.toml"),
        (lambda f: (f / "SHA256SUMS").unlink(), "is not an export: it has no SHA256SUMS"),
        (lambda f: (f / "README.md").unlink(), "(missing: README.md)"),
        (lambda f: (f / "README.md").write_text("mine"), "(changed: README.md)"),
        (listing(), "SHA256SUMS is not readable"),
        (listing("x"), "SHA256SUMS is not readable"),
        (listing(f"{DIGEST}  config.toml", ""), "SHA256SUMS is not readable"),
        (listing(f"{DIGEST}  /etc/passwd"), "lists /etc/passwd, which is not a file inside"),
        (
            listing(f"{DIGEST}  ../best/config.toml"),
            "lists ../best/config.toml, which is not a file",
        ),
        (listing(f"{DIGEST}  a/../config.toml"), "lists a/../config.toml, which is not a file"),
        (listing(f"{DIGEST}  ."), "lists ., which is not a file inside"),
        (listing(f"{DIGEST}  a//b"), "lists a//b, which is not a file inside"),
        (listing(f"{DIGEST}  {'a' * 300}"), "aaa..., which is not a file inside"),
        (listing(*(f"{DIGEST}  {i}" for i in range(1001))), "SHA256SUMS is not readable"),
        (listing(f"{DIGEST}  config.toml/x"), "(missing: config.toml/x)"),
        (make_pipe, "SHA256SUMS is not readable"),
        (replace_by_link("forecasts.csv", "/etc/passwd"), "(a symbolic link: forecasts.csv)"),
        (replace_by_link("SHA256SUMS", "/etc/passwd"), "SHA256SUMS is not readable"),
        (
            lambda f: (f / "model.safetensors").write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
            ),
            "(not fetched by `git lfs pull`: model.safetensors)",
        ),
    ],
)
def test_changed_or_missing_files_are_refused_by_name(
    change: Callable[[Path], Any], words: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(ExportError, match=re.escape(words)) as caught:
        load_exported(folder)
    assert "\n" not in str(caught.value)


def test_a_linked_folder_of_pictures_is_refused(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "best", FILES | {"pictures/curves.svg": b"svg"})
    (folder / "pictures").rename(tmp_path / "elsewhere")
    (folder / "pictures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExportError, match=r"\(a symbolic link: pictures/curves\.svg\)"):
        load_exported(folder)


def test_a_file_that_is_too_large_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(folder / SEARCH, 1 << 40)
    with pytest.raises(ExportError, match=f"{SEARCH} is larger than any file of an export"):
        load_exported(folder)
    write_export(folder, FILES)
    monkeypatch.setattr(checksums, "_MOST_BYTES", sum(map(len, FILES.values())) - 1)
    with pytest.raises(ExportError, match="is larger than any file of an export"):
        load_exported(folder)


def test_a_file_that_may_not_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_args: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ExportError, match=r"cannot read .*best/SHA256SUMS: Permission"):
        load_exported(folder)


# Files that contradict one another


def with_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Files:
    weights = load(FILES["model.safetensors"])
    change(weights)
    return {"model.safetensors": save(weights)}


def with_table(name: str, change: Callable[[pd.DataFrame], Any]) -> Files:
    frame = change(pd.read_csv(io.BytesIO(FILES[name])))
    return {name: frame.to_csv(index=False).encode()}


def with_prices(
    search: Callable[[pd.DataFrame], pd.DataFrame] = lambda bars: bars, **record: Any
) -> Files:
    """Return other prices, and a record that matches them."""
    body = to_csv(search(bars().iloc[:80]))
    values = record_values(opened=True)
    values["data"] |= record
    values["data"]["sha256"] |= {SEARCH: checksums._sha256(body)}
    values["refit"]["last"] = values["data"]["search_last"]
    return export_files(values) | {SEARCH: body}


def one(frame: pd.DataFrame, row: int, column: str, value: Any) -> pd.DataFrame:
    changed = frame.copy()
    changed.loc[frame.index[row], column] = value
    return changed


HEAD = "members.0.fc.weight"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        # weights
        (with_weights(lambda w: w[HEAD].fill_(math.nan)), f"{HEAD} should be finite"),
        (with_weights(lambda w: w[HEAD][0, 1].fill_(math.inf)), f"{HEAD} should be finite"),
        (
            with_weights(lambda w: w.update({HEAD: torch.zeros(1, 9)})),
            f"{HEAD} is float32 [1, 9], but float32 [1, 3] in the network of config.toml",
        ),
        (
            with_weights(lambda w: w.update({HEAD: w[HEAD].double()})),
            f"{HEAD} is float64 [1, 3], but float32",
        ),
        (with_weights(lambda w: w.pop(HEAD)), f"{HEAD} is missing, but float32 [1, 3] in"),
        (
            with_weights(lambda w: w.update(x=torch.zeros(1))),
            "x is float32 [1], but missing in the network",
        ),
        (
            with_weights(lambda w: w.clear()),
            "fewer tensors than 1 network of config.toml has layers: 1",
        ),
        ({"model.safetensors": b""}, "model.safetensors is not in the format of safetensors"),
        ({"model.safetensors": b"\xff" * 99}, "is not in the format of safetensors"),
        # forecasts
        (
            with_table("forecasts.csv", lambda t: one(t, 3, "forecast", math.nan)),
            "forecasts.csv, line 5: forecast = nan: should be finite",
        ),
        (
            with_table("forecasts-holdout.csv", lambda t: one(t, 0, "actual", math.inf)),
            "forecasts-holdout.csv, line 2: actual = inf: should be finite",
        ),
        (
            with_table("forecasts.csv", lambda t: t.iloc[:-1]),
            "forecasts.csv should have 60 rows below its header, but has 59",
        ),
        (
            with_table("forecasts.csv", lambda t: t.drop(columns="fold")),
            "forecasts.csv should have the columns date, fold, forecast, actual, persistence",
        ),
        (
            {"forecasts.csv": FILES["forecasts.csv"].replace(b"1.0\n", b"x\n", 1)},
            "forecasts.csv is not a table of forecasts: could not convert string to float: 'x'",
        ),
        ({"forecasts.csv": b""}, "should have 60 rows below its header, but has 0"),
        (
            with_table("forecasts.csv", lambda t: one(t, 3, "date", "2020-02-01")),
            "forecasts.csv, line 5: date = 2020-02-01: should be a bar with a target, later than",
        ),
        (
            with_table("forecasts.csv", lambda t: one(t, 3, "date", t.date[2])),
            "forecasts.csv, line 5: date = 2020-01-31: should be a bar with a target, later than",
        ),
        (
            with_table("forecasts.csv", lambda t: one(t, 0, "date", "2020-01-01")),
            "forecasts.csv, line 2: date = 2020-01-01: should be a bar with a target, later than",
        ),
        (
            with_table("forecasts.csv", lambda t: one(t, 3, "date", "a day")),
            "forecasts.csv: date: ",
        ),
        # prices
        ({SEARCH: b"date,close\n"}, "prices-search.csv has sha256"),
        (
            with_prices(lambda b: one(b, 9, "low", math.nan)),
            "'range' is not finite at the bar of 2020-01-14",
        ),
        (
            with_prices(lambda b: one(b, 9, "low", -1.0)),
            "'range' is not finite at the bar of 2020-01-14",
        ),
        (
            with_prices(lambda b: b.drop(columns="low")),
            "prices-holdout.csv should have the columns of prices-search.csv",
        ),
        (
            with_prices(lambda b: b.drop(columns="close")),
            "should have at least one bar and a column close",
        ),
        (with_prices(lambda b: b[::-1]), "times of bars should be ascending, each once"),
        (
            with_prices(lambda b: b.iloc[:0]),
            "prices-search.csv should have at least one bar and a column close",
        ),
        (with_prices(lambda b: b.iloc[1:]), "data.first = 2020-01-01: should be 2020-01-02"),
        (
            with_prices(search_last="2020-04-20"),
            "data.search_last = 2020-04-20: should be 2020-04-",
        ),
        (with_prices(bars=101), "data.bars = 101: should be 100"),
        # names
        ({"README.md": None}, "SHA256SUMS does not list README.md, which config.toml needs"),
        ({HOLDOUT: None}, "SHA256SUMS does not list prices-holdout.csv"),
        (
            {"config.toml": export_files(record_values())["config.toml"]},
            "forecasts-holdout.csv should not be there while the holdout is sealed",
        ),
    ],
)
def test_a_file_that_contradicts_the_record_is_refused(
    files: dict[str, bytes | None], words: str, tmp_path: Path
) -> None:
    changed = {name: body for name, body in (FILES | files).items() if body is not None}
    folder = write_export(tmp_path / "best", changed)
    with pytest.raises(ExportError, match=re.escape(words)) as caught:
        load_exported(folder)
    assert str(caught.value).endswith("; export the study again")
    assert "\n" not in str(caught.value)


def test_a_mismatched_network_takes_no_memory(tmp_path: Path) -> None:
    values = record_values()
    values["spec"]["space"]["hidden_dim"] = [3, 10**6]
    values["config"]["hidden_dims"] = [10**6]
    files = export_files(record_values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.exports.build_network", lambda *_: torch.nn.Linear(1, 1))
        files["config.toml"] = export_files(values)["config.toml"]
    with pytest.raises(ExportError, match=r"but float32 \[1, 1000000\] in the network"):
        load_exported(write_export(tmp_path / "best", files))
