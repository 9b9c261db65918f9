"""The record of an export, config.toml: typed, and checked as a whole before it is used."""

import math
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    model_serializer,
    model_validator,
)

from puffin.models.config import Config
from puffin.models.errors import PuffinError
from puffin.models.scaling import Scaler
from puffin.studies.safe_toml import parse_toml
from puffin.studies.space import Categorical, Dimension, Space
from puffin.studies.spec import Spec
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE

# Most characters of a value in a message, and of a whole message.
_MOST_SHOWN, _MOST_MESSAGE = 60, 400


class RecordError(PuffinError):
    """A key of config.toml is missing or breaks a rule; the message names it."""


def _share(value: float) -> float:
    if not (math.isnan(value) or 0 <= value <= 1):
        raise ValueError("should be between 0 and 1")
    return value


def _finite_or_nan(value: float) -> float:
    if math.isinf(value):
        raise ValueError("should be finite")
    return value


def _instant(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("should be a time like 2005-01-31 or 2005-01-31 09:30:00") from None
    return value


def _bar_time(value: str) -> str:
    if datetime.fromisoformat(_instant(value)).tzinfo is not None:
        raise ValueError("should be a time without an offset, as bars have it")
    return value


def _key(value: str) -> str:
    if not re.fullmatch(r"\w{1,64}", value, re.ASCII):
        raise ValueError("should be 1 to 64 letters, digits and underscores")
    return value


def _digest(value: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("should be a sha256 of 64 hexadecimal digits")
    return value


def _config(values: Any) -> Config:
    """Read a configuration that has every key: defaults would hide a missing one."""
    if isinstance(values, Config):
        return values
    if not isinstance(values, Mapping):
        raise ValueError("should be a section")
    names = [f.name for f in fields(Config)]
    # A network that reads all features of its study does not name them.
    if missing := [name for name in names if name not in values and name != "features"]:
        raise ValueError(f"{', '.join(missing)} is missing")
    if unknown := [str(name) for name in values if name not in names]:
        raise ValueError(f"unknown key {unknown[0]}; known are {', '.join(names)}")
    widths = values["hidden_dims"]
    if not isinstance(widths, list | tuple):
        raise ValueError(f"hidden_dims = {_shown(widths)}: should be a list")
    for name, value in [*values.items(), *(("hidden_dims", width) for width in widths)]:
        if isinstance(value, bool):
            raise ValueError(f"{name} = {value}: should be a number")
    try:
        return Config.from_dict(dict(values))
    except OverflowError:
        raise ValueError("a number is too large for any computer") from None


Finite = Annotated[float, Field(allow_inf_nan=False)]
Loss = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Scale = Annotated[float, Field(allow_inf_nan=False, gt=0)]
# NaN if undefined: the bars never move, or persistence is always right.
Share = Annotated[float, AfterValidator(_share)]
Skill = Annotated[float, AfterValidator(_finite_or_nan)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Number = Annotated[int, Field(ge=0, le=10**9)]
Line = Annotated[str, Field(min_length=1, max_length=20_000)]
BarTime = Annotated[str, AfterValidator(_bar_time)]
Instant = Annotated[str, AfterValidator(_instant)]
Key = Annotated[str, AfterValidator(_key)]
Digest = Annotated[str, AfterValidator(_digest)]
Machine = dict[str, Line]
Seeds = Annotated[list[int], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Scores(_Part):
    """Scores of the walk-forward validation, the winner's and the baselines'.

    Those of each symbol are there if there are several.
    """

    loss: Loss
    fold_losses: list[Loss]
    persistence_loss: Loss
    mean_loss: Loss
    skill: Skill
    direction_accuracy: Share
    direction_interval: Annotated[list[Share], Field(min_length=2, max_length=2)]
    mean_direction_accuracy: Share
    symbol_losses: dict[Line, Loss] = {}
    symbol_persistence: dict[Line, Loss] = {}

    @model_validator(mode="after")
    def _symbols_are_the_same(self) -> Self:
        if set(self.symbol_losses) != set(self.symbol_persistence):
            raise ValueError("symbol_losses and symbol_persistence should name the same symbols")
        return self

    @model_serializer(mode="wrap")
    def _of_one_symbol_in_short(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if value != {}}


class ScalerRecord(_Part):
    """The scaler of one symbol."""

    feature_mean: list[Finite]
    feature_std: list[Scale]
    target_mean: Finite
    target_std: Scale

    @classmethod
    def values_of(cls, scaler: Scaler) -> dict[str, Any]:
        """Return the values of the keys of a scaler."""
        return {
            "feature_mean": scaler.feature_mean.tolist(),
            "feature_std": scaler.feature_std.tolist(),
            "target_mean": scaler.target_mean,
            "target_std": scaler.target_std,
        }

    def require_scales(self, count: int) -> None:
        """Raise a ValueError unless each of so many features has its mean and scale."""
        for name in ("feature_mean", "feature_std"):
            if len(values := getattr(self, name)) != count:
                msg = f"{name} has {len(values)} values, but features names {count}"
                raise ValueError(msg)

    @property
    def scaler(self) -> Scaler:
        """The scaler."""
        means, stds = np.array(self.feature_mean), np.array(self.feature_std)
        return Scaler(means, stds, self.target_mean, self.target_std)


class _InputNames(_Part):
    features: Annotated[list[Line], Field(min_length=1)]
    target: Line
    horizon: Count


class Input(ScalerRecord, _InputNames):
    """Features and target of the network, and the scaler of the only symbol."""

    @model_validator(mode="after")
    def _each_feature_has_its_scale(self) -> Self:
        self.require_scales(len(self.features))
        return self


class BasketInput(_InputNames):
    """Features and target of the network, and the scaler of each symbol."""

    scalers: Annotated[dict[Line, ScalerRecord], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_feature_has_its_scale(self) -> Self:
        for symbol, scaler in self.scalers.items():
            try:
                scaler.require_scales(len(self.features))
            except ValueError as error:
                raise ValueError(f"scalers.{symbol}: {error}") from None
        return self


# Names of the two forms of a section, which pydantic puts into the places of errors.
_ONE, _SEVERAL = "of one symbol", "of several symbols"


def _form(values: Any) -> str:
    if isinstance(values, Mapping):
        return _SEVERAL if "scalers" in values else _ONE
    return _SEVERAL if isinstance(values, BasketInput) else _ONE


class Data(_Part):
    """The prices of the study."""

    origin: Line
    bars: Count
    first: BarTime
    last: BarTime
    search_last: BarTime
    sha256: dict[str, Digest]

    @model_validator(mode="after")
    def _both_parts_have_a_sum(self) -> Self:
        if set(self.sha256) != {SEARCH_FILE, HOLDOUT_FILE}:
            msg = f"sha256 should have the keys {SEARCH_FILE} and {HOLDOUT_FILE}, and no other"
            raise ValueError(msg)
        return self


class Machines(_Part):
    """The kind of machine of each training; empty if it was not recorded."""

    trial: Machine
    refit: Machine
    holdout: Machine | None = None


class FoldDates(_Part):
    """First and last bar of the two parts of a fold."""

    train_first: BarTime
    train_last: BarTime
    valid_first: BarTime
    valid_last: BarTime


class Refit(_Part):
    """How the exported weights were trained: a network with each seed."""

    data: Literal["search", "all"]
    targets: Count
    last: BarTime
    seeds: Seeds
    loss: Line

    @model_validator(mode="before")
    @classmethod
    def _one_network_has_one_seed(cls, values: Any) -> Any:
        """Read an export of an earlier version, which has one network and names its seed."""
        if isinstance(values, Mapping) and "seed" in values and "seeds" not in values:
            return {key: value for key, value in values.items() if key != "seed"} | {
                "seeds": [values["seed"]]
            }
        return values


class Opening(_Part):
    """A look at the bars of the holdout; exports of earlier versions do not name the study.

    `outside` is the name of forecasts that were made elsewhere and judged beside the trial.
    """

    time: Instant
    study: Line | None = None
    trial: Number
    outside: Line | None = None


class Seal(_Part):
    """All looks at the bars of the holdout, by any study of the database."""

    openings: list[Opening]


class Baseline(_Part):
    """Losses of a baseline."""

    name: Key
    label: Line
    search_loss: Loss
    holdout_loss: Loss


class Holdout(_Part):
    """Results of the winner on the holdout: of the mean of its networks with these seeds.

    Exports of earlier versions do not name seeds: they have one network.
    """

    first: BarTime
    last: BarTime
    bars: Count
    seeds: list[int] = []
    loss: Loss
    skill: Skill
    direction_accuracy: Share
    outcome: Line
    sentences: Annotated[list[Line], Field(min_length=2)]
    baselines: Annotated[list[Baseline], Field(min_length=1)]


class ExportRecord(_Part):
    """The content of config.toml."""

    study: Line
    trial: Number
    config: Annotated[Config, PlainValidator(_config), PlainSerializer(Config.to_dict)]
    epochs: Count
    scores: Scores
    input: Annotated[
        Annotated[Input, Tag(_ONE)] | Annotated[BasketInput, Tag(_SEVERAL)], Discriminator(_form)
    ]
    data: Data
    targets_sha256: Digest
    made_with: dict[str, Line]
    machine: Machines
    folds: list[FoldDates]
    spec: Spec
    refit: Refit
    seal: Seal | None = None
    unjudged: Line | None = None
    holdout: Holdout | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the network reads."""
        return self.spec.features_of(self.config)

    @property
    def inputs(self) -> list[str]:
        """The names of its inputs."""
        return list(self.spec.data.inputs_of(self.features))

    @model_validator(mode="after")
    def _agrees_with_the_study_file(self) -> Self:
        spec, folds = self.spec, self.spec.walk_forward.folds
        for key, value, rule, expected in (
            ("study", self.study, "spec.name", spec.name),
            ("input.features", self.input.features, "the features of", self.inputs),
            ("input.target", self.input.target, "spec.data.target", spec.data.target),
            ("input.horizon", self.input.horizon, "spec.data.horizon", spec.data.horizon),
            ("refit.loss", self.refit.loss, "spec.training.loss", spec.training.loss),
            ("number of folds", len(self.folds), "spec.walk_forward.folds", folds),
            ("number of scores.fold_losses", len(self.scores.fold_losses), "that of folds", folds),
        ):
            if value != expected:
                raise ValueError(f"{key} = {_shown(value)}: should be {rule} = {_shown(expected)}")
        for key, seeds in (
            ("refit.seeds", self.refit.seeds),
            ("holdout.seeds", self.holdout.seeds if self.holdout else []),
        ):
            # Without those whose training diverged.
            if seeds != [seed for seed in spec.final_seeds if seed in seeds]:
                known = f"{spec.final_seeds[0]} to {spec.final_seeds[-1]}"
                raise ValueError(f"{key} = {_shown(seeds)}: should be of {known}, each once")
        if self.epochs > (most := spec.training.max_epochs):
            msg = f"epochs = {self.epochs}: should be at most spec.training.max_epochs = {most}"
            raise ValueError(msg)
        _check_in_space(self.config, spec.parsed_space)
        return self

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        if "puffin-tuner" not in self.made_with:
            raise ValueError("made_with.puffin-tuner is missing")
        if (self.holdout is None) == (self.unjudged is None):
            raise ValueError("there should be either holdout or unjudged, and not both")
        if self.holdout is not None and (self.seal is None or self.machine.holdout is None):
            raise ValueError("holdout needs seal and machine.holdout beside it")
        if self.refit.data == "all" and self.holdout is None:
            raise ValueError('refit.data = "all" needs holdout beside it')
        last = self.data.last if self.refit.data == "all" else self.data.search_last
        if self.refit.last != last:
            raise ValueError(f"refit.last = {_shown(self.refit.last)}: should be {_shown(last)}")
        return self

    @property
    def is_basket(self) -> bool:
        """Whether it is of several symbols."""
        return isinstance(self.input, BasketInput)

    @property
    def scalers(self) -> dict[str, Scaler]:
        """The scaler of each symbol that the exported network was trained on."""
        if isinstance(self.input, BasketInput):
            return {symbol: part.scaler for symbol, part in self.input.scalers.items()}
        return {self.spec.data.only_symbol: self.input.scaler}

    def to_toml(self) -> bytes:
        """Return the text of config.toml, which `parse` reads back."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)).encode()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ExportRecord":
        """Return the record of the values of config.toml.

        Raises
        ------
        RecordError
            With the first key that breaks a rule, its value and the rule.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first, *others = error.errors(include_url=False)
            more = f" (and {len(others)} more)" if others else ""
            raise RecordError(f"{_cut(_described(first), _MOST_MESSAGE)}{more}") from None

    @classmethod
    def parse(cls, body: bytes) -> "ExportRecord":
        """Return the record of the text of config.toml.

        Raises
        ------
        RecordError
            If the text is not TOML, or a key breaks a rule.
        """
        try:
            values = parse_toml(body)
        except ValueError as error:
            raise RecordError(str(error)) from None
        return cls.of(values)


def _check_in_space(config: Config, space: Space) -> None:
    """Require a cell, sizes and a lookback that are in the search space of the study.

    They bound the memory of the network. `tuner reproduce` checks the rest of the configuration by
    training.
    """
    widths = config.hidden_dims
    _check_within("number of config.hidden_dims", len(widths), space.layers, "spec.space.layers")
    for width in widths[:1] if space.funnel else widths:  # a funnel halves the first width
        _check_within("config.hidden_dims", width, space.hidden_dim, "spec.space.hidden_dim")
    for name in (f.name for f in fields(Config) if f.name in space.scalars and f.type is not float):
        value, dimension = getattr(config, name), space.scalars[name]
        _check_within(f"config.{name}", value, dimension, f"spec.space.{name}")


def _check_within(name: str, value: Any, dimension: Dimension, key: str) -> None:
    if isinstance(dimension, Categorical):
        within, rule = value in dimension.values, ", ".join(map(str, dimension.values))
    else:
        within = dimension.low <= value <= dimension.high
        rule = f"{dimension.low:g} to {dimension.high:g}"
    if not within:
        raise ValueError(f"{name} = {_shown(value)}: {key} has {_cut(rule)}")


_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a key of an export",
    "model_type": "should be a section",
    "dict_type": "should be a section",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
}


def _described(error: Any) -> str:
    """Return a message: the key, its value, and the rule that it breaks."""
    places = [place for place in error["loc"] if place not in (_ONE, _SEVERAL)]
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in places).lstrip(".")
    kind = error["type"]
    if kind == "value_error":
        words = str(error["ctx"]["error"])
    else:
        words = _WORDS.get(kind) or error["msg"].removeprefix("Input ")
    if kind in ("missing", "extra_forbidden"):
        return f"{path} {words}"
    if isinstance(error["input"], dict | BaseModel):  # a rule between keys names them itself
        return f"{path}: {words}" if path else words
    return f"{path} = {_shown(error['input'])}: {words}"


def _shown(value: Any) -> str:
    try:
        return _cut(repr(value))
    except ValueError:  # more digits than Python converts
        return "a number of thousands of digits"


def _cut(text: str, most: int = _MOST_SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
