"""`tuner predict` on the export of a finished search, as a user types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import to_csv
from tests.exports import export_files, record_values, write_export

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def best(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the export of `tuner run`."""
    folder = tmp_path_factory.mktemp("predict") / "best"
    shutil.copytree(finished.folder / "exports" / "tiny-study", folder)
    return folder


@pytest.fixture
def newer(best: Path) -> Path:
    """A file of prices up to the last bar of the sample."""
    file = best.parent / "newer.csv"
    file.write_bytes(to_csv(load_prices("sample", PriceRequest("AAPL")).frame.iloc[-100:]))
    return file


def test_the_table_is_on_stdout_and_its_basis_on_stderr(best: Path, command: Command) -> None:
    code, out, err = command("predict", str(best))
    assert code == 0
    head, _, row = [line.strip() for line in out.strip().splitlines()]
    assert head.startswith("bars ahead   log of the high-low log range")
    forecast, low, high, *percent = map(float, row.split()[1:])
    assert low < forecast < high < 0 < min(percent)
    assert "the last bar of the export's copy of sample AAPL is 2013-01-" in err
    assert "days before today; use --csv FILE or --symbol S for newer bars" in err
    assert "90.0 % intervals from 40 out-of-sample errors" in err
    assert "warning" not in err


def test_json_says_the_same_to_a_machine(best: Path, command: Command) -> None:
    code, out, _ = command("predict", str(best), "--json")
    assert code == 0
    found = json.loads(out)
    (step,) = found["steps"]
    assert step["ahead"] == 1
    assert step["value"]["low"] < step["value"]["forecast"] < step["value"]["high"]
    assert (found["level"], found["residuals"], found["horizon"]) == (0.9, 40, 1)
    assert found["study"] == "tiny-study"
    assert found["coverage"] is None
    _, table, _ = command("predict", str(best))
    assert f"{step['value']['forecast']:.4f}" in table


def test_a_narrower_level_gives_a_narrower_interval(best: Path, command: Command) -> None:
    ends = []
    for level in ("0.5", "0.9"):
        code, out, _ = command("predict", str(best), "--json", "--level", level)
        assert code == 0
        ends.append(json.loads(out)["steps"][0]["value"])
    assert ends[1]["low"] < ends[0]["low"] < ends[0]["high"] < ends[1]["high"]
    assert ends[0]["forecast"] == ends[1]["forecast"]


def test_a_file_and_a_symbol_of_the_same_prices_give_one_forecast(
    best: Path, newer: Path, command: Command
) -> None:
    found = []
    for source in (["--csv", str(newer)], ["--symbol", "AAPL"]):
        code, out, err = command("predict", str(best), "--json", *source)
        assert (code, "for newer bars" in err) == (0, False)
        found.append(json.loads(out))
    assert [f["last"] for f in found] == ["2013-03-01"] * 2
    assert [f["origin"] for f in found] == ["csv newer.csv", "sample AAPL"]
    assert found[0]["warnings"] == []
    assert ["unadjusted split" in said for said in found[1]["warnings"]] == [True]
    assert found[0]["steps"] == found[1]["steps"]
    _, own, _ = command("predict", str(best), "--json")
    assert json.loads(own)["steps"] != found[0]["steps"]


def test_prices_that_end_within_the_training_give_a_warning(
    best: Path, newer: Path, command: Command
) -> None:
    older = newer.with_name("older.csv")
    older.write_bytes(to_csv(load_prices("sample", PriceRequest("AAPL")).frame.iloc[-400:-200]))
    code, _, err = command("predict", str(best), "--csv", str(older))
    assert code == 0
    assert "warning: the prices end at 2012-05-" in err
    assert "the forecasts are of bars that it has seen" in err


def test_prices_of_another_symbol_give_a_warning(best: Path, command: Command) -> None:
    code, _, err = command("predict", str(best), "--symbol", "MSFT")
    assert code == 0
    assert "warning: the closes are not those of sample AAPL" in err


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("best --csv newer.csv --symbol AAPL", 2, ["--csv and --symbol", "use one of them"]),
        ("best --level 1", 2, ["--level", "0<x<1"]),
        ("best --level nan", 2, ["--level", "'nan' is not a valid float"]),
        ("best --steps 0", 2, ["--steps", "1<=x<=250"]),
        ("best --steps 2", 1, ["horizon = 1, but is 2", "return, range, volume", "give 1 to 1"]),
        ("best --level 0.96", 1, ["needs at least 49", "there are 40", "at most 0.951"]),
        ("best --csv few.csv", 1, ["bars, but have 3", "lookback = ", "give earlier bars too"]),
        ("best --csv closes.csv", 1, ["needs high and low", "only close"]),
        ("best --csv none.csv", 1, ["none.csv must be a CSV file, but does not exist"]),
        ("best --symbol NOPE", 1, ["AAPL, IBM, MSFT", "'NOPE'"]),
        ("empty", 1, ["empty is not an export"]),
        ("other", 1, ["other is not an export"]),
        ("nosuch", 1, ["nosuch is not a folder"]),
        ("newer.csv", 1, ["newer.csv is not a folder"]),
        ("/", 1, ["/ is not an export: it has no SHA256SUMS and config.toml"]),
        ("changed", 1, ["changed", "forecasts.csv", "export the study again"]),
    ],
)
def test_impossible_requests_are_refused_with_the_reason(
    typed: str,
    code: int,
    words: list[str],
    best: Path,
    newer: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = best.parent
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "other").mkdir(exist_ok=True)
    (folder / "other" / "config.toml").write_text("study = 'tiny-study'\n")
    shutil.copytree(best, folder / "changed", dirs_exist_ok=True)
    with (folder / "changed" / "forecasts.csv").open("a") as file:
        file.write("2013-01-01,1,0.0,0.0,0.0\n")
    rows = newer.read_text().splitlines()
    (folder / "few.csv").write_text("\n".join(rows[:4]) + "\n")
    closes = [",".join(row.split(",")[i] for i in (0, 4)) for row in rows]
    (folder / "closes.csv").write_text("\n".join(closes) + "\n")
    monkeypatch.chdir(folder)
    found = command("predict", *typed.split())
    assert (found.code, found.out) == (code, "")
    assert [word for word in words if word not in found.err] == []
    assert "Traceback" not in found.err


ESCAPES = "\x1b]0;title\x07\x1b[31m[/x] [red]\u202e"
SHOWN = r"\x1b]0;title\x07\x1b[31m[/x] [red]\u202e"


def test_text_of_an_export_cannot_control_the_terminal(command: Command, tmp_path: Path) -> None:
    values = record_values(opened=True)
    values["data"]["origin"] = values["holdout"]["baselines"][0]["label"] = ESCAPES
    files = export_files(values)
    folder = write_export(tmp_path / "foreign", files)
    (folder / ESCAPES.replace("/", "|")).touch()
    code, out, err = command("predict", str(folder))
    assert code == 0
    assert f"the export's copy of {SHOWN} is 2020-05-19" in err
    assert SHOWN.replace("/", "|") in err
    done = [out, err]
    with (folder / "SHA256SUMS").open("a", encoding="utf-8") as file:
        file.write(f"{'0' * 64}  {ESCAPES}\n")
    for name in ("predict", "reproduce"):
        code, out, err = command(name, str(folder))
        assert (code, f"(missing: {SHOWN})" in err) == (1, True)
        done += [out, err]
    assert [char for text in done for char in text if char in "\x1b\x07\u202e"] == []


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("input", "target_std", 0.0, "config.toml: input.target_std = 0.0: should be greater"),
        ("input", "target_std", float("nan"), "input.target_std = nan: should be a finite number"),
        ("refit", "last", "soon", "refit.last = 'soon': should be a time like 2005-01-31"),
        (None, "epochs", 10**9, "epochs = 1000000000: should be at most spec.training.max_epochs"),
        (None, "epochs", "x", "epochs = 'x': should be a whole number"),
    ],
)
def test_an_invalid_record_is_refused_before_computing(
    section: str | None, key: str, value: object, words: str, command: Command, tmp_path: Path
) -> None:
    values = record_values()
    files = export_files(values)
    (values[section] if section else values)[key] = value
    files["config.toml"] = tomli_w.dumps(values).encode()
    folder = write_export(tmp_path / "foreign", files)
    for name in ("predict", "reproduce"):
        code, out, err = command(name, str(folder))
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert words in err


def test_a_forecast_that_is_not_finite_is_refused(command: Command, tmp_path: Path) -> None:
    values = record_values()
    values["input"]["target_mean"] = 1e308
    folder = write_export(tmp_path / "foreign", export_files(values))
    code, out, err = command("predict", str(folder))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "the model makes no finite forecast from these prices" in err
