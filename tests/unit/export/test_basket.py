"""An export of several symbols: files that agree by symbol, and a forecast of each by its own."""

import math
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.evaluation.conformal import adapt, residual_interval
from puffin.models.scaling import Scaler
from puffin.studies.export.basis import ForecastError
from puffin.studies.export.checksums import ExportError
from puffin.studies.export.forecast import Prediction, predict, predict_each
from puffin.studies.export.read import Exported, load_exported
from puffin.studies.export.record import ExportRecord, RecordError
from tests.exports import (
    LOOKBACK,
    OF_B,
    RESIDUALS,
    SEALED,
    bars,
    basket_files,
    basket_table,
    basket_values,
    deviation,
    scores,
    two_symbols,
    write_export,
)

TODAY = date(2020, 12, 31)
VALUES = basket_values(opened=True)
FILES = basket_files(VALUES)
ERRORS = {"NA": RESIDUALS, "B": OF_B[0]}


def made(*, opened: bool = False, **files: bytes) -> Exported:
    values = basket_values(opened=opened)
    changed = {f"{name}.csv": body for name, body in files.items()}
    return Exported(Path("own"), basket_files(values) | changed, ExportRecord.of(values))


def forecast(exported: Exported, frame: pd.DataFrame, symbol: str, level: float) -> Prediction:
    return predict(exported, frame, 1, level, TODAY, symbol)


def scores_of(symbol: str) -> np.ndarray:
    """Return the scores of the search."""
    frame = two_symbols()[symbol]
    return scores(ERRORS[symbol], frame, len(frame) - 20)


def half_widths(found: Prediction) -> tuple[float, float]:
    (step,) = found.steps
    return step.value.low - step.value.forecast, step.value.high - step.value.forecast


# Files


@pytest.mark.parametrize("opened", [True, False])
def test_an_export_of_several_symbols_is_read_back(tmp_path: Path, *, opened: bool) -> None:
    files = basket_files(basket_values(opened=opened))
    found = load_exported(write_export(tmp_path / "best", files))
    sizes = {"NA": 100, "B": 90} if opened else {"NA": 80, "B": 70}
    assert {symbol: len(frame) for symbol, frame in found.prices.items()} == sizes
    for symbol, frame in two_symbols().items():
        sealed = (SEALED, OF_B[1])[symbol == "B"]
        later = scores(sealed, frame, len(frame))
        expected = np.append(scores_of(symbol), later) if opened else scores_of(symbol)
        assert found.out_of_sample[symbol] == pytest.approx(expected)
    assert found.scalers["B"].target_std == 2 * found.scalers["NA"].target_std


def test_a_record_of_several_symbols_survives_writing_and_reading() -> None:
    record = ExportRecord.of(VALUES)
    assert ExportRecord.parse(record.to_toml()) == record
    assert ExportRecord.parse(record.to_toml()).to_toml() == record.to_toml()


def with_scaler(symbol: str, **changes: Any) -> dict[str, Any]:
    values = basket_values()
    scalers = values["input"]["scalers"]
    scalers[symbol] = scalers["B"] | changes
    return values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            with_scaler("B", target_std=0.0),
            "input.scalers.B.target_std = 0.0: should be greater than 0",
        ),
        (
            with_scaler("B", feature_std=[1.0, 1.0]),
            "input: scalers.B: feature_std has 2 values, but features names 1",
        ),
        (
            VALUES | {"input": VALUES["input"] | {"scalers": {}}},
            "input.scalers: Dictionary should have at least 1 item",
        ),
        (
            VALUES | {"scores": VALUES["scores"] | {"symbol_losses": {"NA": 1.0}}},
            "scores: symbol_losses and symbol_persistence should name the same symbols",
        ),
    ],
)
def test_a_refusal_names_the_symbol(values: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError, match=re.escape(words)):
        ExportRecord.of(values)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"forecasts.csv": FILES["forecasts.csv"].replace(b",B,", b",C,")},
            "forecasts.csv has forecasts of C, which has no prices",
        ),
        (
            {"forecasts.csv": FILES["forecasts.csv"].replace(b",symbol,", b",name,")},
            "should have the columns date, fold, symbol, forecast, actual, persistence",
        ),
        (
            {"forecasts.csv": basket_table({"NA": np.zeros(121)})},
            "forecasts.csv should have 1 to 120 rows below its header, but has 121",
        ),
        (
            {"config.toml": ExportRecord.of(with_scaler("C")).to_toml()},
            "config.toml: input.scalers has C, which has no prices",
        ),
    ],
)
def test_files_that_name_other_symbols_are_refused(
    files: dict[str, bytes], words: str, tmp_path: Path
) -> None:
    whole = FILES if "config.toml" not in files else basket_files(basket_values())
    folder = write_export(tmp_path / "best", whole | files)
    with pytest.raises(ExportError, match=re.escape(words)):
        load_exported(folder)


def test_bars_of_one_symbol_that_go_back_in_time_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = two_symbols()
    backwards = {**frames, "B": frames["B"][::-1]}
    monkeypatch.setattr("tests.exports.two_symbols", lambda: backwards)
    folder = write_export(tmp_path / "best", basket_files(basket_values(opened=True)))
    with pytest.raises(ExportError, match="times of bars of B should be ascending"):
        load_exported(folder)


# Forecasts


def test_each_symbol_has_its_own_scaler_and_errors() -> None:
    exported, frames = made(), two_symbols()
    assert list(exported.search) == ["NA", "B"]
    found = {symbol: forecast(exported, frame, symbol, 0.8) for symbol, frame in frames.items()}
    for symbol in ERRORS:
        ends, by = adapt(scores_of(symbol), 0.8), deviation(two_symbols()[symbol]).iloc[-1]
        assert half_widths(found[symbol]) == pytest.approx((ends.low[-1] * by, ends.high[-1] * by))
        assert found[symbol].residuals == 60
    # The same bars give the same output of the network, at another scale.
    mean = exported.scalers["NA"].target_mean
    same = [forecast(exported, bars(), symbol, 0.8) for symbol in ("NA", "B")]
    one, other = (each.steps[0].value.forecast - mean for each in same)
    assert other == pytest.approx(2 * one)


def test_coverage_is_of_the_symbol() -> None:
    frame = two_symbols()["B"]
    sealed = scores(OF_B[1], frame, len(frame))
    adapted = adapt(np.append(scores_of("B"), sealed), 0.8)
    coverage = forecast(made(opened=True), frame, "B", 0.8).coverage
    assert coverage is not None
    assert coverage.bars == 20
    inside = (adapted.low[60:80] <= sealed) & (sealed <= adapted.high[60:80])
    assert coverage.share == inside.mean()


def test_a_symbol_that_was_never_seen_is_scaled_by_its_own_past() -> None:
    exported, frame = made(), bars(80) * 3
    frame["high"] *= 1.01
    found = forecast(exported, frame, "NEW", 0.9)
    spread = np.log(np.log(frame["high"].to_numpy() / frame["low"].to_numpy()))
    targets, read = spread[LOOKBACK:], spread[:-1]
    own = Scaler(read.mean(keepdims=True), read.std(keepdims=True), targets.mean(), targets.std())
    as_if = made()
    as_if.scalers["NEW"] = own
    assert found.steps[0].value.forecast == pytest.approx(
        forecast(as_if, frame, "NEW", 0.9).steps[0].value.forecast
    )
    assert (found.is_seen, found.residuals, found.coverage) == (False, 120, None)
    # Errors in units of the recent deviation of their symbol, times that of its own.
    pooled = np.concatenate([scores_of(s) for s in ERRORS]) * deviation(frame).iloc[-1]
    assert half_widths(found) == pytest.approx(residual_interval(pooled, 0.9))
    (warning,) = found.warnings
    assert warning.startswith("no score vouches for it: the model was trained on NA and B")


@pytest.mark.parametrize("bars_", [LOOKBACK + 49, LOOKBACK + 50])
def test_a_symbol_that_was_never_seen_needs_targets_for_its_scaler(bars_: int) -> None:
    if bars_ == LOOKBACK + 50:
        assert not forecast(made(), bars(bars_), "NEW", 0.9).is_seen
    else:
        words = f"at least {LOOKBACK + 50} bars to fit one, but have {bars_}: .* 50 targets"
        with pytest.raises(ForecastError, match=words):
            forecast(made(), bars(bars_), "NEW", 0.9)


def test_bars_of_an_unseen_symbol_change_no_forecast_of_the_others() -> None:
    exported, frames = made(), two_symbols()
    alone = predict_each(exported, frames, 1, 0.9, TODAY).made
    beside = predict_each(exported, {"NEW": bars(70) * 5, **frames}, 1, 0.9, TODAY).made
    assert beside[1:] == alone


def test_a_symbol_of_which_the_export_has_no_target_is_measured_on_its_own_bars() -> None:
    new, old = made(), made()
    new.prices["LATE"] = bars(1, "2020-05-19")
    assert new.targets["LATE"].tolist() == pytest.approx([math.nan], nan_ok=True)
    found, expected = (forecast(one, bars(80) * 3, "LATE", 0.9) for one in (new, old))
    assert half_widths(found) == half_widths(expected)


def test_too_few_errors_of_a_symbol_are_replaced_by_those_of_all() -> None:
    exported = made(forecasts=basket_table({"NA": RESIDUALS, "B": OF_B[0][:5]}))
    found = forecast(exported, two_symbols()["B"], "B", 0.9)
    assert (found.is_seen, found.has_own_residuals, found.residuals) == (True, False, 65)


def test_a_symbol_that_cannot_be_forecast_is_named_and_the_others_are() -> None:
    frames = {"SHORT": bars(10), **two_symbols()}
    found = predict_each(made(), frames, 1, 0.9, TODAY)
    assert [one.symbol for one in found.made] == ["NA", "B"]
    assert list(found.causes) == ["SHORT"]
    values = found.to_json()
    assert [one["symbol"] for one in values["symbols"]] == ["NA", "B"]
    assert values["unit"] == "log of the high-low log range"
    assert "no scaler for these prices" in values["not_forecast"]["SHORT"]
    with pytest.raises(ForecastError, match="at least 54 bars"):
        predict_each(made(), {"SHORT": bars(10)}, 1, 0.9, TODAY)


def test_a_mean_over_other_symbols_gives_a_warning() -> None:
    features = ("range", "market_return")
    values = basket_values(features)
    exported = Exported(Path("own"), basket_files(values), ExportRecord.of(values))
    frames = {s: f.assign(**{"market:return": 0.0}) for s, f in two_symbols().items()}
    assert predict_each(exported, frames, 1, 0.9, TODAY).warnings == ()
    (warning,) = predict_each(exported, {"NA": frames["NA"]}, 1, 0.9, TODAY).warnings
    assert warning == (
        "market_return is here the mean over NA, but the model learned it with B; give these too"
    )


def test_warnings_compare_a_symbol_with_its_own_prices() -> None:
    exported, frames = made(), two_symbols()
    for symbol, other in (("NA", "B"), ("B", "NA")):
        assert forecast(exported, frames[symbol], symbol, 0.9).warnings == ()
        (warning,) = forecast(exported, frames[other], symbol, 0.9).warnings
        assert warning.startswith(f"the closes are not those of {symbol} in the export")
