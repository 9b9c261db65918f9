"""Features, targets, scalers and windows, worked out by hand on six bars."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.models.errors import PuffinError
from puffin.models.features import FEATURES, TARGETS, Series, build_series
from puffin.models.folds import Fold, Span
from puffin.models.scaling import Scaler
from puffin.models.windows import FoldTensors, fold_tensors, make_windows
from tests.folds import part_of

CPU = torch.device("cpu")
NAN = math.nan
LOW = np.array([90.0, 100.0, 95.0, 98.0, 150.0, 80.0])
# Log ranges 2 %, 4 %, none, half a basis point, 10 % and 20 %.
SPREAD = np.array([0.02, 0.04, 0.0, 0.00005, 0.1, 0.2])
COLUMNS = {
    "close": np.array([100.0, 110.0, 99.0, 99.0, 198.0, 99.0]),
    "high": LOW * np.exp(SPREAD),
    "low": LOW,
    "volume": np.array([0.0, 9.0, 99.0, 99.0, 0.0, 999.0]),
}
# Longer than every warm-up; Monday is bar 0.
LONG_CLOSE = 100 * np.exp(np.random.default_rng(0).normal(0, 0.02, 60).cumsum())
LONG = {
    "close": LONG_CLOSE,
    "high": LONG_CLOSE * 1.01,
    "low": LONG_CLOSE * 0.98,
    "volume": np.arange(60.0),
    "weekday": np.arange(60) % 7.0,
    "market:return": np.full(60, 0.01),
    "market:volatility": np.full(60, -4.0),
    "extra": LONG_CLOSE[:, None] * [1.0, 3.0],
}
BASIS_POINT = math.log(1e-4)
RANGE = [math.log(0.02), math.log(0.04), BASIS_POINT, BASIS_POINT, math.log(0.1), math.log(0.2)]
RETURN = [NAN, math.log(1.1), math.log(0.9), 0.0, math.log(2), math.log(0.5)]
# Absolute log returns by 11/10, 9/10 and 2.
L11, L9, L2 = math.log(1.1), -math.log(0.9), math.log(2)


def rms(*values: float) -> float:
    """Return the log of the root mean square of two values."""
    return math.log(math.sqrt(sum(v * v for v in values) / 2))


def close_to(expected: list[float]) -> object:
    return pytest.approx(expected, abs=1e-10, nan_ok=True)


@pytest.mark.parametrize(
    ("feature", "warmup", "expected"),
    [
        ("return", 1, RETURN),
        ("range", 0, RANGE),
        # One plus the volume is 1, 10, 100, 100, 1, 1000.
        ("volume", 1, [NAN, *(k * math.log(10) for k in (1, 1, 0, -2, 3))]),
        ("price", 0, [100, 110, 99, 99, 198, 99]),
    ],
)
def test_a_feature_is_what_is_worked_out_by_hand(
    feature: str, warmup: int, expected: list[float]
) -> None:
    series = build_series(COLUMNS, [feature], "return")
    assert series.features.shape == (6, 1)
    assert series.features[:, 0].tolist() == close_to(expected)
    assert series.warmup == warmup


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_is_nan_in_its_warm_up_and_finite_after_it(
    feature: str,
) -> None:
    series = build_series(LONG, [feature], "return")
    assert np.isnan(series.features[: series.warmup]).all()
    assert np.isfinite(series.features[series.warmup :]).all()
    assert series.warmup < 60


def test_the_distance_from_the_average_and_the_volatility_are_those_of_pandas() -> None:
    close = pd.Series(LONG_CLOSE)
    series = build_series(LONG, ["ma_distance", "realised_volatility"], "return")
    assert series.features[19:, 0] == pytest.approx(np.log(close / close.rolling(20).mean())[19:])
    squares = pd.Series(np.log(close)).diff().pow(2)
    assert series.features[20:, 1] == pytest.approx(np.log(squares.rolling(20).mean() ** 0.5)[20:])


def test_the_relative_strength_index_is_that_of_a_published_example() -> None:
    # StockCharts' ChartSchool, "Relative Strength Index (RSI)": its table of 33 closes.
    closes = """44.3389 44.0902 44.1497 43.6124 44.3278 44.8264 45.0955 45.4245 45.8433 46.0826
        45.8931 46.0328 45.6140 46.2820 46.2820 46.0028 46.0328 46.4116 46.2222 45.6439 46.2122
        46.2521 45.7137 46.4515 45.7835 45.3548 44.0288 44.1783 44.2181 44.5672 43.4205 42.6628
        43.1314"""
    expected = """70.53 66.32 66.55 69.41 66.36 57.97 62.93 63.26 56.06 62.38 54.71 50.42 39.99
        41.46 41.87 45.46 37.30 33.08 37.77"""
    found = FEATURES["rsi"].compute({"close": np.array(closes.split(), dtype=float)})
    assert np.isnan(found[:14]).all()
    assert found[14:] == pytest.approx(np.array(expected.split(), dtype=float), abs=0.006)


def test_relative_strength_is_50_without_moves_and_100_without_falls() -> None:
    rsi = FEATURES["rsi"].compute
    assert rsi({"close": np.full(20, 7.0)})[14:].tolist() == [50.0] * 6
    assert rsi({"close": np.arange(1.0, 21.0)})[14:].tolist() == [100.0] * 6
    assert rsi({"close": np.arange(21.0, 1.0, -1)})[14:].tolist() == [0.0] * 6
    assert np.isnan(rsi({"close": np.arange(1.0, 14.0)})).all()


def test_days_of_the_week_lie_on_a_circle() -> None:
    series = build_series(LONG, ["weekday_sin", "weekday_cos"], "return")
    assert series.features[0].tolist() == [0.0, 1.0]
    assert series.features[7] == pytest.approx(series.features[0])
    steps = np.linalg.norm(np.diff(series.features, axis=0), axis=1)
    assert steps == pytest.approx(np.full(59, 2 * math.sin(math.pi / 7)))


def test_each_extra_series_is_an_input_of_its_own() -> None:
    series = build_series(LONG, ["return", "extra", "extra_level"], "return")
    assert series.features.shape == (60, 5)
    assert series.features[1:, 1] == pytest.approx(series.features[1:, 0])
    assert series.features[1:, 2] == pytest.approx(series.features[1:, 0])
    assert series.features[:, 3] == pytest.approx(np.log(LONG_CLOSE))
    assert series.features[:, 4] == pytest.approx(np.log(LONG_CLOSE) + math.log(3))


def test_features_keep_their_order_and_the_longest_warm_up() -> None:
    series = build_series(COLUMNS, ["price", "return", "range"], "range")
    assert series.features.shape == (6, 3)
    assert series.features[1].tolist() == close_to([110, RETURN[1], RANGE[1]])
    assert series.warmup == 1
    assert build_series(COLUMNS, ["price", "range"], "range").warmup == 0


@pytest.mark.parametrize(
    ("target", "horizon", "expected", "persistence"),
    [
        ("return", 1, RETURN, [NAN, 0, 0, 0, 0, 0]),
        # Over three bars: 99/100, 198/110, 99/99.
        (
            "return",
            3,
            [NAN, NAN, NAN, math.log(0.99), math.log(1.8), 0.0],
            [NAN, NAN, NAN, 0, 0, 0],
        ),
        ("range", 1, [NAN, *RANGE[1:]], [NAN, *RANGE[:5]]),
        ("range", 3, [NAN, NAN, NAN, *RANGE[3:]], [NAN, NAN, NAN, *RANGE[:3]]),
        # A bar without a return before it has the floor, and so has one that does not move.
        (
            "volatility",
            1,
            [NAN, *(math.log(r) for r in (L11, L9)), BASIS_POINT, math.log(L2), math.log(L2)],
            [NAN, BASIS_POINT, math.log(L11), math.log(L9), BASIS_POINT, math.log(L2)],
        ),
        (
            "volatility",
            2,
            [
                NAN,
                NAN,
                rms(L11, L9),
                rms(L9, 0.0),
                rms(0.0, L2),
                rms(L2, L2),
            ],
            [NAN, NAN, BASIS_POINT, math.log(L11), rms(L11, L9), rms(L9, 0.0)],
        ),
        ("price", 1, [NAN, 110, 99, 99, 198, 99], [NAN, 100, 110, 99, 99, 198]),
        ("price", 3, [NAN, NAN, NAN, 99, 198, 99], [NAN, NAN, NAN, 100, 110, 99]),
    ],
)
def test_a_target_and_its_persistence_are_what_is_worked_out_by_hand(
    target: str, horizon: int, expected: list[float], persistence: list[float]
) -> None:
    series = build_series(COLUMNS, ["return"], target, horizon)
    assert series.target.tolist() == close_to(expected)
    assert series.persistence.tolist() == close_to(persistence)
    assert series.horizon == horizon


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_every_target_starts_after_its_horizon_and_so_does_its_persistence(
    target: str, horizon: int
) -> None:
    series = build_series(COLUMNS, ["return"], target, horizon)
    for values in (series.target, series.persistence):
        assert np.isnan(values[:horizon]).all()
        assert np.isfinite(values[horizon:]).all()


@pytest.mark.parametrize("target", TARGETS)
def test_every_persistence_is_exact_if_prices_are_constant(target: str) -> None:
    still = {name: np.full(6, values[1]) for name, values in COLUMNS.items()}
    series = build_series(still, ["return"], target, 2)
    assert series.target[2:].tolist() == series.persistence[2:].tolist()


def test_bars_without_range_or_volume_give_finite_features() -> None:
    still = {name: np.full(6, 50.0) for name in ("close", "high", "low")}
    chosen = ["return", "range", "volume", "price"]
    series = build_series(still | {"volume": np.zeros(6)}, chosen, "range")
    assert series.features[1].tolist() == close_to([0.0, BASIS_POINT, 0.0, 50.0])
    assert np.isfinite(series.features[1:]).all()
    assert np.isfinite(series.target[1:]).all()


@pytest.mark.parametrize(
    ("kept", "features", "target", "parts"),
    [
        (
            ["close"],
            ["return", "range", "volume"],
            "return",
            ["data.features 'range' needs high and low", "data.features 'volume' needs volume"],
        ),
        (["close"], ["return"], "range", ["data.target 'range' needs high and low"]),
        (["high", "low"], ["range"], "price", ["data.target 'price' needs close"]),
        (["close", "high"], ["range"], "return", ["data.features 'range' needs high and low"]),
    ],
)
def test_missing_columns_are_named_with_the_features_that_need_them(
    kept: list[str], features: list[str], target: str, parts: list[str]
) -> None:
    with pytest.raises(PuffinError) as caught:
        build_series({name: COLUMNS[name] for name in kept}, features, target)
    message = str(caught.value)
    assert message == (
        f"{'; '.join(parts)}, but the prices have only {', '.join(kept)}: "
        "add the columns, or leave these features and this target out"
    )


# Windows


def numbered(bars: int, warmup: int = 0, horizon: int = 1) -> Series:
    """A series whose one feature is the bar's number, and whose target is 1000 and that."""
    number = np.arange(float(bars))
    feature = np.where(number < warmup, NAN, number)[:, None]
    target = np.where(number < horizon, NAN, 1000 + number)
    return Series(feature, target, target - 1, warmup, horizon)


def unscaled(series: Series, fold: Fold, lookback: int) -> FoldTensors:
    width = series.features.shape[1]
    scaler = Scaler(np.zeros(width), np.ones(width), 0, 1)
    return fold_tensors([part_of(series, fold, scaler)], lookback, CPU)


def test_windows_are_views_of_the_rows() -> None:
    rows = torch.arange(10.0).reshape(5, 2)
    windows = make_windows(rows, 3)
    assert windows.tolist() == [rows[i : i + 3].tolist() for i in range(3)]
    assert windows.data_ptr() == rows.data_ptr()
    assert windows[2].data_ptr() == rows[2].data_ptr()
    rows[2, 1] = -1.0
    assert [window[:, 1].tolist() for window in windows] == [[1, 3, -1], [3, -1, 7], [-1, 7, 9]]


def test_the_windows_of_a_fold_share_one_copy_of_the_bars() -> None:
    tensors = unscaled(numbered(100, warmup=1), Fold(Span(20, 60), Span(60, 90)), 10)
    assert tensors.train.rows is tensors.valid.rows
    for windows in (tensors.train, tensors.valid):
        assert windows.view().data_ptr() == tensors.train.rows.data_ptr()
        assert windows.view(4).data_ptr() == tensors.train.rows.data_ptr()
    assert tensors.train.rows.untyped_storage().nbytes() == 100 * 4
    # Target 60 stands 40 targets behind target 20, and so do their windows.
    assert tensors.valid.starts[0] - tensors.train.starts[0] == 40


@pytest.mark.parametrize("lookback", [1, 2, 5])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_the_window_of_a_target_ends_a_horizon_before_it(
    lookback: int, horizon: int, warmup: int
) -> None:
    # From the first target there is to the last bar.
    fold = Fold(Span(lookback + warmup + horizon - 1, 17), Span(20, 30))
    tensors = unscaled(numbered(30, warmup, horizon), fold, lookback)
    for span, windows, targets in (
        (fold.train, tensors.train.inputs, tensors.train.outputs),
        (fold.valid, tensors.valid.inputs, tensors.valid.outputs),
    ):
        times = range(span.start, span.stop)
        ends = [t - horizon for t in times]
        assert windows[:, :, 0].tolist() == [list(range(e - lookback + 1, e + 1)) for e in ends]
        assert targets.tolist() == [[1000 + t] for t in times]
    assert [bars.tolist() for bars in tensors.valid_bars] == [list(range(20, 30))]


def test_every_lookback_has_the_same_targets() -> None:
    rng = np.random.default_rng(0)
    columns = {"close": 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 60)))}
    series = build_series(columns, ["return", "price"], "return", horizon=2)
    fold = Fold(Span(12, 40), Span(41, 60))
    scaler = Scaler.fit(series, fold.train, max_lookback=10)
    longest = fold_tensors([part_of(series, fold, scaler)], 10, CPU)
    for lookback in (1, 4, 9):
        tensors = fold_tensors([part_of(series, fold, scaler)], lookback, CPU)
        assert torch.equal(tensors.train.outputs, longest.train.outputs)
        assert torch.equal(tensors.valid.outputs, longest.valid.outputs)
        assert torch.equal(tensors.train.inputs, longest.train.inputs[:, -lookback:])
        assert torch.equal(tensors.valid.inputs, longest.valid.inputs[:, -lookback:])


def test_a_fold_standardises_features_and_targets_separately() -> None:
    # Features 10, 20, 30, ... and 5, 5, 5, ...; targets 2, 4, 6, ...
    number = np.arange(8.0)
    series = Series(
        np.column_stack([10 + 10 * number, np.full(8, 5.0)]), 2 + 2 * number, number, 0, 1
    )
    scaler = Scaler(np.array([20.0, 4.0]), np.array([10.0, 2.0]), 6.0, 4.0)
    tensors = fold_tensors([part_of(series, Fold(Span(2, 4), Span(4, 6)), scaler)], 2, CPU)
    assert tensors.train.inputs.tolist() == [
        [[-1.0, 0.5], [0.0, 0.5]],
        [[0.0, 0.5], [1.0, 0.5]],
    ]
    assert tensors.train.outputs.tolist() == [[0.0], [0.5]]
    assert tensors.valid.outputs.tolist() == [[1.0], [1.5]]
    assert tensors.train.inputs.dtype == tensors.train.outputs.dtype == torch.float32


# Scalers


@pytest.mark.parametrize(
    ("horizon", "lookback", "rows"),
    [
        (1, 1, [4, 5, 6]),  # the windows of targets 5, 6, 7 are bars 4, 5, 6
        (1, 3, [2, 3, 4, 5, 6]),
        (3, 1, [2, 3, 4]),
        (2, 4, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_scaler_is_fitted_on_training_targets_and_bars_of_their_windows(
    horizon: int, lookback: int, rows: list[int]
) -> None:
    first = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0])
    features = np.column_stack([first, first**2])
    target = np.array([NAN, 7.0, 1.0, 8.0, 2.0, 3.0, 6.0, 9.0, 100.0, 100.0])
    series = Series(features, target, target, 0, horizon)
    scaler = Scaler.fit(series, Span(5, 8), lookback)
    for column in (0, 1):
        values = [features[row, column] for row in rows]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / len(values)
        assert scaler.feature_mean[column] == pytest.approx(mean)
        assert scaler.feature_std[column] == pytest.approx(math.sqrt(variance))
    # Targets 3, 6, 9: mean 6, variance (9 + 0 + 9) / 3.
    assert scaler.target_mean == 6
    assert scaler.target_std == pytest.approx(math.sqrt(6))


def test_constant_columns_have_a_standard_deviation_of_one() -> None:
    features = np.column_stack([np.full(10, 2.0), np.arange(10.0)])
    series = Series(features, np.full(10, 0.5), np.zeros(10), 0, 1)
    scaler = Scaler.fit(series, Span(3, 10), 2)
    assert scaler.feature_mean.tolist() == [2.0, 4.5]
    assert scaler.feature_std.tolist() == pytest.approx([1.0, math.sqrt(63 / 12)])
    assert (scaler.target_mean, scaler.target_std) == (0.5, 1.0)


def test_unscaling_reverses_scaling() -> None:
    scaler = Scaler(np.zeros(1), np.ones(1), target_mean=3.0, target_std=2.0)
    values = np.array([[3.0, 5.0], [0.0, -1.0]])
    assert scaler.scale_target(values).tolist() == [[0.0, 1.0], [-1.5, -2.0]]
    assert scaler.unscale_target(np.array([0.0, 1.0, -1.5])).tolist() == [3.0, 5.0, 0.0]


@pytest.mark.parametrize("value", [0.1, 33.3, -9.210340371976184])
def test_a_constant_series_of_any_level_has_a_standard_deviation_of_one(value: float) -> None:
    series = Series(np.full((300, 2), value), np.full(300, value), np.zeros(300), 0, 1)
    scaler = Scaler.fit(series, Span(25, 250), 20)
    assert scaler.feature_std.tolist() == [1.0, 1.0]
    assert scaler.target_std == 1.0


def test_a_small_spread_about_a_high_level_counts() -> None:
    series = Series(
        (1e6 + np.arange(300.0) % 2)[:, None], 1e6 + np.arange(300.0) % 2, np.zeros(300), 0, 1
    )
    assert Scaler.fit(series, Span(20, 250), 20).target_std == pytest.approx(0.5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("horizon", [7, 10])
def test_a_series_shorter_than_its_horizon_has_no_target(target: str, horizon: int) -> None:
    columns = {k: np.arange(1.0, 7.0) for k in ("close", "high", "low")}
    series = build_series(columns, ["return"], target, horizon)
    assert np.isnan(series.target).all()
    assert np.isnan(series.persistence).all()


def test_a_lookback_longer_than_the_reserved_one_is_refused() -> None:
    series = Series(np.zeros((60, 1)), np.zeros(60), np.zeros(60), 0, 1)
    fold = Fold(Span(7, 40), Span(40, 60))
    scaler = Scaler.fit(series, fold.train, 7)
    with pytest.raises(
        ValueError,
        match="lookback 10 needs 10 bars before the first target, but there are 7: use a shorter",
    ):
        fold_tensors([part_of(series, fold, scaler)], 10, CPU)
