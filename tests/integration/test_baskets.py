"""A basket of symbols, from the study file to the results of its trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from optuna.trial import TrialState

from puffin.models.errors import PuffinError
from puffin.studies.export.read import load_exported
from puffin.studies.prices.names import DataError
from puffin.studies.records import Scores
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, load, study_names
from puffin.tuner.cli import main
from puffin.tuner.submit import own_specs
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.integration.helpers import spec_of
from tests.studies import write_tiny

SYMBOLS = ["MSFT", "AAPL"]


def tuner(*args: str) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study file of two symbols."""
    changes: dict[str, Any] = {
        "data": {"symbol": None, "symbols": SYMBOLS, "target": "range"},
        "training": {"max_epochs": 2},
        "space": {"cell": "gru", "layers": 1, "hidden_dim": [4, 6], "lookback": 5}
        | {"batch_size": 1024, "dropout": None, "lr": None},
        "search": {"trials": 3, "pruner": "none"},
    }
    return write_tiny(tmp_path_factory.mktemp("basket") / "two.toml", "two", **changes)


@pytest.fixture(scope="module")
def searched(file: Path) -> StoredStudy:
    url = f"sqlite:///{file.parent / 'two.db'}"
    tuner("submit", str(file), "--storage", url)
    work(url, Interrupt(), WorkerOptions("two", device="cpu"))
    return load(open_storage(url), "two")


def test_the_trials_of_a_basket_are_scored_on_each_symbol(searched: StoredStudy) -> None:
    complete = [t for t in searched.trials() if t.state == TrialState.COMPLETE]
    assert len(complete) == 3
    assert list(searched.record.symbol_persistence) == SYMBOLS
    persistence = list(searched.record.symbol_persistence.values())
    assert np.mean(persistence) == pytest.approx(np.mean(searched.record.persistence_losses))
    for trial in complete:
        scores = Scores.read(trial)
        assert list(scores.symbol_losses) == SYMBOLS
        assert np.mean(list(scores.symbol_losses.values())) == pytest.approx(trial.value)


def test_the_snapshot_of_a_basket_has_the_bars_of_each_symbol(searched: StoredStudy) -> None:
    prices = searched.load_all_prices()
    assert list(prices) == SYMBOLS
    assert sum(map(len, prices.values())) == searched.record.data.bars
    (body,) = {searched.store.read(searched.record.data.artifacts["prices-search.csv"])}
    assert body.startswith(b"symbol,date,open,high,low,close,volume\nMSFT,2011-06-01,")


def test_compare_shows_the_best_trial_on_each_symbol(searched: StoredStudy, file: Path) -> None:
    url = f"sqlite:///{file.parent / 'two.db'}"
    output = tuner("compare", "two", "--by", "symbol", "--storage", url).stdout
    losses, persistence = Scores.read(searched.best()).symbol_losses, searched.record
    rows = [line.split() for line in output.splitlines() if any(s in line for s in SYMBOLS)]
    skills = {s: 1 - losses[s] / persistence.symbol_persistence[s] for s in SYMBOLS}
    assert [row[0] for row in rows] == sorted(SYMBOLS, key=lambda s: -skills[s])
    for row in rows:
        assert float(row[1]) == pytest.approx(losses[row[0]], rel=1e-3)
        assert float(row[3]) == pytest.approx(100 * skills[row[0]], abs=0.051)


def test_check_prints_what_each_symbol_covers(file: Path) -> None:
    lines = tuner("check", str(file)).stdout.splitlines()
    assert [" ".join(line.split()) for line in lines if line.startswith(("MSFT", "AAPL"))] == [
        "MSFT 2011-06-01 2013-03-01 440 2 of 2 0",
        "AAPL 2011-06-01 2013-03-01 440 2 of 2 0",
    ]


def test_symbols_that_are_not_pooled_have_a_study_each(
    file: Path, new_url: Callable[[str], str]
) -> None:
    url = new_url("sqlite")
    done = tuner("submit", str(file), "--set", "data.pooling=each", "--storage", url)
    assert [line.split(":")[0] for line in done.output.splitlines()] == [
        "study two.MSFT",
        "study two.AAPL",
    ]
    storage = open_storage(url)
    assert study_names(storage) == ["two.MSFT", "two.AAPL"]
    assert list(load(storage, "two.AAPL").load_search_prices()) == ["AAPL"]


def test_studies_of_each_symbol_resume_without_their_prices(
    file: Path, new_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_url("sqlite")
    arguments = ["submit", str(file), "--set", "data.pooling=each", "--storage", url]
    first = tuner(*arguments).output

    def gone(*_: object, **__: object) -> None:
        raise DataError("the file is gone")

    monkeypatch.setattr("puffin.tuner.submit.load_basket", gone)
    again = tuner(*arguments).output
    assert "the file is gone; the studies resume with their own copies" in again
    assert all(line in again for line in first.splitlines())
    missing = CliRunner().invoke(main, [*arguments, "--set", "name=other"])
    assert missing.exit_code == 1
    assert "the file is gone" in missing.stderr


def test_names_of_studies_of_symbols_have_no_forbidden_characters() -> None:
    spec = spec_of("index")
    assert [own.name for own in own_specs(spec, ["^GSPC", "EURUSD=X"]).values()] == [
        "index.-GSPC",
        "index.EURUSD-X",
    ]
    with pytest.raises(PuffinError, match=r"two symbols would have studies named 'index.-A'"):
        own_specs(spec, ["^A", "=A"])


def test_a_network_of_some_features_is_exported_and_forecasts(
    file: Path, new_url: Callable[[str], str], tmp_path: Path
) -> None:
    url, folder = new_url("sqlite"), str(tmp_path / "export")
    settings = [
        'data.features=["volume", "return", "range"]',
        'space.features=[["range", "return"]]',
        "search.trials=1",
        "space.hidden_dim=4",
        "space.lr=[0.01, 0.02]",
        'data.symbols=["AAPL"]',
    ]
    tuner("submit", str(file), "--storage", url, *(f"--set={each}" for each in settings))
    work(url, Interrupt(), WorkerOptions("two", device="cpu"))
    config = Scores.read(load(open_storage(url), "two").best())
    assert config.symbol_losses == {}
    tuner("export", "two", folder, "--storage", url)
    exported = load_exported(Path(folder))
    assert exported.record.input.features == ["return", "range"]
    assert exported.config.features == "range + return"
    assert "AAPL" in tuner("predict", folder).output
    assert "differ" not in tuner("reproduce", folder).output
