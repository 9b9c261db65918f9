"""Forecasts of an export are aligned in time, have intervals, and are given in trader units."""

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.models.errors import PuffinError
from puffin.models.evaluation.conformal import IntervalError, adapt, residual_interval
from puffin.models.evaluation.intervals import draw_residuals
from puffin.models.features import build_series
from puffin.models.folds import Fold, Span
from puffin.models.training.fold_training import forecast_windows
from puffin.models.windows import fold_tensors
from puffin.studies.export import forecast
from puffin.studies.export.basis import ForecastError
from puffin.studies.export.forecast import predict
from puffin.studies.export.read import Exported
from puffin.studies.export.record import ExportRecord
from puffin.studies.prices.snapshot import to_csv
from puffin.studies.study import SEARCH_FILE
from tests.exports import (
    LOOKBACK,
    RESIDUALS,
    SEALED,
    SEARCH_BARS,
    bars,
    deviation,
    export_files,
    record_values,
    scores,
)
from tests.folds import part_of

TODAY = date(2020, 12, 31)


def made(
    features: tuple[str, ...] = ("range",),
    target: str = "range",
    horizon: int = 1,
    *,
    opened: bool = False,
    residuals: np.ndarray = RESIDUALS,
) -> Exported:
    """Return an export of an untrained network, whose search ended 20 bars before its data."""
    values = record_values(features, target, horizon, opened=opened)
    files = export_files(values, residuals)
    return Exported(Path("own"), files, ExportRecord.of(values))


def points(exported: Exported, frame: pd.DataFrame, steps: int, level: float = 0.9) -> list[float]:
    found = predict(exported, frame, steps, level, TODAY)
    return [step.value.forecast for step in found.steps]


ALL = ("return", "range", "volume", "price", "change")


@pytest.mark.parametrize("target", ["return", "range", "price", "change"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_equals_the_one_scored_in_training(target: str, horizon: int) -> None:
    exported, frame = made(ALL, target, horizon), bars()
    columns = {name: frame[name].to_numpy() for name in frame}
    series = build_series(columns, ALL, target, horizon)
    fold = Fold(Span(20, 30), Span(30, 60))
    cpu = torch.device("cpu")
    scaler = exported.scalers["AAPL"]
    tensors = fold_tensors([part_of(series, fold, scaler)], LOOKBACK, cpu)
    scaled = forecast_windows(exported.network, tensors.valid.inputs)[:, 0].double().numpy()
    scored = dict(zip(range(30, 60), scaler.unscale_target(scaled), strict=True))
    for last in (29, 40, 59 - horizon):
        found = points(exported, frame.iloc[: last + 1], horizon)
        expected = [scored[last + k] for k in range(1, horizon + 1)]
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_uses_no_bar_within_the_horizon(horizon: int) -> None:
    exported, frame = made(ALL, "return", horizon), bars()
    before = points(exported, frame, horizon)
    for back in range(1, horizon + 1):
        changed = frame.copy()
        changed.iloc[-back:] *= 1.5
        after = points(exported, changed, horizon)
        # The window of step k ends horizon - k bars before the last.
        blind = max(horizon - back, 0)
        assert after[:blind] == before[:blind]
        assert all(a != b for a, b in zip(after[blind:], before[blind:], strict=True))


def test_bars_before_the_first_window_change_nothing() -> None:
    exported, frame = made(("return",), "return"), bars()
    assert points(exported, frame.iloc[-LOOKBACK - 1 :], 3) == points(exported, frame, 3)


def test_intervals_are_adapted_ends_of_the_errors_times_the_deviation_when_forecast() -> None:
    found = adapt(scores(RESIDUALS, bars(), SEARCH_BARS, 3), 0.8, 3)
    scale = deviation(bars(), 3).to_numpy()[-3:]
    for step, by in zip(predict(made(horizon=3), bars(), 3, 0.8, TODAY).steps, scale, strict=True):
        assert step.value.low == pytest.approx(step.value.forecast + found.low[-1] * by)
        assert step.value.high == pytest.approx(step.value.forecast + found.high[-1] * by)


def width(exported: Exported, frame: pd.DataFrame) -> float:
    (step,) = predict(exported, frame, 1, 0.9, TODAY).steps
    return step.value.high - step.value.low


def test_wilder_last_bars_make_a_wider_interval() -> None:
    wild = bars()
    wild.loc[wild.index[-10::2], "high"] *= 1.2
    assert width(made(), wild) > 1.2 * width(made(), bars())


def test_paths_keep_the_volatility_of_the_last_bar() -> None:
    wild = bars()
    wild.loc[wild.index[-10::2], "close"] *= 1.05
    short, long = (
        [
            math.log(step.in_trader_unit.high / step.in_trader_unit.low)
            for frame in (bars(), wild)
            for step in predict(made(("return",), "return"), frame, 9, 0.9, TODAY).steps[ahead:][:1]
            if step.in_trader_unit
        ]
        for ahead in (0, 8)
    )
    assert short[1] > 1.5 * short[0]
    assert long[1] / long[0] == pytest.approx(short[1] / short[0], rel=0.02)


@pytest.mark.parametrize("count", [LOOKBACK, 20, 99])
def test_few_bars_have_the_interval_of_many(count: int) -> None:
    exported = made(opened=True)
    assert width(exported, bars().iloc[-count:]) == width(exported, bars())


def test_bars_after_those_of_the_export_are_measured_too() -> None:
    sealed = made()
    # Of the 20 bars that follow, all or the last five.
    whole, few = (width(sealed, bars().iloc[-count:]) for count in (100, 5))
    assert whole != width(sealed, bars().iloc[:SEARCH_BARS])
    assert few != whole


@pytest.mark.parametrize(
    ("features", "target", "horizon"),
    [(("range",), "range", 1), (("range",), "range", 3), (("price",), "price", 2)],
)
def test_steps_beyond_the_horizon_are_recursive(
    features: tuple[str, ...], target: str, horizon: int
) -> None:
    exported, frame = made(features, target, horizon), bars()
    found = points(exported, frame, horizon + 2)
    assert found[:horizon] == pytest.approx(points(exported, frame, horizon), rel=1e-6)
    # As if the forecasts so far had come true.
    further = frame.copy()
    for value in found[:2]:
        day = further.index[-1] + pd.offsets.BDay()
        spread = math.exp(value) if target == "range" else 0.02
        high = 100 * math.exp(spread)
        further.loc[day] = {"high": high, "low": 100.0, "close": value, "volume": 1.0}
    assert points(exported, further, horizon) == pytest.approx(found[2:], rel=1e-5)


def test_intervals_widen_beyond_the_horizon() -> None:
    exported = made(("return",), "return")
    short, long = (predict(exported, bars(), steps, 0.9, TODAY).steps for steps in (1, 8))
    assert long[0] == short[0]
    widths = [
        math.log(step.in_trader_unit.high / step.in_trader_unit.low)
        for step in long
        if step.in_trader_unit
    ]
    assert widths == sorted(widths)
    assert widths[7] == pytest.approx(widths[0] * math.sqrt(8), rel=0.25)
    assert predict(exported, bars(), 8, 0.9, TODAY).steps == long


@pytest.mark.parametrize(("target", "horizon"), [("return", 1), ("range", 3)])
def test_steps_up_to_the_horizon_use_residual_quantiles(target: str, horizon: int) -> None:
    # So many that paths drawn from them end a little beside their exact ranks.
    many = np.random.default_rng(7).normal(0, 0.02, 3001)
    exported = made((target,), target, horizon, residuals=many)
    short, long = (predict(exported, bars(), k, 0.9, TODAY).steps for k in (horizon, horizon + 1))
    assert long[:horizon] == short


def test_errors_that_overlap_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []

    def spy(*args: Any, block: int, **kwargs: Any) -> np.ndarray:
        blocks.append(block)
        return draw_residuals(*args, block=block, **kwargs)

    monkeypatch.setattr(forecast, "draw_residuals", spy)
    for horizon in (1, 3):
        predict(made(horizon=horizon), bars(), horizon + 1, 0.9, TODAY)
    assert blocks == [1, 3]


def test_returns_are_applied_to_the_close_they_start_from() -> None:
    frame = bars()
    steps = predict(made(ALL, "return", 3), frame, 3, 0.9, TODAY).steps
    for step, start in zip(steps, frame["close"].iloc[-3:], strict=True):
        assert step.in_trader_unit is not None
        own = (step.value.forecast, step.value.low, step.value.high)
        shown = (step.in_trader_unit.forecast, step.in_trader_unit.low, step.in_trader_unit.high)
        assert shown == pytest.approx([start * math.exp(value) for value in own])
    (first, *_) = predict(made(ALL, "return", 3), frame, 2, 0.9, TODAY).steps
    assert first == steps[0]


def test_recursive_returns_accumulate_from_the_last_close() -> None:
    frame = bars()
    steps = predict(made(("return",), "return"), frame, 4, 0.9, TODAY).steps
    total = 0.0
    for step in steps:
        total += step.value.forecast
        assert step.in_trader_unit is not None
        assert step.in_trader_unit.forecast == pytest.approx(
            frame["close"].iloc[-1] * math.exp(total)
        )
        assert step.in_trader_unit.low < step.in_trader_unit.forecast < step.in_trader_unit.high


def test_changes_are_added_to_the_close_they_start_from() -> None:
    frame = bars() - 100.0
    last = frame["close"].iloc[-1]
    steps = predict(made(("change",), "change"), frame, 4, 0.9, TODAY).steps
    total = 0.0
    for step in steps:
        total += step.value.forecast
        assert step.in_trader_unit is not None
        assert step.in_trader_unit.forecast == pytest.approx(last + total)
    ahead = predict(made(("rsi", "change"), "change", 3), frame, 3, 0.9, TODAY).steps
    for step, start in zip(ahead, frame["close"].iloc[-3:], strict=True):
        assert step.in_trader_unit is not None
        assert step.in_trader_unit.high == pytest.approx(start + step.value.high)


def test_closes_without_a_ratio_are_compared_by_their_difference() -> None:
    exported = made(("change",), "change")
    exported.files[SEARCH_FILE] = to_csv((bars() - 100.0).iloc[:80])
    same, other = (predict(exported, bars() - by, 1, 0.9, TODAY).warnings for by in (100.0, 99.0))
    assert same == ()
    assert "over 80 shared bars they differ by up to 1;" in other[0]


def test_a_range_is_converted_to_per_cent_and_a_price_is_not() -> None:
    found = predict(made(), bars(), 1, 0.9, TODAY)
    (step,) = found.steps
    assert step.in_trader_unit is not None
    assert step.in_trader_unit.high == pytest.approx(100 * math.exp(step.value.high))
    assert found.trader_unit == "log(high / low), %"
    assert found.to_json()["trader_statistic"] == found.trader_statistic == "median"
    assert predict(made(ALL, "return"), bars(), 1, 0.9, TODAY).trader_statistic is None
    priced = predict(made(ALL, "price"), bars(), 1, 0.9, TODAY)
    assert (priced.steps[0].in_trader_unit, priced.trader_unit, priced.unit) == (
        None,
        None,
        "price",
    )


@pytest.mark.parametrize(("today", "days"), [("2020-05-19", 0), ("2021-05-19", 365)])
def test_the_age_is_that_of_the_last_bar(today: str, days: int) -> None:
    found = predict(made(), bars(), 1, 0.9, date.fromisoformat(today))
    assert (found.last, found.age_days) == (pd.Timestamp("2020-05-19"), days)


def test_a_bar_of_this_afternoon_is_of_today() -> None:
    frame = bars().set_axis(pd.date_range("2020-05-19 09:00", periods=100, freq="5min"))
    found = predict(made(), frame, 1, 0.9, date(2020, 5, 19))
    assert found.age_days == 0
    assert found.to_json()["last"] == "2020-05-19 17:15:00"


def test_coverage_is_of_the_intervals_known_before_each_bar_of_the_holdout() -> None:
    found = predict(made(opened=True), bars(), 1, 0.8, TODAY)
    assert found.residuals == len(RESIDUALS) + len(SEALED)
    searched = scores(RESIDUALS, bars(), SEARCH_BARS)
    sealed = scores(SEALED, bars(), 100)
    adapted = adapt(np.append(searched, sealed), 0.8)
    ends = zip(adapted.low[60:80], sealed, adapted.high[60:80], strict=True)
    assert found.coverage is not None
    assert found.coverage.bars == 20
    assert found.coverage.share == sum(low <= e <= high for low, e, high in ends) / 20
    # The errors as they are have another share: the test would see it.
    low, high = residual_interval(RESIDUALS, 0.8)
    assert found.coverage.share != sum(low <= e <= high for e in SEALED) / 20


def test_a_level_that_needs_the_holdout_residuals_has_no_coverage() -> None:
    found = predict(made(opened=True), bars(), 1, 0.97, TODAY)
    assert (found.coverage, found.residuals) == (None, 80)


def test_a_sealed_holdout_tries_nothing() -> None:
    found = predict(made(), bars(), 1, 0.8, TODAY)
    assert (found.coverage, found.residuals) == (None, 60)


@pytest.mark.parametrize("opened", [True, False])
def test_exported_and_later_bars_give_no_warning(*, opened: bool) -> None:
    exported = made(opened=opened)
    for frame in (exported.prices["AAPL"], bars(), bars() * 1.005):
        assert predict(exported, frame, 1, 0.9, TODAY).warnings == ()


@pytest.mark.parametrize(
    ("frame", "target", "words"),
    [
        (bars().iloc[:30], "range", ["end at 2020-02-11", "trained on, 2020-04-21", "has seen"]),
        (bars(first="2022-01-03"), "range", ["share no bar", "2020-01-01 to 2020-04-21"]),
        (bars()[::-1].set_axis(bars().index), "range", ["not those of sample AAPL", "80 shared"]),
        (bars() * 2, "price", ["2 times those of sample AAPL", "reads the price itself"]),
        (bars() / 2, "price", ["0.5 times those of sample AAPL", "reads the price itself"]),
        (bars() * 2, "change", ["2 times those of sample AAPL", "reads the price itself"]),
    ],
)
def test_prices_that_do_not_match_the_export_give_a_warning(
    frame: pd.DataFrame, target: str, words: list[str]
) -> None:
    (said,) = predict(made((target,), target), frame, 1, 0.9, TODAY).warnings
    assert [word for word in words if word not in said] == []


def test_a_split_does_not_matter_to_a_model_without_prices() -> None:
    assert predict(made(), bars() * 2, 1, 0.9, TODAY).warnings == ()


@pytest.mark.parametrize(
    ("features", "target", "horizon", "words"),
    [
        (ALL, "range", 3, "at most the horizon = 3, but is 4.* reads return, range, .* 1 to 3"),
        (("return",), "return", 3, "reads the return of one bar and forecasts that over 3"),
        (("change",), "change", 3, "reads the change of one bar and forecasts that over 3"),
        (("return",), "range", 3, "reads return of each bar, and forecasts only the range"),
    ],
)
def test_a_model_that_cannot_recurse_states_its_largest_step(
    features: tuple[str, ...], target: str, horizon: int, words: str
) -> None:
    with pytest.raises(ForecastError, match=words):
        predict(made(features, target, horizon), bars(), horizon + 1, 0.9, TODAY)


@pytest.mark.parametrize(
    ("features", "horizon", "least"), [(("return",), 3, 7), (("range",), 3, 6), (("range",), 1, 4)]
)
def test_too_few_bars_are_refused_and_just_enough_accepted(
    features: tuple[str, ...], horizon: int, least: int
) -> None:
    exported = made(features, "range", horizon)
    sum_ = f"at least {least} bars, but have {least - 1}: {features == ('return',):d} before"
    with pytest.raises(ForecastError, match=f"{sum_} .* lookback = 4 .* - 1 = {horizon - 1};"):
        predict(exported, bars().iloc[: least - 1], horizon, 0.9, TODAY)
    assert all(map(math.isfinite, points(exported, bars().iloc[:least], horizon)))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(PuffinError, match="'range' needs high and low, but the prices have only"):
        predict(made(), bars()[["close"]], 1, 0.9, TODAY)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, math.nan])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(IntervalError, match="level must be above 0 and below 1"):
        predict(made(), bars(), 1, level, TODAY)


def test_too_few_residuals_for_the_level_are_refused() -> None:
    with pytest.raises(IntervalError, match=r"at least 79 .* there are 60; .* at most 0\.967"):
        predict(made(), bars(), 5, 0.975, TODAY)


def test_json_has_null_for_infinite_bounds() -> None:
    exported = made(residuals=np.append(RESIDUALS, np.inf))
    found = predict(exported, bars(), 1, 0.96, TODAY)
    values: dict[str, Any] = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["steps"][0]["value"]["high"] is None
    assert values["steps"][0]["ahead"] == 1
    assert (values["study"], values["last"], values["coverage"]) == ("own", "2020-05-19", None)
