"""The search space: what fixes, chooses and ranges, conditional widths, and grids by hand."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from puffin.models.config import Config
from puffin.studies.space import (
    Categorical,
    Range,
    Space,
    grid_points,
    initial_points,
    parse_space,
    suggest,
)

FREE = {"lr": {"low": 1e-4, "high": 1e-2}}  # a space must leave something open


def space(**values: Any) -> Space:
    return parse_space(FREE | values)


def fixed(**params: Any) -> FixedTrial:
    return FixedTrial({"lr": 0.001} | params)


# Scalars, lists and tables


def test_scalar_is_fixed_list_is_choice_table_is_range() -> None:
    parsed = parse_space(
        {
            "cell": ["lstm", "gru"],
            "layers": 3,
            "hidden_dim": {"low": 4, "high": 64, "log": True},
            "dropout": {"low": 0, "high": 0.5, "step": 0.25},
            "lookback": {"low": 10, "high": 60, "step": 5},
            "lr": 0.01,
            "weight_decay": [0, 1e-6],
        }
    )
    assert parsed.scalars["cell"] == Categorical(("lstm", "gru"))
    assert parsed.layers == Categorical((3,))
    assert parsed.hidden_dim == Range(4, 64, None, log=True, integer=True)
    assert parsed.scalars["dropout"] == Range(0.0, 0.5, 0.25, log=False, integer=False)
    assert parsed.scalars["lookback"] == Range(10, 60, 5, log=False, integer=True)
    assert parsed.scalars["lr"] == Categorical((0.01,))
    assert parsed.scalars["weight_decay"] == Categorical((0.0, 1e-6))
    assert (parsed.tied, parsed.funnel, parsed.max_lookback) == (False, False, 60)


def test_hyperparameter_missing_from_a_space_is_fixed_at_its_default() -> None:
    config = suggest(fixed(), space())
    assert config == Config(hidden_dims=(64, 64), lr=0.001)
    assert space().layers == Categorical((2,))


def test_only_free_hyperparameters_are_suggested() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    trial = study.ask()
    suggest(
        trial,
        parse_space(
            {
                "cell": ["lstm", "gru"],
                "layers": [2],
                "hidden_dim": {"low": 4, "high": 8},
                "dropout": {"low": 0.25, "high": 0.25},
                "lookback": {"low": 10, "high": 20, "step": 5},
                "lr": {"low": 1e-4, "high": 1e-2, "log": True},
                "batch_size": [16, 32],
            }
        ),
    )
    assert trial.distributions == {
        "cell": CategoricalDistribution(("lstm", "gru")),
        "hidden_dim_0": IntDistribution(4, 8),
        "hidden_dim_1": IntDistribution(4, 8),
        "lookback": IntDistribution(10, 20, step=5),
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
        "batch_size": CategoricalDistribution((16, 32)),
    }


@pytest.mark.parametrize(
    ("values", "longest"), [(7, 7), ([3, 9, 5], 9), ({"low": 2, "high": 12}, 12)]
)
def test_max_lookback_is_the_upper_bound_of_the_space(values: Any, longest: int) -> None:
    assert space(lookback=values).max_lookback == longest


# Widths


def test_each_layer_has_its_own_width() -> None:
    own = space(layers=[1, 2, 3], hidden_dim=[8, 32])
    widths = {"hidden_dim_0": 32, "hidden_dim_1": 8, "hidden_dim_2": 32}
    assert suggest(fixed(layers=3, **widths), own).hidden_dims == (32, 8, 32)
    assert suggest(fixed(layers=1, **widths), own).hidden_dims == (32,)


def test_tied_layers_have_one_width() -> None:
    tied = space(layers=[1, 2, 3], hidden_dim={"choices": [8, 32], "tied": True})
    for layers, widths in [(1, (32,)), (2, (32, 32)), (3, (32, 32, 32))]:
        assert suggest(fixed(layers=layers, hidden_dim=32), tied).hidden_dims == widths


@pytest.mark.parametrize(
    ("first", "layers", "widths"),
    [
        (64, 1, (64,)),
        (64, 3, (64, 32, 16)),
        (50, 3, (50, 25, 12)),
        (5, 4, (5, 2, 1, 1)),
        (1, 2, (1, 1)),
    ],
)
def test_funnel_halves_widths_down_to_one_unit(
    first: int, layers: int, widths: tuple[int, ...]
) -> None:
    funnel = space(layers=[1, 2, 3, 4], hidden_dim={"low": 1, "high": 64, "funnel": True})
    assert suggest(fixed(layers=layers, hidden_dim=first), funnel).hidden_dims == widths


def test_width_of_a_missing_layer_is_not_suggested() -> None:
    trial = fixed(layers=2, hidden_dim_0=8, hidden_dim_1=16, hidden_dim_2=8)
    suggest(trial, space(layers=[1, 2, 3], hidden_dim=[8, 16]))
    assert set(trial.params) == {"lr", "layers", "hidden_dim_0", "hidden_dim_1"}


def test_dropout_is_zero_and_not_suggested_with_one_layer() -> None:
    open_dropout = space(layers=[1, 2], hidden_dim=8, dropout={"low": 0.1, "high": 0.5})
    one, two = fixed(layers=1, dropout=0.4), fixed(layers=2, dropout=0.4)
    assert suggest(one, open_dropout).dropout == 0.0
    assert "dropout" not in one.params
    assert suggest(two, open_dropout).dropout == 0.4
    assert two.params["dropout"] == 0.4


# What is refused


KEYS = "cell, layers, hidden_dim, dropout, lookback, lr, weight_decay, batch_size, noise"
WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"learning_rate": 0.1},
        f"learning_rate: unknown hyperparameter; known are {KEYS}",
    ),
    ({"cell": "rnn"}, "cell = 'rnn': unknown cell 'rnn'; known are lstm, gru"),
    ({"cell": ["gru", "gru"]}, "cell = ['gru', 'gru']: has a value twice; list each once"),
    ({"lr": []}, "lr = []: an empty list offers no choice; add values"),
    ({"lr": "fast"}, "lr = 'fast': 'fast' should be a number"),
    ({"lr": True}, "lr = True: True should be a number"),
    ({"lr": -1.0}, "lr = -1.0: -1.0 must be at least 0"),
    ({"lr": math.nan}, "lr = nan: nan should be a number"),
    ({"lr": math.inf}, "lr = inf: inf should be a number"),
    ({"dropout": [0.1, 1.0]}, "dropout = [0.1, 1.0]: 1.0 must be at least 0 and below 1"),
    ({"lookback": 0}, "lookback = 0: 0 must be at least 1"),
    ({"lookback": 2.5}, "lookback = 2.5: 2.5 should be a whole number"),
    ({"lookback": {"low": 3}}, "lookback = {'low': 3}: a range needs high"),
    ({"lookback": {}}, "lookback = {}: a range needs high and low"),
    ({"lookback": {"low": 9, "high": 5}}, "low must not be above high = 5"),
    (
        {"lookback": {"low": 1, "high": 5, "stop": 2}},
        "unknown stop; a range has low, high, step and log",
    ),
    ({"lookback": {"low": 1, "high": 5, "step": 0}}, "step must be above 0"),
    ({"lookback": {"low": 1, "high": 5, "step": 0.5}}, "step must be a whole number"),
    ({"lr": {"low": 0.1, "high": 0.5, "step": "0.1"}}, "step must be above 0"),
    (
        {"lr": {"low": 0.1, "high": 0.5, "step": 0.1, "log": True}},
        "log and step exclude each other; keep one",
    ),
    ({"lr": {"low": 0, "high": 1, "log": True}}, "log needs low above 0"),
    ({"lr": {"low": 0.1, "high": 1, "log": "yes"}}, "log should be true or false"),
    ({"cell": {"low": "gru", "high": "lstm"}}, "a range needs numbers; use a list"),
    ({"layers": 0}, "layers = 0: 0 must be at least 1"),
    ({"layers": 1_000_000}, "layers = 1000000: 1000000 must be at most 100"),
    ({"layers": [1, 2.0]}, "layers = [1, 2.0]: 2.0 should be a whole number"),
    ({"hidden_dim": 0}, "hidden_dim = 0: 0 must be at least 1"),
    ({"hidden_dim": [[4, 8]]}, "hidden_dim = [[4, 8]]: [4, 8] should be a whole number"),
    ({"hidden_dim": {"low": 4, "high": 8, "tied": 1}}, "hidden_dim.tied = 1: should be true or"),
    (
        {"hidden_dim": {"low": 4, "high": 8, "tied": True, "funnel": True}},
        "hidden_dim: tied and funnel exclude each other; keep one",
    ),
    ({"hidden_dim": {"choices": [8, 8], "tied": True}}, "has a value twice; list each once"),
    (
        {"hidden_dim": {"choices": [8], "low": 4}},
        "unknown choices; a range has low, high, step and log",
    ),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[str(values) for values, _ in WRONG])
def test_wrong_space_is_refused_with_key_value_rule_and_fix(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        parse_space({"batch_size": [16, 32]} | values)
    assert ";" not in str(caught.value).replace(words, ""), "more than one problem"


@pytest.mark.parametrize(
    "values", [{}, {"lr": 0.1}, {"lr": [0.1]}, {"lookback": {"low": 5, "high": 5}}]
)
def test_a_space_with_nothing_to_search_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fixes every hyperparameter; give at least one a list"):
        parse_space(values)


def test_all_problems_of_a_space_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match="cel") as caught:
        parse_space({"cel": "lstm", "cell": "rnn", "lookback": 0, "hidden_dim": {"low": 4}})
    problems = str(caught.value).split("; ")
    assert [p.split(" ")[0] for p in problems if "known are" not in p] == [
        "cel:",
        "cell",
        "hidden_dim",
        "lookback",
    ]


@pytest.mark.parametrize(
    ("key", "least", "too_small"),
    [
        ("dropout", 0.0, -0.01),
        ("lookback", 1, 0),
        ("lr", 0.0, -1e-9),
        ("weight_decay", 0.0, -1e-9),
        ("batch_size", 1, 0),
        ("noise", 0.0, -0.1),
        ("layers", 1, 0),
        ("hidden_dim", 1, 0),
    ],
)
def test_every_hyperparameter_has_a_lower_bound(key: str, least: float, too_small: float) -> None:
    other = {"cell": ["lstm", "gru"]}
    parse_space(other | {key: least})
    rule = f"{key} = .*{too_small!r} must be at least"
    for wrong in (too_small, [too_small, least], {"low": too_small, "high": 1}):
        with pytest.raises(ValueError, match=rule):
            parse_space(other | {key: wrong})


# Grids


def test_grid_has_every_network_once_with_one_width_per_layer() -> None:
    grid = grid_points(
        parse_space({"layers": [1, 2], "hidden_dim": [4, 8], "dropout": [0.1, 0.3], "lr": 0.01})
    )
    one = [{"layers": 1, "hidden_dim_0": w} for w in (4, 8)]
    two = [
        {"layers": 2, "hidden_dim_0": a, "hidden_dim_1": b, "dropout": d}
        for d in (0.1, 0.3)
        for a in (4, 8)
        for b in (4, 8)
    ]
    assert sorted(map(str, map(sorted, map(dict.items, grid.points)))) == sorted(
        map(str, map(sorted, map(dict.items, one + two)))
    )
    assert grid.repeats == 2  # at one layer the second dropout makes no other network


def test_grid_of_tied_widths_has_one_width_per_point() -> None:
    grid = grid_points(
        parse_space(
            {
                "layers": [1, 3],
                "hidden_dim": {"choices": [4, 8], "tied": True},
                "cell": ["lstm", "gru"],
            }
        )
    )
    assert len(grid.points) == 2 * 2 * 2
    assert grid.repeats == 0
    assert {tuple(sorted(p)) for p in grid.points} == {("cell", "hidden_dim", "layers")}


def test_a_grid_counts_what_a_funnel_makes_equal() -> None:
    funnel = {"choices": [2, 3], "funnel": True}
    grid = grid_points(parse_space({"layers": 2, "hidden_dim": funnel, "lookback": [3, 4]}))
    assert len(grid.points) == 4  # (2, 1) and (3, 1) differ, at two lookbacks
    assert grid.repeats == 0


def test_a_grid_takes_the_steps_of_a_range() -> None:
    grid = grid_points(
        parse_space(
            {
                "layers": 1,
                "lookback": {"low": 2, "high": 8, "step": 3},
                "noise": {"low": 0.0, "high": 0.5, "step": 0.25},
                "batch_size": {"low": 3, "high": 4},
            }
        )
    )
    points = {(p["lookback"], p["noise"], p["batch_size"]) for p in grid.points}
    assert points == {(a, b, c) for a in (2, 5, 8) for b in (0.0, 0.25, 0.5) for c in (3, 4)}
    assert (len(grid.points), grid.repeats) == (18, 0)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("lr", {"low": 0.1, "high": 0.2}),
        ("lr", {"low": 0.1, "high": 0.2, "log": True}),
        ("hidden_dim", {"low": 4, "high": 8, "log": True}),
        ("layers", {"low": 1, "high": 2, "log": True}),
    ],
)
def test_grid_refuses_an_infinite_range(key: str, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^space\.{key} is a range without a step; .* needs a"):
        grid_points(parse_space({key: values}))


def test_a_point_of_a_grid_suggests_its_own_configuration() -> None:
    parsed = parse_space({"layers": [1, 2], "hidden_dim": [4, 8], "dropout": [0.1, 0.3]})
    points = grid_points(parsed).points
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for point in points:
        study.enqueue_trial(point)
    configs = [suggest(study.ask(), parsed) for _ in points]
    assert len(set(configs)) == len(points) == 2 + 2 * 4
    assert [study.trials[i].params for i in range(len(points))] == points


# The usual point


def test_initial_points_are_small_networks_two_of_one_cell_and_one_of_each_other() -> None:
    points = initial_points(
        parse_space(
            {
                "cell": ["lstm", "gru"],
                "layers": {"low": 1, "high": 3},
                "hidden_dim": {"low": 16, "high": 128, "log": True},
                "dropout": {"low": 0.0, "high": 0.5},
                "lookback": {"low": 10, "high": 60, "step": 5},
                "lr": {"low": 1e-4, "high": 1e-2, "log": True},
                "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
                "batch_size": [32, 64, 128],
            }
        )
    )
    gru = {
        "cell": "gru",
        "layers": 1,
        "hidden_dim_0": 32,
        "lookback": 20,
        "lr": 0.001,
        "weight_decay": 1e-5,
        "batch_size": 64,
    }
    faster = gru | {"lookback": 40, "lr": 0.003, "weight_decay": 1e-3}
    assert points == [gru, faster, gru | {"cell": "lstm"}]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"hidden_dim": {"low": 64, "high": 128}, "layers": 1}, {"hidden_dim_0": 64}),
        ({"hidden_dim": {"low": 4, "high": 16}, "layers": 1}, {"hidden_dim_0": 16}),
        ({"hidden_dim": {"choices": [8, 24, 128], "tied": True}}, {"hidden_dim": 24}),
        ({"lookback": {"low": 3, "high": 60, "step": 6}}, {"lookback": 21}),
        ({"batch_size": [8, 48, 256]}, {"batch_size": 48}),
        ({"dropout": {"low": 0.0, "high": 0.9, "step": 0.3}}, {"dropout": 0.0}),
        ({"dropout": {"low": 0.05, "high": 0.5, "step": 0.15}}, {"dropout": 0.05}),
        ({"weight_decay": [0.0, 0.1]}, {"weight_decay": 0.0}),
        ({"cell": "lstm"}, {}),
        ({"layers": [2, 3]}, {"layers": 2}),
    ],
)
def test_initial_point_is_the_nearest_in_the_space(
    values: dict[str, Any], expected: dict[str, Any]
) -> None:
    first, *others = initial_points(space(**values))
    assert first == {"lr": 0.001} | expected
    assert all(first.keys() == other.keys() for other in others)


def test_a_space_that_has_one_network_near_both_defaults_has_one_initial_point() -> None:
    near = {"lr": [1e-5, 1e-4], "lookback": 10, "weight_decay": 0.0}
    assert initial_points(space(**near)) == [{"lr": 1e-4}]


# Properties


def choices(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=1, max_size=4, unique=True))


@st.composite
def whole_ranges(draw: st.DrawFn, low: int, high: int) -> dict[str, Any]:
    first = draw(st.integers(low, high))
    step = draw(st.none() | st.integers(1, 5))
    if step is not None:
        return {"low": first, "high": first + step * draw(st.integers(0, 5)), "step": step}
    last = draw(st.integers(first, high))
    return {"low": first, "high": last, "log": draw(st.booleans())}


@st.composite
def number_ranges(draw: st.DrawFn, low: float, high: float) -> dict[str, Any]:
    ends = sorted(draw(st.lists(st.floats(low, high), min_size=2, max_size=2)))
    return {"low": ends[0], "high": ends[1], "log": ends[0] > 0 and draw(st.booleans())}


def whole(low: int, high: int) -> st.SearchStrategy[Any]:
    return st.one_of(choices(st.integers(low, high)), whole_ranges(low, high))


def numbers(low: float, high: float) -> st.SearchStrategy[Any]:
    return st.one_of(choices(st.floats(low, high)), number_ranges(low, high))


@st.composite
def widths(draw: st.DrawFn) -> Any:
    shape = draw(st.sampled_from([{}, {"tied": True}, {"funnel": True}, {"tied": False}]))
    if draw(st.booleans()):
        return draw(whole_ranges(1, 64)) | shape
    values = draw(st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True))
    return {"choices": values} | shape if shape else values


SPACES = st.fixed_dictionaries(
    {},
    optional={
        "cell": choices(st.sampled_from(["lstm", "gru"])),
        "layers": whole(1, 4),
        "hidden_dim": widths(),
        "dropout": numbers(0.0, 0.9),
        "lookback": whole(1, 60),
        "lr": numbers(0.0, 1.0),
        "weight_decay": numbers(0.0, 1.0),
        "noise": numbers(0.0, 2.0),
    },
)


def holds(raw: Any, value: Any) -> bool:
    """Whether a value lies in what a study file says, read without the help of the parser."""
    if isinstance(raw, Mapping) and "choices" in raw:
        raw = raw["choices"]
    if not isinstance(raw, Mapping):
        return value in (raw if isinstance(raw, list) else [raw])
    step = raw.get("step")
    inside = bool(raw["low"] <= value <= raw["high"])
    return inside and (step is None or (value - raw["low"]) % step == 0)


@settings(max_examples=150, deadline=None)
@given(SPACES, st.integers(0, 2**31))
def test_any_sampled_configuration_is_in_its_space_and_survives_json(
    values: dict[str, Any], seed: int
) -> None:
    values = values | {"batch_size": [16, 32]}
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    config = suggest(study.ask(), parse_space(values))
    assert holds(values.get("layers", 2), len(config.hidden_dims))
    raw = values.get("hidden_dim", 64)
    shape = raw if isinstance(raw, Mapping) else {}
    first, *rest = config.hidden_dims
    assert holds(raw, first)
    if shape.get("tied"):
        assert set(rest) <= {first}
    elif shape.get("funnel"):
        assert rest == [max(1, first // 2**i) for i in range(1, len(rest) + 1)]
    else:
        assert all(holds(raw, width) for width in rest)
    for key in ("cell", "lookback", "lr", "weight_decay", "batch_size", "noise"):
        assert holds(values.get(key, getattr(Config, key)), getattr(config, key)), key
    expected = values.get("dropout", Config.dropout) if rest else 0.0
    assert holds(expected, config.dropout)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=150, deadline=None)
@given(SPACES)
def test_initial_point_of_any_space_can_be_sampled(values: dict[str, Any]) -> None:
    parsed = parse_space(values | {"batch_size": [16, 32]})
    points = initial_points(parsed)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for point in points:
        study.enqueue_trial(point)
        # Warnings are errors here: Optuna warns of a fixed value that the space does not hold.
        suggest(study.ask(), parsed)
    assert [trial.params for trial in study.trials] == points
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)
    cells = values.get("cell", "lstm")
    other_cells = len(cells) - 1 if isinstance(cells, list) else 0
    assert len(points) - other_cells in (1, 2)


def test_nested_list_as_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown cell \['lstm'\]"):
        parse_space({"cell": [["lstm"], "gru"]})


def test_a_grid_of_steps_stays_within_its_range() -> None:
    points = grid_points(parse_space({"dropout": {"low": 0.0, "high": 0.3, "step": 0.1}})).points
    assert [point["dropout"] for point in points] == [0.0, 0.1, 0.2, 0.3]


def test_a_range_ends_on_its_last_step() -> None:
    space = parse_space({"lookback": {"low": 10, "high": 64, "step": 5}})
    assert space.max_lookback == 60
    assert suggest(FixedTrial({"lookback": 60}), space).lookback == 60
