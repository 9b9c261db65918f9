"""The study file: presets, overrides, and the errors that explain a broken rule."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from puffin.models.config import Config, TrainingConfig, feature_set
from puffin.models.errors import PuffinError
from puffin.models.features import TARGETS
from puffin.models.folds import WalkForward
from puffin.models.losses import LOSSES, Loss
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.sections import (
    NAME,
    PATH_HINT,
    BacktestSection,
    DataSection,
    FinalSection,
    SearchSection,
    Section,
    TrainingSection,
    WalkForwardSection,
    WalkSection,
)
from puffin.studies.space import Grid, Space, grid_points, parse_space

# Version of the stored study file: raised by every change that is not an addition.
SPEC_VERSION = 1
# Fewest trials of each search of a walk, if the study file does not say how many.
_LEAST_WALK_TRIALS = 20
# Two spellings of one key of [data]: an override replaces either.
_SYMBOLS = ("symbol", "symbols")
# Characters of a wrong value in an error.
_MOST_SHOWN = 200
_Model = TypeVar("_Model", bound=BaseModel)


class SpecError(PuffinError):
    """A study file breaks a rule."""


def default_space() -> dict[str, Any]:
    """Return the search space of a study file without ``[space]``: that of the preset ``daily``."""
    space: dict[str, Any] = _preset("daily")["space"]
    return space


class Spec(Section):
    """A study file. An unknown key is an error; a missing key has the default here."""

    name: Annotated[str, Field(pattern=NAME)]
    data: DataSection
    walk_forward: WalkForwardSection = WalkForwardSection()
    training: TrainingSection = TrainingSection()
    space: dict[str, Any] = Field(default_factory=default_space)
    search: SearchSection = SearchSection()
    final: FinalSection = FinalSection()
    walk: WalkSection = WalkSection()
    backtest: BacktestSection = BacktestSection()

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
        if LOSSES[self.training.loss].volatility and not TARGETS[self.data.target].is_volatility:
            msg = (
                f'training.loss "{self.training.loss}" is for targets that are a volatility, '
                f"{' and '.join(name for name, t in TARGETS.items() if t.is_volatility)}, but "
                f'data.target is "{self.data.target}"; set training.loss = "mse"'
            )
            raise ValueError(msg)
        of_sets = {name for each in self.feature_sets.values() for name in each}
        if unknown := sorted(of_sets - set(self.data.features)):
            msg = (
                f"space.features names {', '.join(unknown)}, but the sets should be of "
                f"data.features, {', '.join(self.data.features)}; add it there too"
            )
            raise ValueError(msg)
        self.backtest.require_use(self.data.target)
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
    def feature_sets(self) -> dict[str, tuple[str, ...]]:
        """The sets of features of ``[space]``, by the value that `Config.features` has."""
        sets = self.space.get("features", ())
        return {feature_set(names): tuple(names) for names in sets}

    def features_of(self, config: Config) -> tuple[str, ...]:
        """Return the features that a network reads, in the order of ``data.features``."""
        read = self.feature_sets.get(config.features, ()) if config.features else self.data.features
        return tuple(name for name in self.data.features if name in read)

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
        return TrainingConfig(**self.training.model_dump(exclude={"objective"}))

    @property
    def criterion(self) -> Loss:
        """The loss, at the levels of its quantiles if it has some."""
        return self.training_config.criterion

    @property
    def tickets(self) -> int:
        """Number of trials that the study is to run."""
        if SAMPLERS[self.search.sampler].enumerates:
            return len(self.grid.points)
        return self.search.trials or 100

    @property
    def trader_statistic(self) -> str | None:
        """What a forecast in the unit of traders is, such as median; None if as in the target's."""
        display = TARGETS[self.data.target].display
        if display is None or not display.is_exponential:
            return None
        return LOSSES[self.training.loss].statistic

    @property
    def final_seeds(self) -> range:
        """The seeds whose networks are averaged, that of the search first."""
        return range(self.search.seed, self.search.seed + self.final.seeds)

    @property
    def walk_trials(self) -> int:
        """Number of trials of each search of a walk."""
        if SAMPLERS[self.search.sampler].enumerates:
            return self.tickets
        return self.walk.trials or max(self.tickets // 3, _LEAST_WALK_TRIALS)

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


def override(spec: Spec, overrides: Sequence[str]) -> Spec:
    """Return a study file with ``a.b=value`` overrides.

    Raises
    ------
    SpecError
        As `load_spec`.
    """
    values = spec.to_json()
    for each in overrides:
        _override(values, each)
    return parse_spec(values, spec.name)


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
        return f"a backslash in double quotes begins an escape: {PATH_HINT}"
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
        if value.startswith(("[", "{")):
            msg = (
                f"--set {override}: not a list or table of TOML; strings in it need quotes, as in "
                """--set 'data.features=["range"]'"""
            )
            raise SpecError(msg) from None
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            msg = f"--set {override}: {section} is a value, not a section; name one of its keys"
            raise SpecError(msg)
    if sections == ["data"] and last in _SYMBOLS:
        for other in _SYMBOLS:
            table.pop(other, None)
    table[last] = value


# Messages by pydantic's error type, filled in with the context of the error. Types that are not
# here keep pydantic's message.
_MESSAGES = {
    "bool_type": "should be true or false",
    "dict_type": "should be a section",
    "extra_forbidden": "unknown key",
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "greater_than_equal": "should be at least {ge}",
    "int_type": "should be a whole number",
    "less_than_equal": "should be at most {le}",
    "literal_error": "should be {expected}",
    "missing": "is required",
    "model_type": "should be a section",
    "too_long": "should have at most {max_length} items",
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
    value = repr(error["input"])
    value = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}..."
    return f"{path} = {value}: {message}"


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
