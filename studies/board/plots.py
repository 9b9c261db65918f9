"""The plots of a search as Plotly figures in JSON, which need no Plotly.

They have few colours and labels at the data, and text that can be read on white and on black.
"""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.evaluation.metrics import skill
from puffin.studies.comparison import COMPARABLE
from puffin.studies.duplicates import trained
from puffin.studies.forecast_table import column_of, levels_of
from puffin.studies.json_values import to_json_values
from puffin.studies.records import Scores, TrainingRun, TrialRecord
from puffin.studies.report.importance import importance
from puffin.studies.report.units import UNITS
from puffin.studies.retraining import read_artifact
from puffin.studies.study import StoredStudy, lowest_complete
from puffin.studies.text import loss, signed

Figure = dict[str, Any]

BLUE, ORANGE, GREY, PALE = "#1f77b4", "#d55e00", "#7f7f7f", "#b0b0b0"
# Compared if too few trials are complete to say which hyperparameters matter.
_USUAL = ("lr", "lookback", "hidden_dim")
_MOST_PANELS = 3
_MOST_TICKS = 4
# More bars would be too fine to see, and large to send.
_MOST_BARS = 120
_UNITS_OF_TIME = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
# With fewer complete trials the losses of the pruned ones are in view too.
_FEW = 5


def draw_plots(study: StoredStudy) -> dict[str, Figure]:
    """Return the figures of a search by their id; none before a trial is complete."""
    trials = trained(study.trials())
    best = lowest_complete(trials)
    if best is None:
        return {}
    return {
        "skill": _skill_over_time(study, trials),
        "losses": _losses(study, trials, best),
        "folds": _folds(study, best),
        "forecasts": _forecasts(study, best),
    }


def _figure(title: str, data: list[Figure], **layout: Any) -> Figure:
    transparent = "rgba(0, 0, 0, 0)"
    common = {
        "title": {"text": title, "x": 0.02, "font": {"size": 14}},
        "font": {"color": GREY, "size": 12},
        "paper_bgcolor": transparent,
        "plot_bgcolor": transparent,
        "margin": {"l": 60, "r": 50, "t": 60, "b": 50},
        "modebar": {"orientation": "v", "bgcolor": transparent, "color": PALE},
        "showlegend": False,
    }
    figure: Figure = to_json_values({"data": data, "layout": common | layout})
    return figure


def _axis(title: str, **others: Any) -> Figure:
    return {
        "title": {"text": title},
        "gridcolor": "rgba(127, 127, 127, 0.25)",
        "zeroline": False,
        "automargin": True,
    } | others


def _skill_over_time(study: StoredStudy, trials: Iterable[FrozenTrial]) -> Figure:
    """Draw the skill of each complete trial when it ended, and the best so far."""
    ended = sorted(
        (t for t in trials if t.state == TrialState.COMPLETE and t.datetime_complete),
        key=lambda t: (str(t.datetime_complete), t.number),
    )
    start = min(t.datetime_start for t in ended if t.datetime_start)
    # An end without a start has no place; every complete trial has both.
    seconds = [(t.datetime_complete - start).total_seconds() for t in ended if t.datetime_complete]
    size, unit = next((s, u) for s, u in _UNITS_OF_TIME if seconds[-1] >= 2 * s or s == 1)
    passed = [round(each / size, 3) for each in seconds]
    persistence = float(np.mean(study.record.persistence_losses))
    skills = [round(100 * skill(float(t.value or 0.0), persistence), 2) for t in ended]
    best = [round(each, 2) for each in np.maximum.accumulate(skills).tolist()]
    text = [f"trial {t.number}" for t in ended]
    label = f"best: {signed(best[-1] / 100)}"
    title = "Best skill against wall time, %"
    return _figure(
        title,
        [
            _points(passed, skills, text, PALE, "skill %{y} %"),
            {
                "x": passed,
                "y": best,
                "type": "scatter",
                "mode": "lines",
                "line": {"shape": "hv", "color": BLUE, "width": 2.5},
                "hoverinfo": "skip",
            },
        ],
        xaxis=_axis(f"{unit} since the first trial began", rangemode="tozero"),
        yaxis=_axis("skill, %", range=_range([*best, *skills])),
        annotations=[_label(passed[-1], best[-1], label, BLUE)],
    )


def _label(x: Any, y: float, text: str, colour: str) -> Figure:
    """Return a label above a point."""
    font = {"color": colour, "size": 13}
    return {"x": x, "y": y, "text": text, "showarrow": False, "yshift": 12, "xanchor": "right"} | {
        "font": font
    }


def _range(values: Sequence[float]) -> list[float]:
    """Return the range of an axis, without outliers below."""
    low, high = float(np.quantile(values, 0.1)), max(values)
    room = max(0.15 * (high - low), 0.5)
    return [low - room, high + room]


def _points(
    x: Sequence[Any], y: Sequence[float], text: Sequence[str], colour: str, hover: str, **more: Any
) -> Figure:
    marker = {"color": colour, "size": 7} | more.pop("marker", {})
    return {
        "x": x,
        "y": y,
        "text": text,
        "type": "scatter",
        "mode": "markers",
        "marker": marker,
        "hovertemplate": f"%{{text}}: {hover}<extra></extra>",
    } | more


def _losses(study: StoredStudy, trials: Iterable[FrozenTrial], best: FrozenTrial) -> Figure:
    """Draw the lowest loss of each trial by its cell and by the hyperparameters that matter."""
    scored = [t for t in trials if TrialRecord.read(t).scores is not None]
    names, why = _what_matters(study)
    data: list[Figure] = []
    layout: dict[str, Any] = {}
    gap = 0.06
    width = (1 - gap * (len(names) - 1)) / len(names)
    for i, name in enumerate(names):
        suffix = str(i + 1) if i else ""
        left = i * (width + gap)
        layout[f"xaxis{suffix}"] = _axis(name, domain=[left, left + width], **_scale(scored, name))
        data += [each | {"xaxis": f"x{suffix}"} for each in _panel(scored, name, best)]
    complete = [t for t in scored if t.state == TrialState.COMPLETE]
    in_view = [Scores.read(t).best_loss for t in (scored if len(complete) < _FEW else complete)]
    lowest: dict[Any, float] = {}  # of each cell, because LSTM against GRU is the first question
    for trial in scored:
        cell, value = _value(trial, "cell"), Scores.read(trial).best_loss
        lowest[cell] = min(value, lowest.get(cell, value))
    low, high = min(in_view), max(float(np.quantile(in_view, 0.9)), *lowest.values())
    room = max(0.1 * (high - low), 0.01 * abs(high))
    return _figure(
        f"Loss of each trial by {', '.join(names)}{why}<br>"
        "<sup>dot: complete, cross: pruned, star: best; higher losses are above the plot</sup>",
        data,
        yaxis=_axis(f"lowest loss ({study.spec.training.loss})", range=[low - room, high + room]),
        **layout,
    )


def _scale(scored: Iterable[FrozenTrial], name: str) -> Figure:
    """Return how the axis of a hyperparameter is divided."""
    if name == "cell":
        return {"type": "category"}
    if name == "lr":
        return {"type": "log", "dtick": 1}
    values = sorted({_value(t, name) for t in scored} - {None})
    return {"tickvals": values} if len(values) <= _MOST_TICKS else {"nticks": _MOST_TICKS}


def _what_matters(study: StoredStudy) -> tuple[list[str], str]:
    """Return the hyperparameters to draw, and a remark if they were ranked by importance."""
    found = importance(study)
    ranked = [name for name in found.shares if name in COMPARABLE]
    others = ranked or [name for name in _USUAL if name in study.spec.space]
    names = ["cell", *(name for name in others if name != "cell")][:_MOST_PANELS]
    return names, ", the most important ones" if ranked else ""


def _panel(scored: Sequence[FrozenTrial], name: str, best: FrozenTrial) -> list[Figure]:
    look = {
        TrialState.PRUNED: (PALE, "x"),
        TrialState.COMPLETE: (BLUE, "circle"),
    }
    groups = [
        ([t for t in scored if t.state == s and t.number != best.number], *look[s]) for s in look
    ]
    groups.append(([best], ORANGE, "star"))
    return [
        _points(
            [_value(t, name) for t in trials],
            [float(f"{Scores.read(t).best_loss:.5g}") for t in trials],
            [f"trial {t.number}" for t in trials],
            colour,
            "%{x}, loss %{y}",
            marker={"symbol": symbol, "size": 14 if symbol == "star" else 7},
        )
        for trials, colour, symbol in groups
        if trials
    ]


def _value(trial: FrozenTrial, name: str) -> Any:
    value = COMPARABLE[name](TrialRecord.read(trial).config)
    return (
        value.upper()
        if name == "cell"
        else float(f"{value:.4g}")
        if isinstance(value, float)
        else value
    )


def _folds(study: StoredStudy, best: FrozenTrial) -> Figure:
    """Draw the skill of the best trial on each fold."""
    losses, persistence = Scores.read(best).fold_losses, study.record.persistence_losses
    skills = [100 * skill(a, b) for a, b in zip(losses, persistence, strict=True)]
    text = [f"{signed(each / 100)}<br>{loss(a)}" for each, a in zip(skills, losses, strict=True)]
    finite = [each for each in skills if np.isfinite(each)] or [0.0]
    low, high = min(*finite, 0.0), max(*finite, 0.0)
    room = 0.2 * (high - low) or 1.0
    return _figure(
        f"Folds of the best trial, {best.number}: skill above its loss",
        [
            {
                "x": [f"fold {number}" for number in range(1, len(skills) + 1)],
                "y": [round(each, 2) if np.isfinite(each) else None for each in skills],
                "text": text,
                "type": "bar",
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": [BLUE if each > 0 else ORANGE for each in skills]},
                "hoverinfo": "skip",
            }
        ],
        yaxis=_axis("skill, %", range=[low - room * (low < 0), high + room], zeroline=True),
        xaxis=_axis(""),
        bargap=0.5,
    )


def _forecasts(study: StoredStudy, best: FrozenTrial) -> Figure:
    """Draw the last forecasts of the best trial beside the actual values and persistence."""
    if TrainingRun.read(best).forecasts is None:
        return _figure("The best trial has no forecasts", [])
    table = pd.read_csv(io.BytesIO(read_artifact(study, best)))
    shown, unit = table.tail(_MOST_BARS), UNITS[study.spec.data.target]
    levels = levels_of(table)
    lines = [("actual", GREY, 1.2, "solid"), ("persistence", ORANGE, 1.2, "dot")]
    # The lowest and the highest quantile; the median is the forecast.
    outer = {column_of(level) for level in levels[:1] + levels[-1:]} - {"forecast"}
    lines += [(name, BLUE, 0.8, "dash") for name in sorted(outer)]
    with np.errstate(over="ignore"):
        data = [
            {
                "x": shown["date"].tolist(),
                "y": [float(f"{v:.5g}") for v in unit.convert(shown[name].to_numpy(np.float64))],
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "line": {"color": colour, "width": width, "dash": dash},
            }
            for name, colour, width, dash in (*lines, ("forecast", BLUE, 2.0, "solid"))
        ]
    first = int(shown["fold"].iloc[0])
    folds = (
        f"fold {first}"
        if first == shown["fold"].iloc[-1]
        else f"folds {first} to {shown['fold'].iloc[-1]}"
    )
    return _figure(
        f"Forecasts of the best trial, {best.number}, on {folds}",
        data,
        yaxis=_axis(unit.label),
        xaxis=_axis(""),
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": -0.15},
    )
