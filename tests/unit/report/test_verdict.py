"""The verdict states the outcome, the return of trading on it, and the selection bias."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from puffin.models.evaluation.backtest import backtest
from puffin.models.evaluation.baselines import BASELINES
from puffin.models.evaluation.long_run import LongRunTest
from puffin.models.evaluation.pooled_baselines import POOLED
from puffin.models.evaluation.sharpe import DeflatedSharpe
from puffin.models.evaluation.volatility_timing import Fee
from puffin.models.features import TARGETS
from puffin.studies.openings import Opening, before
from puffin.studies.report.baselines import BaselineResult, HoldoutComparison
from puffin.studies.report.money import earned, money_sentence, position_rule, timing_sentence
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.report.timing import Timing
from puffin.studies.report.trading import trade as report_trade
from puffin.studies.report.trading import untradable
from puffin.studies.report.verdict import (
    in_words,
    outcome_sentence,
    sentences,
)
from puffin.studies.sections import BacktestSection, DataSection
from tests.leads import DEGREES, lead, lead_of_error

DAYS = pd.bdate_range("2012-03-01", periods=20)
APPLE = DataSection(symbols=("AAPL",), target="range")


def baseline(name: str, label: str, loss: float, test: LongRunTest) -> BaselineResult:
    points = np.full(20, loss)
    return BaselineResult(name, label, points, points, points, None, 0.0, test, None)


RIDGE = baseline("ridge", "ridge, alpha 100", 1.0, lead(0.1, 0.5))
BARS = "on the 20 bars kept out of the search (2012-03-01 to 2012-03-28)"


@pytest.mark.parametrize("name", [*BASELINES, *POOLED])
def test_every_baseline_has_words_beside_its_label(name: str) -> None:
    assert in_words(baseline(name, "LABEL", 1.0, RIDGE.test)) not in ("", "LABEL")


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
    data = DataSection(symbols=("AAPL",), target=target, horizon=horizon)
    assert target_in_words(data, series_name(data)) == words


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_its_words(target: str) -> None:
    assert target_in_words(DataSection(symbols=("X",), target=target), "X").count(" of X") == 1


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
        (0.884, 0.003, f"model of the search, {BARS}; chance alone gives a lead over every "),
        (0.884, 0.003, "over every simple model in at most 0.3 % of cases."),
        (0.884, 0.0004, "every simple model in fewer than 0.1 % of cases."),
        (
            0.962,
            0.13,
            "Undecided: forecasts of the high-low range of AAPL one bar ahead had 3.8 % ",
        ),
        (
            0.962,
            0.13,
            "in 13.0 % of cases, too often to decide, and on so few bars a true lead below 8.5 % ",
        ),
        (0.962, 0.05, "in 5.0 % of cases, too often to decide"),
        (1.002, 0.6, "Undecided: forecasts of the high-low range of AAPL one bar ahead had 0.2 % "),
        (1.002, 0.6, "more error than a linear regression (ridge, alpha 100), "),
        (1.002, 0.6, "in 40.0 % of cases, too often to decide"),
        (1.0, math.nan, "had the same error as a linear regression (ridge, alpha 100), "),
        (
            1.0,
            math.nan,
            "the difference is the same on every bar, so no test can tell whether it is chan",
        ),
        (1.191, 0.999, "Worse: forecasts of the high-low range of AAPL one bar ahead had 19.1 % "),
        (1.191, 0.999, "such a difference in 0.1 % of cases."),
        (0.998, 0.3, "No better: forecasts of the high-low range of AAPL one bar ahead had 0.2 % "),
        (
            0.998,
            0.3,
            "; with a confidence of 95 % the true lead is at most 0.9 %, and one below 1 % ",
        ),
        (31.2, 1 - 1e-9, "had 31 times the error of a linear regression (ridge, alpha 100), "),
    ],
)
def test_the_first_sentence_states_target_comparison_and_evidence(
    loss: float, p_better: float, words: str
) -> None:
    found = HoldoutComparison(loss, [replace(RIDGE, test=lead(1 - loss, p_better))])
    assert words in outcome_sentence(found, DAYS, APPLE)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (
            lead(-0.05, 0.8),
            "but persistence (no change), another simple model, had even less error",
        ),
        (
            lead(0.02, 0.3),
            "but a lead like that over persistence (no change), another simple model",
        ),
        (lead(0.0, math.nan), "but it forecast as persistence (no change), another simple model."),
    ],
)
def test_a_lead_is_undecided_if_another_baseline_may_be_as_good(
    test: LongRunTest, words: str
) -> None:
    first = replace(RIDGE, test=lead(0.05, 0.01))
    other = baseline("persistence", "persistence", 0.95 + test.mean, test)
    said = outcome_sentence(HoldoutComparison(0.95, [first, other]), DAYS, APPLE)
    assert said.startswith("Undecided: ")
    assert f"; chance alone gives such a difference in 1.0 % of cases, {words}" in said


def test_too_few_bars_are_said_to_be_too_few() -> None:
    few = replace(RIDGE, test=lead(0.1, math.nan, count=3))
    assert outcome_sentence(HoldoutComparison(0.9, [few]), DAYS, APPLE).endswith(
        "; a test needs at least 4 bars."
    )


@pytest.mark.parametrize(
    ("detectable", "words"),
    [
        (0.083, ", and on so few bars a true lead below 8.3 % would be missed more often than one"),
        (1.4, ", and on so few bars even a perfect forecast would often be missed."),
    ],
)
def test_the_first_sentence_states_the_skill_that_may_be_missed(
    detectable: float, words: str
) -> None:
    error = detectable / (t.ppf(0.95, DEGREES) + t.ppf(0.80, DEGREES))
    found = HoldoutComparison(0.97, [replace(RIDGE, test=lead_of_error(0.03, error))])
    assert words in outcome_sentence(found, DAYS, APPLE)


def trade(forecast: list[float]) -> Any:
    """Backtest forecast returns on a series that rises by 1 % per bar."""
    closes = 100 * 1.01 ** np.arange(len(forecast) + 1)
    return backtest(
        closes,
        np.append(np.nan, closes[:-1] * (1 + np.array(forecast))),
        threshold=0.0,
        cost_bps=1.0,
        slippage_bps=1.0,
        bars_per_year=252.0,
    )


def test_the_second_sentence_states_the_return_of_trading() -> None:
    always, never, once = (trade(f) for f in ([0.01] * 4, [-0.01] * 4, [-0.01, 0.01, 0.01, -0.01]))
    hold = "+4.0 %"  # 1.01^4 - 1, less 2 basis points
    assert money_sentence(always, None, BacktestSection()) == (
        f"A rise was always forecast, so trading on the forecasts is buy-and-hold: {hold} after "
        "costs."
    )
    assert money_sentence(never, None, BacktestSection()) == (
        "A rise was never forecast, so a trader who follows the forecasts stays out of the market, "
        f"while buy-and-hold returned {hold}."
    )
    assert money_sentence(once, None, BacktestSection()) == (
        "Trading on the forecasts, in the market only while a rise was forecast, would have "
        f"returned +2.0 % after costs (2 trades, 2 basis points each), and buy-and-hold {hold}."
    )


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        ([0.01] * 4, "+4.0 % after costs, as buy-and-hold, because a rise was always forecast"),
        ([-0.01] * 4, "nothing, because a rise was never forecast; buy-and-hold +4.0 %"),
        ([-0.01, 0.01, 0.01, -0.01], "+2.0 % after the costs of 2 trades; buy-and-hold +4.0 %"),
    ],
)
def test_one_look_says_what_trading_would_have_earned(forecast: list[float], words: str) -> None:
    assert earned(trade(forecast), None, BacktestSection()) == words


@pytest.mark.parametrize(
    ("forecast", "rules", "words"),
    [
        (
            [-0.01, 0.01, 0.01, -0.01],
            {"threshold_bps": 50},
            "in the market only while a rise of more than 50 basis points was forecast, would have",
        ),
        (
            [0.001] * 4,
            {"threshold_bps": 50},
            "A rise of more than 50 basis points was never forecast, so a trader who follows the",
        ),
        (
            [0.001] * 4,
            {"threshold_bps": 50, "short": True},
            "Neither a rise nor a fall of more than 50 basis points was ever forecast, so a trader",
        ),
        (
            [0.01, 0.001, 0.001, 0.001],
            {"threshold_bps": 50},
            "A fall of more than 50 basis points was never forecast after the first rise, so",
        ),
        (
            [-0.01, 0.01, 0.01, 0.01],
            {"short": True},
            "Trading on the forecasts, long on a forecast rise and short on a forecast fall, would",
        ),
        ([-0.01] * 4, {"short": True}, "Trading on the forecasts, short all the time, would have"),
        (
            [-0.01] + [0.01] * 19,
            {"commission_bps": 2.5, "short": True},
            "long on 95.0 % of the bars and so nearly buy-and-hold, would have returned",
        ),
        (
            [-0.01, 0.01, 0.01, -0.01],
            {"commission_bps": 2.5},
            "(2 trades, 3.5 basis points each), and buy-and-hold",
        ),
    ],
)
def test_the_second_sentence_follows_the_rules_of_the_study_file(
    forecast: list[float], rules: dict[str, Any], words: str
) -> None:
    section = BacktestSection.model_validate(rules)
    closes = 100 * 1.01 ** np.arange(len(forecast) + 1)
    found = report_trade(closes, closes[:-1] * (1 + np.array(forecast)), 252.0, section)
    assert words in money_sentence(found, None, section)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "long while a rise is forecast and flat otherwise"),
        ({"short": True}, "long while a rise is forecast and short otherwise"),
        (
            {"threshold_bps": 20},
            (
                "long after a forecast rise of more than 20 basis points, flat after a forecast "
                "fall of more than 20 basis points, and in between as before"
            ),
        ),
    ],
)
def test_the_rule_of_a_position_is_said(rules: dict[str, Any], words: str) -> None:
    assert position_rule(BacktestSection.model_validate(rules)) == words


def test_the_rules_of_the_study_file_reach_the_backtest() -> None:
    closes = np.array([100.0, 90.0, 99.0])
    rules = BacktestSection(commission_bps=30, slippage_bps=20, threshold_bps=1_000, short=True)
    found = report_trade(closes, closes[:-1] * np.array([0.85, 1.2]), 100.0, rules)
    expected = backtest(
        closes,
        [np.nan, 85.0, 108.0],
        threshold=0.1,
        cost_bps=30.0,
        slippage_bps=20.0,
        bars_per_year=100.0,
        short=True,
    )
    assert [trade[0] for trade in found["trades"]] == ["SHORT", "COVER", "BUY"]
    assert found["trades"] == expected["trades"]
    assert found["sharpe"] == expected["sharpe"]


def timing(fee: float, error: float) -> Timing:
    def held(total: float, sharpe: float, sharpe_error: float) -> Any:
        return {"total_return": total, "sharpe": sharpe, "sharpe_error": sharpe_error}

    return Timing(
        dates=DAYS,
        winner=held(0.12, 0.81, 0.9),
        constant=held(0.08, 0.5, 0.8),
        rival=held(0.1, 0.7, 0.9),
        rival_label="LHAR",
        over_constant=[Fee(1.0, 9.0, 1.0), Fee(10.0, fee, error)],
        over_rival=[Fee(1.0, 9.0, 1.0), Fee(10.0, -12.0, 40.0)],
    )


@pytest.mark.parametrize(
    ("fee", "error", "words"),
    [
        (1_234.0, 500.0, "1,234 ± 500 basis points a year"),
        (30.0, 20.0, "nothing that can be told from chance (30 ± 20 basis points a year)"),
        (30.0, math.nan, "nothing that can be told from chance (30 basis points a year)"),
    ],
)
def test_the_second_sentence_states_what_volatility_timing_is_worth(
    fee: float, error: float, words: str
) -> None:
    assert timing_sentence(timing(fee, error)) == (
        "Volatility timing, a weight that is smaller the more volatility was forecast, would have "
        "returned +12.0 % (Sharpe ratio 0.81 ± 0.90) after costs, and its mean weight held "
        "constant +8.0 % (Sharpe ratio 0.50 ± 0.80); an investor with a risk aversion of 10 would "
        f"pay {words} for the timing, and nothing that can be told from chance (-12 ± 40 basis "
        "points a year) for these forecasts instead of those of LHAR."
    )


def test_the_second_sentence_states_why_there_is_no_backtest() -> None:
    dataset = SimpleNamespace(spec=SimpleNamespace(data=APPLE), horizon=1)
    why = untradable(dataset)
    assert money_sentence(None, why, BacktestSection()) == (
        "There is no backtest of trading: a range cannot be bought."
    )


def third_sentence(**changes: Any) -> str:
    """Return the third sentence of a report with the given attributes."""
    own = Opening("own", "0", "mine", "a", "2026-01-03", 4, {})
    values = {
        "comparison": HoldoutComparison(1.0, [RIDGE]),
        "dates": DAYS,
        "subject": SimpleNamespace(spec=SimpleNamespace(data=APPLE, backtest=BacktestSection())),
        "backtest": None,
        "timing": None,
        "no_backtest": "a range cannot be bought",
        "study": "mine",
        "winner": 4,
        "opened_for": {4: "own"},
        "looks": [own],
        "overfitting": SimpleNamespace(probability=0.04, chance_level=0.5),
        "outside": [],
        "no_overfitting": None,
        "deflated_sharpe": None,
    } | changes
    found = SimpleNamespace(**values)
    found.looks_before = before(values["looks"], "own")
    return sentences(found)[2]


@pytest.mark.parametrize(
    ("probability", "risk"),
    [
        (0.0, "low (the probability of overfitting is 0 %, and by chance alone 50 %)"),
        (0.05, "moderate (the probability of overfitting is 5 %,"),
        (0.249, "moderate (the probability of overfitting is 25 %,"),
        (0.25, "high (the probability of overfitting is 25 %,"),
        (0.5, "high (the probability of overfitting is 50 %,"),
    ],
)
def test_the_third_sentence_states_the_risk_of_overfitting(probability: float, risk: str) -> None:
    said = third_sentence(overfitting=SimpleNamespace(probability=probability, chance_level=0.5))
    assert said.startswith(f"The risk that the search only picked a lucky configuration is {risk}")
    assert said.endswith("; nobody had looked at these bars before.")


def test_an_unknown_probability_of_overfitting_has_a_reason() -> None:
    said = third_sentence(overfitting=None, no_overfitting="it needs 6 networks, and there are 3")
    assert said == (
        "Whether the search only picked a lucky configuration is unknown, because the probability "
        "of overfitting cannot be computed: it needs 6 networks, and there are 3; nobody had "
        "looked at these bars before."
    )


def test_the_third_sentence_states_the_deflated_sharpe_ratio() -> None:
    found = DeflatedSharpe(
        **dict.fromkeys(DeflatedSharpe.__dataclass_fields__, 0)
        | {"probability": 0.789, "trials": 12}
    )
    words = (
        "with a probability of 79 % the winner's Sharpe ratio in the search is higher than the "
        "luckiest of 12 trials without skill would reach (rising prices alone can cause that);"
    )
    assert words in third_sentence(deflated_sharpe=found)
    assert "Sharpe" not in third_sentence(deflated_sharpe=replace(found, probability=math.nan))


def test_the_third_sentence_lists_earlier_looks_and_no_later_ones() -> None:
    def look(opening_id: str, study: str, trial: int = 0) -> Opening:
        return Opening(opening_id, "0", study, "b", "2026-01-01", trial, {})

    own = look("own", "mine", 4)
    assert "nobody had looked" in third_sentence(looks=[own, look("later", "two")])
    said = third_sentence(looks=[look("1", "one"), look("2", "two"), look("3", "two"), own])
    assert "these bars had been looked at 3 times before, by study one and study two, so" in said
    said = third_sentence(looks=[look("1", "mine"), own])
    assert "looked at once before, by an earlier study of this name, so this result is" in said
    said = third_sentence(looks=[look("1", "mine", 3), own], opened_for={3: "1", 4: "own"})
    assert "looked at once before, by this study for trial 3, so this result is no" in said
