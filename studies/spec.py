"""The study file: its sections, their rules, and the errors that explain a broken rule."""

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from puffin.models.config import LOSS_NAMES, TrainingConfig
from puffin.models.errors import PuffinError
from puffin.models.features import COLUMN, DIFF, FEATURES, TARGETS, Needs, feature, needs_of
from puffin.models.folds import MIN_TRAIN_TARGETS, WalkForward
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.prices.calendar import INTERVALS
from puffin.studies.prices.csv_columns import NAMES
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.sources import SOURCES, sources_with
from puffin.studies.space import Grid, Space, grid_points, parse_space

# Version of the stored study file: raised by every change that is not an addition.
SPEC_VERSION = 1
_Model = TypeVar("_Model", bound=BaseModel)
# How to write a path with backslashes.
_SLASHES = (
    "write path = \"C:/folder/prices.csv\", or path = 'C:\\folder\\prices.csv' in single quotes"
)
# Far beyond any use, and within the integers of a database.
MOST_TRIALS = 1_000_000

# Yahoo's notation of a period.
_PERIOD = re.compile(r"[1-9][0-9]{0,3}(d|wk|mo|y)|ytd|max")

Count = Annotated[int, Field(ge=1, le=MOST_TRIALS, strict=True)]


class SpecError(PuffinError):
    """A study file breaks a rule."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _known(kind: str, value: str, registry: Collection[str]) -> str:
    """Return a key of a registry, or raise with the known keys."""
    if value not in registry:
        msg = f"unknown {kind}; known are {', '.join(registry)}"
        raise ValueError(msg)
    return value


# Name of a study, which is also a part of file names and commands.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _once(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        msg = f"names a {kind} twice; list each once"
        raise ValueError(msg)
    return names


def _require_name(kind: str, name: str) -> None:
    if not name.isprintable() or not re.fullmatch(r"[^,\s]([^,]*[^,\s])?", name):
        msg = f"{kind} names must not contain commas or start or end with a space, but got {name!r}"
        raise ValueError(msg)


class DataSection(_Section):
    """The source of the prices, the features, and the target that is forecast."""

    source: str = "sample"
    symbol: str | None = None
    path: str | None = None
    columns: dict[str, str] = {}
    start: date | None = None
    end: date | None = None
    period: str | None = None
    interval: str = "1d"
    extra: tuple[str, ...] = ()
    features: tuple[str, ...] = Field(default=("return", "range", "volume"), min_length=1)
    target: str = "return"
    horizon: Count = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs; a feature of extra series is one input per series."""
        return tuple(
            name if not series else f"{name} of {series}"
            for name in self.features
            for series in (self.extra if "extra" in feature(name).columns else ("",))
        )

    @property
    def needs(self) -> Needs:
        """The columns of the prices that are read."""
        return needs_of(self.features, self.target)

    @property
    def file_columns(self) -> tuple[str, ...]:
        """Names of the user's columns of the file that are features."""
        names = (name.removeprefix(COLUMN) for name in self.needs.reads if name.startswith(COLUMN))
        return tuple(names)

    def request(self, *, refresh: bool = False) -> PriceRequest:
        """Return the request of these prices, with or without the use of cached bars."""
        return PriceRequest(
            symbol=self.symbol,
            path=Path(self.path) if self.path else None,
            start=self.start,
            end=self.end,
            period=self.period,
            interval=self.interval,
            extra=self.extra,
            columns=self.columns,
            needs=self.needs,
            refresh=refresh,
        )

    @field_validator("start", "end", mode="before")
    @classmethod
    def _date_is_a_day(cls, value: Any) -> Any:
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            msg = "should be a day like 2005-01-31, without quotes"
            raise ValueError(msg) from None

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, value: str) -> str:
        return _known("source", value, SOURCES)

    @field_validator("target")
    @classmethod
    def _target_is_known(cls, value: str) -> str:
        return _known("target", value, TARGETS)

    @field_validator("period")
    @classmethod
    def _period_is_one(cls, value: str | None) -> str | None:
        if value is not None and not _PERIOD.fullmatch(value):
            msg = "should be a period like 2y, 6mo, 30d, ytd or max"
            raise ValueError(msg)
        return value

    @field_validator("interval")
    @classmethod
    def _interval_is_known(cls, value: str) -> str:
        return _known("interval", value, INTERVALS)

    @field_validator("features")
    @classmethod
    def _features_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            prefix, colon, column = name.partition(":")
            if prefix + colon in {COLUMN, DIFF}:
                _require_name("column", column)
            else:
                _known(f"feature {name!r}", name, [*FEATURES, f"{COLUMN}NAME", f"{DIFF}NAME"])
        return _once("feature", value)

    @field_validator("path")
    @classmethod
    def _path_has_no_escapes(cls, value: str | None) -> str | None:
        if value is not None and re.search(r"[\x00-\x1f]", value):
            msg = f"has a control character, from a backslash in double quotes; {_SLASHES}"
            raise ValueError(msg)
        return value

    @field_validator("columns")
    @classmethod
    def _columns_are_known(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            _known(f"column {key!r}", key, NAMES)
        if len({name.lower() for name in value.values()}) < len(value):
            msg = "names a column of the file twice; use each once"
            raise ValueError(msg)
        return value

    @field_validator("extra")
    @classmethod
    def _extra_series_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _require_name("series", name)
        return _once("series", value)

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> Self:
        if SOURCES[self.source].needs_path:
            if not self.path:
                msg = (
                    f'source "{self.source}" needs path, the file to read; add path = "prices.csv"'
                )
                raise ValueError(msg)
        else:
            self._require_symbol_alone(f"goes with source {sources_with('needs_path')}")
        if self.start and self.end and self.start >= self.end:
            msg = f"start must be before end = {self.end}, but is {self.start}"
            raise ValueError(msg)
        return self

    def _require_symbol_alone(self, rule: str) -> None:
        """Raise unless the prices are chosen by their symbol, and by nothing of a file."""
        if not self.symbol:
            msg = f'source "{self.source}" needs symbol; add symbol = "AAPL"'
            raise ValueError(msg)
        if self.path:
            msg = f'path {rule}, not with "{self.source}"; drop one of them'
            raise ValueError(msg)
        if self.columns or self.file_columns:
            what = "columns" if self.columns else f'feature "{COLUMN}{self.file_columns[0]}"'
            msg = f"{what} {rule}, which has columns of its own; drop it"
            raise ValueError(msg)

    @model_validator(mode="after")
    def _period_goes_with_a_source_that_has_them(self) -> Self:
        if not SOURCES[self.source].has_periods and (self.period or self.interval != "1d"):
            msg = (
                f"period and interval go with source {sources_with('has_periods')}, "
                f'not with "{self.source}"'
            )
            raise ValueError(msg)
        if self.period and (self.start or self.end):
            msg = "period replaces start and end; drop it, or drop both of them"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _extra_series_are_read(self) -> Self:
        reads = [name for name in self.features if "extra" in feature(name).columns]
        if reads and not self.extra:
            msg = f'feature {reads[0]!r} reads other series; name them: extra = ["^VIX"]'
            raise ValueError(msg)
        if self.extra and not reads:
            msg = 'no feature reads extra; add "extra" or "extra_level" to features'
            raise ValueError(msg)
        return self


class WalkForwardSection(_Section):
    """How the targets are split into folds and a sealed holdout."""

    folds: Annotated[int, Field(ge=2, le=MOST_TRIALS, strict=True)] = 5
    valid_bars: Count = 120
    window: Literal["expanding", "rolling"] = "expanding"
    train_bars: Annotated[int, Field(ge=MIN_TRAIN_TARGETS, le=MOST_TRIALS, strict=True)] | None = (
        None
    )
    holdout_bars: Count = 250
    purge: Annotated[int, Field(ge=0, le=MOST_TRIALS, strict=True)] | None = None

    @model_validator(mode="after")
    def _window_and_train_bars_agree(self) -> Self:
        if self.window == "rolling" and self.train_bars is None:
            msg = 'window "rolling" needs train_bars, its length; add train_bars = 1000'
            raise ValueError(msg)
        if self.window == "expanding" and self.train_bars is not None:
            msg = 'train_bars goes with window "rolling"; set that, or drop train_bars'
            raise ValueError(msg)
        return self


class TrainingSection(_Section):
    """How long a configuration may train, and on which loss."""

    max_epochs: Count = 50
    patience: Annotated[int, Field(ge=0, le=MOST_TRIALS, strict=True)] = 8
    loss: str = "mse"

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, value: str) -> str:
        return _known("loss", value, LOSS_NAMES)


class SearchSection(_Section):
    """How many configurations are tried, how they are proposed and when they are stopped."""

    trials: Count | None = None
    sampler: str = "tpe"
    pruner: str = "asha"
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0

    @field_validator("sampler")
    @classmethod
    def _sampler_is_known(cls, value: str) -> str:
        return _known("sampler", value, SAMPLERS)

    @field_validator("pruner")
    @classmethod
    def _pruner_is_known(cls, value: str) -> str:
        return _known("pruner", value, PRUNERS)

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        sampler = SAMPLERS[self.sampler]
        if sampler.needs_complete_trials and self.pruner != "none":
            msg = (
                f'sampler "{self.sampler}" learns from complete trials only, but pruner is '
                f'"{self.pruner}"; set pruner = "none", or sampler = "tpe"'
            )
            raise ValueError(msg)
        if sampler.enumerates and self.trials is not None:
            msg = f'sampler "{self.sampler}" runs every point of its grid once; drop trials'
            raise ValueError(msg)
        return self


def default_space() -> dict[str, Any]:
    """Return the search space of a study file without ``[space]``: that of the preset ``daily``."""
    space: dict[str, Any] = _preset("daily")["space"]
    return space


class Spec(_Section):
    """A study file. An unknown key is an error; a missing key has the default here."""

    name: Annotated[str, Field(pattern=NAME)]
    data: DataSection
    walk_forward: WalkForwardSection = WalkForwardSection()
    training: TrainingSection = TrainingSection()
    space: dict[str, Any] = Field(default_factory=default_space)
    search: SearchSection = SearchSection()

    @field_validator("space")
    @classmethod
    def _space_is_searchable(cls, value: dict[str, Any]) -> dict[str, Any]:
        parse_space(value)
        return value

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        least = self.data.horizon - 1
        if self.walk_forward.purge is not None and self.walk_forward.purge < least:
            msg = (
                f"walk_forward.purge must be at least horizon - 1 = {least}, "
                f"but is {self.walk_forward.purge}; raise it, or leave it out"
            )
            raise ValueError(msg)
        if SAMPLERS[self.search.sampler].enumerates:
            if "space" not in self.model_fields_set:
                msg = (
                    f'sampler "{self.search.sampler}" needs a list or a step for each '
                    "hyperparameter, but [space] is left out; add it (the preset grid has one)"
                )
                raise ValueError(msg)
            _ = self.grid  # raises if it is not finite
        return self

    @cached_property
    def parsed_space(self) -> Space:
        """The search space."""
        return parse_space(self.space)

    @cached_property
    def grid(self) -> Grid:
        """All points of the search space; ValueError if they are infinitely many."""
        return grid_points(self.parsed_space)

    @property
    def purge(self) -> int:
        """Targets left out between a training part and the part that validates it."""
        given = self.walk_forward.purge
        return self.data.horizon - 1 if given is None else given

    @property
    def layout(self) -> WalkForward:
        """The folds, as an argument of `puffin.models.folds`."""
        section = self.walk_forward
        return WalkForward(section.folds, section.valid_bars, self.purge, section.train_bars)

    @property
    def training_config(self) -> TrainingConfig:
        """The training settings, as an argument of `puffin.models.training`."""
        return TrainingConfig(**self.training.model_dump())

    @property
    def tickets(self) -> int:
        """Number of trials that the study is to run."""
        if SAMPLERS[self.search.sampler].enumerates:
            return len(self.grid.points)
        return self.search.trials or 100

    def to_json(self) -> dict[str, Any]:
        """Return values for JSON; `Spec.model_validate` reads them back."""
        return self.model_dump(mode="json")


def preset_names() -> list[str]:
    """Return the names of the study files in the package."""
    folder = resources.files("puffin.studies") / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith("toml"))


def load_spec(path_or_preset: str, overrides: Sequence[str] = ()) -> Spec:
    """Load a study file, or a preset by its name, and apply ``a.b=value`` overrides.

    A relative ``data.path`` starts at the folder of the file; in an override it starts at the
    working directory. An override of one key of ``[space]`` keeps the other keys of the file, or of
    the default space if the file has no ``[space]``.

    Raises
    ------
    SpecError
        If a rule is broken: every such key, its value, the rule and the fix.
    """
    values, label = _read(path_or_preset)
    if any(override.strip().startswith("space.") for override in overrides):
        values.setdefault("space", default_space())
    for override in overrides:
        _override(values, override)
    return parse_spec(values, label)


def parse_spec(values: Mapping[str, Any], label: str) -> Spec:
    """Return the study file of parsed TOML or JSON; `label` names its origin in errors."""
    return _parse(Spec, values, label)


def parse_data(values: Mapping[str, Any], label: str) -> DataSection:
    """Return the section ``[data]`` of parsed TOML; `label` names its origin in errors."""
    return _parse(DataSection, values, label)


def _parse(model: type[_Model], values: Mapping[str, Any], label: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_describe(e) for e in error.errors(include_url=False)]
        raise SpecError("\n".join([f"{label}:", *(f"  - {p}" for p in problems)])) from None


def _read(path_or_preset: str) -> tuple[dict[str, Any], str]:
    path = Path(path_or_preset)
    if path.suffix != ".toml" and not _exists(path):
        if path_or_preset not in preset_names():
            msg = (
                f"{path_or_preset!r} is neither a file nor a preset; "
                f"presets are {', '.join(preset_names())}; a study file ends in .toml"
            )
            raise SpecError(msg)
        return _preset(path_or_preset), path_or_preset
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        msg = f"cannot read the study file {path}: {error.strerror or error}; check its path"
        raise SpecError(msg) from None
    except UnicodeDecodeError:
        msg = f"{path} is not UTF-8 text, but TOML must be; save it as UTF-8"
        raise SpecError(msg) from None
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not valid TOML: {error}; {_toml_hint(error, path.read_text('utf-8-sig'))}"
        raise SpecError(msg) from None
    data = values.get("data")
    if isinstance(data, dict) and isinstance(name := data.get("path"), str):
        data["path"] = name if name.startswith("~") else str(path.parent / name)
    return values, str(path)


def _toml_hint(error: tomllib.TOMLDecodeError, text: str) -> str:
    """Return a hint on an error of TOML, whose most frequent cause is a path of Windows."""
    found = re.search(r"at line (\d+)", str(error))
    line = text.split("\n")[int(found[1]) - 1] if found else ""
    if "\\" in line:
        return f"a backslash in double quotes begins an escape: {_SLASHES}"
    return "docs/study-file.md shows a complete file"


def _preset(name: str) -> dict[str, Any]:
    file = resources.files("puffin.studies") / "presets" / f"{name}.toml"
    return tomllib.loads(file.read_text("utf-8"))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name; a NUL in it
        return False


def _override(values: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value``; the value is parsed as TOML, or else taken as a string."""
    key, equals, text = override.partition("=")
    *sections, last = parts = key.strip().split(".")
    if not equals or not all(parts):
        msg = f"--set takes KEY=VALUE, for example search.trials=20, but got {override!r}"
        raise SpecError(msg)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            msg = f"--set {override}: {section} is a value, not a section; name one of its keys"
            raise SpecError(msg)
    table[last] = value


# Messages by pydantic's error type, filled in with the context of the error. Types that are not
# here keep pydantic's message.
_MESSAGES = {
    "dict_type": "should be a section",
    "extra_forbidden": "unknown key",
    "greater_than_equal": "should be at least {ge}",
    "int_type": "should be a whole number",
    "less_than_equal": "should be at most {le}",
    "literal_error": "should be {expected}",
    "missing": "is required",
    "model_type": "should be a section",
    "string_pattern_mismatch": (
        "should be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
    ),
    "string_type": "should be text in quotes",
    "too_short": "should have at least one item",
    "tuple_type": "should be a list",
    "value_error": "{error}",
}


def _describe(error: Any) -> str:
    """Return one pydantic error in words: path, value, rule and fix."""
    path = ".".join(str(part) for part in error["loc"])
    message = _MESSAGES.get(error["type"], "{msg}").format_map(
        {"msg": error["msg"]} | error.get("ctx", {})
    )
    if error["type"] == "extra_forbidden":
        return f"{path}: {message}{_neighbours(error['loc'])}"
    if error["type"] == "missing":
        return f"{path} {message}"
    if isinstance(error["input"], dict):  # a rule on several keys: the message names them
        return f"{path}: {message}" if path else message
    return f"{path} = {error['input']!r}: {message}"


def _neighbours(location: tuple[int | str, ...]) -> str:
    """Return the known keys at the place of an unknown one, and the most similar of them."""
    model: type[BaseModel] = Spec
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        model = annotation if isinstance(annotation, type) else Spec
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint or ';'} known keys are {', '.join(known)}"
