"""Studies from dictionaries and DataFrames, and what wrong ones are told."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import puffin
from puffin.models.errors import PuffinError
from puffin.studies.lifecycle import submit
from puffin.studies.prices.frame import basket_of_frames, prices_of_frame
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import SpecError, load_spec
from puffin.studies.storage.database import open_storage
from puffin.tuner.api.search import _read
from tests.integration.helpers import aapl
from tests.studies import tiny_spec, tiny_values


@pytest.fixture
def bars() -> pd.DataFrame:
    return load_prices("sample", PriceRequest("AAPL")).frame


@pytest.fixture
def study(tmp_path: Path) -> puffin.Study:
    url = f"sqlite:///{tmp_path / 'tuner.db'}"
    spec = tiny_spec()
    submit(open_storage(url, create=True), spec, aapl(spec))
    return puffin.open_study("tiny", url)


def test_prices_of_a_frame_keep_every_bit(bars: pd.DataFrame) -> None:
    read = prices_of_frame(bars, PriceRequest())
    pd.testing.assert_frame_equal(read.frame, bars, check_exact=True)
    assert read.origin == "csv DataFrame"


@pytest.mark.parametrize(("column", "columns"), [("Date", {}), ("ds", {"date": "ds"})])
def test_times_may_be_a_column(bars: pd.DataFrame, column: str, columns: dict[str, str]) -> None:
    frame = bars.rename_axis(column).reset_index()
    read = prices_of_frame(frame, PriceRequest(columns=columns))
    assert read.frame.index.equals(bars.index)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"x": [1.0, 2.0]}), "^the DataFrame must have a date column"),
        (pd.DataFrame(), "^the DataFrame "),
    ],
)
def test_a_frame_without_prices_is_refused(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(PuffinError, match=words):
        prices_of_frame(frame, PriceRequest())


def test_frames_by_symbol_are_a_basket_of_the_same_bits(bars: pd.DataFrame) -> None:
    frames = {"B": bars, "A": bars.iloc[:100]}
    basket = basket_of_frames(frames, PriceRequest())
    assert list(basket.frames) == ["B", "A"]
    for symbol, frame in frames.items():
        pd.testing.assert_frame_equal(basket.frames[symbol], frame, check_exact=True)
    assert _read(tiny_values(), frames).data.symbols == ("B", "A")


@pytest.mark.parametrize(
    "shape",
    [
        lambda long: long,
        lambda long: long.reset_index(),
        lambda long: long.reset_index().sort_values("date"),
        lambda long: long.set_index("symbol", append=True),
    ],
    ids=["days as index", "days as column", "sorted by day", "two levels"],
)
def test_a_long_frame_is_a_basket_of_the_same_bits(
    shape: Callable[[pd.DataFrame], pd.DataFrame], bars: pd.DataFrame
) -> None:
    frames = {"A": bars.iloc[:100], "B": bars.iloc[50:150]}
    long = pd.concat([frame.assign(symbol=symbol) for symbol, frame in frames.items()])
    basket = basket_of_frames(shape(long), PriceRequest())
    assert list(basket.frames) == ["A", "B"]
    for symbol, frame in frames.items():
        pd.testing.assert_frame_equal(basket.frames[symbol], frame, check_exact=True)
    with pytest.raises(PuffinError, match="the DataFrame must have the prices of one symbol"):
        prices_of_frame(shape(long), PriceRequest())


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({"A": 3}, "prices must be a DataFrame, or a dictionary .* but A is int"),
        ([1], "but the argument is list"),
        ({}, "prices must have at least one symbol"),
    ],
)
def test_prices_that_are_no_frames_are_refused(prices: Any, words: str) -> None:
    with pytest.raises(PuffinError, match=words):
        basket_of_frames(prices, PriceRequest())


def test_a_frame_replaces_the_source_and_keeps_the_rest_of_the_section(
    bars: pd.DataFrame,
) -> None:
    spec = _read(tiny_values(), bars)
    assert spec.data == tiny_spec().data.model_copy(
        update={"source": "csv", "symbols": (), "path": "DataFrame"}
    )
    assert _read("demo", None) == load_spec("demo")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"data": {}}, "the dictionary:.*name"),
        ({"name": "x", "data": 3}, "the dictionary:.*data"),
        ({"name": "x", "data": {"target": "moon"}}, "target"),
        ("no-such-preset", "no-such-preset"),
    ],
)
def test_a_wrong_study_is_refused_in_words(spec: Any, words: str, bars: pd.DataFrame) -> None:
    with pytest.raises(SpecError, match=f"(?s){words}"):
        puffin.search(spec, bars)


def test_a_study_without_trials_shows_that_it_has_none(study: puffin.Study) -> None:
    assert repr(study) == "<Study tiny: 0 of 8 trials done>"
    assert "<td style='text-align:left'>0 of 8 done</td>" in study._repr_html_()
    assert study.trials.empty
    assert study.curves().empty
    assert study.status.tickets == 8
    with pytest.raises(PuffinError, match="no complete trial yet"):
        _ = study.best
    with pytest.raises(PuffinError, match="no trial 3; it has none yet"):
        study.forecasts(3)


def test_workers_start_in_the_main_thread_alone(study: puffin.Study) -> None:
    errors: list[BaseException] = []

    def call() -> None:
        try:
            puffin.search(tiny_values(), storage=study._storage)
        except PuffinError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "call this from the main thread" in str(errors[0])


def test_the_import_loads_nothing_heavy() -> None:
    code = "import puffin, sys; print(sorted({'torch', 'optuna', 'pandas'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "[]\n"
    assert set(puffin.__all__) <= set(dir(puffin))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = puffin.serach
