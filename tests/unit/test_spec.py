"""The study file: presets, every wrong key in words, overrides, paths, and the way through JSON."""

import copy
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from puffin.studies.algorithms import SAMPLERS
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.space import Range, grid_points
from puffin.studies.spec import Spec, SpecError, load_spec, parse_spec, preset_names

GOOD: dict[str, Any] = {
    "name": "mine",
    "data": {"symbol": "AAPL"},
    "space": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}},
}
GOOD_TOML = """
name = "mine"
[data]
symbol = "AAPL"
[space]
lr = { low = 1e-4, high = 1e-2, log = true }
[search]
trials = 7
"""
ABSENT = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The good values with keys set, or taken out where the value is ABSENT."""
    values = copy.deepcopy(GOOD)
    for path, value in changes:
        *sections, last = path.split(".")
        table = values
        for section in sections:
            table = table.setdefault(section, {})
        if value is ABSENT:
            del table[last]
        else:
            table[last] = value
    return values


def refusal(values: dict[str, Any]) -> list[str]:
    """The problems of a file that must be refused, one each."""
    with pytest.raises(SpecError) as caught:
        parse_spec(values, "my.toml")
    label, *problems = str(caught.value).splitlines()
    assert label == "my.toml:"
    assert all(problem.startswith("  - ") for problem in problems)
    return [problem.removeprefix("  - ") for problem in problems]


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD_TOML)
    return path


# Presets


def test_the_presets_are_those_that_are_documented() -> None:
    assert preset_names() == ["basket", "daily", "demo", "grid", "volatility"]


@pytest.mark.parametrize(
    ("name", "tickets", "target", "sampler"),
    [
        ("demo", 40, "range", "tpe"),
        ("daily", 200, "return", "tpe"),
        ("volatility", 200, "range", "tpe"),
        ("grid", 126, "return", "grid"),
        ("basket", 40, "range", "tpe"),
    ],
)
def test_a_preset_has_its_name_budget_target_and_sampler(
    name: str, tickets: int, target: str, sampler: str
) -> None:
    spec = load_spec(name)
    assert (spec.name, spec.tickets) == (name, tickets)
    assert (spec.data.target, spec.search.sampler, spec.search.pruner) == (target, sampler, "asha")


def test_daily_and_volatility_differ_in_name_and_target_only() -> None:
    daily, volatility = load_spec("daily").to_json(), load_spec("volatility").to_json()
    volatility["name"], volatility["data"]["target"] = "daily", "return"
    assert daily == volatility


def test_grid_preset_has_162_points_with_36_repeats() -> None:
    grid = grid_points(load_spec("grid").parsed_space)
    assert len(grid.points) == 126
    assert grid.repeats == 36
    assert len(grid.points) + grid.repeats == 3 * 3 * 3 * 3 * 2


def test_missing_keys_take_the_documented_defaults() -> None:
    spec = parse_spec(GOOD, "my.toml")
    assert spec.data.model_dump() == {
        "source": "sample",
        "symbols": ("AAPL",),
        "path": None,
        "columns": {},
        "start": None,
        "end": None,
        "period": None,
        "interval": "1d",
        "extra": (),
        "features": ("return", "range", "volume"),
        "target": "return",
        "horizon": 1,
        "pooling": "all",
    }
    assert spec.walk_forward.model_dump() == {
        "folds": 5,
        "valid_bars": 120,
        "window": "expanding",
        "train_bars": None,
        "holdout_bars": 250,
        "purge": None,
    }
    assert spec.training.model_dump() == {
        "max_epochs": 50,
        "patience": 8,
        "loss": "mse",
        "quantiles": (),
        "objective": "loss",
    }
    assert spec.final.seeds == 5
    assert (spec.search.sampler, spec.search.pruner, spec.search.seed) == ("tpe", "asha", 0)
    assert spec.backtest.model_dump() == {
        "commission_bps": 1.0,
        "slippage_bps": 1.0,
        "threshold_bps": 0.0,
        "short": False,
        "max_weight": 1.0,
    }
    assert spec.tickets == 100


def test_missing_space_is_that_of_the_preset_daily_and_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text('name = "short"\n[data]\nsymbol = "AAPL"\n')
    daily = load_spec("daily").to_json()["space"]
    assert load_spec(str(path)).to_json()["space"] == daily
    one_key = load_spec(str(path), ["space.lr=0.01", "space.layers.high=2"]).to_json()["space"]
    assert one_key == daily | {"lr": 0.01, "layers": {"low": 1, "high": 2}}
    with pytest.raises(SpecError, match="\\[space\\] is left out; add it"):
        load_spec(str(path), ["search.sampler=grid"])


# Wrong keys and values: path, value, rule and fix


WRONG: list[tuple[str, Any, list[str]]] = [
    ("name", ABSENT, ["name is required"]),
    ("name", "", ["name = ''", "1 to 64 letters, digits"]),
    ("name", "a b", ["name = 'a b'", "letters, digits, '.', '_' or '-'"]),
    ("name", "../up", ["name = '../up'", "start with a letter or digit"]),
    ("name", "x" * 65, ["name = 'xxx", "1 to 64"]),
    ("name", 3, ["name = 3", "should be text in quotes"]),
    ("nme", "x", ["nme: unknown key", "did you mean 'name'?", "known keys are name, data,"]),
    ("data", ABSENT, ["data is required"]),
    ("data.strat", "2012-01-01", ["data.strat: unknown key", "did you mean 'start'?"]),
    ("data.source", "yahoo", ["data.source = 'yahoo'", "unknown source", "known are sample, csv"]),
    ("data.source", "csv", ["data: ", 'source "csv" needs path', 'add path = "prices.csv"']),
    ("data.path", "a.csv", ["data: ", 'path goes with source "csv"', "drop one of them"]),
    ("data.symbol", ABSENT, ["data: ", 'source "sample" needs symbols', 'add symbols = ["AAPL"]']),
    ("data.symbols", ["IBM"], ["data: symbol = 'AAPL' and symbols both name", "drop one of them"]),
    ("data.symbol", "", ["data.symbols = ['']", "symbol names", "got ''"]),
    ("data.symbol", "A,B", ["data.symbols", "symbol names must not contain commas", "got 'A,B'"]),
    ("data.symbol", 5, ["data.symbols.0 = 5", "text in quotes"]),
    ("data.features", [], ["data.features = []", "at least one item"]),
    ("data.features", ["return", "rso"], ["data.features", "unknown feature 'rso'", "known are"]),
    ("data.features", ["return"] * 2, ["data.features", "a feature twice", "list each once"]),
    ("data.features", "return", ["data.features = 'return'", "should be a list"]),
    ("data.features", ["extra"], ["data: ", "'extra' reads other series", 'extra = ["^VIX"]']),
    (
        "data.features",
        ["column:mood"],
        ["data: ", '"column:mood" goes with source "csv"', "drop it"],
    ),
    ("data.features", ["diff:a,b"], ["data.features", "column names", "must not contain commas"]),
    ("data.features", ["column:"], ["data.features", "column names", "but got ''"]),
    ("data.features", ["columns:x"], ["unknown feature 'columns:x'", "column:NAME, diff:NAME"]),
    ("data.columns", {"close": "JPM"}, ["data: ", 'columns goes with source "csv"', "drop it"]),
    ("data.columns", {"shut": "JPM"}, ["data.columns", "unknown column 'shut'", "known are date,"]),
    ("data.columns", {"close": "A", "open": "a"}, ["data.columns", "twice; use each once"]),
    ("data.columns", {"close": 4}, ["data.columns.close = 4", "text in quotes"]),
    ("data.columns", ["JPM"], ["data.columns", "should be a section"]),
    ("data.extra", ["IBM"], ["data: ", "no feature reads extra", 'add "extra" or']),
    ("data.extra", ["S&P, 500"], ["data.extra", "got 'S&P, 500'", "must not contain commas"]),
    ("data.extra", ["IBM", "IBM"], ["data.extra", "a series twice", "list each once"]),
    ("data.period", "2y", ["data: ", 'period and interval go with source "yfinance"']),
    ("data.period", "two years", ["data.period = 'two years'", "2y, 6mo, 30d, ytd or max"]),
    ("data.interval", "1h", ["data: ", 'period and interval go with source "yfinance"']),
    ("data.interval", "2h", ["data.interval = '2h'", "unknown interval", "known are 1m, 5m"]),
    (
        "data.target",
        "close",
        ["data.target = 'close'", "known are return, range, volatility, price"],
    ),
    ("data.horizon", 0, ["data.horizon = 0", "should be at least 1"]),
    ("data.horizon", 1.5, ["data.horizon = 1.5", "should be a whole number"]),
    ("data.horizon", True, ["data.horizon = True", "should be a whole number"]),
    ("data.horizon", "2", ["data.horizon = '2'", "should be a whole number"]),
    ("data", "AAPL", ["data = 'AAPL'", "should be a section"]),
    ("data.end", 20050131, ["data.end = 20050131", "should be a day like 2005-01-31"]),
    ("training.max_epochs", 10**9, ["training.max_epochs = 1000000000", "at most 1000000"]),
    ("data.start", "soon", ["data.start = 'soon'", "should be a day like 2005-01-31"]),
    ("backtest.comission_bps", 3, ["unknown key", "did you mean 'commission_bps'?"]),
    ("backtest.commission_bps", -1, ["backtest.commission_bps = -1", "should be at least 0"]),
    (
        "backtest.slippage_bps",
        1e4,
        ["backtest.slippage_bps = 10000.0", "should be less than 5000"],
    ),
    ("backtest.threshold_bps", math.nan, ["backtest.threshold_bps = nan", "should be"]),
    ("backtest.threshold_bps", "few", ["backtest.threshold_bps = 'few'", "should be a number"]),
    ("backtest.max_weight", 0, ["backtest.max_weight = 0", "should be greater than 0"]),
    ("backtest.max_weight", 1.5, ["goes with a volatility, but data.target is", "drop it"]),
    ("backtest.short", "no", ["backtest.short = 'no'", "should be true or false"]),
    ("walk_forward.fold", 3, ["walk_forward.fold: unknown key", "did you mean 'folds'?"]),
    ("walk_forward.folds", 1, ["walk_forward.folds = 1", "should be at least 2"]),
    ("walk_forward.valid_bars", 0, ["walk_forward.valid_bars = 0", "should be at least 1"]),
    ("walk_forward.holdout_bars", 0, ["walk_forward.holdout_bars = 0", "should be at least 1"]),
    ("walk_forward.purge", -1, ["walk_forward.purge = -1", "should be at least 0"]),
    ("walk_forward.window", "sliding", ["walk_forward.window = 'sliding'", "'expanding' or 'roll"]),
    ("walk_forward.window", "rolling", ["walk_forward: ", "needs train_bars", "add train_bars ="]),
    ("walk_forward.train_bars", 99, ["walk_forward: ", 'goes with window "rolling"', "or drop"]),
    ("training.epochs", 5, ["training.epochs: unknown key", "did you mean 'max_epochs'?"]),
    ("training.max_epochs", 0, ["training.max_epochs = 0", "should be at least 1"]),
    ("training.patience", -1, ["training.patience = -1", "should be at least 0"]),
    ("training.loss", "rmse", ["training.loss = 'rmse'", "known are mse, mae, huber"]),
    ("search.trials", 0, ["search.trials = 0", "should be at least 1"]),
    ("search.trials", "many", ["search.trials = 'many'", "should be a whole number"]),
    ("search.sampler", "bayes", ["search.sampler = 'bayes'", "known are tpe, gp, random, grid"]),
    ("search.pruner", "sha", ["search.pruner = 'sha'", "known are asha, hyperband, median, none"]),
    ("search.seed", -1, ["search.seed = -1", "should be at least 0"]),
    ("search.seed", 2**32, ["search.seed = 4294967296", "less than 4294967296"]),
    ("search.sampler", "gp", ["search: ", 'pruner is "asha"', 'set pruner = "none", or sampler']),
    ("space", {}, ["space: fixes every hyperparameter"]),
    ("search.sampler", "grid", ["space.lr is a range without a step", "needs a list or a step"]),
    (
        "space.learning_rate",
        0.1,
        ["space: learning_rate: unknown hyperparameter", "known are cell"],
    ),
    ("space.lr", 0.1, ["space: fixes every hyperparameter", "give at least one a list or a range"]),
    ("space.features", [["range"], ["rsi"]], ["space.features names rsi", "add it there too"]),
    ("space.features", ["range"], ["a list of lists of features", "space: features = "]),
    ("space.features", [["range"], []], ["each set should have at least one feature"]),
    ("space.features", [["range"], ["range"]], ["a set or a feature of a set twice"]),
    ("space.cell", "rnn", ["space: cell = 'rnn'", "unknown cell 'rnn'", "known are lstm, gru"]),
    ("space.dropout", 1.0, ["space: dropout = 1.0", "must be at least 0 and below 1"]),
    ("space.lookback", {"low": 9, "high": 5}, ["space: lookback =", "low must not be above high"]),
]


@pytest.mark.parametrize(
    ("path", "value", "words"), WRONG, ids=[f"{path}={str(value)[:20]}" for path, value, _ in WRONG]
)
def test_wrong_key_or_value_is_refused_with_path_value_rule_and_fix(
    path: str, value: Any, words: list[str]
) -> None:
    (problem,) = refusal(changed((path, value)))
    missing = [word for word in words if word not in problem]
    assert not missing, f"{problem!r} does not say {missing}"


def test_all_problems_of_a_study_file_are_reported_at_once() -> None:
    problems = refusal(
        changed(
            ("nme", "x"),
            ("data.target", "close"),
            ("training.max_epochs", 0),
            ("space.cel", "lstm"),
            ("space.lookback", 0),
            ("search.sampler", "grid"),
            ("search.trials", 5),
        )
    )
    assert len(problems) == 5
    text = "\n".join(problems)
    for words in (
        "nme: unknown key",
        "data.target = 'close'",
        "training.max_epochs = 0",
        "cel: unknown hyperparameter",
        "lookback = 0: 0 must be at least 1",
        "drop trials",
    ):
        assert words in text


# Rules between keys


@pytest.mark.parametrize("purge", [0, 3])
def test_a_purge_below_horizon_less_one_is_refused(purge: int) -> None:
    (problem,) = refusal(changed(("data.horizon", 5), ("walk_forward.purge", purge)))
    assert problem == (
        f"walk_forward.purge must be at least horizon - 1 = 4, but is {purge}; "
        "raise it, or leave it out"
    )


@pytest.mark.parametrize(("given", "purge"), [(None, 4), (4, 4), (9, 9)])
def test_purge_is_horizon_minus_one_unless_larger(given: int | None, purge: int) -> None:
    values = changed(("data.horizon", 5), ("walk_forward.purge", given))
    assert parse_spec(values, "my.toml").layout.purge == purge


@pytest.mark.parametrize(
    ("target", "fits"), [("range", True), ("volatility", True), ("return", False)]
)
def test_the_loss_of_variances_is_for_volatilities(target: str, fits: bool) -> None:  # noqa: FBT001  # a case
    values = changed(("training.loss", "qlike"), ("data.target", target))
    if fits:
        assert parse_spec(values, "my.toml").training.loss == "qlike"
        return
    (problem,) = refusal(values)
    assert problem == (
        'training.loss "qlike" is for targets that are a volatility, range and volatility, but '
        'data.target is "return"; set training.loss = "mse"'
    )


def test_quantiles_have_the_documented_levels_or_those_that_are_given() -> None:
    spec = parse_spec(changed(("training.loss", "quantile")), "my.toml")
    assert spec.training.quantiles == (0.05, 0.25, 0.5, 0.75, 0.95)
    assert parse_spec(spec.to_json(), "stored") == spec
    none = changed(("training.loss", "quantile"), ("training.quantiles", []))
    assert parse_spec(none, "my.toml").training == spec.training
    given = changed(("training.loss", "quantile"), ("training.quantiles", [0.025, 0.5, 0.9]))
    assert parse_spec(given, "my.toml").criterion.levels == (0.025, 0.5, 0.9)


@pytest.mark.parametrize(
    "levels", [[0.5], [0.5, 0.1], [0.1, 0.9], [0.5, 0.5], [0.0, 0.5], [0.5, 1.0], [0.5, 0.9995]]
)
def test_levels_are_ascending_thousandths_around_the_median(levels: list[float]) -> None:
    (problem,) = refusal(changed(("training.loss", "quantile"), ("training.quantiles", levels)))
    assert problem == (
        "training: quantiles must be two or more ascending thousandths between 0 and 1, 0.5 among "
        f"them, but are {', '.join(map(str, levels))}"
    )


def test_levels_without_the_loss_of_quantiles_are_refused() -> None:
    (problem,) = refusal(changed(("training.quantiles", [0.5])))
    assert problem == 'training: quantiles are those of the loss "quantile", but loss is "mse"'


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_gp_goes_with_no_pruner(pruner: str) -> None:
    (problem,) = refusal(changed(("search.sampler", "gp"), ("search.pruner", pruner)))
    assert f'pruner is "{pruner}"' in problem
    values = changed(("search.sampler", "gp"), ("search.pruner", "none"))
    assert parse_spec(values, "my.toml").search.sampler == "gp"


def test_grid_has_one_trial_per_point_and_refuses_a_budget() -> None:
    grid = changed(("space.lr", [0.1, 0.01, 0.001]), ("search.sampler", "grid"))
    assert parse_spec(grid, "my.toml").tickets == 3
    (problem,) = refusal(grid | {"search": {"sampler": "grid", "trials": 3}})
    assert problem == 'search: sampler "grid" runs every point of its grid once; drop trials'


def test_rolling_window_passes_its_length_to_the_folds() -> None:
    values = changed(("walk_forward.window", "rolling"), ("walk_forward.train_bars", 300))
    assert parse_spec(values, "my.toml").layout.train_bars == 300


@pytest.mark.parametrize("start", ["2012-01-01", "2013-05-05"])
def test_start_at_or_after_end_is_refused(start: str) -> None:
    (problem,) = refusal(changed(("data.start", start), ("data.end", "2012-01-01")))
    assert problem == f"data: start must be before end = 2012-01-01, but is {start}"


# Reading


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("search.trials=20", "search", "trials", 20),
        (" search.trials = 20", "search", "trials", 20),
        ('data.symbol="IBM"', "data", "symbols", ("IBM",)),
        ("data.symbol=IBM", "data", "symbols", ("IBM",)),
        ('data.symbols=["IBM", "AAPL"]', "data", "symbols", ("IBM", "AAPL")),
        ("data.start=2012-01-01", "data", "start", date(2012, 1, 1)),
        ('data.features=["return", "volume"]', "data", "features", ("return", "volume")),
        ("walk_forward.purge=3", "walk_forward", "purge", 3),
    ],
)
def test_override_is_parsed_as_toml_or_taken_as_text(
    study_file: Path, override: str, section: str, key: str, value: Any
) -> None:
    spec = load_spec(str(study_file), [override])
    assert getattr(getattr(spec, section), key) == value


@pytest.mark.parametrize("name", SAMPLERS)
def test_rules_of_the_search_follow_the_traits_of_the_sampler(name: str) -> None:
    sampler = SAMPLERS[name]
    pruned = changed(
        ("space.lr", [0.1, 0.01]),
        ("search.sampler", name),
        ("search.pruner", "median"),
        ("search.trials", 3),
    )
    if sampler.needs_complete_trials:
        (problem,) = refusal(pruned)
        assert f'sampler "{name}" learns from complete trials only' in problem
    elif sampler.enumerates:
        (problem,) = refusal(pruned)
        assert f'sampler "{name}" runs every point of its grid once' in problem
    else:
        assert parse_spec(pruned, "my.toml").search.sampler == name


def test_a_grid_is_enumerated_once_per_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = load_spec("grid")
    monkeypatch.setattr("puffin.studies.spec.grid_points", None)
    assert spec.tickets == len(spec.grid.points) == 126
    assert spec.parsed_space is spec.parsed_space
    assert "grid" not in spec.to_json()


def test_overrides_reach_into_the_space_and_the_last_wins(study_file: Path) -> None:
    spec = load_spec(
        str(study_file), ["space.lr.high=0.5", "name=a", "name=b", "space.lookback=[3,4]"]
    )
    assert spec.name == "b"
    assert spec.parsed_space.scalars["lr"] == Range(1e-4, 0.5, None, log=True, integer=False)
    assert spec.parsed_space.max_lookback == 4


@pytest.mark.parametrize(
    "override", ["search.trials", "", "=5", "search..trials=3", ".x=3", "x.=3"]
)
def test_override_without_key_and_value_is_refused(study_file: Path, override: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(str(study_file), [override])
    assert str(caught.value) == (
        f"--set takes KEY=VALUE, for example search.trials=20, but got {override!r}"
    )


def test_an_override_below_a_value_is_refused(study_file: Path) -> None:
    with pytest.raises(
        SpecError,
        match=r"^--set name\.first=3: name is a value, not a section; name one of its keys$",
    ):
        load_spec(str(study_file), ["name.first=3"])


def test_override_with_a_wrong_value_is_refused(study_file: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(str(study_file), ["search.trials=many", "serch.trials=3"])
    label, *problems = str(caught.value).splitlines()
    assert label == f"{study_file}:"
    assert any("search.trials = 'many': should be a whole number" in p for p in problems)
    assert any("serch: unknown key; did you mean 'search'?" in p for p in problems)


def test_a_path_may_begin_in_the_home_folder(
    study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.csv").write_text("date,close\n2024-01-30,1\n2024-01-31,1.1\n")
    study_file.write_text(GOOD_TOML.replace('symbol = "AAPL"', 'source = "csv"\npath = "~/p.csv"'))
    for overrides in ([], ["data.path=~/p.csv"]):
        path = load_spec(str(study_file), overrides).data.path
        assert len(load_prices("csv", PriceRequest(path=Path(str(path)))).frame) == 2
    with pytest.raises(DataError, match=r"~nobody-here/p.csv must be a CSV file, but cannot be"):
        load_prices("csv", PriceRequest(path=Path("~nobody-here/p.csv")))


def test_needs_are_the_columns_of_features_and_target() -> None:
    values = changed(
        ("data.source", "csv"),
        ("data.path", "p.csv"),
        ("data.symbol", ABSENT),
        ("data.features", ["return", "rsi", "column:mood", "diff:mood", "volume"]),
        ("data.target", "range"),
    )
    data = parse_spec(values, "my.toml").data
    assert data.needs.reads == {
        "close": "feature 'return' and feature 'rsi'",
        "column:mood": "feature 'column:mood' and feature 'diff:mood'",
        "volume": "feature 'volume'",
        "high": "target 'range'",
        "low": "target 'range'",
    }
    assert data.needs.logs == {
        "close": "feature 'return'",
        "high": "target 'range'",
        "low": "target 'range'",
    }
    assert data.file_columns == ("mood",)
    assert data.inputs == ("return", "rsi", "column:mood", "diff:mood", "volume")


def test_relative_csv_path_starts_at_the_folder_of_the_study_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    file = folder / "mine.toml"
    file.write_text(GOOD_TOML.replace('symbol = "AAPL"', 'source = "csv"\npath = "prices.csv"'))
    monkeypatch.chdir(elsewhere)
    assert load_spec(str(file)).data.path == str(folder / "prices.csv")
    assert load_spec("../study/mine.toml").data.path == "../study/prices.csv"
    assert load_spec(str(file), ["data.path=here.csv"]).data.path == "here.csv"


def test_an_absolute_csv_path_stays(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD_TOML.replace('symbol = "AAPL"', 'source = "csv"\npath = "/data/p.csv"'))
    assert load_spec(str(file)).data.path == "/data/p.csv"


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("gone.toml", None, "cannot read the study file gone.toml: No such file"),
        (
            "demmo",
            None,
            "'demmo' is neither a file nor a preset; presets are basket, daily, demo, grid",
        ),
        ("bad.toml", b"name = ", "bad.toml is not valid TOML: "),
        ("twice.toml", b"a = 1\na = 2\n", "twice.toml is not valid TOML: "),
        ("latin.toml", b'name = "\xe9"', "latin.toml is not UTF-8 text"),
        ("folder.toml", "folder", "cannot read the study file folder.toml: Is a directory"),
        ("empty.toml", b"", "name is required"),
    ],
)
def test_unreadable_study_file_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    body: bytes | str | None,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(body, bytes):
        Path(name).write_bytes(body)
    elif body == "folder":
        Path(name).mkdir()
    with pytest.raises(SpecError) as caught:
        load_spec(name)
    assert words in str(caught.value)


def test_a_file_with_a_byte_order_mark_is_read(study_file: Path) -> None:
    study_file.write_bytes(b"\xef\xbb\xbf" + study_file.read_bytes())
    assert load_spec(str(study_file)).name == "mine"


def test_file_without_suffix_takes_precedence_over_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text(GOOD_TOML)
    assert load_spec("demo").name == "mine"


# The way through JSON


@pytest.mark.parametrize("name", preset_names())
def test_preset_survives_json(name: str) -> None:
    spec = load_spec(name)
    again = parse_spec(json.loads(json.dumps(spec.to_json())), "stored")
    assert again == spec
    assert again.parsed_space == spec.parsed_space


def test_spec_with_every_key_survives_json() -> None:
    values = {
        "name": "All.keys_1-2",
        "data": {
            "source": "csv",
            "path": "p.csv",
            "symbol": "XYZ",
            "start": date(2010, 1, 2),
            "end": date(2012, 3, 4),
            "features": ["price"],
            "target": "price",
            "horizon": 3,
        },
        "walk_forward": {
            "folds": 2,
            "valid_bars": 30,
            "window": "rolling",
            "train_bars": 200,
            "holdout_bars": 40,
            "purge": 6,
        },
        "training": {"max_epochs": 3, "patience": 0, "loss": "huber"},
        "space": {
            "cell": ["lstm", "gru"],
            "layers": [1, 3],
            "hidden_dim": {"low": 4, "high": 16, "log": True, "funnel": True},
            "dropout": {"low": 0.0, "high": 0.5, "step": 0.25},
            "lookback": {"low": 2, "high": 10, "step": 4},
            "lr": 0.01,
            "weight_decay": [0.0, 1e-6],
            "batch_size": 16,
            "noise": {"low": 0.0, "high": 0.1},
        },
        "search": {"trials": 3, "sampler": "random", "pruner": "median", "seed": 2**32 - 1},
    }
    spec = parse_spec(values, "my.toml")
    assert set(spec.to_json()) == set(Spec.model_fields)
    again = parse_spec(json.loads(json.dumps(spec.to_json())), "stored")
    assert again == spec
    assert again.to_json() == spec.to_json()


# Symbols


def basket(*symbols: str, **data: Any) -> dict[str, Any]:
    return changed(("data", {"symbols": list(symbols)} | data))


def test_a_symbol_is_a_basket_of_one_also_in_a_stored_study() -> None:
    one = parse_spec(GOOD, "my.toml")
    assert one == parse_spec(basket("AAPL"), "my.toml")
    stored = one.to_json()
    assert (stored["data"]["symbols"], "symbol" in stored["data"]) == (["AAPL"], False)
    old = stored | {"data": stored["data"] | {"symbol": "AAPL"}}
    del old["data"]["symbols"]
    assert parse_spec(old, "stored") == one
    file = {"source": "csv", "path": "p.csv"}
    assert parse_spec(changed(("data", file | {"symbol": None})), "stored").data.symbols == ()


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        (["AAPL", "IBM", "AAPL"], "names AAPL twice"),
        (["AAPL", "IBM", "ibm"], "names IBM twice; list each symbol once"),
        (["A, B"], "symbol names must not contain commas"),
        (["A", ""], "got ''"),
        ([], "needs symbols"),
        ([f"S{n}" for n in range(1001)], "should have at most 1000 items"),
    ],
)
def test_wrong_symbols_are_refused(symbols: list[str], words: str) -> None:
    (problem,) = refusal(basket(*symbols))
    assert words in problem


def test_symbols_of_files_may_differ_in_case_alone() -> None:
    data = parse_spec(basket("Ab", "AB", source="csv", path="folder"), "my.toml").data
    assert data.symbols == ("Ab", "AB")


@pytest.mark.parametrize("given", ["symbol", "symbols"])
def test_an_override_of_symbols_replaces_either_spelling(given: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    value = {"symbol": '"AAPL"', "symbols": '["AAPL", "MSFT"]'}[given]
    file.write_text(f'name = "s"\n[data]\n{given} = {value}\n')
    for override, symbols in (
        ("data.symbol=IBM", ("IBM",)),
        ('data.symbols=["IBM", "AAPL"]', ("IBM", "AAPL")),
    ):
        assert load_spec(str(file), [override]).data.symbols == symbols


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ({"symbols": ["AAPL"]}, "AAPL"),
        ({"symbols": ["MSFT", "AAPL"]}, "MSFT and AAPL"),
        ({"symbols": ["MSFT", "AAPL", "IBM"]}, "MSFT, AAPL and IBM"),
        ({"symbols": ["F", "C", "D", "E", "A", "B"]}, "6 symbols from A to F"),
        ({"source": "csv", "path": "some/prices.csv"}, "prices.csv"),
        ({"source": "csv", "path": "some\\folder"}, "folder"),
        ({"source": "csv", "path": "some/folder", "symbols": ["A"]}, "A"),
    ],
)
def test_the_title_says_what_the_prices_are_of(data: dict[str, Any], title: str) -> None:
    assert parse_spec(changed(("data", data)), "my.toml").data.title == title


@pytest.mark.parametrize(("key", "value"), [("short", True), ("threshold_bps", 5)])
def test_rules_of_buying_do_not_go_with_a_volatility(key: str, value: Any) -> None:
    (problem,) = refusal(changed(("data.target", "range"), (f"backtest.{key}", value)))
    assert (
        f'backtest.{key} goes with a target that is bought and sold, but data.target is "range'
        in (problem)
    )
    parse_spec(changed(("data.target", "range"), ("backtest.max_weight", 2)), "my.toml")
