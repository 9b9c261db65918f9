"""A study file that breaks a rule is refused with the rule and the fix."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input import CHECK, RUN, STUDY, Case, require_refused, study

CASES = [
    Case(
        "unknown preset",
        "run nosuch",
        ("'nosuch'", "neither a file nor a preset", "demo"),
        process=True,
    ),
    Case("missing study file", "run nosuch.toml", ("cannot read", "nosuch.toml", "No such file")),
    Case(
        "folder as study file",
        "run x.toml",
        ("cannot read", "x.toml", "Is a directory"),
        {"x.toml/": ""},
    ),
    Case(
        "folder without suffix as study file",
        "run folder",
        ("folder", "directory"),
        {"folder/": ""},
    ),
    Case(
        "check of a name that is kept for retraining",
        f"{CHECK} --set name=tiny.seeds",
        ("'tiny.seeds'", "names that end in .seeds or .holdout", "--set name="),
        study(),
    ),
    Case(
        "study file that is not TOML",
        RUN,
        ("x.toml is not valid TOML", "line 1"),
        {"x.toml": "name: tiny"},
    ),
    Case(
        "study file that is not UTF-8",
        RUN,
        ("x.toml is not UTF-8", "save it as UTF-8"),
        {"x.toml": b'name = "tin\xff"'},
    ),
    Case(
        "empty study file",
        RUN,
        ("name is required", "data is required"),
        {"x.toml": ""},
    ),
    Case("study without a name", RUN, ("name is required",), study('name = "tiny"\n')),
    Case(
        "unknown section",
        RUN,
        ("trainig", "unknown key", "'training'"),
        study("[training]", "[trainig]"),
    ),
    Case(
        "unknown key",
        RUN,
        ("walk_forward.fold", "unknown key", "did you mean 'folds'"),
        study("folds = 2", "fold = 2"),
    ),
    Case(
        "several things wrong",
        RUN,
        ("walk_forward.folds", "data.target", "training.loss"),
        {
            "x.toml": STUDY.replace("folds = 2", "folds = 0")
            .replace('"mse"', '"rmse"')
            .replace('target = "range"', 'target = "moon"')
        },
    ),
    Case(
        "section given as a value",
        RUN,
        ("training = 3",),
        {
            "x.toml": "training = 3\n"
            + STUDY.replace('[training]\nmax_epochs = 3\nloss = "mse"\n', "")
        },
    ),
    Case(
        "word for a number",
        RUN,
        ("walk_forward.folds = 'two'", "whole number"),
        study("folds = 2", 'folds = "two"'),
    ),
    Case("number for a word", RUN, ("data.symbols.0 = 5", "text in quotes"), study('"AAPL"', "5")),
    Case(
        "word for a list",
        RUN,
        ("data.features = 'return'", "should be a list"),
        study('["return", "range", "volume"]', '"return"'),
    ),
    Case(
        "truth value for a number",
        RUN,
        ("search.trials = True", "whole number"),
        study("trials = 6", "trials = true"),
    ),
    Case(
        "fraction of a fold",
        RUN,
        ("walk_forward.folds = 2.5", "whole number"),
        study("folds = 2", "folds = 2.5"),
    ),
    Case(
        "one fold",
        RUN,
        ("walk_forward.folds = 1", "should be at least 2"),
        study("folds = 2", "folds = 1"),
    ),
    Case(
        "folds without bars",
        RUN,
        ("walk_forward.valid_bars = 0", "should be at least 1"),
        study("valid_bars = 20", "valid_bars = 0"),
    ),
    Case(
        "horizon of zero",
        RUN,
        ("data.horizon = 0", "should be at least 1"),
        study("horizon = 1", "horizon = 0"),
    ),
    Case(
        "no trials",
        RUN,
        ("search.trials = 0", "should be at least 1"),
        study("trials = 6", "trials = 0"),
    ),
    Case("negative seed", RUN, ("search.seed = -1",), study("trials = 6", "seed = -1")),
    Case(
        "name that leaves the folder",
        RUN,
        ("name = '../tiny'", "1 to 64 letters"),
        study('"tiny"', '"../tiny"'),
    ),
    Case("empty name", RUN, ("name = ''", "1 to 64 letters"), study('"tiny"', '""')),
    Case(
        "unknown sampler",
        RUN,
        ("search.sampler = 'tpee'", "tpe, gp, random, grid"),
        study('"tpe"', '"tpee"'),
    ),
    Case(
        "unknown pruner",
        RUN,
        ("search.pruner = 'axe'", "asha, hyperband, median, none"),
        study('pruner = "none"', 'pruner = "axe"'),
    ),
    Case(
        "unknown loss", RUN, ("training.loss = 'rmse'", "mse, mae, huber"), study('"mse"', '"rmse"')
    ),
    Case(
        "unknown cell",
        RUN,
        ("cell", "unknown cell 'rnn'", "lstm, gru"),
        study('"lstm", "gru"', '"lstm", "rnn"'),
    ),
    Case(
        "unknown feature",
        RUN,
        ("data.features", "'rso'", "return, range, volume, price"),
        study('"volume"', '"rso"'),
    ),
    Case(
        "unknown target",
        RUN,
        ("data.target = 'moon'", "return, range, volatility"),
        study('target = "range"', 'target = "moon"'),
    ),
    Case("unknown source", RUN, ("data.source = 'web'", "sample, csv"), study('"sample"', '"web"')),
    Case("unknown symbol", RUN, ("AAPL, IBM, MSFT", "'ENRON'"), study('"AAPL"', '"ENRON"')),
    Case("no symbol", RUN, ('source "sample" needs symbol',), study('symbol = "AAPL"\n')),
    Case("feature named twice", RUN, ("data.features", "twice"), study('"volume"', '"return"')),
    Case(
        "no features",
        RUN,
        ("data.features = []", "at least one item"),
        study('["return", "range", "volume"]', "[]"),
    ),
    Case(
        "start after end",
        RUN,
        ("start must be before end = 2010-01-01", "2011-06-01"),
        study("horizon = 1", "end = 2010-01-01"),
    ),
    Case(
        "start that is no date",
        RUN,
        ("data.start = 'soon'", "a day like 2005-01-31"),
        study("start = 2011-06-01", 'start = "soon"'),
    ),
    Case(
        "no bars from start on",
        RUN,
        ("no bars from 2099-01-01", "2000-03-01 to 2013-03-01"),
        study("2011-06-01", "2099-01-01"),
    ),
    Case(
        "purge below horizon less one",
        RUN,
        ("walk_forward.purge must be at least horizon - 1 = 4", "but is 2"),
        {
            "x.toml": STUDY.replace("horizon = 1", "horizon = 5").replace(
                "folds = 2", "folds = 2\npurge = 2"
            )
        },
    ),
    Case(
        "rolling window of no length",
        RUN,
        ('"rolling" needs train_bars',),
        study("folds = 2", 'folds = 2\nwindow = "rolling"'),
    ),
    Case(
        "length of a window that expands",
        RUN,
        ('train_bars goes with window "rolling"',),
        study("folds = 2", "folds = 2\ntrain_bars = 100"),
    ),
    Case(
        "series too short",
        RUN,
        ("too few bars: 6 in front", "100 folds x 20", "are needed, but 420 are there"),
        study("folds = 2", "folds = 100"),
        process=True,
    ),
    Case(
        "holdout longer than the series",
        RUN,
        ("too few bars", "but 0 are there"),
        study("holdout_bars = 20", "holdout_bars = 9999"),
    ),
    Case(
        "empty space",
        RUN,
        ("space", "fixes every hyperparameter"),
        {"x.toml": STUDY[: STUDY.index("cell =")]},
    ),
    Case(
        "everything fixed",
        RUN,
        ("space", "fixes every hyperparameter", "a list or a range"),
        {"x.toml": STUDY[: STUDY.index("cell =")] + 'cell = "gru"\nlayers = 1\nlookback = 5\n'},
    ),
    Case(
        "unknown hyperparameter",
        RUN,
        ("hidden_dims: unknown hyperparameter", "hidden_dim,"),
        study("hidden_dim =", "hidden_dims ="),
    ),
    Case(
        "range upside down",
        RUN,
        ("lookback", "low must not be above high = 5"),
        study("low = 3, high = 5", "low = 30, high = 5"),
    ),
    Case(
        "range without an end",
        RUN,
        ("lookback", "a range needs high"),
        study("low = 3, high = 5", "low = 3"),
    ),
    Case(
        "range with an unknown key",
        RUN,
        ("lookback", "unknown max"),
        study("low = 3, high = 5", "low = 3, high = 5, max = 9"),
    ),
    Case(
        "range of names",
        RUN,
        ("cell", "a range needs numbers"),
        study('["lstm", "gru"]', '{ low = "gru", high = "lstm" }'),
    ),
    Case(
        "logarithm of zero",
        RUN,
        ("lr", "log needs low above 0"),
        study("[search]", "lr = { low = 0.0, high = 0.1, log = true }\n[search]"),
    ),
    Case(
        "dropout of one",
        RUN,
        ("dropout", "at least 0 and below 1"),
        study("[search]", "dropout = [0.0, 1.0]\n[search]"),
    ),
    Case(
        "rate that is not a number",
        RUN,
        ("lr", "should be a number"),
        study("[search]", "lr = nan\n[search]"),
    ),
    Case(
        "half a layer",
        RUN,
        ("layers", "1.5 should be a whole number"),
        study("layers = { low = 1, high = 2 }", "layers = [1.5]"),
    ),
    Case(
        "list of nothing",
        RUN,
        ("lookback", "an empty list offers no choice"),
        study("{ low = 3, high = 5 }", "[]"),
    ),
    Case(
        "list with a value twice",
        RUN,
        ("lookback", "has a value twice"),
        study("{ low = 3, high = 5 }", "[3, 3]"),
    ),
    Case(
        "widths tied and funnelled",
        RUN,
        ("hidden_dim", "tied and funnel exclude each other"),
        study("low = 4, high = 8", "low = 4, high = 8, tied = true, funnel = true"),
    ),
    Case(
        "gp with a pruner",
        RUN,
        ('sampler "gp" learns from complete trials only', '"median"'),
        {"x.toml": STUDY.replace('"tpe"', '"gp"').replace('"none"', '"median"')},
    ),
    Case(
        "grid with a number of trials",
        RUN,
        ("runs every point of its grid once", "drop trials"),
        study('"tpe"', '"grid"'),
    ),
    Case(
        "grid over a range without a step",
        RUN,
        ("space.lr is a range without a step",),
        {
            "x.toml": STUDY.replace("trials = 6\n", "")
            .replace('"tpe"', '"grid"')
            .replace("[search]", "lr = { low = 0.1, high = 0.2 }\n[search]")
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_study_file_is_refused_and_nothing_is_written(
    case: Case,
    tmp_path: Path,
    tuner: Callable[..., tuple[int, str, str]],
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_refused(case, tmp_path, tuner if case.process else command, monkeypatch)
