"""A report in words and plain values: three sentences, the figures behind them, JSON."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from puffin.models.evaluation.backtest import Backtest
from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.studies.openings import Opening
from puffin.studies.report.baselines import BaselineResult, HoldoutComparison
from puffin.studies.report.build import COST_BPS, SLIPPAGE_BPS, Report
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.sections import DataSection
from puffin.studies.text import counted, percent, signed, times, when

# A loss above so many others is written as a multiple, below as a share.
_TIMES = 10
# Probabilities of overfitting below this are called low: Bailey and others reject above it. From
# this share of what pure luck gives they are called high.
_LOW_PBO, _HIGH_PBO = 0.05, 0.5
# A smaller chance would be written as 0.
_LEAST_CHANCE = 0.001
# Baselines in words; others are known by their label.
_BASELINES = {
    "persistence": "persistence (no change)",
    "drift": "drift (the average change of the past)",
    "mean": "the average of the past",
    "ar": "an autoregression ({label})",
    "ridge": "a linear regression ({label})",
}


def sentences(report: Report) -> list[str]:
    """Return the verdict: whether it forecasts better, what trading on it made, whether by luck."""
    return [
        outcome_sentence(report.comparison, report.dates, report.subject.spec.data),
        money_sentence(report.backtest, report.no_backtest),
        _selection_bias_sentence(report),
    ]


def outcome_sentence(found: HoldoutComparison, dates: pd.DatetimeIndex, data: DataSection) -> str:
    """Return what was forecast, how that compares with the best simple model, and how sure it is.

    Parameters
    ----------
    found : HoldoutComparison
    dates : DatetimeIndex
        Of the holdout's targets.
    data : DataSection
        What was forecast.
    """
    target = target_in_words(data, series_name(data))
    bars = (
        f"on the {counted(len(dates), 'bar')} kept out of the search "
        f"({when(dates[0])} to {when(dates[-1])})"
    )
    if found.nothing_moves:
        return (
            f"Undecided: nothing can be judged {bars}, because {target} never changes there, and "
            "to forecast no change is never wrong."
        )
    return (
        f"{found.outcome.capitalize()}: forecasts of {target} had "
        f"{_compared(found.loss, found.reference)}, the best simple model of the search, {bars}; "
        f"{_how_sure(found)}."
    )


def _compared(loss: float, baseline: BaselineResult) -> str:
    """Return how the error of the winner compares with that of a baseline."""
    name, other = _in_words(baseline), baseline.holdout_loss
    if other == 0:
        return f"errors, unlike {name}"
    if loss > _TIMES * other:
        return f"{loss / other:,.0f} times the error of {name}"
    if loss == other:
        return f"the same error as {name}"
    side = "less" if loss < other else "more"
    return f"{percent(abs(loss / other - 1))} {side} error than {name}"


def _in_words(baseline: BaselineResult) -> str:
    return _BASELINES.get(baseline.name, "{label}").format(label=baseline.label)


def _how_sure(found: HoldoutComparison) -> str:
    """Return how often chance gives such a difference, and what so few bars would not show."""
    test = found.reference.diebold_mariano
    if math.isnan(test.p_better):
        return "the differences are all alike, so no test can tell whether that is chance"
    p = test.p_better if found.loss < found.reference.holdout_loss else test.p_worse
    chance = "fewer than 0.1 %" if p < _LEAST_CHANCE else percent(p)
    sure = f"chance alone gives such a difference in {chance} of cases"
    if found.outcome != "undecided":
        return sure
    if test.p_better < LEVEL:
        lowest = _in_words(found.best_on_holdout)
        return f"{sure}, but {lowest}, another simple model, had still less error there"
    return f"{sure}, too often to decide{_least(found.detectable_skill)}"


def _least(skill: float) -> str:
    """Return what skill so few bars would show four times out of five."""
    if math.isnan(skill):
        return ""
    if skill >= 1:
        return ", and so few bars would often not show even the best of forecasts"
    return (
        f", and a true lead below {percent(skill)} would be missed on so few bars more often than "
        "one time in five"
    )


def money_sentence(earned: Backtest | None, why_not: str | None) -> str:
    """Return what trading on the forecasts of the holdout would have earned."""
    if earned is None:
        return f"There is no backtest of trading: {why_not}."
    made, hold = (signed(e["total_return"]) for e in (earned, earned["buy_and_hold"]))
    trades = len(earned["trades"])
    if not trades:
        return (
            "It never forecast a rise, so trading on it would have meant to stay out of the "
            f"market, while buy-and-hold made {hold}."
        )
    if trades == 1 and earned["exposure"] == 1:
        return f"It always forecast a rise, so trading on it is buy-and-hold: {made} after costs."
    return (
        f"Trading on it, in the market only while it forecast a rise, would have made {made} "
        f"after costs ({counted(trades, 'trade')}, {COST_BPS + SLIPPAGE_BPS:.0f} basis points "
        f"each), and buy-and-hold {hold}."
    )


def _selection_bias_sentence(report: Report) -> str:
    """Return whether the search was lucky: overfitting, Sharpe ratio, looks at the holdout."""
    parts = [_overfitting(report), _sharpe(report), looks_before(report)]
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}."


def _overfitting(report: Report) -> str:
    found = report.overfitting
    if found is None:
        return (
            "whether the search only picked a lucky configuration cannot be said: the probability "
            f"of overfitting is not known, as {report.no_overfitting}"
        )
    pbo, chance = found.probability, found.chance_level
    risk = "low" if pbo < _LOW_PBO else "moderate" if pbo < _HIGH_PBO * chance else "high"
    return (
        f"the risk that the search only picked a lucky configuration is {risk} (a probability of "
        f"overfitting of {percent(pbo, 0)}, where {percent(chance, 0)} is pure luck)"
    )


def _sharpe(report: Report) -> str:
    found = report.deflated_sharpe
    if found is None or math.isnan(found.probability):
        return ""
    return (
        f"with a probability of {percent(found.probability, 0)} its Sharpe ratio in the search is "
        f"more than the luckiest of {counted(found.trials, 'trial')} without skill would get "
        "(rising prices alone can do that)"
    )


def looks_before(report: Report) -> str:
    """Return how often the bars of the holdout had been looked at, and by whom."""
    looks = report.looks_before
    if not looks:
        return "nobody had looked at these bars before"
    by = dict.fromkeys(_looker(report, look) for look in looks)
    return (
        f"these bars had been looked at {times(len(looks))} before, by {' and '.join(by)}, so the "
        "result is not independent of what was seen then"
    )


def _looker(report: Report, look: Opening) -> str:
    """Return who has looked: another study, or this one for an earlier winner."""
    if look.opening_id in report.opened_for.values():
        return f"this study for trial {look.trial}"
    if look.study == report.study:
        return "an earlier study of this name"
    return f"study {look.study}"


def to_json(report: Report) -> dict[str, Any]:
    """Return all figures as plain values, NaN as null."""
    found, spread = report.comparison, report.seed_sensitivity
    luck, sharpe = report.overfitting, report.deflated_sharpe
    values = {
        "study": report.study,
        "forecast_of": report.subject.to_json(),
        "verdict": {
            "outcome": found.outcome,
            "beats_baseline": found.beats_baseline,
            "sentences": sentences(report),
        },
        "winner": {
            "trial": report.winner,
            "config": report.config,
            "epochs": report.epochs,
            "search_loss": report.search_loss,
        },
        "holdout": {
            "first": report.first,
            "last": report.last,
            "bars": len(report.dates),
            "loss": report.loss,
            "skill": report.skill,
            "detectable_skill": found.detectable_skill,
            "openings": len(report.looks),
            "openings_before": len(report.looks_before),
            "opened": [_look(look) for look in report.looks],
        },
        "baselines": [_baseline(rival) for rival in found.baselines],
        "direction": asdict(report.direction)
        | {
            "pesaran_timmermann": report.direction_test and asdict(report.direction_test),
            "no_pesaran_timmermann": report.no_direction_test,
        },
        "spa": None if report.spa is None else asdict(report.spa),
        "luck": {
            "trials": report.n_networks,
            "complete": report.n_complete,
            "pbo": None if luck is None else luck.probability,
            "pbo_by_luck": None if luck is None else luck.chance_level,
            "pbo_blocks": None if luck is None else luck.blocks,
            "pbo_trials": None if luck is None else luck.trials,
            "no_pbo": report.no_overfitting,
            "deflated_sharpe": None if sharpe is None else sharpe.probability,
            "deflated_sharpe_of": None if sharpe is None else asdict(sharpe),
            "no_deflated_sharpe": report.no_deflated_sharpe,
            "overtuning": asdict(report.overtuning),
        },
        "seeds": {
            "trials": spread.trials,
            "seeds": spread.seeds,
            "losses": spread.losses,
            "parameters": spread.parameters,
            "ranks_of_winner": spread.ranks,
            "one_standard_error_choice": spread.one_se_choice,
            "one_standard_error_bound": spread.one_se_bound,
        },
        "refits": report.refits.to_dict("records"),
        "backtest": report.backtest,
    }
    plain: dict[str, Any] = _to_plain(values)
    return plain


def _look(look: Opening) -> dict[str, Any]:
    return {key: getattr(look, key) for key in ("time", "study", "trial", "config")}


def _baseline(baseline: BaselineResult) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "label": baseline.label,
        "search_loss": baseline.search_loss,
        "holdout_loss": baseline.holdout_loss,
        "direction_accuracy": baseline.direction and baseline.direction.accuracy,
        "skill_of_winner": baseline.skill,
        "diebold_mariano": asdict(baseline.diebold_mariano),
        "clark_west": baseline.clark_west and asdict(baseline.clark_west),
    }


def _to_plain(value: Any) -> Any:
    """Return what JSON can say of a value."""
    if isinstance(value, dict):
        return {key: _to_plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_to_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _to_plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
