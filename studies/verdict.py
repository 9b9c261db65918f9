"""A report in words and plain values: three sentences, the figures behind them, JSON."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from models.backtest import Backtest
from models.comparison import LEVEL
from studies.openings import Opening
from studies.report import COST_BPS, SLIPPAGE_BPS, Report
from studies.rivals import Judgement, Rival
from studies.text import counted, p_value, percent, signed, times
from studies.validation import when

# A loss above so many others is written as a multiple, below as a share.
_TIMES = 10


def sentences(report: Report) -> list[str]:
    """Say in three sentences what was found, what it would have earned, and what luck may be."""
    dates = report.dates
    return [
        outcome_sentence(report.judgement, dates),
        money_sentence(report.backtest, report.no_backtest),
        _luck(report),
    ]


def outcome_sentence(found: Judgement, dates: pd.DatetimeIndex) -> str:
    """Say who forecasts the holdout better; `dates` are those of its targets."""
    rival, lowest = found.rival, found.lowest
    where = f"on {len(dates)} bars that no choice has seen ({when(dates[0])} to {when(dates[-1])})"
    if found.nothing_moves:
        return (
            f"Nothing can be judged {where}: the target never moves there, so persistence is never "
            "wrong and no forecast can be better."
        )
    p, p_worse = rival.diebold_mariano.p_better, rival.diebold_mariano.p_worse
    if found.outcome == "better":
        return (
            f"The winner beats every baseline {where}: {percent(rival.skill)} less loss than "
            f"{rival.label}, the best of them on the search data (p {p_value(p)})."
        )
    if found.outcome == "worse":
        return (
            f"The winner is worse than {rival.label} {where}: its loss is "
            f"{_above(found.loss, rival.holdout_loss)} (p {p_value(p_worse)})."
        )
    least = ""
    if not math.isnan(found.detectable_skill):
        any_or_below = f"a true skill below {percent(found.detectable_skill)}"
        if found.detectable_skill >= 1:
            any_or_below = "any true skill"
        least = f"; so many bars would miss {any_or_below} more often than one time in five"
    side = f"{percent(abs(rival.skill))} {'below' if rival.skill > 0 else 'above'}"
    if p < LEVEL:
        return (
            f"Undecided: the winner is {side} {rival.label} {where} (p {p_value(p)}), but above "
            f"{lowest.label}."
        )
    return (
        f"Undecided: the winner is {side} {rival.label} {where}, which luck alone would show as "
        f"well (p {p_value(p)}, not below {LEVEL}){least}."
    )


def _above(loss: float, lowest: float) -> str:
    """Say how far a loss is above the lowest one."""
    if lowest == 0:
        return f"{loss:.4g}, where the other is never wrong"
    if loss > _TIMES * lowest:
        return f"{loss / lowest:,.0f} times as high"
    return f"{percent(loss / lowest - 1)} higher"


def money_sentence(earned: Backtest | None, why_not: str | None) -> str:
    """Say what trading on the forecasts of the holdout would have earned."""
    if earned is None:
        return f"There is no backtest: {why_not}."
    own, hold = (signed(e["total_return"]) for e in (earned, earned["buy_and_hold"]))
    trades = counted(len(earned["trades"]), "trade")
    return (
        f"Long where it forecast a rise and flat otherwise, at {COST_BPS + SLIPPAGE_BPS:.0f} basis "
        f"points a trade, it would have made {own} in {trades}, and buy-and-hold {hold}."
    )


def _luck(report: Report) -> str:
    found = report.overfitting
    odds = (
        "too few trials or bars to say"
        if found is None
        else f"the best trial on one half of the search bars was no better than the median on the "
        f"other half in {percent(found.probability, 0)} of the splits "
        f"({percent(found.by_luck, 0)} is luck)"
    )
    return f"Luck of the search: {odds}; {looks_before(report)}."


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
    """Give all figures as plain values, NaN as null."""
    found, spread = report.judgement, report.spread
    luck, sharpe = report.overfitting, report.deflated_sharpe
    values = {
        "study": report.study,
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
        "baselines": [_rival(rival) for rival in found.rivals],
        "direction": asdict(report.direction)
        | {
            "pesaran_timmermann": report.direction_test and asdict(report.direction_test),
            "no_pesaran_timmermann": report.no_direction_test,
        },
        "spa": None if report.spa is None else asdict(report.spa),
        "luck": {
            "trials": report.tried,
            "complete": report.complete,
            "pbo": None if luck is None else luck.probability,
            "pbo_by_luck": None if luck is None else luck.by_luck,
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
            "one_standard_error_choice": spread.smallest,
            "one_standard_error_bound": spread.bound,
        },
        "refits": report.refits.to_dict("records"),
        "backtest": report.backtest,
    }
    plain: dict[str, Any] = _plain(values)
    return plain


def _look(look: Opening) -> dict[str, Any]:
    return {key: getattr(look, key) for key in ("time", "study", "trial", "config")}


def _rival(rival: Rival) -> dict[str, Any]:
    return {
        "name": rival.name,
        "label": rival.label,
        "search_loss": rival.search_loss,
        "holdout_loss": rival.holdout_loss,
        "direction_accuracy": rival.direction and rival.direction.accuracy,
        "skill_of_winner": rival.skill,
        "diebold_mariano": asdict(rival.diebold_mariano),
        "clark_west": rival.clark_west and asdict(rival.clark_west),
    }


def _plain(value: Any) -> Any:
    """Give what JSON can say of a value."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
