"""The rules of the verdict, on constructed forecasts whose figures are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import puffin.studies.report.baselines
from puffin.models.evaluation.baseline import Baseline, MissingPackageError, TooShortError
from puffin.models.evaluation.forecast_tests import clark_west
from puffin.models.evaluation.long_run import long_run_test
from puffin.models.evaluation.mcs import mcs
from puffin.models.features import TARGETS, Series
from puffin.models.folds import Span
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.report.baselines import compare_with_baselines
from puffin.studies.report.build import why_no_deflated_sharpe, why_no_direction_test
from puffin.studies.report.trading import run_backtest, strategy_returns, why_no_backtest
from puffin.studies.spec import Spec, parse_spec

BARS, HOLDOUT = 160, 30


def spec_of(**data: Any) -> Spec:
    values = {
        "name": "made-up",
        "data": {"symbol": "NONE", "features": ["return"], "target": "return"} | data,
        "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": HOLDOUT},
        "space": {"hidden_dim": 4, "lookback": [3, 4]},
    }
    return parse_spec(values, "made-up")


def market(
    spec: Spec, dates: pd.DatetimeIndex | None = None, lower: float = 0.0
) -> tuple[Dataset, Dataset]:
    rng = np.random.default_rng(7)
    closes = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(BARS)))
    index = pd.bdate_range("2020-01-01", periods=BARS) if dates is None else dates
    frame = pd.DataFrame({"close": closes - lower}, index=index)
    search, holdout = cut_holdout({"A": frame}, spec)
    return Dataset.build(spec, search), Dataset.for_holdout(spec, search, holdout)


def off_by(searched: float, judged: float) -> Callable[..., Baseline]:
    """Return a baseline with given constant errors on the search folds and on the holdout."""

    def forecast(series: Series, _lookback: int, _train: Span, score: Span) -> Baseline:
        error = judged if len(score) == HOLDOUT else searched
        return Baseline(f"off by {error}", series.target[score.start : score.stop] + error)

    return forecast


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two baselines: the better one on the search data is the worse one on the holdout."""
    made = {"steady": off_by(0.01, 0.03), "lucky": off_by(0.02, 0.02)}
    monkeypatch.setattr(puffin.studies.report.baselines, "BASELINES", made)


@pytest.mark.usefixtures("rivals")
def test_the_reference_baseline_is_chosen_on_the_search_data() -> None:
    folds, opened = market(spec_of())
    (actual,) = opened.actuals
    found = compare_with_baselines(folds, opened, 3, actual + np.resize([0.024, 0.026], HOLDOUT))
    assert [rival.name for rival in found.baselines] == ["steady", "lucky"]
    assert found.reference.name == "steady"
    assert found.closest.name == "lucky"
    # Clearly below the rival, but above the one that came out lowest: no victory.
    assert found.reference.test.p_better < 0.05
    assert found.outcome == "undecided"
    better = compare_with_baselines(folds, opened, 3, actual + np.resize([0.014, 0.016], HOLDOUT))
    assert better.outcome == "better"
    worse = compare_with_baselines(folds, opened, 3, actual + np.resize([0.034, 0.036], HOLDOUT))
    assert worse.outcome == "worse"


@pytest.mark.usefixtures("rivals")
def test_a_tie_is_undecided_on_either_side() -> None:
    """The errors are above the baseline's as often as below."""
    folds, opened = market(spec_of())
    (actual,) = opened.actuals
    for shift in (-0.0001, 0.0001):
        found = compare_with_baselines(
            folds, opened, 3, actual + np.resize([0.02, 0.038], HOLDOUT) + shift
        )
        assert 0.05 < found.reference.test.p_better < 0.95
        assert found.outcome == "undecided"


@pytest.mark.usefixtures("rivals")
@pytest.mark.parametrize("horizon", [1, 3])
def test_losses_that_overlap_are_tested_as_such(horizon: int) -> None:
    folds, opened = market(spec_of(horizon=horizon))
    (actual,) = opened.actuals
    errors = 0.02 + 0.01 * np.sin(np.arange(HOLDOUT))
    found = compare_with_baselines(folds, opened, 3, actual + errors)
    scaler = opened.parts[0][0].scaler
    loss_differentials = (0.03**2 - errors**2) / scaler.target_std**2
    expected = long_run_test(loss_differentials)
    assert found.reference.test.p_better == pytest.approx(expected.p_better, rel=1e-6)
    assert found.loss == pytest.approx((errors**2).mean() / scaler.target_std**2)
    assert found.reference.skill == pytest.approx(1 - (errors**2).mean() / 0.03**2)


@pytest.mark.parametrize(
    ("target", "features", "nested"),
    [
        # A return's persistence is 0, and drift is the mean: a network's bias has both.
        ("return", ["return"], {"persistence", "drift"}),
        ("return", ["rsi"], {"persistence", "drift"}),
        ("change", ["return"], {"persistence", "drift"}),
        ("price", ["price"], {"persistence", "drift", "mean"}),
        # No network forecasts the last price that does not read it.
        ("price", ["return"], {"mean"}),
    ],
)
def test_clark_west_covers_nested_baselines_only(
    target: str, features: list[str], nested: set[str]
) -> None:
    folds, opened = market(spec_of(target=target, features=features))
    (actual,), (last,) = opened.actuals, opened.persistence
    forecast = actual + np.resize([0.024, -0.026], HOLDOUT)
    found = compare_with_baselines(folds, opened, 3, forecast)
    assert {rival.name for rival in found.baselines if rival.clark_west is not None} == nested
    assert {"ar", "ridge"} <= {rival.name for rival in found.baselines}
    for rival in found.baselines:
        if rival.clark_west is not None:
            expected = clark_west(forecast, rival.forecasts, actual)
            assert rival.clark_west.p_better == pytest.approx(expected.p_better)
        if rival.name == "persistence":
            assert rival.direction is None
        else:
            right = (rival.forecasts > last) == (actual > last)
            assert rival.direction is not None
            assert rival.direction.accuracy == pytest.approx(right.mean())


@pytest.mark.usefixtures("rivals")
def test_the_confidence_set_is_of_winner_and_baselines_together() -> None:
    folds, opened = market(spec_of())
    (actual,) = opened.actuals
    errors = np.resize([0.01, 0.03, -0.02], HOLDOUT)
    found = compare_with_baselines(folds, opened, 3, actual + errors)
    models = np.column_stack([errors**2, np.full(HOLDOUT, 0.03**2), np.full(HOLDOUT, 0.02**2)])
    expected = mcs(models).p_values
    assert [found.mcs_p, *(b.mcs_p for b in found.baselines)] == pytest.approx(expected)
    assert [b.mcs_p for b in found.baselines if b.name == "lucky"] == [1.0]
    assert found.may_be_best == ["off by 0.02"]


@pytest.mark.parametrize("target", TARGETS)
def test_directions_are_tested_where_the_target_is_a_move(target: str) -> None:
    tested = why_no_direction_test(target) is None
    assert tested is (target in ("return", "change"))


def test_a_baseline_with_too_few_targets_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folds, opened = market(spec_of())
    (actual,) = opened.actuals

    def raising(error: Exception) -> Callable[..., Baseline]:
        def forecast(*_args: Any) -> Baseline:
            raise error

        return forecast

    made = {"steady": off_by(0.01, 0.01), "short": raising(TooShortError("few"))}
    monkeypatch.setattr(puffin.studies.report.baselines, "BASELINES", made)
    assert [r.name for r in compare_with_baselines(folds, opened, 3, actual).baselines] == [
        "steady"
    ]
    made["absent"] = raising(MissingPackageError("it needs a package"))
    found = compare_with_baselines(folds, opened, 3, actual)
    assert [r.name for r in found.baselines] == ["steady"]
    assert found.not_installed == ("it needs a package",)
    made["wrong"] = raising(ValueError("labels of the future"))
    with pytest.raises(ValueError, match="labels of the future"):
        compare_with_baselines(folds, opened, 3, actual)


def test_the_backtest_earns_the_forecast_rises() -> None:
    _, opened = market(spec_of())
    closes = opened.members[0].closes
    moves = np.log(closes[-HOLDOUT:] / closes[-HOLDOUT - 1 : -1])
    earned = run_backtest(opened, moves)
    assert earned is not None
    rises = moves > 0
    # Each change of sides costs a basis point, and fills a basis point off.
    changes = int(np.abs(np.diff(np.append(False, rises).astype(int))).sum())
    expected = np.exp(moves[rises].sum()) - 1
    assert earned["total_return"] == pytest.approx(expected, abs=2.1e-4 * changes * (1 + expected))
    assert len(earned["trades"]) == changes
    hold = closes[-1] / closes[-HOLDOUT - 1] - 1
    assert earned["buy_and_hold"]["total_return"] == pytest.approx(hold, abs=3e-4)


@pytest.mark.parametrize("horizon", [1, 3])
def test_price_change_and_return_are_traded_alike(horizon: int) -> None:
    for target in ("price", "change"):
        folds, opened = market(spec_of(target=target, features=[target], horizon=horizon))
        plain, judged = market(spec_of(horizon=horizon))
        kept, expected = (strategy_returns(w, w.actuals) for w in (folds, plain))
        np.testing.assert_allclose(kept, expected, rtol=1e-9, atol=1e-15)
        if horizon == 1:
            found, own = (run_backtest(w, w.actuals[0]) for w in (opened, judged))
            assert found is not None
            assert own is not None
            assert found["total_return"] == pytest.approx(own["total_return"], rel=1e-9)


@pytest.mark.parametrize("target", ["price", "change"])
def test_nonpositive_prices_have_no_backtest(target: str) -> None:
    folds, opened = market(spec_of(target=target, features=[target]), lower=100.0)
    (actual,) = opened.actuals
    assert compare_with_baselines(folds, opened, 3, actual).loss == 0.0
    assert run_backtest(opened, actual) is None
    reason = "a close is zero or negative, so there are no returns in per cent"
    assert why_no_backtest(opened) == why_no_deflated_sharpe(folds, 100, 9, 9) == reason


@pytest.mark.parametrize(
    ("bars", "complete", "tried", "reason"),
    [
        (20, 6, 6, None),
        (
            20,
            5,
            40,
            (
                "it needs at least 6 different complete networks, and there are 5, beside 35 "
                "pruned ones"
            ),
        ),
        (
            2,
            6,
            6,
            "it needs at least 3 returns that do not overlap, and the search bars have only 2",
        ),
    ],
)
def test_a_deflated_sharpe_ratio_needs_returns_and_complete_trials(
    bars: int, complete: int, tried: int, reason: str | None
) -> None:
    folds, _ = market(spec_of())
    assert why_no_deflated_sharpe(folds, bars, complete, tried) == reason


def test_the_sharpe_ratio_is_annualised_by_the_bar_length() -> None:
    spec = spec_of()
    daily = run_backtest(market(spec)[1], np.ones(HOLDOUT))
    hours = pd.date_range("2020-01-01", periods=BARS, freq="h")
    hourly = run_backtest(market(spec, hours)[1], np.ones(HOLDOUT))
    assert daily is not None
    assert hourly is not None
    # 8,766 hours, and 5 of 7 days.
    assert hourly["sharpe"] / daily["sharpe"] == pytest.approx((8766 / 260.9) ** 0.5, rel=0.01)
