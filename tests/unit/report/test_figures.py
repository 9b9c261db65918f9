"""Figures are deterministic, have readable axes and show only what can be computed."""

import ast
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

import puffin.studies
from puffin.models.evaluation.backtest import backtest
from puffin.studies.report.figures.curves import _with_baselines
from puffin.studies.report.figures.models import draw_baselines
from puffin.studies.report.figures.registry import FIGURES, DrawnFigure, show
from puffin.studies.report.figures.style import (
    INK,
    Name,
    name_lines,
    new_figure,
    padded,
    robust_limits,
    style_axes,
    svg,
)
from puffin.studies.report.figures.time_series import _held, _limits, date_axis, draw_growth
from puffin.studies.report.importance import importance
from puffin.studies.sections import BacktestSection
from puffin.studies.text import loss as loss_text

SOURCES = Path(puffin.studies.__file__).parent


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([1.0, 1.0, 1.0], 0.94, 1.06),
        ([0.0], -1.0, 1.0),
        ([*np.linspace(0, 1, 11)], -0.054, 0.954),
        ([*np.linspace(0, 1, 100), 1e9], -0.0545, 0.9636),
    ],
)
def test_axis_limits_span_the_lowest_nine_tenths(
    values: list[float], low: float, high: float
) -> None:
    assert robust_limits(np.array(values)) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_file_name_alternative_text_and_a_caption(name: str) -> None:
    figure = FIGURES[name]
    assert name.endswith(".svg")
    assert len(figure.alt) > 20
    assert not figure.alt.endswith(".")
    assert figure.caption.endswith(".")
    (picture,) = show(name, {name: DrawnFigure("a title", b"", "a caption")})
    assert (picture.name, picture.title, picture.alt) == (name, "a title", figure.alt)
    assert show(name, {}) == []


def test_ends_of_an_axis_are_apart() -> None:
    assert padded(0.0, 1.0) == pytest.approx((-0.06, 1.06))
    assert padded(2.0, 2.0) == pytest.approx((1.88, 2.12))


def test_a_figure_is_drawn_alike_each_time() -> None:
    def drawn() -> bytes:
        figure = new_figure(2.0)
        axes = figure.add_subplot()
        axes.plot([1, 2, 3])
        style_axes(axes, "x", "y")
        return svg(figure)

    assert drawn() == drawn()
    assert drawn().startswith(b"<?xml")
    assert b"<dc:date>" not in drawn()


def ticks(figure: Figure) -> list[str]:
    """Return the visible tick labels of the vertical axis."""
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    return [
        tick.get_text()
        for tick, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        if low <= place <= high
    ]


@pytest.mark.parametrize("low", [0.0, 0.0011, 1234.5])
@pytest.mark.parametrize("spread", [0.3, 0.002, 0.00004, 3e-7])
def test_ticks_that_differ_have_labels_that_differ(low: float, spread: float) -> None:
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    axes.plot([low, low + spread])
    style_axes(axes, "", "")
    labels = ticks(figure)
    assert len(labels) > 3
    assert len(set(labels)) == len(labels)
    # Each label is the whole number: there is no offset to add.
    assert axes.yaxis.get_offset_text().get_text() == ""


@pytest.mark.parametrize(
    ("search", "holdout"),
    [([1.0, 0.9995, 0.9988], [1.0, 0.9999, 0.9997]), ([2.0, 1.0], [2.0, 3.0])],
)
def test_overtuning_is_drawn_in_per_cent_of_the_first(
    search: list[float], holdout: list[float]
) -> None:
    found = SimpleNamespace(
        trials=list(range(len(search))),
        search_losses=np.array(search),
        holdout_losses=np.array(holdout),
    )
    drawing = FIGURES["overtuning.svg"].draw(None, SimpleNamespace(overtuning=found))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    drawn = [line.get_ydata() for line in axes.get_lines()[:2]]
    for line, losses in zip(drawn, (search, holdout), strict=True):
        assert np.allclose(line, [100 * (v / losses[0] - 1) for v in losses])
    labels = ticks(drawing.figure)
    assert len(set(labels)) == len(labels) > 3
    assert axes.get_title(loc="left").endswith(", %")


@pytest.mark.parametrize(
    ("loss", "shown"),
    [(1.5, True), (2.9, True), (3.1, False), (0.1, True), (-0.1, False)],
)
def test_a_distant_baseline_is_named_at_the_edge(*, loss: float, shown: bool) -> None:
    axes = new_figure(2.0).add_subplot()
    record = SimpleNamespace(persistence_losses=[loss - 0.5, loss + 0.5], mean_losses=[1.5])
    comparison = SimpleNamespace(baselines=[])
    report = SimpleNamespace(comparison=comparison)
    (low, high), names = _with_baselines(axes, SimpleNamespace(record=record), report, 1.0, 2.0)
    name = names[0].text
    assert (low <= loss <= high) is shown
    assert f"{loss:.3f}" in name
    assert ("above" in name or "below" in name) is not shown
    assert (low <= 1.0, high >= 2.0) == (True, True)


@pytest.mark.parametrize(
    ("first", "bars", "freq", "labels"),
    [
        ("2001-03-05", 2500, "B", ["2002", "2004", "2006", "2008", "2010"]),
        ("2012-03-02", 250, "B", ["Apr 2012", "Jul 2012", "Oct 2012", "Jan 2013"]),
        ("2012-12-05", 60, "B", ["Jan 2013", "Feb 2013"]),
        ("2023-09-25 09:00", 80, "h", ["26 Sep", "27 Sep", "28 Sep"]),
        ("2023-09-25 09:00", 12, "10min", ["25 Sep\n10:00"]),
        ("2023-09-25", 1, "B", []),
    ],
)
def test_few_dates_are_written_below_the_bars(
    first: str, bars: int, freq: str, labels: list[str]
) -> None:
    axes = new_figure(2.0).add_subplot()
    axes.plot(range(bars))
    date_axis(axes, pd.date_range(first, periods=bars, freq=freq))
    assert [label.get_text() for label in axes.get_xticklabels()] == labels


@pytest.mark.parametrize(
    ("winner", "rival"), [(0.02, 0.007), (0.007, 0.02), (0.0, 0.1), (0.5, 0.5)]
)
def test_the_winner_and_its_rival_lie_inside_the_figure_of_models(
    winner: float, rival: float
) -> None:
    names = {"ridge": rival, "persistence": 50 * rival}
    baselines = [
        SimpleNamespace(label=name, holdout_loss=loss, mcs_p=p)
        for (name, loss), p in zip(names.items(), (0.05, 0.04), strict=True)
    ]
    comparison = SimpleNamespace(
        loss=winner, baselines=baselines, reference=baselines[0], mcs_p=1.0
    )
    drawing = draw_baselines(None, SimpleNamespace(comparison=comparison))
    (axes,) = drawing.figure.axes
    low, high = axes.get_xlim()
    assert low < min(winner, rival) <= max(winner, rival) < high < 50 * rival
    assert f"ridge  {loss_text(rival)}" in [label.get_text() for label in axes.get_yticklabels()]
    _, *marks = axes.get_lines()
    assert [mark.get_markerfacecolor() == "none" for mark in marks] == [False, False, True]


@pytest.mark.parametrize(
    ("forecast", "low", "high"),
    [
        ([1.0, 2.0], 1.0, 3.0),
        ([0.0, 4.5], 0.0, 4.5),
        ([-9.0, 2.0], -1.0, 3.0),
        ([1.0, np.inf], 1.0, 5.0),
        ([1e70, 1e70], 1.0, 5.0),
    ],
)
def test_a_forecast_far_from_the_actual_values_does_not_flatten_them(
    forecast: list[float], low: float, high: float
) -> None:
    actual = np.array([1.0, 3.0])
    assert _limits(actual, np.append(actual, forecast)) == pytest.approx(padded(low, high))


@pytest.mark.parametrize("count", [2, 6, 7, 16, 17, 200])
def test_names_of_many_trials_do_not_overlap(count: int) -> None:
    losses = np.linspace(1.0, 0.9, count)
    found = SimpleNamespace(
        trials=list(range(1000, 1000 + count)), search_losses=losses, holdout_losses=losses
    )
    drawing = FIGURES["overtuning.svg"].draw(None, SimpleNamespace(overtuning=found))
    assert drawing is not None
    (axes,) = drawing.figure.axes
    drawing.figure.draw_without_rendering()
    labels = axes.get_xticklabels()
    assert [label.get_text() for label in labels[:2]] == ["1000", str(1000 + -(-count // 16))]
    for one, other in itertools.pairwise(label.get_window_extent() for label in labels):
        assert one.x1 <= other.x0


def test_names_of_lines_that_meet_do_not_overlap() -> None:
    figure = new_figure(3.0)
    axes = figure.add_subplot()
    axes.plot([0.0, 1.0])
    name_lines(axes, [Name(y, f"line\n{y}", INK) for y in (0.99, 1.0, 0.98, 0.0, 50.0)])
    figure.draw_without_rendering()
    boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda box: box.y0)
    assert len(boxes) == 5
    for lower, upper in itertools.pairwise(boxes):
        assert lower.y1 <= upper.y0 + 1


def test_a_position_lasts_until_its_sell_or_the_end() -> None:
    trades = [("BUY", 0, 1.0, 1.0), ("SELL", 3, 1.0, 1.0), ("BUY", 7, 1.0, 1.0)]
    assert _held({"trades": trades}, 9) == [(0, 3), (7, 9)]
    assert _held({"trades": trades[:2]}, 9) == [(0, 3)]
    assert _held({"trades": []}, 9) == []


def search_of(count: int, **spaces: optuna.distributions.BaseDistribution) -> SimpleNamespace:
    """Return a study whose losses equal `lr` and depend on no other hyperparameter."""
    study = optuna.create_study()
    for i in range(count):
        params: dict[str, Any] = {"lr": (i + 0.5) / count}
        for name, space in spaces.items():
            assert isinstance(space, CategoricalDistribution)
            params[name] = space.choices[i % len(space.choices)]
        known = {"lr": FloatDistribution(0.0, 1.0), **spaces}
        study.add_trial(create_trial(params=params, distributions=known, value=params["lr"]))
    return SimpleNamespace(study=study, trials=study.get_trials)


def test_the_decisive_hyperparameter_is_the_most_important() -> None:
    search = search_of(40, cell=CategoricalDistribution(["gru", "lstm"]))
    found = importance(search)
    assert found.why_none is None
    assert list(found.shares) == ["lr", "cell"]
    assert found.shares["lr"] > 0.9
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.trials, found.best) == (40, 5)
    assert importance(search) == found


def test_the_best_are_a_tenth_or_five() -> None:
    counts = [importance(search_of(n)) for n in (10, 50, 100)]
    assert [(c.trials, c.best) for c in counts] == [(10, 5), (50, 5), (100, 10)]


def test_importance_that_cannot_be_computed_has_a_reason() -> None:
    few = importance(search_of(9))
    assert few.why_none == "at least 10 complete trials are needed, and the search has 9"
    assert few.shares == {}
    alike = optuna.create_study()
    for _ in range(12):
        alike.add_trial(create_trial(value=1.0))
    found = importance(SimpleNamespace(study=alike, trials=alike.get_trials))
    assert found.why_none == (
        "the best trials differ from the others in none of the searched hyperparameters"
    )


def test_a_strategy_that_loses_all_capital_is_drawn_down_to_0() -> None:
    closes = np.array([10.0, 19.0, 20.0, 21.0])
    lost = backtest(closes, np.append(np.nan, closes[:-1] * 0.9), short=True)
    assert lost["total_return"] == -1.0
    days = pd.bdate_range("2024-01-01", periods=4)
    drawing = draw_growth(lost, days, BacktestSection(short=True), shaded=True)
    assert drawing.title.startswith("-100.0 % in 2 trades at 2 basis points, ")
    (own, _, _) = drawing.figure.axes[0].get_lines()
    assert np.asarray(own.get_ydata()).tolist() == pytest.approx([100, 10, 0, 0])


def test_no_module_draws_by_pyplot() -> None:
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            assert not [n for n in names if n.startswith("matplotlib.pyplot")], path
