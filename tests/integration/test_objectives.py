"""A study of the loss of variances that ranks trials by the mean skill of the folds."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from puffin.studies.export import write
from puffin.studies.export.read import load_exported
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


def qlike(actual: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Return Patton's loss of the variances of two log volatilities."""
    ratio = np.exp(actual) ** 2 / np.exp(forecast) ** 2
    return ratio - np.log(ratio) - 1


@pytest.fixture
def found(url: str, make_study: Callable[..., StoredStudy]) -> Found:
    study = make_study(
        data={"target": "range", "features": ["range"]},
        training={"loss": "qlike", "objective": "skill"},
        search={"pruner": "none", "trials": 2},
    )
    work(url, Interrupt(), WorkerOptions("tiny", device="cpu"))
    return study, judge(study, url, top=1)


def test_loss_skill_and_report_are_those_worked_out_from_the_forecasts(
    found: Found, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study, report = found
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
