"""The verdict of a report in sentences, and all its figures as JSON."""

import math
from dataclasses import asdict
from typing import Any

import pandas as pd

from puffin.models.evaluation.outcome import MARGIN
from puffin.models.evaluation.selection import Overfitting
from puffin.studies.json_values import to_json_values
from puffin.studies.openings import Opening, outside_name
from puffin.studies.report import intervals, quantiles
from puffin.studies.report.baselines import BaselineResult, HoldoutComparison
from puffin.studies.report.build import Report
from puffin.studies.report.by_symbol import JudgedSymbol
from puffin.studies.report.evidence import evidence_in_words
from puffin.studies.report.money import money_sentence, timing_sentence
from puffin.studies.report.outside import outside_sentence
from puffin.studies.report.subject import series_name, target_in_words
from puffin.studies.sections import DataSection
from puffin.studies.text import (
    counted,
    counted_bars,
    percent,
    printable,
    sentence_case,
    times,
    when,
)

# A loss of more than this multiple of another is written as a multiple, otherwise in per cent.
_LARGEST_IN_PERCENT = 10
# A probability of overfitting below 0.05 is called low: Bailey et al. reject above it. From half of
# the chance level on it is called high.
_LOW_PBO, _HIGH_PBO = 0.05, 0.5
# Baselines in words; other baselines are named by their label.
_BASELINES = {
    "persistence": "persistence (no change)",
    "drift": "drift (the average change of the past)",
    "mean": "the average of the past",
    "ar": "an autoregression ({label})",
    "ridge": "a linear regression ({label})",
    "spread": "the average of the past with a linear regression of the volatility",
    "ar_of_all": "an autoregression ({label})",
    "ridge_of_all": "a linear regression ({label})",
    "har": "a regression on averages of the past ({label})",
    "lhar": "a regression on averages of the past and the last return ({label})",
    "ewma": "a weighted average of the past ({label})",
    "garch": "a model of the volatility of returns ({label})",
    "har_of_all": "a regression on averages of the past ({label})",
    "lhar_of_all": "a regression on averages of the past and the last return ({label})",
    "ewma_of_all": "a weighted average of the past ({label})",
}


def sentences(report: Report) -> list[str]:
    """Return the verdict: outcome on the holdout, backtest, selection bias, outside forecasts."""
    return [
        outcome_sentence(report.comparison, report.dates, report.subject.spec.data),
        _money(report),
        _selection_bias_sentence(report),
        *([outside_sentence(report.outside, "the winner")] if report.outside else []),
    ]


def _money(report: Report) -> str:
    if report.timing is not None:
        return timing_sentence(report.timing)
    return money_sentence(report.backtest, report.no_backtest, report.subject.spec.backtest)


def outcome_sentence(
    comparison: HoldoutComparison, dates: pd.DatetimeIndex, data: DataSection
) -> str:
    """Return what was forecast, how the error compares with a baseline's, and the evidence.

    Parameters
    ----------
    comparison : HoldoutComparison
    dates : DatetimeIndex, (holdout targets,)
        Their times, symbol after symbol.
    data : DataSection
        Target and series, as in the study file.
    """
    target = target_in_words(data, series_name(data))
    bars = (
        f"on the {counted_bars(dates)} kept out of the search "
        f"({when(dates.min())} to {when(dates.max())})"
    )
    if comparison.nothing_moves:
        return (
            f"Undecided: nothing can be judged {bars}, because {target} never changes there and a "
            "forecast of no change is always right."
        )
    return (
        f"{comparison.outcome.capitalize()}: forecasts of {target} had "
        f"{compared(comparison, in_words(comparison.reference))}, the best simple model of the "
        f"search, {bars}; {evidence_in_words(comparison.evidence, in_words(comparison.closest))}."
    )


def compared(comparison: HoldoutComparison, name: str) -> str:
    """Return how the error of the winner compares with that of the reference, under a name."""
    loss, other = comparison.loss, comparison.reference.holdout_loss
    if other == 0:
        return f"errors, unlike {name}"
    if loss > _LARGEST_IN_PERCENT * other:
        return f"{loss / other:,.0f} times the error of {name}"
    if loss == other:
        return f"the same error as {name}"
    side = "less" if loss < other else "more"
    return f"{percent(abs(loss / other - 1))} {side} error than {name}"


def in_words(baseline: BaselineResult) -> str:
    """Return a baseline in words."""
    return baseline_in_words(baseline.name, baseline.label)


def baseline_in_words(name: str, label: str) -> str:
    """Return the baseline of a name in words, with the label of its fit."""
    return _BASELINES.get(name, "{label}").format(label=label)


def _selection_bias_sentence(report: Report) -> str:
    """Return the signs of selection bias: overfitting, Sharpe ratio, looks at the holdout."""
    parts = [_overfitting(report), _sharpe(report), looks_before(report)]
    text = "; ".join(part for part in parts if part)
    return f"{sentence_case(text)}."


def _overfitting(report: Report) -> str:
    if report.overfitting is None:
        return (
            "whether the search only picked a lucky configuration is unknown, because the "
            f"probability of overfitting cannot be computed: {report.no_overfitting}"
        )
    pbo, chance = report.overfitting.probability, report.overfitting.chance_level
    return (
        "the risk that the search only picked a lucky configuration is "
        f"{overfitting_risk(report.overfitting)} (the probability of overfitting is "
        f"{percent(pbo, 0)}, and by chance alone {percent(chance, 0)})"
    )


def overfitting_risk(found: Overfitting) -> str:
    """Return ``low``, ``moderate`` or ``high``."""
    pbo = found.probability
    return (
        "low" if pbo < _LOW_PBO else "moderate" if pbo < _HIGH_PBO * found.chance_level else "high"
    )


def _sharpe(report: Report) -> str:
    deflated = report.deflated_sharpe
    if deflated is None or math.isnan(deflated.probability):
        return ""
    return (
        f"with a probability of {percent(deflated.probability, 0)} the winner's Sharpe ratio in "
        f"the search is higher than the luckiest of {counted(deflated.trials, 'trial')} without "
        "skill would reach (rising prices alone can cause that)"
    )


def looks_before(report: Report) -> str:
    """Return how often the bars of the holdout had been looked at, and by which studies."""
    looks = report.looks_before
    if not looks:
        return "nobody had looked at these bars before"
    by = dict.fromkeys(_looker(report, look) for look in looks)
    return (
        f"these bars had been looked at {times(len(looks))} before, by {' and '.join(by)}, so this "
        "result is no longer independent"
    )


def _looker(report: Report, look: Opening) -> str:
    """Return the study that looked: another one, or this one for an earlier winner."""
    if (name := outside_name(look)) is not None:
        return f"{look.study} for the outside forecast {printable(name)}"
    if look.opening_id in report.opened_for.values():
        return f"this study for trial {look.trial}"
    if look.study == report.study:
        return "an earlier study of this name"
    return f"study {look.study}"


def to_json(report: Report) -> dict[str, Any]:
    """Return all figures as JSON can hold them; NaN is null."""
    comparison, sensitivity = report.comparison, report.seed_sensitivity
    values = {
        "study": report.study,
        "forecast_of": report.subject.to_json(),
        "verdict": {
            "outcome": comparison.outcome,
            "margin": MARGIN,
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
            "bars": report.dates.nunique(),
            "loss": report.loss,
            "network_losses": report.network_losses,
            "skill": report.skill,
            "detectable_skill": comparison.evidence.detectable_skill,
            "most_skill": comparison.evidence.most_skill,
            "mcs_p": comparison.mcs_p,
            "openings": len(report.looks),
            "openings_before": len(report.looks_before),
            "opened": [_look(look) for look in report.looks],
        },
        "baselines": [_baseline(baseline) for baseline in comparison.baselines],
        "outside": [result.to_json() for result in report.outside],
        "intervals": intervals.to_json(report.intervals),
        "quantiles": quantiles.to_json(report.quantiles),
        "direction": asdict(report.direction)
        | {
            "pesaran_timmermann": report.direction_test and asdict(report.direction_test),
            "no_pesaran_timmermann": report.no_direction_test,
        },
        "spa": None if report.spa is None else asdict(report.spa),
        "selection_bias": _selection_bias(report),
        "seeds": {
            "trials": sensitivity.trials,
            "seeds": sensitivity.seeds,
            "losses": sensitivity.losses,
            "parameters": sensitivity.parameters,
            "ranks_of_best": sensitivity.ranks,
            "one_standard_error_choice": sensitivity.one_se_choice,
            "one_standard_error_bound": sensitivity.one_se_bound,
        },
        "refits": report.refits.to_dict("records"),
        "backtest": report.backtest,
        "volatility_timing": report.timing and report.timing.to_json(),
    }
    if report.is_basket:
        backtests = report.symbol_backtests
        values["symbols"] = [
            _symbol(result) | {"backtest": backtests.get(result.symbol)}
            for result in report.by_symbol
        ]
    json_values: dict[str, Any] = to_json_values(values)
    return json_values


def _selection_bias(report: Report) -> dict[str, Any]:
    overfitting, deflated = report.overfitting, report.deflated_sharpe
    return {
        "trials": report.n_networks,
        "complete": report.n_complete,
        "pbo": overfitting and overfitting.probability,
        "pbo_chance_level": overfitting and overfitting.chance_level,
        "pbo_blocks": overfitting and overfitting.blocks,
        "pbo_trials": overfitting and overfitting.trials,
        "no_pbo": report.no_overfitting,
        "deflated_sharpe": deflated and deflated.probability,
        "deflated_sharpe_of": deflated and asdict(deflated),
        "no_deflated_sharpe": report.no_deflated_sharpe,
        "overtuning": asdict(report.overtuning),
    }


def _look(look: Opening) -> dict[str, Any]:
    return {key: getattr(look, key) for key in ("time", "study", "trial", "config")}


def _symbol(result: JudgedSymbol) -> dict[str, Any]:
    return asdict(result) | {"skill_of_winner": result.skill}


def _baseline(baseline: BaselineResult) -> dict[str, Any]:
    return {
        "name": baseline.name,
        "label": baseline.label,
        "search_loss": baseline.search_loss,
        "holdout_loss": baseline.holdout_loss,
        "direction_accuracy": baseline.direction and baseline.direction.accuracy,
        "skill_of_winner": baseline.skill,
        "test": asdict(baseline.test),
        "clark_west": baseline.clark_west and asdict(baseline.clark_west),
        "mcs_p": baseline.mcs_p,
    }
