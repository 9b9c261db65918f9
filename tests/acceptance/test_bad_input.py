"""Whatever a user gets wrong is said in words, at once, and leaves nothing half-made behind.

Set BAD_INPUT_TABLE to a file name to have every case written there as a table.
"""

import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STUDY = """\
name = "tiny"
[data]
source = "sample"
symbol = "AAPL"
start = 2011-06-01
features = ["return", "range", "volume"]
target = "range"
horizon = 1
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[training]
max_epochs = 3
loss = "mse"
[space]
cell = ["lstm", "gru"]
layers = { low = 1, high = 2 }
hidden_dim = { low = 4, high = 8 }
lookback = { low = 3, high = 5 }
[search]
trials = 6
sampler = "tpe"
pruner = "none"
"""
OWN_PRICES = """\
name = "own"
[data]
source = "csv"
path = "prices.csv"
features = ["return"]
target = "return"
[walk_forward]
folds = 2
valid_bars = 20
holdout_bars = 20
[space]
cell = ["lstm", "gru"]
lookback = 5
"""
CLOSES = [f"2024-01-{day:02},{100 + day % 7}.5" for day in range(1, 31)]
MIDDLE = 15


def study(old: str = "", new: str = "") -> dict[str, str]:
    """Give a study file that is right but for one change."""
    assert old in STUDY
    return {"x.toml": STUDY.replace(old, new, 1)}


def prices(rows: list[str] | str | bytes, header: str = "Date,Close") -> dict[str, str | bytes]:
    """Give a study file over these prices of the user's own."""
    body = "\n".join([header, *rows]) + "\n" if isinstance(rows, list) else rows
    return {"x.toml": OWN_PRICES, "prices.csv": body}


def with_row(row: str) -> list[str]:
    """Put a row in the place of the one in the middle."""
    return [*CLOSES[:MIDDLE], row, *CLOSES[MIDDLE + 1 :]]


@dataclass(frozen=True)
class Case:
    """What is typed, in a folder with some files, and what must come of it."""

    about: str
    typed: str
    words: tuple[str, ...]
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    code: int = 1
    process: bool = False  # by the console script in a process of its own
    submitted: bool = False  # with a database that holds the study "tiny", not yet worked on

    def __str__(self) -> str:
        return self.about.replace(" ", "-")


RUN = "run x.toml --workers 1"
CHECK = "check x.toml"

CASES = [
    # The study file
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
    Case("number for a word", RUN, ("data.symbol = 5", "text in quotes"), study('"AAPL"', "5")),
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
        ("data.target = 'moon'", "return, range, price"),
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
    # Prices of the user's own
    Case(
        "csv without a path",
        RUN,
        ('source "csv" needs path',),
        {"x.toml": OWN_PRICES.replace('path = "prices.csv"\n', "")},
    ),
    Case(
        "path with the sample",
        RUN,
        ('path goes with source "csv"',),
        study("horizon = 1", 'path = "prices.csv"'),
    ),
    Case(
        "csv that is not there",
        RUN,
        ("prices.csv must be a CSV file", "is not there"),
        {"x.toml": OWN_PRICES},
    ),
    Case(
        "folder as csv",
        RUN,
        ("prices.csv must be a CSV file", "is a directory"),
        {"x.toml": OWN_PRICES, "prices.csv/": ""},
    ),
    Case("empty csv", RUN, ("prices.csv must be CSV text", "empty"), prices("")),
    Case("csv of a header only", RUN, ("prices.csv", "has no rows"), prices([])),
    Case("csv that is binary", RUN, ("prices.csv", "not UTF-8"), prices(b"\x89PNG\r\n\x1a\n\xff")),
    Case(
        "csv without a close column",
        RUN,
        ("must have a close column", "Date, Open", "columns = { close = "),
        prices(CLOSES, "Date,Open"),
    ),
    Case(
        "csv without a date column",
        RUN,
        ("must have a date column", "When, Close"),
        prices(CLOSES, "When,Close"),
    ),
    Case(
        "csv with two close columns",
        RUN,
        ("must have one close column", "Close, CLOSE"),
        prices([f"{row},1" for row in CLOSES], "Date,Close,CLOSE"),
    ),
    Case(
        "csv with a short line",
        RUN,
        ("line 17", "must have 2 fields", "has 1"),
        prices(with_row("2024-01-16")),
    ),
    Case(
        "csv with text for a price",
        RUN,
        ("line 17", "Close must be a number", "'12 or so'"),
        prices(with_row("2024-01-16,12 or so")),
    ),
    Case(
        "csv with a wild date",
        RUN,
        ("line 17", "a date must be like 2024-01-31", "'16. Jan'"),
        prices(with_row("16. Jan,12.5")),
    ),
    Case(
        "csv with dates of two readings",
        RUN,
        ("month/day or as day/month",),
        prices([f"0{m}/0{d}/2024,{m}{d}.5" for m in range(1, 7) for d in range(1, 7)]),
    ),
    Case(
        "csv with holes",
        RUN,
        ("at most 1% of the bars", "6 bars, first 2024-01-01"),
        prices(
            [
                row.split(",")[0] + ",,9" if i % 5 == 0 else f"{row},9"
                for i, row in enumerate(CLOSES)
            ],
            "Date,Close,Open",
        ),
    ),
    Case(
        "csv with a negative price",
        RUN,
        ("close must be positive", "1 bar, first 2024-01-16"),
        prices(with_row("2024-01-16,-3.5")),
    ),
    Case(
        "csv with an infinite price",
        RUN,
        ("close must be finite", "1 bar, first 2024-01-16"),
        prices(with_row("2024-01-16,inf")),
    ),
    Case(
        "csv with two prices of one day",
        RUN,
        ("each time must occur once", "first 2024-01-15"),
        prices(with_row("2024-01-15,77.5")),
    ),
    Case(
        "csv of one price only",
        RUN,
        ("close must change", "always 5"),
        prices([f"{row.split(',')[0]},5" for row in CLOSES]),
    ),
    Case(
        "csv with a high below the low",
        RUN,
        ("low <= open, close <= high", "first 2024-01-16 (low 9 is above high 1)", "'range'"),
        prices(
            [f"{row},9,{120 if i != MIDDLE else 1}" for i, row in enumerate(CLOSES)],
            "Date,Close,Low,High",
        )
        | {"x.toml": OWN_PRICES.replace('["return"]', '["return", "range"]')},
    ),
    Case(
        "csv without a column of the user's",
        RUN,
        ("must have one column mood, for feature 'diff:mood' and", "but has Date, Close: rename"),
        prices(CLOSES)
        | {"x.toml": OWN_PRICES.replace('["return"]', '["diff:mood", "column:mood"]')},
    ),
    Case(
        "csv without a column that the study file names",
        RUN,
        ("must have one column JPM, for data.columns.close, but has Date, Close",),
        prices(CLOSES)
        | {"x.toml": OWN_PRICES.replace("features", 'columns = { close = "JPM" }\nfeatures')},
    ),
    Case(
        "path of Windows in double quotes",
        RUN,
        ("not valid TOML", "a backslash in double quotes", "C:/folder/prices.csv", "single quotes"),
        {"x.toml": OWN_PRICES.replace("prices.csv", "C:\\Users\\me\\prices.csv")},
    ),
    Case(
        "path of Windows whose backslashes make a tab and a new line",
        RUN,
        ("data.path = ", "has a control character", "C:/folder/prices.csv"),
        {"x.toml": OWN_PRICES.replace("prices.csv", "C:\\temp\\new.csv")},
    ),
    Case(
        "csv too short", RUN, ("too few bars", "2 folds x 20", "but 10 are there"), prices(CLOSES)
    ),
    Case(
        "features that a close-only csv lacks",
        RUN,
        (
            "data.features 'range' needs high and low",
            "data.features 'volume' needs volume",
            "data.target 'range' needs high and low",
            "the prices have only close",
        ),
        {
            "x.toml": OWN_PRICES.replace('["return"]', '["range", "volume"]').replace(
                'target = "return"', 'target = "range"'
            ),
            "prices.csv": "\n".join(["Date,Close", *CLOSES]),
        },
    ),
    # Flags
    Case(
        "--set without an equals sign",
        f"{RUN} --set search.trials",
        ("--set takes KEY=VALUE", "'search.trials'"),
        study(),
    ),
    Case("--set without a key", f"{RUN} --set =3", ("--set takes KEY=VALUE", "'=3'"), study()),
    Case(
        "--set of an unknown key",
        f"{CHECK} --set search.trails=3",
        ("search.trails", "unknown key", "'trials'"),
        study(),
    ),
    Case(
        "--set below a value",
        f"{CHECK} --set name.first=3",
        ("--set name.first=3", "name is a value"),
        study(),
    ),
    Case(
        "unknown device",
        "run demo --device tpu",
        ("--device must be auto, cpu", "'tpu'"),
        process=True,
    ),
    Case(
        "GPU that is not there", "run demo --device cuda:99", ("--device cuda:99", "this machine")
    ),
    Case("no workers", "run demo --workers 0", ("--workers", "1<=x<=1000"), code=2, process=True),
    Case("workers in words", "run demo --workers two", ("--workers", "'two'"), code=2),
    Case("no workers on a GPU", "run demo --workers-per-gpu 0", ("--workers-per-gpu",), code=2),
    Case("more than all memory", "worker --memory-share 2", ("--memory-share", "0<x<=1"), code=2),
    Case("unknown option", "run demo --gpus 2", ("No such option", "--gpus"), code=2),
    Case("unknown command", "optimise demo", ("No such command", "'optimise'"), code=2),
    Case("run of nothing", "run", ("Missing argument", "SPEC"), code=2),
    Case("best of nothing", "best", ("Missing argument", "NAME"), code=2),
    Case("unknown format", "best tiny --format xml", ("'xml'", "toml", "json", "python"), code=2),
    Case("port beyond the last", "dashboard --port 70000", ("--port", "65535"), code=2),
    # The database
    Case(
        "storage that is no URL",
        "run demo --storage tuner.db",
        ("not a database URL", "sqlite:///tuner.db"),
    ),
    Case(
        "storage of an unknown kind",
        "run demo --storage paper:///tuner.db",
        ("a database of paper://", "only sqlite and postgresql are known"),
    ),
    Case(
        "storage with a bad port",
        "run demo --storage postgresql://me:secret@host:port/x",
        ("cannot be read for certain",),
    ),
    Case(
        "storage on another kind of server",
        "run demo --storage mysql://me:secret@host/x",
        ("a database of mysql://", "only sqlite and postgresql are known"),
    ),
    Case(
        "storage that does not answer",
        "run demo --storage postgresql://me@127.0.0.1:1/x",
        ("me@127.0.0.1:1/x does not answer", "onnection refused"),
    ),
    Case(
        "storage without a name",
        "run demo --storage postgresql://me:secret@127.0.0.1:1",
        ("me:***@127.0.0.1:1 names no database",),
    ),
    Case(
        "storage with a password",
        "run demo --storage postgresql://me:secret@127.0.0.1:1/x",
        ("the URL of --storage holds a password", "PGPASSWORD", "set TUNER_STORAGE"),
        code=2,
    ),
    Case("storage in memory", "run demo --storage sqlite://", ("memory cannot be shared",)),
    Case(
        "storage in a missing folder",
        "run demo --storage sqlite:///no/such/tuner.db",
        ("the folder of no/such/tuner.db does not exist",),
    ),
    Case(
        "storage that is a folder",
        "run demo --storage sqlite:///folder",
        ("folder is a folder", "sqlite:///folder/tuner.db"),
        {"folder/": ""},
    ),
    Case(
        "storage that is no database",
        "run demo --storage sqlite:///notes.txt",
        ("sqlite:///notes.txt cannot be used", "file is not a database"),
        {"notes.txt": "buy low\n" * 99},
    ),
    Case(
        "status of what is no database",
        "status --storage sqlite:///notes.txt",
        ("sqlite:///notes.txt cannot be used", "file is not a database"),
        {"notes.txt": "buy low\n" * 99},
    ),
    Case(
        "status of an empty file",
        "status",
        ("holds no studies", "tuner run demo"),
        {"tuner.db": ""},
    ),
    Case(
        "status without a database",
        "status",
        ("there is no database tuner.db", "tuner run demo"),
        process=True,
    ),
    Case("worker without a database", "worker", ("there is no database tuner.db",), process=True),
    Case("dashboard without a database", "dashboard", ("there is no database tuner.db",)),
    Case("best without a database", "best tiny", ("there is no database tuner.db",)),
    Case("delete without a database", "delete tiny --yes", ("there is no database tuner.db",)),
    # Studies
    Case(
        "status of an unknown study",
        "status other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "best of an unknown study",
        "best other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "compare of an unknown study",
        "compare other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "export of an unknown study",
        "export other best",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "delete of an unknown study that would ask",
        "delete other",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "worker of a study without a URL",
        "worker --study tiny --storage tuner.db",
        ("tuner.db is a path, not a database URL; write sqlite:///tuner.db",),
        process=True,
    ),
    Case(
        "storage of an unknown driver",
        "run demo --storage sqlite+pysqlcipher:///a.db",
        ("only sqlite and postgresql are known",),
    ),
    Case(
        "storage with options",
        "run demo --storage sqlite:///x.db?timeout=abc",
        ("takes no options after a question mark",),
    ),
    Case(
        "width of a novel",
        RUN,
        ("hidden_dim = ", "must be at most 1000000"),
        study("hidden_dim = { low = 4, high = 8 }", "hidden_dim = [4, " + "9" * 400 + "]"),
    ),
    Case(
        "csv with three bad columns",
        RUN,
        ("line 2: a date must be like", "line 3: Mood must be a number", "line 4: Close must be"),
        prices(["soon,1,2", "2024-01-02,one,2", "2024-01-03,1,two"], "Date,Mood,Close")
        | {"x.toml": OWN_PRICES.replace('["return"]', '["return", "column:mood"]')},
    ),
    Case(
        "horizon longer than the series",
        "check x.toml --set data.horizon=300",
        ("too few bars",),
        study(),
    ),
    Case(
        "more trials than can be counted",
        "check x.toml --set search.trials=1000000000000000000000",
        ("search.trials = 1000000000000000000000: should be at most 1000000",),
        study(),
    ),
    Case(
        "name longer than a file's",
        "run " + "x" * 300,
        ("is neither a file nor a preset",),
    ),
    Case(
        "number for a date",
        RUN,
        ("data.start = 0", "a day like 2005-01-31"),
        study("start = 2011-06-01", "start = 0"),
    ),
    Case(
        "delete of an unknown study",
        "delete other --yes",
        ("there is no study 'other'", "studies there: tiny"),
        submitted=True,
    ),
    Case(
        "best before a trial is complete",
        "best tiny",
        ("'tiny' has no complete trial yet", "tuner run"),
        submitted=True,
    ),
    Case(
        "export before a trial is complete",
        "export tiny best",
        ("'tiny' has no complete trial yet", "tuner run"),
        submitted=True,
    ),
    Case(
        "export among strangers",
        "export tiny best",
        ("best holds notes.txt", "another folder"),
        {"best/": "", "best/notes.txt": "mine"},
        submitted=True,
    ),
    Case(
        "export over that of another study",
        "export tiny best",
        ("best holds the export of other", "another folder"),
        {
            "best/": "",
            "best/config.toml": 'study = "other"',
            "best/SHA256SUMS": "0  config.toml\n",
        },
        submitted=True,
    ),
    Case(
        "export onto a file",
        "export tiny best",
        ("best is a file",),
        {"best": "mine"},
        submitted=True,
    ),
    # The new words for a study, how long a worker works, and another database
    *(
        Case(
            f"{typed.split()[0]} of an unknown study",
            typed,
            ("there is no study 'other'", "studies there: tiny"),
            submitted=True,
        )
        for typed in (
            "pause other",
            "resume other",
            "priority other 2",
            "extend other --trials 1",
            "copy other --to sqlite:///x.db",
        )
    ),
    *(
        Case(
            f"{typed.split()[0]} without a database",
            typed,
            ("there is no database tuner.db", "tuner run demo"),
        )
        for typed in (
            "pause tiny",
            "resume tiny",
            "priority tiny 2",
            "extend tiny --trials 1",
            "copy tiny --to sqlite:///x.db",
        )
    ),
    *(
        Case(f"{name} of nothing", name, ("Missing argument", "NAME"), code=2)
        for name in ("pause", "resume", "priority", "extend", "copy")
    ),
    Case("no priority", "priority tiny", ("Missing argument", "PRIORITY"), code=2),
    Case("priority 0", "priority tiny 0", ("0 is not in the range", "1<=x<=100"), code=2),
    Case("priority 101", "priority tiny 101", ("101 is not in the range",), code=2),
    Case("priority in words", "priority tiny high", ("'high' is not a valid integer",), code=2),
    Case("priority of a half", "priority tiny 1.5", ("'1.5' is not a valid integer",), code=2),
    Case("extension by no number", "extend tiny", ("Missing option", "--trials"), code=2),
    Case("extension by nothing", "extend tiny --trials 0", ("--trials", "x>=1"), code=2),
    Case("extension by less", "extend tiny --trials -5", ("--trials", "x>=1"), code=2),
    Case(
        "extension beyond all limits",
        "extend tiny --trials 999999",
        ("at most 1000000 trials", "6 + 999999"),
        submitted=True,
    ),
    Case(
        "file with more trials than the study",
        f"{RUN} --set search.trials=9",
        ("search.trials: 6 there, 9 here", "`tuner extend tiny --trials N`", "to its 6 trials"),
        study(),
        submitted=True,
    ),
    Case("copy to nowhere", "copy tiny", ("Missing option", "--to", "TUNER_TO"), code=2),
    Case(
        "copy to itself",
        "copy tiny --to sqlite:///tuner.db",
        ("a study 'tiny' is in that database already", "`tuner delete` it there first"),
        submitted=True,
    ),
    Case("copy to what is no URL", "copy tiny --to x.db", ("not a database URL",), submitted=True),
    Case(
        "copy to a database of another kind",
        "copy tiny --to mysql://me:secret@host/x",
        ("a database of mysql://", "only sqlite and postgresql are known"),
        submitted=True,
    ),
    Case(
        "copy to a database that does not answer",
        "copy tiny --to postgresql://me@127.0.0.1:1/x",
        ("me@127.0.0.1:1/x does not answer", "onnection refused"),
        submitted=True,
    ),
    Case(
        "copy to a URL with a password",
        "copy tiny --to postgresql://me:secret@127.0.0.1:1/x",
        ("the URL of --to holds a password", "PGPASSWORD", "set TUNER_TO"),
        submitted=True,
        code=2,
    ),
    Case(
        "init of what is no database",
        "init --storage sqlite:///notes.txt",
        ("sqlite:///notes.txt cannot be used", "file is not a database"),
        {"notes.txt": "buy low\n" * 99},
    ),
    Case(
        "init of a database that does not answer",
        "init --storage postgresql://me@127.0.0.1:1/x",
        ("me@127.0.0.1:1/x does not answer", "onnection refused"),
    ),
    Case(
        "init of a database that can never come, with time to wait",
        "init --wait 600 --storage sqlite:///no/such/tuner.db",
        ("the folder of no/such/tuner.db does not exist",),
    ),
    Case("init with no time", "init --wait soon", ("'soon' is not a valid float",), code=2),
    Case("init with less than no time", "init --wait -1", ("--wait", "x>=0"), code=2),
    Case("init with a time that is no number", "init --wait nan", ("--wait", "'nan'"), code=2),
    Case("worker for no trial", "worker --max-trials 0", ("--max-trials", "x>=1"), code=2),
    Case("worker for half a trial", "worker --max-trials 0.5", ("--max-trials",), code=2),
    Case("worker for no time", "worker --max-time 0", ("--max-time", "0<x"), code=2),
    Case("worker for less than no time", "worker --max-time -3", ("--max-time", "0<x"), code=2),
    Case("worker for a time in words", "worker --max-time 1h", ("--max-time", "'1h'"), code=2),
    Case("worker for a time of nan", "worker --max-time nan", ("--max-time", "'nan'"), code=2),
    Case("worker for longer than a clock counts", "worker --max-time inf", ("--max-time",), code=2),
    Case("worker without grace", "worker --grace-seconds 0", ("--grace-seconds", "x<="), code=2),
    Case("worker with grace for ever", "worker --grace-seconds 9999999999", ("86400",), code=2),
    Case("worker with half a grace", "worker --grace-seconds 1.5", ("--grace-seconds",), code=2),
    Case(
        "worker with a checkpoint at no time",
        "worker --checkpoint-seconds nan",
        ("--checkpoint-seconds", "'nan'"),
        code=2,
    ),
    Case(
        "worker with a share that is no number",
        "worker --memory-share nan",
        ("--memory-share", "'nan'"),
        code=2,
    ),
    Case(
        "same name with other settings",
        f"{RUN} --set walk_forward.folds=3 --set search.seed=1",
        (
            "a study 'tiny' with other settings",
            "walk_forward.folds: 2 there, 3 here",
            "search.seed: 0 there, 1 here",
            "tuner delete tiny",
        ),
        study(),
        submitted=True,
    ),
]


@pytest.fixture(scope="module")
def submitted(
    command: Callable[..., object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Make a database with one study that nobody has worked on."""
    folder = tmp_path_factory.mktemp("submitted")
    (folder / "x.toml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("submit", "x.toml")
    # What is in the write-ahead log must be in the file that is copied.
    with closing(sqlite3.connect(folder / "tuner.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    yield folder / "tuner.db"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Collect the cases and write them down where BAD_INPUT_TABLE says so."""
    rows: list[str] = []
    yield rows
    if target := os.environ.get("BAD_INPUT_TABLE"):
        head = ["| typed | with | exit | message |", "|---|---|---|---|"]
        Path(target).write_text("\n".join([*head, *rows]) + "\n")


def rows_of(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Read every row of a study that a database holds."""
    if not database.is_file() or not database.read_bytes().startswith(b"SQLite format 3"):
        return {}
    found = {}
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in names.fetchall():
            if name not in ("version_info", "alembic_version"):
                found[name] = connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
    return {name: rows for name, rows in found.items() if rows}


def lay_out(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, and folders where a name ends in a slash."""
    for name, body in files.items():
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(body.encode() if isinstance(body, str) else body)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_is_answered_in_words_and_leaves_nothing_half_made(
    case: Case,
    tmp_path: Path,
    submitted: Path,
    table: list[str],
    tuner: Callable[..., object],
    command: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lay_out(tmp_path, case.files)
    if case.submitted:
        shutil.copy(submitted, tmp_path)
    before = {p.name: rows_of(p) for p in tmp_path.iterdir()}
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".db"}
    monkeypatch.chdir(tmp_path)

    code, out, err = (tuner if case.process else command)(*shlex.split(case.typed))

    message = err.replace(str(tmp_path), "...").strip()
    what = "; ".join(name for name in case.files if name != "x.toml")
    shown = message.replace("|", "\\|").replace("\n", "<br>")
    table.append(
        f"| `tuner {case.typed}` | {case.about} {f'({what})' if what else ''} | {code} | {shown} |"
    )
    assert code == case.code
    assert out == ""
    for words in case.words:
        assert words in message
    for never in ("Traceback", "unexpected", "pydantic", "secret"):
        assert never not in err
    if case.code == 1:
        assert message.startswith("error: ")
        assert message.count("error: ") == 1
    for path, body in files.items():
        assert path.read_bytes() == body
    for path in tmp_path.iterdir():
        assert rows_of(path) == before.get(path.name, {})
    assert not (tmp_path / "exports").exists()
