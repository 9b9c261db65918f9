"""The search space: what of a configuration is fixed, chosen or ranged, and how it is sampled.

The only place that calls ``trial.suggest_*``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, Protocol, TypeVar

from optuna.trial import FixedTrial

from puffin.models.config import CELL_NAMES, Config

Scalar = int | float | str
_Value = TypeVar("_Value")

# Far beyond any use; a mistyped width must not ask for a network that fills the memory.
_MOST = 1_000_000
# Each layer has parameters of its own: a million of them take minutes only to be listed.
_MOST_LAYERS = 100


class Suggester(Protocol):
    """What this module needs of ``optuna.Trial`` and ``optuna.trial.FixedTrial``."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Choose one of a list."""

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Choose a whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Choose a number."""


@dataclass(frozen=True)
class Choice:
    """One of a list of values; a fixed value is a list of one, and is not sampled."""

    values: tuple[Scalar, ...]

    def suggest(self, trial: Suggester, name: str) -> Any:
        """Sample a value under `name`."""
        if len(self.values) == 1:
            return self.values[0]
        return trial.suggest_categorical(name, self.values)

    def listed(self) -> tuple[Scalar, ...] | None:
        """Give every value."""
        return self.values

    @property
    def ends(self) -> tuple[Scalar, Scalar]:
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

    def listed(self) -> tuple[Scalar, ...] | None:
        """Give every value, or None where there is no end of them."""
        step = self.step or (1 if self.integer else None)
        if step is None or self.log:
            return None
        count = round((self.high - self.low) / step) + 1
        # Sums of a step like 0.1 drift off by a bit, and Optuna refuses what lies above high.
        return tuple(min(round(self.low + i * step, 12), self.high) for i in range(count))

    @property
    def ends(self) -> tuple[Scalar, Scalar]:
        """The smallest and the largest value."""
        return self.low, self.high


Dimension = Choice | Range


@dataclass(frozen=True)
class Space:
    """A checked search space.

    Attributes
    ----------
    plain : the dimension of each field of `Config` but the widths
    layers, hidden_dim : number of layers and width of one
    tied : one width for all layers
    funnel : each layer half as wide as the one before
    """

    plain: dict[str, Dimension]
    layers: Dimension
    hidden_dim: Dimension
    tied: bool
    funnel: bool

    @property
    def max_lookback(self) -> int:
        """Longest window that any trial can see, in bars."""
        return int(self.plain["lookback"].ends[1])


_FIELDS: dict[str, Field[Any]] = {f.name: f for f in fields(Config) if f.name != "hidden_dims"}
LAYERS, WIDTH = "layers", "hidden_dim"
_KEYS = ("cell", LAYERS, WIDTH, *(name for name in _FIELDS if name != "cell"))
_MOST_POINTS = 100_000
_TABLE_KEYS = {"low", "high", "step", "log"}


def parse_space(values: Mapping[str, Any]) -> Space:
    """Check the [space] section: a scalar fixes, a list chooses, a table ranges.

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
    """Take ``tied``, ``funnel`` and ``choices`` off the table of the widths."""
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
    low, high = dimension.ends
    return low == high


def _dimension(raw: Any, key: str) -> Dimension:
    if isinstance(raw, Mapping):
        return _range(raw, key)
    values = tuple(raw) if isinstance(raw, list | tuple) else (raw,)
    if not values:
        msg = "an empty list chooses nothing; give it values"
        raise ValueError(msg)
    checked = tuple(_check(value, key) for value in values)
    if len(set(checked)) < len(checked):
        msg = "holds a value twice; give each once"
        raise ValueError(msg)
    return Choice(checked)


def _range(raw: Mapping[str, Any], key: str) -> Range:
    if unknown := set(raw) - _TABLE_KEYS:
        msg = f"unknown {', '.join(sorted(unknown))}; a range has low, high, step and log"
        raise ValueError(msg)
    if missing := {"low", "high"} - set(raw):
        msg = f"a range needs {' and '.join(sorted(missing))}"
        raise ValueError(msg)
    low, high = (_check(raw[end], key) for end in ("low", "high"))
    step, log = raw.get("step"), raw.get("log", False)
    if isinstance(low, str) or isinstance(high, str):
        msg = "names cannot be ranged; give a list"
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
    if step is not None:  # end on the last step, as Optuna would, with a warning in every worker
        high = low + math.floor((high - low) / step + 1e-9) * step
        high = high if integer else round(high, 12)
    return Range(low, high, step, log, integer)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _is_integer(key: str) -> bool:
    return key in (LAYERS, WIDTH) or _FIELDS[key].type is int


def _check(value: Any, key: str) -> Scalar:
    """Check one value of a hyperparameter against its type and the bounds of `Config`."""
    if key == "cell":
        if not isinstance(value, str) or value not in CELL_NAMES:
            msg = f"unknown cell {value!r}; known are {', '.join(CELL_NAMES)}"
            raise ValueError(msg)
        return value
    if not _is_number(value) or (_is_integer(key) and not isinstance(value, int)):
        msg = f"{value!r} should be a {'whole ' if _is_integer(key) else ''}number"
        raise ValueError(msg)
    most = _MOST_LAYERS if key == LAYERS else _MOST
    if _is_integer(key) and value > most:
        msg = f"{value!r} must be at most {most}"
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

    Widths exist only for layers that exist, and dropout only between two of them; TPE's
    ``group=True`` learns such conditional parameters jointly.
    """
    layers = space.layers.suggest(trial, LAYERS)
    values = {
        name: dimension.suggest(trial, name)
        for name, dimension in space.plain.items()
        if name != "dropout" or layers > 1
    }
    return Config(hidden_dims=_suggest_widths(trial, space, layers), **values)


def _suggest_widths(trial: Suggester, space: Space, layers: int) -> tuple[int, ...]:
    if space.tied or space.funnel:
        first = space.hidden_dim.suggest(trial, WIDTH)
        return tuple(max(1, first // (2**i if space.funnel else 1)) for i in range(layers))
    return tuple(space.hidden_dim.suggest(trial, f"{WIDTH}_{i}") for i in range(layers))


# Where a search starts, where it is not at the defaults of `Config`: 0.4 % above the best of
# 18 such networks, on average over the returns and ranges of IBM and MSFT (docs/log.md).
_USUAL: dict[str, Scalar] = {
    "cell": "gru",
    LAYERS: 1,
    WIDTH: 32,
    "dropout": 0.1,
    "weight_decay": 1e-5,
}


class _Usual:
    """Takes the place of a trial: answers with what is nearest to the usual, and notes it."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        usual = _usual(name)
        if isinstance(usual, str):
            return self._note(name, usual if usual in choices else choices[0])
        return self._note(name, min(choices, key=lambda choice: abs(choice - usual)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        value = round(self.suggest_float(name, low, high, step=step, log=log))
        return self._note(name, value)

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,  # noqa: ARG002  # as a trial has it
    ) -> float:
        value = min(max(float(_usual(name)), low), high)
        if step is not None:
            # Sums of a step like 0.1 drift off by a bit, and Optuna refuses what lies above high.
            value = min(round(low + round((value - low) / step) * step, 12), high)
        return self._note(name, value)

    def _note(self, name: str, value: _Value) -> _Value:
        self.params[name] = value
        return value


def _usual(name: str) -> Scalar:
    """Give the usual value of a parameter; one width is like another."""
    key = WIDTH if name.startswith(WIDTH) else name
    return _USUAL[key] if key in _USUAL else getattr(Config, key)


def usual_points(space: Space) -> list[dict[str, Any]]:
    """Give the parameters of the points that are nearest to the usual network, one for each cell.

    Started from one cell alone TPE hardly tries the other.
    """
    trial = _Usual()
    suggest(trial, space)
    first = trial.params
    cells = space.plain["cell"].listed() or ()
    if "cell" not in first:
        return [first]
    return [first, *(first | {"cell": cell} for cell in cells if cell != first["cell"])]


@dataclass(frozen=True)
class Grid:
    """Every distinct configuration of a space, as parameters to enqueue.

    Attributes
    ----------
    points : the parameters of each distinct configuration
    repeats : points of the full product that describe a network another point describes too
    """

    points: list[dict[str, Any]]
    repeats: int


def grid_points(space: Space) -> Grid:
    """List the points of a grid, each network once.

    Raises
    ------
    ValueError
        If a dimension has no end of values.
    """
    # Here, since no other search needs scikit-learn, which takes a second to import.
    from sklearn.model_selection import ParameterGrid

    points: dict[Config, dict[str, Any]] = {}
    total = 0
    for layers in _listed(space.layers, LAYERS):
        shared = space.tied or space.funnel
        names = [WIDTH] if shared else [f"{WIDTH}_{i}" for i in range(int(layers))]
        axes = {name: _listed(d, name) for name, d in space.plain.items()}
        axes |= {name: _listed(space.hidden_dim, WIDTH) for name in names}
        total += math.prod(map(len, axes.values()))
        if total > _MOST_POINTS:
            msg = f"the grid has over {_MOST_POINTS} points; list fewer values, or sample with tpe"
            raise ValueError(msg)
        for point in ParameterGrid({LAYERS: (layers,), **axes}):
            trial = FixedTrial(point)
            points.setdefault(suggest(trial, space), trial.params)
    return Grid(list(points.values()), total - len(points))


def _listed(dimension: Dimension, name: str) -> tuple[Scalar, ...]:
    if isinstance(dimension, Range) and dimension.step:
        steps = (dimension.high - dimension.low) / dimension.step
        if steps > _MOST_POINTS:
            msg = f"space.{name} has {steps:.0f} steps, but a grid takes {_MOST_POINTS} at most"
            raise ValueError(msg)
    values = dimension.listed()
    if values is None:
        msg = f'space.{name} is a range without a step; sampler "grid" needs a list or a step'
        raise ValueError(msg)
    return values
