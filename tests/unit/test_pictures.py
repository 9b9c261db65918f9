"""Pictures show most of what there is, the same every time, and weigh only what can be weighed."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

import studies
from studies.canvas import dress, limits, new_figure, png, spaced
from studies.importance import Importance, importance
from studies.over_time import _held
from studies.pictures import _with_baselines

SOURCES = Path(studies.__file__).parent


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([1.0, 1.0, 1.0], 0.94, 1.06),
        ([0.0], -1.0, 1.0),
        ([*np.linspace(0, 1, 11)], -0.054, 0.954),
        ([*np.linspace(0, 1, 100), 1e9], -0.0545, 0.9636),
    ],
)
def test_an_axis_holds_the_lowest_and_nine_tenths_of_the_values(
    values: list[float], low: float, high: float
) -> None:
    assert limits(np.array(values)) == pytest.approx((low, high), abs=1e-3)


def test_ends_of_an_axis_are_apart() -> None:
    assert spaced(0.0, 1.0) == pytest.approx((-0.06, 1.06))
    assert spaced(2.0, 2.0) == pytest.approx((1.88, 2.12))


def test_a_figure_is_drawn_alike_each_time() -> None:
    def drawn() -> bytes:
        figure = new_figure(2.0)
        axes = figure.add_subplot()
        axes.plot([1, 2, 3])
        dress(axes, "title", "x", "y")
        return png(figure)

    assert drawn() == drawn()
    assert drawn().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("loss", "shown"),
    [(1.5, True), (2.9, True), (3.1, False), (0.1, True), (-0.1, False)],
)
def test_a_baseline_that_would_flatten_the_curves_is_named_instead(
    *, loss: float, shown: bool
) -> None:
    axes = new_figure(2.0).add_subplot()
    attrs = {"persistence_losses": [loss - 0.5, loss + 0.5], "mean_losses": [1.5]}
    low, high = _with_baselines(axes, SimpleNamespace(attrs=attrs), 1.0, 2.0)
    label = axes.get_legend_handles_labels()[1][0]
    assert (low <= loss <= high) is shown
    assert f"{loss:.3f}" in label
    assert ("the picture" in label) is not shown
    assert (low <= 1.0, high >= 2.0) == (True, True)


def test_a_position_lasts_from_a_buy_to_a_sell_or_to_the_end() -> None:
    trades = [("BUY", 0, 1.0, 1.0), ("SELL", 3, 1.0, 1.0), ("BUY", 7, 1.0, 1.0)]
    assert _held({"trades": trades}, 9) == [(0, 3), (7, 9)]
    assert _held({"trades": trades[:2]}, 9) == [(0, 3)]
    assert _held({"trades": []}, 9) == []


def search_of(count: int, **spaces: optuna.distributions.BaseDistribution) -> SimpleNamespace:
    """Trials whose loss is their `lr`, whatever else they have."""
    study = optuna.create_study()
    for i in range(count):
        params: dict[str, Any] = {"lr": (i + 0.5) / count}
        for name, space in spaces.items():
            assert isinstance(space, CategoricalDistribution)
            params[name] = space.choices[i % len(space.choices)]
        known = {"lr": FloatDistribution(0.0, 1.0), **spaces}
        study.add_trial(create_trial(params=params, distributions=known, value=params["lr"]))
    return SimpleNamespace(study=study, trials=study.get_trials)


def test_what_the_best_trials_have_in_common_weighs_most() -> None:
    search = search_of(40, cell=CategoricalDistribution(["gru", "lstm"]))
    found = importance(search)
    assert isinstance(found, Importance)
    assert list(found.shares) == ["lr", "cell"]
    assert found.shares["lr"] > 0.9
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.trials, found.best) == (40, 5)
    assert importance(search) == found


def test_the_best_are_a_tenth_or_five() -> None:
    counts = [importance(search_of(n)) for n in (10, 50, 100)]
    assert [(c.trials, c.best) for c in counts if isinstance(c, Importance)] == [
        (10, 5),
        (50, 5),
        (100, 10),
    ]


def test_importance_that_cannot_be_had_is_said() -> None:
    assert importance(search_of(9)) == "it needs 10 complete trials or more, and the search has 9"
    alike = optuna.create_study()
    for _ in range(12):
        alike.add_trial(create_trial(value=1.0))
    found = importance(SimpleNamespace(study=alike, trials=alike.get_trials))
    assert found == "the best trials differ from the others in no hyperparameter that was searched"


def test_no_module_draws_by_pyplot() -> None:
    for path in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            assert not [n for n in names if n.startswith("matplotlib.pyplot")], path
