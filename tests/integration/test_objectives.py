"""Studies of other losses than the default: of variances by mean skill, and of quantiles."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.studies.export import write
from puffin.studies.export.forecast import predict
from puffin.studies.export.read import load_exported
from puffin.studies.export.reproduce import reproduce
from puffin.studies.records import Scores
from puffin.studies.report import verdict
from puffin.studies.report.build import Report, read_forecasts
from puffin.studies.report.files import report_files
from puffin.studies.retraining import read_artifact
from puffin.studies.study import StoredStudy
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.judging import judge

Found = tuple[StoredStudy, Report]
LEVELS = (0.1, 0.5, 0.9)
COLUMNS = ["q0.1", "forecast", "q0.9"]
# The losses do not know which database they are stored in.
only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def qlike(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return Patton's loss of the variances of two log volatilities."""
    ratio = np.exp(actual) ** 2 / np.exp(forecast) ** 2
    return ratio - np.log(ratio) - 1


@pytest.fixture
def find(url: str, make_study: Callable[..., StoredStudy]) -> Callable[..., Found]:
    """Search for a forecast of a range by a loss, and judge the winner."""

    def search(horizon: int = 1, **training: Any) -> Found:
        study = make_study(
            data={"target": "range", "features": ["range"], "horizon": horizon},
            training=training,
            search={"pruner": "none", "trials": 2},
        )
        work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
        return study, judge(study, url, top=1)

    return search


@only_sqlite
def test_loss_skill_and_report_are_those_worked_out_from_the_forecasts(
    find: Callable[..., Found], tmp_path_factory: pytest.TempPathFactory
) -> None:
    study, report = find(loss="qlike", objective="skill")
    for trial in study.trials():
        table = pd.read_csv(io.BytesIO(read_artifact(study, trial)))
        relative = [
            qlike(rows.actual, rows.forecast).mean() / qlike(rows.actual, rows.persistence).mean()
            for _, rows in table.groupby("fold")
        ]
        assert trial.value == pytest.approx(np.mean(relative), rel=1e-4)
        assert Scores.read(trial).skill == pytest.approx(1 - np.mean(relative), rel=1e-3)
        assert Scores.read(trial).fold_losses == pytest.approx(relative, rel=1e-4)
    opened = study.holdout_dataset
    (actual,), (last,) = opened.actuals, opened.persistence
    unit = qlike(actual, last).mean()
    assert report.loss == pytest.approx(qlike(actual, report.forecasts).mean() / unit)
    persistence = next(b for b in report.comparison.baselines if b.name == "persistence")
    assert persistence.holdout_loss == pytest.approx(1.0)
    for baseline in report.comparison.baselines:
        own = qlike(actual, baseline.forecasts).mean() / unit
        assert baseline.holdout_loss == pytest.approx(own)
        assert baseline.clark_west is None
    page = verdict.to_json(report)
    assert page["forecast_of"]["loss"] == "qlike"
    folder = write.export(study, tmp_path_factory.mktemp("best") / "best")
    exported = load_exported(folder)
    assert exported.record.scores.skill == pytest.approx(1 - exported.record.scores.loss)
    (scaler,) = exported.scalers.values()
    assert scaler.target_std == 1.0
    card = " ".join(exported.files["README.md"].decode().split())
    assert "the loss is the qlike of the variance, in units of the loss of persistence" in card
    assert exported.spec.trader_statistic == "root mean square"
    text = " ".join(report_files(study, report)["report.md"].decode().split())
    assert "A forecast of the range is a root mean square, because the loss qlike is of" in text
    assert "root mean square forecast, " in text
    assert len(read_forecasts(study, study.best())) == 2


def pinball(actual: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the mean over levels of the pinball loss, (n,), of quantiles (n, level)."""
    columns = [
        np.where(actual > ahead, level * (actual - ahead), (1 - level) * (ahead - actual))
        for level, ahead in zip(LEVELS, quantiles.T, strict=True)
    ]
    return np.mean(columns, axis=0)


@only_sqlite
def test_quantiles_go_from_the_search_to_the_forecast_of_an_export(
    find: Callable[..., Found], tmp_path_factory: pytest.TempPathFactory
) -> None:
    study, report = find(2, loss="quantile", quantiles=list(LEVELS))
    units = [part.scaler.target_std for (part,) in study.dataset.parts]
    for trial in study.trials():
        table = pd.read_csv(io.BytesIO(read_artifact(study, trial)))
        assert (np.diff(table[COLUMNS], axis=1) > 0).all()
        losses = [
            pinball(rows.actual.to_numpy(), rows[COLUMNS].to_numpy()).mean() / unit
            for (_, rows), unit in zip(table.groupby("fold"), units, strict=True)
        ]
        assert Scores.read(trial).fold_losses == pytest.approx(losses, rel=1e-4)
        assert trial.value == pytest.approx(np.mean(losses), rel=1e-4)
    opened = study.holdout_dataset
    (actual,), (last,), ((part,),) = opened.actuals, opened.persistence, opened.parts
    unit = part.scaler.target_std
    assert report.loss == pytest.approx(pinball(actual, report.forecasts).mean() / unit)
    assert report.network_losses
    for baseline in report.comparison.baselines:
        own = pinball(actual, baseline.forecasts).mean() / unit
        assert baseline.holdout_loss == pytest.approx(own)
        assert (np.diff(baseline.forecasts, axis=1) >= 0).all()
    still = next(b for b in report.comparison.baselines if b.name == "persistence")
    np.testing.assert_allclose(still.forecasts[:, 1], last)
    assert report.skill == pytest.approx(1 - report.loss / still.holdout_loss)
    below = [one.below.share for one in report.quantiles]
    assert below == [float(np.mean(actual < ahead)) for ahead in report.forecasts.T]
    losses = [one.loss for one in report.quantiles]
    assert np.mean(losses) == pytest.approx(report.loss)
    assert verdict.to_json(report)["quantiles"][0]["level"] == 0.1
    text = " ".join(report_files(study, report)["report.md"].decode().split())
    assert "mean pinball loss of the quantiles 0.1, 0.5 and 0.9 of the standardised" in text
    assert "| 10 % |" in text

    exported = load_exported(write.export(study, tmp_path_factory.mktemp("best") / "best"))
    assert all(check.passes for check in reproduce(exported))
    (block,) = re.findall(r"```python\n(.*?)\n```", exported.files["README.md"].decode(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=exported.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.no_grad():
        own = exported.network(torch.zeros(1, exported.config.lookback, 1))
    printed = [float(number) for number in re.findall(r"-?\d+\.\d+", done.stdout)]
    assert printed == pytest.approx(own[0].tolist(), abs=1e-3)
    frame = exported.prices["AAPL"]
    near = predict(exported, frame, 2, 0.8, date(2026, 1, 1)).steps
    for step in near:
        assert step.in_trader_unit is not None
        low, middle, high = step.value.quantiles.values()
        assert low < middle < high
        assert middle == step.value.forecast
        # The unit of traders is 100 times the exponential of the target.
        assert step.in_trader_unit.quantiles["0.9"] == pytest.approx(100 * np.exp(high))
    *direct, third = predict(exported, frame, 3, 0.8, date(2026, 1, 1)).steps
    assert [step.value.quantiles for step in direct] == [step.value.quantiles for step in near]
    assert third.value.quantiles == {}
