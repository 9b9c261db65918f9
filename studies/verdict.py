"""A report in words and plain values: three sentences, the figures behind them, JSON."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from models.comparison import LEVEL
from studies.report import COST_BPS, SLIPPAGE_BPS, Report


def sentences(report: Report) -> list[str]:
    """Say in three sentences what was found, what it would have earned, and what luck may be."""
    return [_outcome(report), _money(report), _luck(report)]


def _outcome(report: Report) -> str:
    rival, lowest = report.rival, report.lowest
    where = f"on {report.bars} bars that no choice has seen ({report.first} to {report.last})"
    if report.outcome == "wins":
        return (
            f"The winner beats every baseline {where}: {_percent(rival.skill)} less loss than "
            f"{rival.label}, the best of them on the search data (p = {rival.better.p_better:.3f})."
        )
    least = (
        ""
        if math.isnan(report.detectable)
        else f"; so few bars cannot show a skill below {_percent(report.detectable)}"
    )
    if report.outcome == "loses":
        return (
            f"The winner loses to {lowest.label} {where}: its loss is {_percent(-lowest.skill)} "
            f"higher{least}."
        )
    return (
        f"Undecided: the winner is {_percent(rival.skill)} below {rival.label} {where}, which luck "
        f"alone would show as well (p = {rival.better.p_better:.2f}, not below {LEVEL}){least}."
    )


def _money(report: Report) -> str:
    earned = report.backtest
    if earned is None:
        return "Nobody can hold this target, so there is no backtest of it."
    hold = earned["buy_and_hold"]
    return (
        f"Long where it forecast a rise and flat otherwise, at {COST_BPS + SLIPPAGE_BPS:.0f} basis "
        f"points a trade, it would have made {_signed(earned['total_return'])} in "
        f"{len(earned['trades'])} trades, and buy-and-hold {_signed(hold['total_return'])}."
    )


def _luck(report: Report) -> str:
    found = report.overfitting
    odds = (
        "too few trials to say"
        if found is None
        else f"the best trial on one half of the search bars was no better than the median on the "
        f"other half in {_percent(found.probability, 0)} of the splits (50 % is luck)"
    )
    times = len(report.openings)
    opened = "once" if times == 1 else f"{times} times"
    return f"Luck of the search: {odds}; the seal has been opened {opened}."


def to_json(report: Report) -> dict[str, Any]:
    """Give all figures as plain values, NaN as null."""
    luck = report.overfitting
    values = {
        "study": report.study,
        "verdict": {
            "outcome": report.outcome,
            "beats_baseline": report.beats_baseline,
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
            "bars": report.bars,
            "loss": report.loss,
            "skill": report.skill,
            "smallest_detectable_skill": report.detectable,
            "openings": len(report.openings),
            "opened": report.openings,
        },
        "baselines": [asdict(rival) for rival in report.rivals],
        "direction": asdict(report.direction) | {"test": asdict(report.direction_test)},
        "spa": asdict(report.spa),
        "luck": {
            "pbo": None if luck is None else luck.probability,
            "pbo_blocks": None if luck is None else luck.blocks,
            "deflated_sharpe": None
            if report.deflated_sharpe is None
            else report.deflated_sharpe.probability,
            "deflated_sharpe_of": None
            if report.deflated_sharpe is None
            else asdict(report.deflated_sharpe),
            "ranks_over_seeds": report.ranks,
            "overtuning": asdict(report.overtuning),
        },
        "refits": report.refits.drop(columns="row").to_dict("records"),
        "backtest": report.backtest,
    }
    plain: dict[str, Any] = _plain(values)
    return plain


def _plain(value: Any) -> Any:
    """Give what JSON can say of a value."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _percent(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}".replace("%", " %")


def _signed(value: float) -> str:
    return f"{value:+.1%}".replace("%", " %")
