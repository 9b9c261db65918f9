"""`predict` repeats the forecasts that were judged on the holdout."""

import io
import json
import math
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from optuna.storages import RDBStorage

from puffin.studies.export.forecast import predict
from puffin.studies.export.read import FORECAST_FILES, Exported, load_exported
from puffin.studies.export.write import export
from puffin.studies.retraining import open_seal, retrain_with_seeds
from puffin.studies.study import StoredStudy, load
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt

TODAY = date(2020, 1, 1)


@pytest.fixture
def url(new_url: Callable[[str], str]) -> str:
    return new_url("sqlite")


@pytest.fixture
def opened(
    storage: RDBStorage, url: str, make_study: Callable[..., StoredStudy], tmp_path: Path
) -> Exported:
    """The export of a search whose holdout was judged."""
    data = {"features": ["range"], "target": "range", "horizon": 2}
    make_study(data=data, search={"pruner": "none", "trials": 2})
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    searched = load(storage, "tiny")
    for again in (retrain_with_seeds(searched, 1), open_seal(searched, 1)):
        work(url, Interrupt(), WorkerOptions(again.name, device="cpu"))
    return load_exported(export(searched, tmp_path / "best"))


def test_predict_repeats_the_judged_forecasts_of_the_holdout(
    opened: Exported,
) -> None:
    table = pd.read_csv(io.BytesIO(opened.files[FORECAST_FILES[1]]), parse_dates=["date"])
    prices = opened.prices["AAPL"]
    assert len(table) == 20
    for row in (0, 7, 18):
        place = prices.index.get_loc(table["date"][row])
        # Two steps from the bar before: both were forecast when the holdout was judged.
        steps = predict(opened, prices.iloc[:place], 2, 0.9, TODAY).steps
        found = [step.value.forecast for step in steps]
        assert found == pytest.approx(table["forecast"][row : row + 2].tolist(), rel=1e-5)
        assert len({round(value, 6) for value in found}) == 2
        actual = math.log(math.log(prices["high"].iloc[place] / prices["low"].iloc[place]))
        assert table["actual"][row] == pytest.approx(actual, rel=1e-6)
    (body,) = (body for name, body in opened.files.items() if name.endswith("report.json"))
    levels = json.loads(body)["intervals"]["levels"]
    assert [each["level"] for each in levels] == [0.5, 0.8, 0.95]
    for judged in levels:
        coverage = predict(opened, prices, 1, judged["level"], TODAY).coverage
        assert coverage is not None
        assert (coverage.share, coverage.bars) == (judged["inside"]["share"], 20)
