"""JSON Schema of a study file, for editors, and the meaning of each key.

The schema refuses unknown keys, wrong types, numbers out of bounds and unknown names. It has no
rules between two keys, such as that ``path`` needs ``source = "csv"``; `studies.spec` has.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from typing import Any

from puffin.models.config import CELL_NAMES, LOSS_NAMES, Config
from puffin.models.features import COLUMN, DIFF, FEATURES, TARGETS
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.prices.load import SOURCES
from puffin.studies.prices.names import INTERVALS, NAMES
from puffin.studies.space import FEATURE_SETS, LAYERS, WIDTH
from puffin.studies.spec import Spec

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

MEANINGS = {
    "name": "Name of the study, used in commands and file names.",
    "data": "The prices, and what is forecast from which features.",
    "data.source": "Where the prices come from.",
    "data.symbols": "Symbols to read: one network learns from all of them. Required unless source "
    "is csv, where they choose among those of the files.",
    "data.path": "File, folder or glob to read, relative to the study file. Required if source is "
    "csv.",
    "data.columns": "Name in the file of each column, if no rule knows it. For csv only.",
    "data.start": "First day.",
    "data.end": "Last day, included.",
    "data.period": "Days up to now instead of start and end: 2y, 6mo, ytd, max. For yfinance only.",
    "data.interval": "Length of a bar. For yfinance only.",
    "data.extra": "Other series that features read: symbols, or columns of a csv file.",
    "data.features": "What a network reads of each bar.",
    "data.target": "What is forecast.",
    "data.horizon": "Number of bars ahead that are forecast.",
    "data.pooling": "One network for all symbols, or for each a study of its own, NAME.SYMBOL.",
    "walk_forward": "How the targets are divided into folds and a sealed holdout.",
    "walk_forward.folds": "Number of folds.",
    "walk_forward.valid_bars": "Validation targets in each fold.",
    "walk_forward.window": "Whether training parts begin at the first bar or have a fixed length.",
    "walk_forward.train_bars": "Training targets in each fold. Required if window is rolling.",
    "walk_forward.holdout_bars": "Bars at the end that no trial sees.",
    "walk_forward.purge": "Targets left out between a training and a validation part. "
    "horizon - 1 by default, and not less.",
    "training": "How long a configuration trains, and on which loss.",
    "training.max_epochs": "Passes over the training windows at most.",
    "training.patience": "Epochs without a lower validation loss before training stops.",
    "training.loss": "Loss of the standardised target. qlike is that of the variance, for targets "
    "range and volatility. quantile is the pinball loss of several quantiles.",
    "training.quantiles": "Levels of the loss quantile, ascending, with the median 0.5. "
    "0.05, 0.25, 0.5, 0.75 and 0.95 by default.",
    "training.objective": "Whether trials are ranked by the mean loss of the folds, or by their "
    "mean skill.",
    "space": "The search space: a scalar fixes a hyperparameter, a list chooses, a table ranges.",
    "walk": "How `tuner walk` judges the whole procedure.",
    "walk.origins": "Number of searches, each judged on the block of bars that follows it.",
    "walk.block_bars": "Bars of each block.",
    "walk.trials": "Trials of each search. A third of search.trials by default, and at least 20.",
    "walk.warm": "Whether each search begins with the winners of the three before it.",
    "final": "What is judged and exported once the search is done.",
    "final.seeds": "Networks of the winner, each of another seed, of which the mean forecasts.",
    "backtest": "How the report trades on the forecasts.",
    "backtest.commission_bps": "Commission of each trade, in basis points of its value.",
    "backtest.slippage_bps": "Distance of the price of a trade from the close, in basis points.",
    "backtest.threshold_bps": "Smallest forecast move that changes the position, in basis points.",
    "backtest.short": "Whether a forecast fall sells short instead of staying out of the market.",
    "backtest.max_weight": "Largest weight of volatility timing, for a range or a volatility; "
    "above 1 it borrows.",
    "search": "How many configurations are tried, and how they are chosen.",
    "search.trials": "Number of trials, 100 by default. Not for sampler grid: it runs every point.",
    "search.sampler": "Algorithm that proposes configurations. gp needs pruner none.",
    "search.pruner": "Algorithm that stops trials early.",
    "search.seed": "Seed of the sampler and of the networks.",
}

# Another spelling of a list of one symbol.
_SYMBOL = {"type": "string", "description": "Instead of symbols, for one symbol."}
_CHOICES: dict[str, Sequence[str]] = {
    "data.source": tuple(SOURCES),
    "data.interval": tuple(INTERVALS),
    "data.target": tuple(TARGETS),
    "training.loss": LOSS_NAMES,
    "search.sampler": tuple(SAMPLERS),
    "search.pruner": tuple(PRUNERS),
}


def study_file_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a study file."""
    generated = Spec.model_json_schema()
    sections = generated.pop("$defs")
    properties = {
        key: _section(sections[value["$ref"].rpartition("/")[2]], key) if "$ref" in value else value
        for key, value in generated["properties"].items()
    }
    properties["name"] = _key(properties["name"], "name")
    properties["space"] = _space()
    keys = properties["data"]["properties"]
    properties["data"]["properties"] = {"source": keys["source"], "symbol": _SYMBOL} | keys
    return {
        "$schema": _DIALECT,
        "title": "Study file of Puffin Tuner",
        "type": "object",
        "properties": properties,
        "required": generated["required"],
        "additionalProperties": False,
    }


def hyperparameters() -> Iterator[tuple[str, Schema, Any, str]]:
    """Yield name, schema of one value, value if left out of a space, and meaning of each."""
    of_config = {field.name: field for field in fields(Config)}
    widths = Config.hidden_dims
    del of_config["hidden_dims"], of_config["cell"], of_config[FEATURE_SETS]
    yield "cell", {"enum": list(CELL_NAMES)}, Config.cell, "Recurrent cell of every layer."
    count = {"type": "integer", "minimum": 1}
    yield LAYERS, count, len(widths), "Number of recurrent layers."
    yield WIDTH, count, widths[0], "Width of a layer, sampled for each layer."
    meanings = _documented(Config)
    for name, field in of_config.items():
        yield name, _value(field), field.default, meanings[name]
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
    yield FEATURE_SETS, names, "all", "Sets of data.features, of which each network reads one."


def _value(field: Field[Any]) -> Schema:
    """Return the schema of one value of a hyperparameter, from the field of `Config`."""
    if choices := field.metadata.get("choices"):
        return {"enum": list(choices)}
    kind = "integer" if field.type is int else "number"
    schema = {"type": kind, "minimum": field.metadata["low"]}
    if (below := field.metadata.get("below")) is not None:
        schema["exclusiveMaximum"] = below
    return schema


def _space() -> Schema:
    properties = {
        name: _dimension(value, name) | {"description": f"{meaning} {default!r} if left out."}
        for name, value, default, meaning in hyperparameters()
    }
    return _table(properties) | {"description": MEANINGS["space"]}


def _dimension(value: Schema, name: str) -> Schema:
    """Return the schema of one key of ``[space]``: a scalar, a list or a table."""
    several = {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}
    if name == FEATURE_SETS:
        return several
    forms = [value, several]
    flags = {"tied": {"type": "boolean"}, "funnel": {"type": "boolean"}} if name == WIDTH else {}
    if "enum" not in value:
        step = {"type": value["type"], "exclusiveMinimum": 0}
        ends = {"low": value, "high": value, "step": step, "log": {"type": "boolean"}}
        forms.append(_table(ends | flags, required=["low", "high"]))
    if flags:
        forms.append(_table({"choices": {"anyOf": [value, several]}} | flags, ["choices"]))
    return {"anyOf": forms}


def _section(section: Schema, name: str) -> Schema:
    properties = {key: _key(value, f"{name}.{key}") for key, value in section["properties"].items()}
    return _table(properties) | {"description": MEANINGS[name]}


def _key(schema: Schema, path: str) -> Schema:
    """Return the schema of one key, without titles and null, with its names and its meaning."""
    kinds = schema.get("anyOf", [schema])
    (kind,) = (one for one in kinds if one.get("type") != "null")  # TOML has no null
    found: Schema = {"description": MEANINGS[path], **kind}
    found.pop("title", None)
    if schema.get("default") is not None:
        found["default"] = schema["default"]
    if path in _CHOICES:
        found["enum"] = list(_CHOICES[path])
    if path == "data.features":
        own = {"type": "string", "pattern": f"^({COLUMN}|{DIFF}).+"}
        found["items"] = {"anyOf": [{"enum": list(FEATURES)}, own]}
    if path == "data.columns":
        found["propertyNames"] = {"enum": list(NAMES)}
    return found


def _table(properties: Schema, required: Sequence[str] = ()) -> Schema:
    table = {"type": "object", "properties": properties, "additionalProperties": False}
    return table | ({"required": list(required)} if required else {})


def _documented(kind: type) -> dict[str, str]:
    """Return the first sentence about each parameter from a numpydoc docstring."""
    text = inspect.getdoc(kind) or ""
    parts = re.findall(r"^(\w+) : .*\n((?:    .*\n?)+)", text, re.MULTILINE)
    joined = {name: " ".join(lines.split()) for name, lines in parts}
    return {name: re.split(r"(?<=\.) ", about)[0] for name, about in joined.items()}
