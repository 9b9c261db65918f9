"""`tuner best` and `tuner compare`."""

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from puffin.models.config import Config
from tests.acceptance.helpers import Command, Finished

pytestmark = pytest.mark.usefixtures("empty_folder")


# Everything that trials can be compared by, and how a configuration tells it.
VALUE_OF: dict[str, Callable[[dict[str, Any]], Any]] = {
    "cell": lambda config: config["cell"],
    "layers": lambda config: len(config["hidden_dims"]),
    "hidden_dim": lambda config: config["hidden_dims"][0],
    "dropout": lambda config: config["dropout"] if len(config["hidden_dims"]) > 1 else None,
    "lookback": lambda config: config["lookback"],
    "lr": lambda config: config["lr"],
    "weight_decay": lambda config: config["weight_decay"],
    "batch_size": lambda config: config["batch_size"],
    "noise": lambda config: config["noise"],
}


def test_best_prints_the_same_record_as_toml_and_as_json(
    finished: Finished, command: Command
) -> None:
    as_toml = command("best", "tiny-study", "--storage", finished.url)
    as_json = command("best", "tiny-study", "--storage", finished.url, "--format", "json")
    assert (as_toml.code, as_toml.err, as_json.code, as_json.err) == (0, "", 0, "")
    record = json.loads(as_json.out)
    assert tomllib.loads(as_toml.out) == record
    best = finished.trials()[record["trial"]]
    assert record["scores"]["loss"] == best.value
    assert record["config"] == best.user_attrs["config"]
    assert record["epochs"] == best.user_attrs["best_epoch"]


def test_best_as_python_builds_the_network(finished: Finished, command: Command) -> None:
    code, out, err = command("best", "tiny-study", "--storage", finished.url, "--format", "python")
    assert (code, err) == (0, "")
    names: dict[str, Any] = {}
    exec(compile(out.replace("...", "3"), "best.py", "exec"), names)  # noqa: S102
    best = min((t for t in finished.trials() if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert names["config"] == Config.from_dict(best.user_attrs["config"])
    assert names["epochs"] == best.user_attrs["best_epoch"]
    windows = torch.zeros(2, names["config"].lookback, 3)
    assert names["network"](windows).shape == (2, 1)


def test_compare_has_a_column_for_lstm_and_for_gru(finished: Finished, command: Command) -> None:
    code, out, err = command("compare", "tiny-study", "--storage", finished.url)
    assert (code, err) == (0, "")
    counts = [t.user_attrs["config"]["cell"] for t in finished.trials()]
    (heading,) = [line.split() for line in out.splitlines() if "LSTM  " in line]
    assert heading == ["LSTM", "GRU"]
    (row,) = [line.split()[1:] for line in out.splitlines() if line.startswith("  trials")]
    assert row == [str(counts.count("lstm")), str(counts.count("gru"))]


@pytest.mark.parametrize("by", VALUE_OF)
def test_compare_counts_every_trial_once_or_refuses_with_the_reason(
    by: str, finished: Finished, command: Command
) -> None:
    values = [VALUE_OF[by](t.user_attrs["config"]) for t in finished.trials()]
    counts = [values.count(value) for value in sorted({v for v in values if v is not None})]
    code, out, err = command("compare", "tiny-study", "--by", by, "--storage", finished.url)
    if len(counts) > 1:
        assert (code, err) == (0, "")
        (row,) = [line.split()[1:] for line in out.splitlines() if line.startswith("  trials")]
        shown = [int(count) for count in row]
        assert shown == (counts[::-1] if by == "cell" else counts)  # the LSTM comes first
        assert len([line for line in out.splitlines() if "median loss" in line]) == 1
    else:
        why = f"{by} = " if counts else "one layer, where dropout does nothing"
        assert (code, out) == (1, "")
        assert err.startswith(f"error: all finished trials of study 'tiny-study' have {why}")
        assert err.count("\n") == 1


def test_the_tiny_study_has_comparable_and_incomparable_hyperparameters(
    finished: Finished, command: Command
) -> None:
    options = ("--storage", finished.url)
    codes = {by: command("compare", "tiny-study", "--by", by, *options).code for by in VALUE_OF}
    assert {codes[by] for by in ("cell", "hidden_dim", "lookback")} == {0}
    assert {codes[by] for by in ("lr", "weight_decay", "batch_size", "noise")} == {1}


def test_compare_by_an_unknown_key_lists_the_known_ones(
    finished: Finished, command: Command
) -> None:
    code, out, err = command("compare", "tiny-study", "--by", "colour", "--storage", finished.url)
    assert (code, out) == (2, "")
    assert "'colour' is not one of" in err
    for by in VALUE_OF:
        assert f"'{by}'" in err


def test_compare_before_the_first_finished_trial_is_refused(
    finished: Finished, command: Command
) -> None:
    assert command("submit", str(finished.folder / "x.toml")).code == 0
    for by in ("cell", "layers"):
        code, out, err = command("compare", "tiny-study", "--by", by)
        assert (code, out) == (1, "")
        assert err.startswith("error: study 'tiny-study' has no finished trial yet: ")
