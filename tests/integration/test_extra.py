"""Other series as inputs, from the file to the forecast of an exported model."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.snapshot import to_csv
from puffin.studies.report import build
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.storage.database import open_storage
from puffin.studies.study import load
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    return new_url("sqlite")


def tuner(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def own_file(folder: Path) -> Path:
    """Write AAPL in names of the user's, beside IBM, MSFT and a mood that may be negative."""
    frame = load_prices(
        "sample", PriceRequest("AAPL", start=date(2012, 1, 1), extra=("IBM", "MSFT"))
    ).frame
    mood = np.sin(np.arange(len(frame)))
    mood[:5] = np.nan
    table = (
        frame[["close"]]
        .set_axis(["AAPL"], axis=1)
        .assign(Mood=mood, IBM=frame["extra:IBM"], MSFT=frame["extra:MSFT"])
    )
    table.to_csv(folder / "own.csv", index_label="day", sep=";", decimal=",")
    return folder / "own.csv"


def test_search_with_extra_series_exports_forecasts_and_reproduces(
    url: str, tiny_file: Path, tmp_path: Path
) -> None:
    file = own_file(tmp_path)
    text = tiny_file.read_text().replace('["return"]', '["return", "extra", "rsi", "column:mood"]')
    data = """[data]
source = "csv"
path = "own.csv"
columns = { close = "AAPL", date = "day" }
extra = ["IBM", "MSFT"]"""
    tiny_file.write_text(text.replace("[data]", data).replace('symbol = "AAPL"', ""))
    changes = ("--set", "search.pruner=none", "--set", "search.trials=3")
    done = tuner("submit", str(tiny_file), *changes, "--storage", url)
    assert done.exit_code == 0, done.output
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    search = load(open_storage(url), "tiny")
    expected = pd.read_csv(file, sep=";", decimal=",")["Mood"].to_numpy()[5:]
    (kept,) = search.load_all_prices().values()
    np.testing.assert_array_equal(kept["column:mood"], expected)
    for again in (retrain_with_seeds(search, 2), open_seal(search, 2)):
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu"))
    assert len(build.build(search).dates) == 20
    folder = tmp_path / "best"
    done = tuner("export", "tiny", str(folder), "--storage", url)
    assert done.exit_code == 0, done.output
    weights = load_file(folder / "model.safetensors")
    (inputs,) = {w.shape[1] for name, w in weights.items() if "weight_ih" in name}
    assert inputs == 5, "the return, those of two other series, the index, and the mood"
    card = (folder / "README.md").read_text()
    assert "return, extra of IBM, extra of MSFT, rsi, column:mood" in " ".join(card.split())
    derived = tuner("reproduce", str(folder))
    assert derived.exit_code == 0, derived.output
    assert "figures were reproduced bit for bit" in derived.stderr
    own, other = (tuner("predict", str(folder), *more) for more in ([], ["--csv", str(file)]))
    assert (own.exit_code, other.exit_code) == (0, 0), other.output
    assert own.stdout == other.stdout
    assert "csv own.csv with IBM, MSFT" in own.stderr
    steps = tuner("predict", str(folder), "--steps", "2")
    assert steps.exit_code == 1
    assert "it reads return, extra, rsi, column:mood of each bar" in steps.stderr
    for more, words in (
        (["--symbol", "AAPL"], "the model reads the columns IBM, MSFT, mood of a file"),
        (
            ["--csv", str(without_mood(file))],
            "must have one column mood, for feature 'column:mood'",
        ),
    ):
        refused = tuner("predict", str(folder), *more)
        assert refused.exit_code == 1
        assert words in refused.stderr


def without_mood(file: Path) -> Path:
    pd.read_csv(file, sep=";").drop(columns="Mood").to_csv(file, sep=";", index=False)
    return file


def write(path: Path, rows: str) -> Path:
    path.write_text(rows)
    return path


ROWS = """date,Close,Vix,note
2024-01-02,100,13.5,1
2024-01-03,101,,1
2024-01-04,103,14.5,1
2024-01-05,102,13.0,1
"""


def test_empty_cells_of_an_extra_column_take_the_previous_value(
    tmp_path: Path,
) -> None:
    found = load_prices("csv", PriceRequest(path=write(tmp_path / "p.csv", ROWS), extra=("vix",)))
    assert found.frame.columns.tolist() == ["close", "extra:vix"]
    assert found.frame["extra:vix"].tolist() == [13.5, 13.5, 14.5, 13.0]
    assert found.warnings == ("columns that are not used: note",)


def test_bars_before_the_first_extra_value_are_left_out_with_a_note(tmp_path: Path) -> None:
    rows = ROWS.replace("13.5", "")
    found = load_prices("csv", PriceRequest(path=write(tmp_path / "p.csv", rows), extra=("Vix",)))
    assert found.frame["extra:Vix"].tolist() == [14.5, 13.0]
    assert "bars before the first of Vix: 2, left out" in found.warnings


def test_a_series_that_has_ended_is_told(tmp_path: Path) -> None:
    days = pd.bdate_range("2024-01-01", periods=40)
    frame = pd.DataFrame({"date": days, "close": np.arange(1.0, 41), "vix": np.arange(2.0, 42)})
    frame.loc[10:, "vix"] = np.nan
    frame.to_csv(tmp_path / "p.csv", index=False)
    found = load_prices("csv", PriceRequest(path=tmp_path / "p.csv", extra=("vix",)))
    assert "vix: its last bar is 42 days older than that of the prices" in found.warnings


@pytest.mark.parametrize(
    ("rows", "extra", "said"),
    [
        (ROWS, "vxx", "must have one column vxx, for data.extra, but has date, Close, Vix, note"),
        (ROWS.replace("14.5", "x"), "vix", "line 4: Vix must be a number, but got 'x'"),
        (ROWS.replace("14.5", "-1"), "vix", "p.csv vix: close must be positive"),
    ],
)
def test_unusable_extra_series_is_refused_by_name(
    rows: str, extra: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        load_prices("csv", PriceRequest(path=write(tmp_path / "p.csv", rows), extra=(extra,)))
    assert said in str(caught.value)


def test_the_sample_has_others_of_its_own() -> None:
    found = load_prices("sample", PriceRequest("AAPL", extra=("IBM",)))
    expected = load_prices("sample", PriceRequest("IBM")).frame["close"]
    assert found.frame["extra:IBM"].tolist() == expected.tolist()
    with pytest.raises(DataError, match="symbol of the sample must be one of"):
        load_prices("sample", PriceRequest("AAPL", extra=("^VIX",)))


def test_days_before_all_calendars_are_no_harm() -> None:
    found = load_prices("sample", PriceRequest("AAPL", start=date(1, 1, 1), extra=("IBM",)))
    assert len(found.frame) == 3270


def test_a_file_that_was_exported_can_be_read_again(tmp_path: Path) -> None:
    found = load_prices("sample", PriceRequest("AAPL", extra=("IBM",)))
    (tmp_path / "own.csv").write_bytes(to_csv(found.frame))
    again = load_prices("csv", PriceRequest(path=tmp_path / "own.csv", extra=("IBM",)))
    pd.testing.assert_frame_equal(again.frame, found.frame, check_exact=True)
