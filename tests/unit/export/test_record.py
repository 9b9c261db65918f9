"""A record is checked completely and quickly, and a refusal names the key."""

import copy
import datetime as dt
import math
import re
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from puffin.studies.export.record import ExportRecord, RecordError
from puffin.studies.safe_toml import parse_toml
from tests.exports import record_values

VALUES = record_values(opened=True)
TEXT = ExportRecord.of(VALUES).to_toml().decode()
Path = tuple[str | int, ...]
DROPPED = object()


def at(values: Any, path: Path) -> Any:
    for key in path:
        values = values[key]
    return values


def changed(path: Path, value: Any) -> dict[str, Any]:
    """Return the values of a record, one of them changed."""
    values = copy.deepcopy(VALUES)
    *place, key = path
    if value is DROPPED:
        del at(values, tuple(place))[key]
    else:
        at(values, tuple(place))[key] = value
    return values


def paths(values: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every key and list item, at every depth."""
    if path:
        yield path
    inside = values.items() if isinstance(values, dict) else ()
    for key, value in enumerate(values) if isinstance(values, list) else inside:
        yield from paths(value, (*path, key))


def refusal(read: Callable[[], ExportRecord]) -> str:
    """Return the message that refuses a record; '' if it is accepted."""
    try:
        read()
    except RecordError as error:
        message = str(error)
    else:
        return ""
    assert 0 < len(message) < 500
    assert "\n" not in message
    return message


def accepted(value: Any) -> set[str]:
    """Return the keys at which a value is accepted."""
    return {
        ".".join(map(str, path))
        for path in paths(VALUES)
        if not refusal(partial(ExportRecord.of, changed(path, value)))
    }


@pytest.mark.parametrize("opened", [True, False])
def test_a_record_survives_writing_and_reading(*, opened: bool) -> None:
    record = ExportRecord.of(record_values(opened=opened))
    assert ExportRecord.parse(record.to_toml()) == record
    assert ExportRecord.parse(record.to_toml()).to_toml() == record.to_toml()


def test_every_key_of_a_section_is_required() -> None:
    found = {key for key in accepted(DROPPED) if not key.startswith("spec.")}
    machines = {f"machine.{part}" for part in ("trial", "refit", "holdout")}
    kinds = {f"{machine}.{key}" for machine in machines for key in ("processor", "torch")}
    assert found == {"made_with.torch", "seal.openings.0", *kinds}


MEASURED = {"skill", "direction_accuracy"}
UNDEFINED = {
    *(f"{section}.{key}" for section in ("scores", "holdout") for key in MEASURED),
    "scores.direction_interval.0",
    "scores.direction_interval.1",
    "scores.mean_direction_accuracy",
}
MEANS = {"input.feature_mean.0", "input.target_mean", "scores.skill", "holdout.skill"}


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (math.nan, UNDEFINED),
        (math.inf, set()),
        (-math.inf, set()),
        (-7.5, MEANS),
        (10**400, set()),
        (True, set()),
        (None, set()),
        ([[]], set()),
        ({"a": 1}, set()),
        (dt.date(2020, 1, 1), set()),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value)[:20],
)
def test_a_value_of_another_type_is_refused_at_any_key(value: Any, keys: set[str]) -> None:
    assert accepted(value) == keys


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("input.target_std", math.nan, "input.target_std = nan: should be a finite number"),
        ("input.target_std", 0.0, "input.target_std = 0.0: should be greater than 0"),
        ("input.feature_std", [-1.0], "input.feature_std[0] = -1.0: should be greater than 0"),
        ("input.feature_std", [1.0, 1.0], "feature_std has 2 values, but features names 1"),
        ("input.features", ["rsi"], "input.features = ['rsi']: should be the features of"),
        ("input.horizon", 5, "input.horizon = 5: should be spec.data.horizon = 1"),
        ("epochs", "x", "epochs = 'x': should be a whole number"),
        ("epochs", 10**9, "should be at most spec.training.max_epochs = 50"),
        ("epochs", 0, "epochs = 0: should be greater than or equal to 1"),
        ("spec.training", {"max_epochs": 10**9}, "spec.training.max_epochs = 1000000000: should"),
        ("spec.space.layers", 10**9, "spec.space: layers = 1000000000:"),
        ("study", "other", "study = 'other': should be spec.name = 'own'"),
        ("config.cell", "rnn", "config: unknown cell 'rnn'; known are lstm, gru"),
        ("config.hidden_dims", [10**6], "config.hidden_dims = 1000000: spec.space.hidden_dim"),
        ("config.hidden_dims", [3] * 5, "number of config.hidden_dims = 5: spec.space.layers"),
        ("config.hidden_dims", "33", "hidden_dims = '33': should be a list"),
        ("config.lookback", 10**6, "config.lookback = 1000000: spec.space.lookback has 3, 4"),
        ("config.batch_size", 2**63, "config.batch_size = 9223372036854775808: spec.space.batch"),
        ("config.lookback", 10**400, "a number is too large"),
        ("config.lr", math.nan, "config: lr must be at least 0, but is nan"),
        ("config.lr", True, "lr = True: should be a number"),
        ("config.momentum", 0.5, "unknown key momentum; known are cell, hidden_dims"),
        ("scores.momentum", 0.5, "scores.momentum is not a key of an export"),
        ("scores.fold_losses", [1.0], "number of scores.fold_losses = 1: should be that of folds"),
        ("scores.direction_interval", [0.5], "at least 2 items"),
        ("folds", [], "number of folds = 0: should be spec.walk_forward.folds = 3"),
        ("data.first", "2020-01-01T00:00:00Z", "a time without an offset"),
        ("data.sha256", {}, "keys prices-search.csv and prices-holdout.csv"),
        ("refit.last", "2020-01-02", "refit.last = '2020-01-02': should be '2020-04-21'"),
        ("refit.data", "some", "refit.data = 'some': should be 'search' or 'all'"),
        ("made_with", {"torch": "1"}, "made_with.puffin-tuner is missing"),
        ("unjudged", "it is sealed", "there should be either holdout or unjudged"),
        ("holdout.baselines", [], "at least 1 item"),
        ("study", "x" * 10**5, "study = 'xxxxx"),
    ],
)
def test_a_refusal_names_the_key_the_value_and_the_rule(key: str, value: Any, words: str) -> None:
    with pytest.raises(RecordError, match=re.escape(words)):
        ExportRecord.of(changed(tuple(key.split(".")), value))


def test_several_problems_are_counted() -> None:
    with pytest.raises(RecordError, match=r"^study is missing \(and 12 more\)$"):
        ExportRecord.of({})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "study is missing"),
        (b"x = ", "it is not valid TOML: Invalid value"),
        (b"\xff", "it is not UTF-8 text"),
        (b"x = " + b"9" * 5000, "it is not valid TOML: Exceeds the limit"),
        (TEXT.replace("epochs = 3", "epochs = 0x" + "f" * 5000).encode(), "of thousands of digits"),
        (b"x = " + b"[" * 50_000, "nested too deep"),
        (b"x = " + b"{a = " * 50_000, "nested too deep"),
        (b"#" * (1 << 22), "at most 2048 KiB"),
        (b".".join([b"a"] * 50_000) + b" = 1", "a key should have at most 16 parts"),
        (b"[" + b" . ".join([b'"a"'] * 30_000) + b"]", "a key should have at most 16 parts"),
        (b"x = {" + b".".join([b"'a'"] * 50_000) + b" = 1}", "a key should have at most 16 parts"),
        (b".".join([b'"\\"="'] * 30_000) + b" = 1", "a key should have at most 16 parts"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_malformed_files_are_refused_with_little_memory(body: bytes, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match=words):
            ExportRecord.parse(body)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_dotted_keys_and_text_with_dots_are_read() -> None:
    text = "a.b.'c.d'.\"e\" = 1\nx = 'yfinance " + ", ".join(["SAP.DE"] * 40) + "'"
    assert parse_toml(text.encode()) == {"x": text.split("'")[3], "a": {"b": {"c.d": {"e": 1}}}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.integers(0, len(TEXT)),
    length=st.integers(0, 60),
    text=st.text(max_size=5) | st.sampled_from(["nan", "inf", "-", "\n", "[[", "]", '"', "1e999"]),
)
def test_a_damaged_record_is_read_or_refused_with_a_message(
    start: int, length: int, text: str
) -> None:
    body = (TEXT[:start] + text + TEXT[start + length :]).encode("utf-8", "surrogatepass")
    refusal(partial(ExportRecord.parse, body))
