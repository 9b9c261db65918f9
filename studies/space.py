"""The search space: which hyperparameters are fixed, chosen from a list or drawn from a range.

The only module that calls ``trial.suggest_*``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, Protocol, TypeVar

from optuna.trial import FixedTrial

from puffin.models.config import Config, check_choice, feature_set

Scalar = int | float | str
_Value = TypeVar("_Value")

# Far beyond any use: a mistyped width must not make a network that fills the memory.
_MAX_INTEGER = 1_000_000
# Lower, because each layer adds parameters to the list of a space.
_MAX_LAYERS = 100


class Suggester(Protocol):
    """The part of ``optuna.Trial`` and ``optuna.trial.FixedTrial`` that this module calls."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of `choices`."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Return an integer from `low` to `high`."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number from `low` to `high`."""


@dataclass(frozen=True)
class Categorical:
    """One of a list of values; a list of one value fixes it and is not sampled."""

    values: tuple[Scalar, ...]

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Sample a value under `name`."""
        if len(self.values) == 1:
            return self.values[0]
        return trial.suggest_categorical(name, self.values)

    def grid_values(self) -> tuple[Scalar, ...] | None:
        """Return all values."""
        return self.values

    @property
    def bounds(self) -> tuple[Scalar, Scalar]:
        """The smallest and the largest value."""
        return min(self.values), max(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included."""

    low: float
    high: float
    step: float | None
    log: bool
    integer: bool

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Sample a value under `name`."""
        if self.low == self.high:
            return self.low
        if self.integer:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def grid_values(self) -> tuple[Scalar, ...] | None:
        """Return all values, or None for a continuous or logarithmic range."""
        step = self.step or (1 if self.integer else None)
        if step is None or self.log:
            return None
        count = round((self.high - self.low) / step) + 1
        # Multiples of a step like 0.1 are inexact, and Optuna refuses values above high.
        return tuple(min(round(self.low + i * step, 12), self.high) for i in range(count))

    @property
    def bounds(self) -> tuple[Scalar, Scalar]:
        """The smallest and the largest value."""
        return self.low, self.high


Dimension = Categorical | Range


@dataclass(frozen=True)
class Space:
    """A validated search space.

    Attributes
    ----------
    scalars : dict
        The dimension of each field of `Config` but ``hidden_dims``.
    layers, hidden_dim : Dimension
        Number of layers, and width of a layer.
    tied : bool
        Whether all layers have the same width.
    funnel : bool
        Whether each layer is half as wide as the one before.
    """

    scalars: dict[str, Dimension]
    layers: Dimension
    hidden_dim: Dimension
    tied: bool
    funnel: bool

    @property
    def max_lookback(self) -> int:
        """The longest lookback of any trial, in bars."""
        return int(self.scalars["lookback"].bounds[1])

    @property
    def searched(self) -> frozenset[str]:
        """The fields of `Config` that differ between trials, beside cell and widths."""
        return frozenset(name for name, each in self.scalars.items() if not _is_fixed(each))


_FIELDS: dict[str, Field[Any]] = {f.name: f for f in fields(Config) if f.name != "hidden_dims"}
LAYERS, WIDTH, FEATURE_SETS = "layers", "hidden_dim", "features"
_KEYS = ("cell", LAYERS, WIDTH, *(name for name in _FIELDS if name != "cell"))
_MAX_POINTS = 100_000
_TABLE_KEYS = {"low", "high", "step", "log"}


def parse_space(values: Mapping[str, Any]) -> Space:
    """Parse the section [space].

    A scalar fixes a hyperparameter, a list offers a choice, and a table is a range.

    Raises
    ------
    ValueError
        With every problem: the key, the value, the rule and the fix.
    """
    problems = [
        f"{key}: unknown hyperparameter; known are {', '.join(_KEYS)}"
        for key in values
        if key not in _KEYS
    ]
    parsed: dict[str, Dimension] = {}
    widths, tied, funnel = _width_flags(values.get(WIDTH, Config.hidden_dims[0]), problems)
    for key in _KEYS:
        default = Config.__dataclass_fields__[key].default if key in _FIELDS else 2
        raw = widths if key == WIDTH else values.get(key, default)
        try:
            parsed[key] = _dimension(raw, key)
        except ValueError as error:
            problems.append(f"{key} = {raw!r}: {error}")
    if not problems and all(_is_fixed(d) for d in parsed.values()):
        problems.append("fixes every hyperparameter; give at least one a list or a range")
    if problems:
        raise ValueError("; ".join(problems))
    layers, hidden_dim = parsed.pop(LAYERS), parsed.pop(WIDTH)
    return Space(parsed, layers, hidden_dim, tied, funnel)


def _width_flags(raw: Any, problems: list[str]) -> tuple[Any, bool, bool]:
    """Split the table of the widths into their values, ``tied`` and ``funnel``."""
    if not isinstance(raw, Mapping):
        return raw, False, False
    rest = dict(raw)
    flags = {name: rest.pop(name, False) for name in ("tied", "funnel")}
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            problems.append(f"{WIDTH}.{name} = {flag!r}: should be true or false")
    if all(flags.values()):
        problems.append(f"{WIDTH}: tied and funnel exclude each other; keep one")
    return rest.pop("choices") if set(rest) == {"choices"} else rest, *flags.values()


def _is_fixed(dimension: Dimension) -> bool:
    low, high = dimension.bounds
    return low == high


def _dimension(raw: Any, key: str) -> Dimension:
    if key == FEATURE_SETS:
        return _feature_sets(raw)
    if isinstance(raw, Mapping):
        return _range(raw, key)
    values = tuple(raw) if isinstance(raw, list | tuple) else (raw,)
    if not values:
        msg = "an empty list offers no choice; add values"
        raise ValueError(msg)
    checked = tuple(_check_value(value, key) for value in values)
    if len(set(checked)) < len(checked):
        msg = "has a value twice; list each once"
        raise ValueError(msg)
    return Categorical(checked)


def _feature_sets(raw: Any) -> Categorical:
    """Return the choice among sets of features, each a list of names."""
    if raw == Config.features:
        return Categorical((raw,))
    if not isinstance(raw, list | tuple) or not all(isinstance(each, list | tuple) for each in raw):
        msg = 'should be a list of lists of features, as in [["return"], ["return", "range"]]'
        raise ValueError(msg)
    sets = tuple(tuple(each) for each in raw)
    if (
        not sets
        or not all(sets)
        or not all(isinstance(name, str) for each in sets for name in each)
    ):
        msg = "each set should have at least one feature, in quotes"
        raise ValueError(msg)
    if len({frozenset(each) for each in sets}) < len(sets) or any(
        len(set(each)) < len(each) for each in sets
    ):
        msg = "has a set or a feature of a set twice; list each once"
        raise ValueError(msg)
    return Categorical(tuple(map(feature_set, sets)))


def _range(raw: Mapping[str, Any], key: str) -> Range:
    if unknown := set(raw) - _TABLE_KEYS:
        msg = f"unknown {', '.join(sorted(unknown))}; a range has low, high, step and log"
        raise ValueError(msg)
    if missing := {"low", "high"} - set(raw):
        msg = f"a range needs {' and '.join(sorted(missing))}"
        raise ValueError(msg)
    low, high = (_check_value(raw[end], key) for end in ("low", "high"))
    step, log = raw.get("step"), raw.get("log", False)
    if isinstance(low, str) or isinstance(high, str):
        msg = "a range needs numbers; use a list"
        raise ValueError(msg)
    integer = _is_integer(key)
    rules = {
        f"low must not be above high = {high}": low <= high,
        "log should be true or false": isinstance(log, bool),
        "log needs low above 0": not log or low > 0,
        "log and step exclude each other; keep one": not (log and step),
        "step must be above 0": step is None or (_is_number(step) and step > 0),
        "step must be a whole number": not integer or step is None or isinstance(step, int),
    }
    if broken := [rule for rule, holds in rules.items() if not holds]:
        raise ValueError("; ".join(broken))
    if (
        step is not None
    ):  # lower `high` to the last step; Optuna would, with a warning in every worker
        high = low + math.floor((high - low) / step + 1e-9) * step
        high = high if integer else round(high, 12)
    return Range(low, high, step, log, integer)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _is_integer(key: str) -> bool:
    return key in (LAYERS, WIDTH) or _FIELDS[key].type is int


def _check_value(value: Any, key: str) -> Scalar:
    """Return a value in the type of its hyperparameter, or raise if `Config` does not admit it."""
    choices = _FIELDS[key].metadata.get("choices") if key in _FIELDS else None
    if choices:
        check_choice(key, value, choices)
        return str(value)
    if not _is_number(value) or (_is_integer(key) and not isinstance(value, int)):
        msg = f"{value!r} should be a {'whole ' if _is_integer(key) else ''}number"
        raise ValueError(msg)
    maximum = _MAX_LAYERS if key == LAYERS else _MAX_INTEGER
    if _is_integer(key) and value > maximum:
        msg = f"{value!r} must be at most {maximum}"
        raise ValueError(msg)
    bounds = _FIELDS[key].metadata if key in _FIELDS else {"low": 1}
    low, below = bounds["low"], bounds.get("below")
    if value < low or (below is not None and value >= below):
        rule = f"at least {low:g}" + (f" and below {below:g}" if below is not None else "")
        msg = f"{value!r} must be {rule}"
        raise ValueError(msg)
    return int(value) if _is_integer(key) else float(value)


def suggest(trial: Suggester, space: Space) -> Config:
    """Sample a configuration.

    The parameters are conditional: there is one width per layer, and dropout only with two layers
    or more. TPE with ``group=True`` models such parameters jointly.
    """
    layers = space.layers.suggest(trial, LAYERS)
    values = {
        name: dimension.suggest(trial, name)
        for name, dimension in space.scalars.items()
        if name != "dropout" or layers > 1
    }
    return Config(hidden_dims=_suggest_widths(trial, space, layers), **values)


def _suggest_widths(trial: Suggester, space: Space, layers: int) -> tuple[int, ...]:
    if space.tied or space.funnel:
        first = space.hidden_dim.suggest(trial, WIDTH)
        return tuple(max(1, first // (2**i if space.funnel else 1)) for i in range(layers))
    return tuple(space.hidden_dim.suggest(trial, f"{WIDTH}_{i}") for i in range(layers))


# The initial point of a search, where it differs from the defaults of `Config`, and a second one,
# which learns faster and is regularised more: of 64 usual networks the one that adds most to the
# first, on the series on which that is not near the best (docs/log.md, benchmarks/curves.py).
_INITIAL: dict[str, Scalar] = {
    "cell": "gru",
    LAYERS: 1,
    WIDTH: 32,
    "dropout": 0.1,
    "weight_decay": 1e-5,
}
_FASTER = _INITIAL | {"lr": 3e-3, "weight_decay": 1e-3, "lookback": 40}


class _DefaultSuggester:
    """A `Suggester` that returns and records the admissible value nearest to the default.

    Parameters
    ----------
    defaults : mapping
        Where they differ from those of `Config`.

    Attributes
    ----------
    params : dict
        The recorded values.
    """

    def __init__(self, defaults: Mapping[str, Scalar]) -> None:
        self._defaults = defaults
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        default = self._default(name)
        if isinstance(default, str):
            return self._record(name, default if default in choices else choices[0])
        return self._record(name, min(choices, key=lambda choice: abs(choice - default)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        value = round(self.suggest_float(name, low, high, step=step, log=log))
        return self._record(name, value)

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,  # noqa: ARG002  # as a trial has it
    ) -> float:
        value = min(max(float(self._default(name)), low), high)
        if step is not None:
            # Multiples of a step like 0.1 are inexact, and Optuna refuses values above high.
            value = min(round(low + round((value - low) / step) * step, 12), high)
        return self._record(name, value)

    def _default(self, name: str) -> Scalar:
        """Return the default of a parameter, which is the same for every layer's width."""
        key = WIDTH if name.startswith(WIDTH) else name
        return self._defaults[key] if key in self._defaults else getattr(Config, key)

    def _record(self, name: str, value: _Value) -> _Value:
        self.params[name] = value
        return value


def initial_points(space: Space) -> list[dict[str, Any]]:
    """Return the parameters of the points nearest to the default networks, each once.

    They are two networks of one cell, and one of each other cell, because from a single cell TPE
    would hardly try the other.
    """
    first, faster = (_nearest(space, defaults) for defaults in (_INITIAL, _FASTER))
    points = [first, faster]
    if "cell" in first:
        points += [first | {"cell": cell} for cell in space.scalars["cell"].grid_values() or ()]
    return [point for number, point in enumerate(points) if point not in points[:number]]


def _nearest(space: Space, defaults: Mapping[str, Scalar]) -> dict[str, Any]:
    trial = _DefaultSuggester(defaults)
    suggest(trial, space)
    return trial.params


@dataclass(frozen=True)
class Grid:
    """All distinct configurations of a space, as parameters to enqueue.

    Attributes
    ----------
    points : list of dict
        The parameters of each distinct configuration.
    repeats : int
        Number of points of the full product that repeat the network of another point.
    """

    points: list[dict[str, Any]]
    repeats: int


def grid_points(space: Space) -> Grid:
    """Return the points of a grid, each network once.

    Raises
    ------
    ValueError
        If a dimension is not finite, or the grid is too large.
    """
    # Imported here because scikit-learn takes a second to load and no other search needs it.
    from sklearn.model_selection import ParameterGrid

    points: dict[Config, dict[str, Any]] = {}
    total = 0
    for layers in _finite_values(space.layers, LAYERS):
        shared = space.tied or space.funnel
        names = [WIDTH] if shared else [f"{WIDTH}_{i}" for i in range(int(layers))]
        axes = {name: _finite_values(d, name) for name, d in space.scalars.items()}
        axes |= {name: _finite_values(space.hidden_dim, WIDTH) for name in names}
        total += math.prod(map(len, axes.values()))
        if total > _MAX_POINTS:
            msg = f"the grid has over {_MAX_POINTS} points; list fewer values, or sample with tpe"
            raise ValueError(msg)
        for point in ParameterGrid({LAYERS: (layers,), **axes}):
            trial = FixedTrial(point)
            points.setdefault(suggest(trial, space), trial.params)
    return Grid(list(points.values()), total - len(points))


def _finite_values(dimension: Dimension, name: str) -> tuple[Scalar, ...]:
    if isinstance(dimension, Range) and dimension.step:
        steps = (dimension.high - dimension.low) / dimension.step
        if steps > _MAX_POINTS:
            msg = f"space.{name} has {steps:.0f} steps, but a grid takes {_MAX_POINTS} at most"
            raise ValueError(msg)
    values = dimension.grid_values()
    if values is None:
        msg = f'space.{name} is a range without a step; sampler "grid" needs a list or a step'
        raise ValueError(msg)
    return values
