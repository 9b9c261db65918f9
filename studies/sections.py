"""The sections of the study file and their rules."""

import re
from collections.abc import Collection, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from puffin.models.config import LOSS_NAMES, check_quantiles
from puffin.models.features import COLUMN, DIFF, FEATURES, TARGETS, Needs, feature, needs_of
from puffin.models.folds import MIN_TRAIN_TARGETS
from puffin.models.losses import LOSSES
from puffin.studies.algorithms import PRUNERS, SAMPLERS
from puffin.studies.prices.names import INTERVALS, NAMES
from puffin.studies.prices.request import MOST_SYMBOLS, PriceRequest
from puffin.studies.prices.sources import SOURCES, sources_with
from puffin.studies.text import in_words, is_name

# How to write a path with backslashes.
PATH_HINT = (
    "write path = \"C:/folder/prices.csv\", or path = 'C:\\folder\\prices.csv' in single quotes"
)
# Far beyond any use, and within the integers of a database.
MOST_TRIALS = 1_000_000
# Yahoo's notation of a period.
_PERIOD = re.compile(r"[1-9][0-9]{0,3}(d|wk|mo|y)|ytd|max")
Count = Annotated[int, Field(ge=1, le=MOST_TRIALS, strict=True)]


class Section(BaseModel):
    """A section of the study file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _known(kind: str, value: str, registry: Collection[str]) -> str:
    """Return a key of a registry, or raise with the known keys."""
    if value not in registry:
        msg = f"unknown {kind}; known are {', '.join(registry)}"
        raise ValueError(msg)
    return value


# Name of a study, which is also a part of file names and commands.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
# A character that it cannot have.
NO_NAME = r"[^A-Za-z0-9._-]"


def _once(kind: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        msg = f"names a {kind} twice; list each once"
        raise ValueError(msg)
    return names


def _require_name(kind: str, name: str) -> None:
    if not is_name(name):
        msg = f"{kind} names must not contain commas or start or end with a space, but got {name!r}"
        raise ValueError(msg)


class DataSection(Section):
    """The source of the prices, the features, and the target that is forecast."""

    source: str = "sample"
    symbols: Annotated[tuple[str, ...], Field(max_length=MOST_SYMBOLS)] = ()
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
    pooling: Literal["all", "each"] = "all"

    @property
    def title(self) -> str:
        """What the prices are of, in words: their symbols, or the name of their file or folder."""
        return in_words(self.symbols) or Path(str(self.path).replace("\\", "/")).name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs of a network that reads all features."""
        return self.inputs_of(self.features)

    def inputs_of(self, features: Collection[str]) -> tuple[str, ...]:
        """Return the names of the inputs that are of some of the features.

        A feature of extra series is one input per series.
        """
        return tuple(label for name, label in self._labels if name in features)

    def places_of(self, features: Collection[str]) -> list[int]:
        """Return which of all inputs are of some of the features."""
        return [place for place, (name, _) in enumerate(self._labels) if name in features]

    @property
    def _labels(self) -> list[tuple[str, str]]:
        """The feature and the name of each input."""
        return [
            (name, name if not series else f"{name} of {series}")
            for name in self.features
            for series in (self.extra if "extra" in feature(name).columns else ("",))
        ]

    @property
    def only_symbol(self) -> str:
        """The name of the symbol if there is one: of a file, its name without endings."""
        return self.symbols[0] if self.symbols else Path(str(self.path)).name.split(".")[0]

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
        """Return the request of these prices but for the symbol, with or without cached bars."""
        return PriceRequest(
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

    @model_validator(mode="before")
    @classmethod
    def _symbol_is_a_basket_of_one(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "symbol" not in values:
            return values
        others = {key: value for key, value in values.items() if key != "symbol"}
        # Studies and exports of version 0.2 and older have the key, with null for a file.
        if (symbol := values["symbol"]) is None:
            return others
        if "symbols" in others:
            msg = f"symbol = {symbol!r} and symbols both name the prices; drop one of them"
            raise ValueError(msg)
        return others | {"symbols": [symbol]}

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
            msg = f"has a control character, from a backslash in double quotes; {PATH_HINT}"
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

    @field_validator("symbols")
    @classmethod
    def _symbols_differ(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in value:
            _require_name("symbol", name)
        source = SOURCES.get(info.data.get("source", ""))
        keys = value if source is None else tuple(map(source.key, value))
        if len(set(keys)) < len(keys):
            twice = next(s for s, key in zip(value, keys, strict=True) if keys.count(key) > 1)
            msg = f"names {twice} twice; list each symbol once"
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
            self._require_symbols_alone(f"goes with source {sources_with('needs_path')}")
        if self.start and self.end and self.start >= self.end:
            msg = f"start must be before end = {self.end}, but is {self.start}"
            raise ValueError(msg)
        return self

    def _require_symbols_alone(self, rule: str) -> None:
        """Raise unless the prices are chosen by their symbols, and by nothing of a file."""
        if not self.symbols:
            msg = f'source "{self.source}" needs symbols; add symbols = ["AAPL"]'
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


class WalkForwardSection(Section):
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


class WalkSection(Section):
    """How the whole procedure is judged by `tuner walk`: its origins, and what each may search."""

    origins: Annotated[int, Field(ge=2, le=99, strict=True)] = 12
    block_bars: Annotated[int, Field(ge=2, le=MOST_TRIALS, strict=True)] = 63
    trials: Count | None = None
    warm: bool = False


class FinalSection(Section):
    """What is judged and exported: the mean of the winner's networks over seeds."""

    seeds: Annotated[int, Field(ge=1, le=100, strict=True)] = 5


# A cost or a move in basis points, hundredths of a per cent. Half the price is more than any.
BasisPoints = Annotated[float, Field(ge=0, lt=5_000, strict=True)]


class BacktestSection(Section):
    """How the report trades on the forecasts."""

    commission_bps: BasisPoints = 1.0
    slippage_bps: BasisPoints = 1.0
    threshold_bps: BasisPoints = 0.0
    short: Annotated[bool, Field(strict=True)] = False
    max_weight: Annotated[float, Field(gt=0, le=100, strict=True)] = 1.0

    @property
    def cost_bps(self) -> float:
        """Cost of each trade in basis points."""
        return self.commission_bps + self.slippage_bps

    def require_use(self, target: str) -> None:
        """Raise if a key that is not left at its default has no effect for a target."""
        is_volatility = TARGETS[target].is_volatility
        unused = ("threshold_bps", "short") if is_volatility else ("max_weight",)
        for key in unused:
            if getattr(self, key) != type(self).model_fields[key].default:
                rule = "a target that is bought and sold" if is_volatility else "a volatility"
                msg = f'backtest.{key} goes with {rule}, but data.target is "{target}"; drop it'
                raise ValueError(msg)


class TrainingSection(Section):
    """How long a configuration may train, and on which loss."""

    max_epochs: Count = 50
    patience: Annotated[int, Field(ge=0, le=MOST_TRIALS, strict=True)] = 8
    loss: str = "mse"
    quantiles: tuple[Annotated[float, Field(strict=True)], ...] = ()
    objective: Literal["loss", "skill"] = "loss"

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, value: str) -> str:
        return _known("loss", value, LOSS_NAMES)

    @model_validator(mode="before")
    @classmethod
    def _has_levels(cls, values: Any) -> Any:
        """Fill in the default levels, so that a stored study file says what was forecast."""
        if not isinstance(values, dict) or values.get("loss") != "quantile":
            return values
        return values | {"quantiles": values.get("quantiles") or LOSSES["quantile"].levels}

    @model_validator(mode="after")
    def _levels_fit_the_loss(self) -> Self:
        check_quantiles(self.loss, self.quantiles)
        return self


class SearchSection(Section):
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
