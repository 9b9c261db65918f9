"""The export of a search over several symbols: written, reproduced and used for forecasts."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch
from click.testing import CliRunner, Result

import puffin
from puffin.studies.export.checksums import checksums
from puffin.studies.export.forecast import predict_each
from puffin.studies.export.read import Exported, load_exported
from puffin.studies.export.reproduce import reproduce
from puffin.studies.export.write import export
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import to_csv
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.studies import tiny_spec

SYMBOLS = ["AAPL", "IBM", "MSFT"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    """Search over three symbols once for all tests here."""
    place = tmp_path_factory.mktemp("basket")
    url = f"sqlite:///{place / 'tuner.db'}"
    data = {"symbol": None, "symbols": SYMBOLS, "features": ["range"], "target": "range"}
    spec = tiny_spec(data=data, search={"trials": 2, "pruner": "none"})
    storage = open_storage(url, create=True)
    submit(storage, spec, load_basket("sample", spec.data.request(), SYMBOLS))
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    return load(storage, "tiny")


@pytest.fixture(scope="module")
def folder(searched: StoredStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the search before its holdout is opened."""
    return export(searched, tmp_path_factory.mktemp("exported") / "best")


@pytest.fixture(scope="module")
def exported(folder: Path) -> Exported:
    return load_exported(folder)


@pytest.fixture(scope="module")
def apple() -> pd.DataFrame:
    return load_prices("sample", PriceRequest("AAPL")).frame


@pytest.fixture
def predict(folder: Path) -> Callable[..., Result]:
    """Run ``tuner predict`` on the export."""
    return lambda *args: CliRunner().invoke(main, ["predict", str(folder), *args])


def test_each_symbol_has_prices_forecasts_a_scaler_and_losses(exported: Exported) -> None:
    scores = exported.record.scores
    of_symbols = (exported.search, exported.scores["forecasts.csv"], exported.scalers)
    for found in (*of_symbols, scores.symbol_losses, scores.symbol_persistence):
        assert list(found) == SYMBOLS
    assert exported.files["prices-search.csv"].startswith(b"symbol,date,open,")
    assert scores.loss == pytest.approx(sum(scores.symbol_losses.values()) / 3)
    card = exported.files["README.md"].decode()
    assert "of each of 3 symbols" in card
    assert f"| IBM | {scores.symbol_losses['IBM']:#.4g} | " in card


def test_all_figures_are_reproduced_bit_for_bit(exported: Exported) -> None:
    checks = {check.name: check for check in reproduce(exported)}
    assert [name for name, check in checks.items() if check.difference] == []
    kinds = ("scores.symbol_losses.", "forecasts.csv forecast of ", "input.scalers.")
    assert {kind + symbol for kind in kinds for symbol in SYMBOLS} < set(checks)


def test_the_verdict_on_the_holdout_is_reproduced(
    searched: StoredStudy, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages and pictures are not reproduced, and take seconds.
    monkeypatch.setattr("puffin.studies.report.files.report_files", lambda *_: {})
    assert load_exported(folder).holdout == {}
    url = str(searched.storage.engine.url)
    for again in (retrain_with_seeds(searched, 1), open_seal(searched, 1)):
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu"))
    exported = load_exported(export(searched, tmp_path / "best"))
    assert [len(frame) for frame in exported.holdout.values()] == [20] * 3
    checks = {check.name: check for check in reproduce(exported)}
    assert [name for name, check in checks.items() if check.difference] == []
    assert {"holdout.sentences", "forecasts-holdout.csv forecast of IBM"} < set(checks)
    coverage = predict_each(exported, exported.prices, 1, 0.9, date(2020, 1, 1)).made[2].coverage
    assert coverage is not None
    assert coverage.bars == 20


@pytest.mark.parametrize(
    ("section", "off"),
    [
        (("scores", "symbol_losses"), "scores.symbol_losses.IBM"),
        (("input", "scalers", "IBM", "target_mean"), "input.scalers.IBM"),
    ],
)
def test_an_altered_figure_of_one_symbol_is_not_reproduced(
    section: tuple[str, ...], off: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "best")
    record = tomllib.loads((folder / "config.toml").read_text())
    *place, key = section if section[-1] == "target_mean" else (*section, "IBM")
    part: dict[str, Any] = record
    for name in place:
        part = part[name]
    part[key] *= 1.01
    files = load_exported(folder).files | {"config.toml": tomli_w.dumps(record).encode()}
    (tmp_path / "best" / "config.toml").write_bytes(files["config.toml"])
    (tmp_path / "best" / "SHA256SUMS").write_bytes(checksums(files))
    checks = reproduce(load_exported(tmp_path / "best"))
    assert [check.name for check in checks if not check.passes and check.name != "README.md"] == [
        off
    ]


def test_the_card_loads_the_network_in_plain_torch(exported: Exported, folder: Path) -> None:
    card = exported.files["README.md"].decode()
    (block,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    program = block.replace("torch.zeros(", "torch.ones(")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (value,) = re.findall(r"-?\d+\.\d+(?:e-?\d+)?", done.stdout)
    with torch.no_grad():
        own = float(exported.network(torch.ones(1, exported.config.lookback, 1)))
    assert float(value) == pytest.approx(own, abs=1e-4)


# tuner predict


def test_a_table_has_a_row_for_each_symbol(predict: Callable[..., Result]) -> None:
    found = predict("--steps", "2")
    assert found.exit_code == 0
    head, _, *rows = found.stdout.strip().splitlines()
    columns = ["symbol", "last bar", "ahead", "median log(high / low), %", "low", "high"]
    assert re.split(" {2,}", head) == columns
    assert [row.split()[:3] for row in rows] == [
        [symbol, "2013-01-31", step] for symbol in SYMBOLS for step in ("1", "2")
    ]
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "the export's copy: AAPL, IBM and MSFT is 2013-01-31" in found.stderr
    assert "90.0 % intervals from 40 out-of-sample errors of each symbol, scaled" in found.stderr


def test_json_has_an_entry_for_each_symbol(predict: Callable[..., Result]) -> None:
    found = json.loads(predict("--json").stdout)
    assert (found["study"], found["horizon"], found["level"]) == ("tiny", 1, 0.9)
    assert [one["symbol"] for one in found["symbols"]] == SYMBOLS
    assert found["symbols"][0].keys() >= {"steps", "residuals", "coverage", "last", "is_seen"}
    assert found["symbols"][0].keys() & found.keys() == {"warnings"}


def test_symbols_are_loaded_from_the_source_of_the_study(predict: Callable[..., Result]) -> None:
    found = predict("--symbol", "msft", "--symbol", "IBM", "--json")
    rows = json.loads(found.stdout)["symbols"]
    assert [(one["symbol"], one["last"], one["is_seen"]) for one in rows] == [
        ("MSFT", "2013-03-01", True),
        ("IBM", "2013-03-01", True),
    ]


def test_a_folder_may_have_symbols_that_were_never_seen(
    predict: Callable[..., Result], apple: pd.DataFrame, tmp_path: Path
) -> None:
    for name, frame in {"AAPL": apple, "NEW": apple[-100:], "SHORT": apple[-20:]}.items():
        (tmp_path / f"{name}.csv").write_bytes(to_csv(frame))
    found = predict("--csv", str(tmp_path))
    assert [line.split()[::6] for line in found.stdout.splitlines()[2:]] == [
        ["AAPL", "yes"],
        ["NEW", "no"],
    ]
    assert "warning: NEW: no score vouches for it" in found.stderr
    assert "warning: SHORT is not forecast: the model has no scaler" in found.stderr
    assert "40 out-of-sample errors of each symbol and the 120 of all symbols for NEW" in (
        found.stderr
    )
    alone = predict("--csv", str(tmp_path / "SHORT.csv"))
    assert (alone.exit_code, alone.stdout) == (1, "")


# Python


def test_python_returns_a_row_for_each_symbol_and_step(folder: Path, apple: pd.DataFrame) -> None:
    forecaster = puffin.load_forecaster(folder)
    own = forecaster.predict(steps=2)
    assert list(own.index) == [(symbol, step) for symbol in SYMBOLS for step in (1, 2)]
    assert own.index.names == ["symbol", "ahead"]
    assert own.attrs["last"]["IBM"] == pd.Timestamp("2013-01-31")
    frames = {"AAPL": apple, "NEW": apple[-100:]}
    by_name = forecaster.predict(frames)
    long = pd.concat([frame.assign(symbol=name) for name, frame in frames.items()])
    pd.testing.assert_frame_equal(forecaster.predict(long), by_name)
    warned = [line for line in by_name.attrs["warnings"] if line.startswith("NEW: no score")]
    assert len(warned) == 1
    assert list(forecaster.predict(apple).index) == [("DataFrame", 1)]
