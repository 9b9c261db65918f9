"""Prices that are newest first, repeated or of other dates are refused, never read backwards."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.estimators.loops import create_dataloaders
from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.estimators.univariate import TradingGRU, TradingLSTM
from puffin.models.evaluation.backtest import backtest
from puffin.models.evaluation.direction import pesaran_timmermann
from puffin.models.evaluation.forecast_tests import clark_west
from puffin.models.evaluation.long_run import long_run_test
from puffin.models.evaluation.mcs import mcs
from puffin.models.evaluation.metrics import score
from puffin.models.evaluation.selection import overfitting
from puffin.models.evaluation.sharpe import deflated_sharpe
from puffin.models.evaluation.spa import spa
from puffin.models.evaluation.walk_forward import evaluate

BARS = 60
DAYS = pd.bdate_range("2024-01-01", periods=BARS)
PRICES = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.02, BARS)))
CLOSE = pd.Series(PRICES, DAYS)
FRAME = pd.DataFrame({"a": PRICES, "b": PRICES[::-1], "t": np.sin(np.arange(BARS))}, DAYS)

lstm = TradingLSTM(hidden_dim=2, num_layers=1, verbose=False)
gru = TradingGRU(hidden_dim=2, num_layers=1, verbose=False)
many = MultivariateLSTM(verbose=False)
lstm.fit(PRICES, lookback=5, epochs=0)
many.fit(FRAME, "t", lookback=5, epochs=0, hidden_dims=[2])

# Each reads the rows of one pandas object, whatever they are called in its message.
OF_SERIES: dict[str, Callable[[Any], Any]] = {
    "fit": lambda s: gru.fit(s, lookback=5, epochs=0),
    "predict": lstm.predict,
    "historical_forecasts": lstm.historical_forecasts,
    "prepare_sequences": lambda s: lstm.prepare_sequences(s, 5),
    "evaluate": lambda s: evaluate(lstm, s, 50, lookback=5, epochs=0),
    "evaluate, persistence": lambda s: evaluate(lstm, PRICES, 50, None, s, lookback=5, epochs=0),
    "backtest, prices": lambda s: backtest(s, PRICES),
    "backtest, forecasts": lambda s: backtest(PRICES, s),
    "score, forecast": lambda s: score(s, PRICES, PRICES),
    "score, actual": lambda s: score(PRICES, s, PRICES),
    "score, persistence": lambda s: score(PRICES, PRICES, s),
    "long_run_test": long_run_test,
    "clark_west": lambda s: clark_west(s, PRICES + 1, PRICES),
    "pesaran_timmermann": lambda s: pesaran_timmermann(PRICES, s, PRICES),
    "spa": lambda s: spa(s, PRICES[:, None] + 1),
    "deflated_sharpe": lambda s: deflated_sharpe(s, PRICES[:, None], 1),
    "create_dataloaders": lambda s: create_dataloaders(PRICES, s),
}
OF_FRAME: dict[str, Callable[[Any], Any]] = {
    "fit": lambda f: MultivariateGRU(verbose=False).fit(f, "t", 5, 0, hidden_dims=[2]),
    "predict": many.predict,
    "historical_forecasts": many.historical_forecasts,
    "prepare_sequences": lambda f: many.prepare_sequences(f, PRICES, 5),
    "overfitting": overfitting,
    "mcs": mcs,
    "spa": lambda f: spa(PRICES, f),
    "create_dataloaders": lambda f: create_dataloaders(f, PRICES),
}
CALLS = [
    *(pytest.param(call, CLOSE, id=f"{name} of a Series") for name, call in OF_SERIES.items()),
    *(pytest.param(call, FRAME, id=f"{name} of a DataFrame") for name, call in OF_FRAME.items()),
]


@pytest.mark.parametrize(("call", "rows"), CALLS)
def test_rows_newest_first_are_refused_everywhere(call: Callable[[Any], Any], rows: Any) -> None:
    call(rows)
    with pytest.raises(ValueError, match=r"oldest first, but its index is newest first, from 2024"):
        call(rows[::-1])
    call(rows[::-1].sort_index())


def relabelled(labels: Any) -> pd.Series:
    return pd.Series(PRICES, labels)


SHUFFLED = np.random.default_rng(1).permutation(BARS)
UNORDERED: dict[str, tuple[pd.Series, str]] = {
    "shuffled": (CLOSE.iloc[SHUFFLED], "its index is not in order, from "),
    "one bar out of place": (
        relabelled([*DAYS[1:3], DAYS[0], *DAYS[3:]]),
        ("its index is not in order, from 2024-01-02 to 2024-03-22: pass X.sort_index()"),
    ),
    "a day twice": (
        relabelled([DAYS[0], *DAYS[:-1]]),
        (
            "its index has 2024-01-01 2 times: keep one row for each time, for example "
            "X[~X.index.duplicated()].sort_index()"
        ),
    ),
    "two series one behind the other": (relabelled([*DAYS[:30], *DAYS[:30]]), "2 times: keep one"),
    "a time zone": (relabelled(DAYS[::-1].tz_localize("Asia/Tokyo")), "newest first, from 2024-03"),
    "months": (
        relabelled(pd.period_range("2020-01", periods=BARS, freq="M")[::-1]),
        "newest first, from 2024-12 to 2020-01",
    ),
    "days as objects": (relabelled(DAYS.date[::-1]), "newest first, from 2024-03-22 to 2024-01-01"),
    "days as whole numbers": (
        relabelled([int(f"{day:%Y%m%d}") for day in DAYS[::-1]]),
        "newest first, from 20240322 to 20240101",
    ),
    "Unix seconds": (relabelled(DAYS[::-1].as_unit("s").astype(np.int64)), "newest first, from 17"),
    "days as text": (
        relabelled(DAYS[::-1].strftime("%Y-%m-%d")),
        (
            "the labels of its index are text that is not ascending, from '2024-03-22' to "
            "'2024-01-01': make them dates with X.index = pd.to_datetime(X.index), then pass "
            "X.sort_index()"
        ),
    ),
    "days as text that hides their order": (
        relabelled([*pd.bdate_range("2023-12-01", periods=BARS).strftime("%m/%d/%Y")]),
        "make them dates with",
    ),
    "a day that is missing": (
        relabelled([pd.NaT, *DAYS[1:]]),
        "1 of its 60 index labels are missing: drop these rows",
    ),
}


@pytest.mark.parametrize("name", UNORDERED)
@pytest.mark.parametrize(
    ("variable", "call"),
    [("series", lstm.historical_forecasts), ("prices", lambda s: backtest(s, PRICES))],
)
def test_the_error_names_the_disorder_and_the_fix(
    name: str, variable: str, call: Callable[[Any], Any]
) -> None:
    rows, said = UNORDERED[name]
    start = f"{variable} must be in order of time, oldest first, but "
    with pytest.raises(ValueError, match=re.escape(start)) as caught:
        call(rows)
    assert said.replace("X", variable) in str(caught.value)


def test_a_table_of_several_symbols_is_no_series() -> None:
    levels = pd.MultiIndex.from_product([["AAPL", "IBM"], DAYS[:30]], names=["symbol", "date"])
    with pytest.raises(ValueError, match=r"must be of one symbol, but its index has the levels"):
        lstm.predict(relabelled(levels))
    with pytest.raises(ValueError, match=r"choose one symbol, for example features_df\.xs"):
        many.predict(FRAME.set_index(levels))


# Row numbers say nothing of the order: `frame[::-1]` of a file that is newest first is in order.
IN_ORDER: dict[str, Any] = {
    "row numbers": range(BARS),
    "row numbers of a file that was turned round": range(BARS - 1, -1, -1),
    "row numbers after a sort by another column": SHUFFLED,
    "row numbers of two files": [*range(30), *range(30)],
    "days": DAYS,
    "days with a gap and a zone": DAYS.tz_localize("America/New_York")
    .delete(7)
    .append(pd.DatetimeIndex(["2024-06-03"], tz="America/New_York")),
    "the hour that comes twice": pd.date_range(
        "2024-11-02", periods=BARS, freq="h", tz="America/New_York"
    ),
    "text": DAYS.strftime("%Y-%m-%d"),
    "quarters": pd.period_range("2000Q1", periods=BARS, freq="Q"),
}


@pytest.mark.parametrize("labels", IN_ORDER.values(), ids=IN_ORDER)
def test_ordered_rows_equal_the_same_array(labels: Any) -> None:
    np.testing.assert_array_equal(
        lstm.historical_forecasts(relabelled(labels)), lstm.historical_forecasts(PRICES)
    )
    expected = evaluate(lstm, PRICES, 50, lookback=5, epochs=0).scores
    assert evaluate(lstm, relabelled(labels), 50, lookback=5, epochs=0).scores == expected
    assert many.predict(FRAME.set_index(pd.Index(labels))) == many.predict(FRAME)
    same = backtest(relabelled(labels), relabelled(labels))
    assert same["trades"] == backtest(PRICES, PRICES)["trades"]


AHEAD = CLOSE * 1.01
LATER = pd.Series(PRICES, DAYS + pd.offsets.BDay(1))
PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "backtest": backtest,
    "score": lambda a, b: score(PRICES, a, b),
    "evaluate": lambda a, b: evaluate(lstm, a, 50, None, b, lookback=5, epochs=0),
    "clark_west": lambda a, b: clark_west(a, b + 1, PRICES),
    "pesaran_timmermann": lambda a, b: pesaran_timmermann(a, PRICES, b),
    "spa": lambda a, b: spa(a, b.to_frame() + 1),
    "deflated_sharpe": lambda a, b: deflated_sharpe(a, b.to_frame(), 1),
    "create_dataloaders": create_dataloaders,
    "create_dataloaders, no order": lambda a, b: create_dataloaders(a, b, chronological=False),
    "prepare_sequences": lambda a, b: many.prepare_sequences(a.to_frame(), b, 5),
}


@pytest.mark.parametrize("call", PAIRS.values(), ids=PAIRS)
def test_two_series_of_different_days_are_refused(call: Callable[[Any, Any], Any]) -> None:
    call(CLOSE, AHEAD)
    with pytest.raises(ValueError, match=r"must have the same index, but row 0 is 2024-01-01 of"):
        call(CLOSE, LATER)


def test_the_first_row_that_differs_is_named_with_the_fix() -> None:
    moved = pd.Series(PRICES, [*DAYS[:-1], pd.Timestamp("2024-06-03")])
    with pytest.raises(ValueError, match="same index") as caught:
        backtest(CLOSE, moved)
    assert str(caught.value) == (
        "prices and forecasts must have the same index, but row 59 is 2024-03-22 of prices and "
        "2024-06-03 of forecasts: pass forecasts.reindex(prices.index), or "
        "forecasts.to_numpy() if its rows are those of prices one by one"
    )


NUMBERED = pd.Series(PRICES)


@pytest.mark.parametrize(
    ("prices", "forecasts"),
    [
        (NUMBERED, NUMBERED[::-1]),
        (NUMBERED[::-1], NUMBERED),
        (NUMBERED, NUMBERED.set_axis(range(1, BARS + 1))),
        (CLOSE, NUMBERED[::-1]),
        (CLOSE, CLOSE.tz_localize("UTC")),
    ],
)
def test_rows_with_other_numbers_are_refused(prices: pd.Series, forecasts: pd.Series) -> None:
    with pytest.raises(ValueError, match="prices and forecasts must have the same index"):
        backtest(prices, forecasts)


@pytest.mark.parametrize(
    ("prices", "forecasts"),
    [(CLOSE, PRICES), (PRICES, CLOSE), (CLOSE, NUMBERED), (NUMBERED, CLOSE), (CLOSE, [*PRICES])],
)
def test_arrays_and_default_indexes_beside_dates_are_read_by_position(
    prices: Any, forecasts: Any
) -> None:
    assert backtest(prices, forecasts)["trades"] == backtest(PRICES, PRICES)["trades"]


def test_samples_without_an_order_are_accepted_in_any_order() -> None:
    train, _ = create_dataloaders(CLOSE[::-1], CLOSE[::-1], chronological=False)
    assert len(train.dataset) == 48
