"""The verdict is read once: what was forecast, how it compares, what it made, whether by luck."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.evaluation.backtest import backtest
from puffin.models.evaluation.forecast_tests import MeanTest
from puffin.models.evaluation.sharpe import DeflatedSharpe
from puffin.models.features import TARGETS
from puffin.studies.openings import Opening, before
from puffin.studies.report.baselines import BaselineResult, HoldoutComparison
from puffin.studies.report.build import untradable
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.report.verdict import money_sentence, outcome_sentence, sentences
from puffin.studies.sections import DataSection

DAYS = pd.bdate_range("2012-03-01", periods=20)
APPLE = DataSection(symbol="AAPL", target="range")


def mean_test(p_better: float) -> MeanTest:
    statistic = float("nan") if math.isnan(p_better) else 1.0
    return MeanTest(0.1, statistic, p_better, min(1.0, 2 * p_better), 0, 20)


def baseline(name: str, label: str, loss: float, p_better: float = 0.5) -> BaselineResult:
    points = np.full(20, loss)
    return BaselineResult(name, label, points, points, points, None, 0.0, mean_test(p_better), None)


RIDGE = baseline("ridge", "ridge, alpha 100", 1.0)
BARS = "on the 20 bars kept out of the search (2012-03-01 to 2012-03-28)"


@pytest.mark.parametrize(
    ("target", "horizon", "words"),
    [
        ("return", 1, "the return of AAPL over the next bar"),
        ("return", 5, "the return of AAPL over the next 5 bars"),
        ("change", 1, "the change in price of AAPL over the next bar"),
        ("price", 1, "the price of AAPL one bar ahead"),
        ("price", 2, "the price of AAPL 2 bars ahead"),
        ("range", 1, "the high-low range of AAPL one bar ahead"),
        ("range", 10, "the high-low range of AAPL 10 bars ahead"),
    ],
)
def test_a_target_is_named_in_words(target: str, horizon: int, words: str) -> None:
    data = DataSection(symbol="AAPL", target=target, horizon=horizon)
    assert target_in_words(data, series_name(data)) == words


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_its_words(target: str) -> None:
    assert target_in_words(DataSection(symbol="X", target=target), "X").count(" of X") == 1


def test_a_file_cannot_steer_a_terminal_by_its_name() -> None:
    data = DataSection(source="csv", path="a\u202eb\udcff.csv")
    assert series_name(data) == r"a\u202eb\udcff.csv"


@pytest.mark.parametrize("path", ["brent.csv", "/data/x/brent.csv", r"C:\data\brent.csv"])
def test_a_file_is_named_without_its_folder(path: str) -> None:
    assert series_name(DataSection(source="csv", path=path)) == "brent.csv"


@pytest.mark.parametrize(
    ("loss", "p_better", "words"),
    [
        (0.884, 0.003, "Better: forecasts of the high-low range of AAPL one bar ahead had 11.6 % "),
        (0.884, 0.003, " less error than a linear regression (ridge, alpha 100), the best simple "),
        (0.884, 0.003, f"model of the search, {BARS}; chance alone gives such a difference in "),
        (0.884, 0.003, "such a difference in 0.3 % of cases."),
        (0.884, 0.0004, "such a difference in fewer than 0.1 % of cases."),
        (
            0.962,
            0.13,
            "Undecided: forecasts of the high-low range of AAPL one bar ahead had 3.8 % ",
        ),
        (
            0.962,
            0.13,
            "in 13.0 % of cases, too often to decide, and a true lead below 8.3 % would ",
        ),
        (0.962, 0.05, "in 5.0 % of cases, too often to decide"),
        (1.002, 0.6, "Undecided: forecasts of the high-low range of AAPL one bar ahead had 0.2 % "),
        (1.002, 0.6, "more error than a linear regression (ridge, alpha 100), "),
        (1.002, 0.6, "in 40.0 % of cases, too often to decide"),
        (1.0, math.nan, "had the same error as a linear regression (ridge, alpha 100), "),
        (1.0, math.nan, "the differences are all alike, so no test can tell whether that is chan"),
        (1.191, 0.999, "Worse: forecasts of the high-low range of AAPL one bar ahead had 19.1 % "),
        (1.191, 0.999, "such a difference in 0.1 % of cases."),
        (31.2, 1.0, "had 31 times the error of a linear regression (ridge, alpha 100), "),
    ],
)
def test_the_first_sentence_says_what_was_forecast_and_how_sure_the_comparison_is(
    loss: float, p_better: float, words: str
) -> None:
    found = HoldoutComparison(loss, [replace(RIDGE, diebold_mariano=mean_test(p_better))], 0.083)
    assert words in outcome_sentence(found, DAYS, APPLE)


def test_a_lead_on_the_best_of_the_search_is_undecided_beside_another_that_is_lower() -> None:
    first = replace(RIDGE, diebold_mariano=mean_test(0.01))
    found = HoldoutComparison(0.95, [first, baseline("persistence", "persistence", 0.9)], 0.083)
    said = outcome_sentence(found, DAYS, APPLE)
    assert said.startswith("Undecided: ")
    assert said.endswith(
        "; chance alone gives such a difference in 1.0 % of cases, but persistence (no change), "
        "another simple model, had still less error there."
    )


@pytest.mark.parametrize(
    ("detectable", "words"),
    [
        (0.083, ", and a true lead below 8.3 % would be missed on so few bars more often than one"),
        (1.4, ", and so few bars would often not show even the best of forecasts."),
        (math.nan, "too often to decide."),
    ],
)
def test_what_so_few_bars_would_miss_is_said(detectable: float, words: str) -> None:
    found = HoldoutComparison(0.97, [replace(RIDGE, diebold_mariano=mean_test(0.2))], detectable)
    assert words in outcome_sentence(found, DAYS, APPLE)


def trade(forecast: list[float]) -> Any:
    """Trade on forecasts of the next price of a series that rises by 1 % a bar."""
    closes = 100 * 1.01 ** np.arange(len(forecast) + 1)
    return backtest(
        closes,
        np.append(np.nan, closes[:-1] * (1 + np.array(forecast))),
        threshold=0.0,
        cost_bps=1.0,
        slippage_bps=1.0,
        bars_per_year=252.0,
    )


def test_the_second_sentence_says_what_trading_made_and_when_it_is_buy_and_hold() -> None:
    always, never, once = (trade(f) for f in ([0.01] * 4, [-0.01] * 4, [-0.01, 0.01, 0.01, -0.01]))
    hold = "+4.0 %"  # 1.01^4 - 1, less 2 basis points
    assert money_sentence(always, None) == (
        f"It always forecast a rise, so trading on it is buy-and-hold: {hold} after costs."
    )
    assert money_sentence(never, None) == (
        "It never forecast a rise, so trading on it would have meant to stay out of the market, "
        f"while buy-and-hold made {hold}."
    )
    assert money_sentence(once, None) == (
        "Trading on it, in the market only while it forecast a rise, would have made +2.0 % after "
        f"costs (2 trades, 2 basis points each), and buy-and-hold {hold}."
    )


def test_what_cannot_be_traded_is_said_in_plain_words() -> None:
    dataset = SimpleNamespace(spec=SimpleNamespace(data=APPLE), series=SimpleNamespace(horizon=1))
    why = untradable(dataset)
    assert money_sentence(None, why) == (
        "There is no backtest of trading: a range cannot be bought."
    )


def luck(**changes: Any) -> str:
    """Return the third sentence of a report of which only that matters."""
    own = Opening("own", "0", "mine", "a", "2026-01-03", 4, {})
    values = {
        "comparison": HoldoutComparison(1.0, [RIDGE], 0.1),
        "dates": DAYS,
        "subject": SimpleNamespace(spec=SimpleNamespace(data=APPLE)),
        "backtest": None,
        "no_backtest": "a range cannot be bought",
        "study": "mine",
        "winner": 4,
        "opened_for": {4: "own"},
        "looks": [own],
        "overfitting": SimpleNamespace(probability=0.04, chance_level=0.5),
        "no_overfitting": None,
        "deflated_sharpe": None,
    } | changes
    found = SimpleNamespace(**values)
    found.looks_before = before(values["looks"], "own")
    return sentences(found)[2]


@pytest.mark.parametrize(
    ("probability", "risk"),
    [
        (0.0, "low (a probability of overfitting of 0 %, where 50 % is pure luck)"),
        (0.05, "moderate (a probability of overfitting of 5 %"),
        (0.249, "moderate (a probability of overfitting of 25 %"),
        (0.25, "high (a probability of overfitting of 25 %"),
        (0.5, "high (a probability of overfitting of 50 %"),
    ],
)
def test_the_third_sentence_says_whether_the_search_was_lucky(
    probability: float, risk: str
) -> None:
    said = luck(overfitting=SimpleNamespace(probability=probability, chance_level=0.5))
    assert said.startswith(f"The risk that the search only picked a lucky configuration is {risk}")
    assert said.endswith("; nobody had looked at these bars before.")


def test_luck_that_cannot_be_measured_is_said_with_the_reason() -> None:
    said = luck(overfitting=None, no_overfitting="it needs 6 networks, and there are 3")
    assert said == (
        "Whether the search only picked a lucky configuration cannot be said: the probability of "
        "overfitting is not known, as it needs 6 networks, and there are 3; nobody had looked at "
        "these bars before."
    )


def test_the_deflated_sharpe_ratio_is_said_in_words_where_there_is_one() -> None:
    found = DeflatedSharpe(
        **dict.fromkeys(DeflatedSharpe.__dataclass_fields__, 0)
        | {"probability": 0.789, "trials": 12}
    )
    words = (
        "with a probability of 79 % its Sharpe ratio in the search is more than the luckiest of "
        "12 trials without skill would get (rising prices alone can do that);"
    )
    assert words in luck(deflated_sharpe=found)
    assert "Sharpe" not in luck(deflated_sharpe=replace(found, probability=math.nan))


def test_earlier_looks_are_said_with_whose_they_were_and_later_ones_are_not() -> None:
    def look(opening_id: str, study: str, trial: int = 0) -> Opening:
        return Opening(opening_id, "0", study, "b", "2026-01-01", trial, {})

    own = look("own", "mine", 4)
    assert "nobody had looked" in luck(looks=[own, look("later", "two")])
    said = luck(looks=[look("1", "one"), look("2", "two"), look("3", "two"), own])
    assert "these bars had been looked at 3 times before, by study one and study two, so" in said
    said = luck(looks=[look("1", "mine"), own])
    assert "looked at once before, by an earlier study of this name, so the result is" in said
    said = luck(looks=[look("1", "mine", 3), own], opened_for={3: "1", 4: "own"})
    assert "looked at once before, by this study for trial 3, so the result is not" in said
