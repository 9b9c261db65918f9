"""Figures and tables as a person reads them."""

import io
import math
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from puffin.studies.comparison import Group
from puffin.studies.text import percent, signed
from puffin.tuner.columns import print_rows
from puffin.tuner.commands import tables
from tests.trials import scores


def table_rows(groups: list[Group]) -> dict[str, list[str]]:
    """Print a table of groups and read it back: the cells of each row by its name."""
    out = io.StringIO()
    Console(file=out, width=200).print(tables.group_table(groups))
    lines = [line for line in out.getvalue().splitlines() if line.strip(" ─")]
    starts = [line.split("  ") for line in lines]
    cells = [[cell.strip() for cell in parts if cell.strip()] for parts in starts]
    return {"": cells[0]} | {name: values for name, *values in cells[1:]}


def best(**attrs: Any) -> Any:
    """Make the best trial of a group."""
    known = scores(0.51234, skill=0.125, direction_accuracy=0.625).to_attrs()
    known["config"] = {"hidden_dims": [64, 32], "lookback": 20}
    return create_trial(state=TrialState.COMPLETE, value=0.51234, user_attrs=known | attrs)


FULL = Group("LSTM", 9, 5, 3, 1, best(), 0.61239, 3, 0.456)
EMPTY = Group("GRU", 0, 0, 0, 0, None, None, None, None)


def test_groups_are_columns_and_missing_values_are_dashes() -> None:
    assert table_rows([FULL, EMPTY]) == {
        "": ["LSTM", "GRU"],
        "trials": ["9", "0"],
        "complete / pruned / failed": ["5 / 3 / 1", "0 / 0 / 0"],
        "median loss": ["0.6124", "-"],
        "best loss": ["0.5123", "-"],
        "folds won": ["3", "-"],
        "skill": ["+12.5 %", "-"],
        "direction accuracy": ["62.5 %", "-"],
        "widths": ["64, 32", "-"],
        "lookback": ["20", "-"],
        "seconds per epoch": ["0.46", "-"],
    }


def test_a_group_that_won_no_fold_shows_a_zero() -> None:
    none_won = Group("GRU", 1, 1, 0, 0, best(), 0.5, 0, 0.0)
    rows = table_rows([FULL, none_won])
    assert rows["folds won"] == ["3", "0"]
    assert rows["seconds per epoch"] == ["0.46", "0.00"]


def test_groups_without_complete_trials_are_compared_at_an_epoch() -> None:
    cut = Group("LSTM", 3, 0, 3, 0, None, None, None, 0.1, 2, 0.7512)
    whole = Group("GRU", 4, 2, 2, 0, best(), 0.6, None, 0.2, 2, 0.70049)
    none = Group("other", 1, 0, 0, 1, None, None, None, None, 2, None)
    rows = table_rows([cut, whole, none])
    assert rows["best loss"] == ["-", "0.5123", "-"]
    assert rows["best loss up to epoch 2"] == ["0.7512", "0.7005", "-"]
    out = io.StringIO()
    Console(file=out, width=200).print(tables.group_table([cut, whole, none]))
    said = " ".join(out.getvalue().split())
    assert "No trial of LSTM was trained to its end: compare the losses up to epoch 2," in said
    assert "up to epoch" not in str(table_rows([FULL, EMPTY]))


def test_a_value_that_is_not_a_number_is_a_dash() -> None:
    still = Group("5", 1, 1, 0, 0, best(skill=math.nan, direction_accuracy=math.nan), 0.5, 1, 0.1)
    rows = table_rows([still])
    assert (rows["skill"], rows["direction accuracy"]) == (["-"], ["-"])


def test_the_direction_is_printed_with_its_interval_and_baseline() -> None:
    scores = {
        "direction_accuracy": 0.6271,
        "direction_interval": [0.5712, 0.6794],
        "mean_direction_accuracy": 0.514,
    }
    assert tables._direction(scores) == (
        "direction accuracy 62.7 %, 95 % interval 57.1 % to 67.9 %; of the training mean 51.4 %"
    )


@pytest.mark.parametrize(
    ("value", "with_sign", "without_sign"),
    [
        (0.0, "0.0 %", "0.0 %"),
        (-0.0004, "0.0 %", "0.0 %"),
        (0.0004, "0.0 %", "0.0 %"),
        (0.0006, "+0.1 %", "0.1 %"),
        (-30.4004, "-3,040 %", "-3,040 %"),
        (9.994, "+999.4 %", "999.4 %"),
        (0.1234, "+12.3 %", "12.3 %"),
        (-0.5, "-50.0 %", "-50.0 %"),
        (math.nan, "-", "-"),
    ],
)
def test_shares_are_written_in_percent_and_zero_has_no_sign(
    value: float, with_sign: str, without_sign: str
) -> None:
    assert (signed(value), percent(value)) == (with_sign, without_sign)


def test_a_missing_share_is_a_dash() -> None:
    assert signed(None) == "-"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Console:
    """Make a console that is 80 columns wide and writes into memory."""
    monkeypatch.setenv("COLUMNS", "80")
    return Console(file=io.StringIO(), width=80, markup=False, emoji=False, highlight=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("length", [4, 30, 40, 64, 80])
def test_a_narrow_table_drops_columns_and_never_cuts_a_cell(narrow: Console, length: int) -> None:
    row = ("n" * length, "open", "12 of 40", "3 complete, 9 pruned", "1.000e-07", "+35.2 %")
    columns = ("study", "state", "trials", "ended as", "loss", "skill")
    print_rows(narrow, columns, [row, row], ("ended as", "skill", "state"))
    out = printed(narrow)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in out
    assert out.count("n" * length) == out.count("1.000e-07") == out.count("12 of 40") == 2
    assert ("ended as" in out) == (length in (4, 64, 80))
    assert "state" in out


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_table_of_groups_wraps_its_cells(width: int) -> None:
    out = Console(file=io.StringIO(), width=width)
    out.print(tables.group_table([FULL, EMPTY, FULL]))
    assert "…" not in printed(out)


def test_a_configuration_that_is_too_wide_loses_its_last_hyperparameters(narrow: Console) -> None:
    long = "lstm 32/16, lookback 20, lr 0.001, weight_decay 0.0001, batch_size 32, noise 0.1"
    rows = [("1", "0.5000", long), ("2", "0.6000", "gru 8, lookback 5")]
    print_rows(narrow, ("trial", "loss", "configuration"), rows, ("configuration",))
    _, _, first, second = (line.rstrip() for line in printed(narrow).splitlines())
    assert first.endswith("lstm 32/16, lookback 20, lr 0.001, weight_decay 0.0001 …")
    assert second.endswith("gru 8, lookback 5")
    assert len(first) <= 80


def test_markup_and_escapes_in_names_are_printed_literally(narrow: Console) -> None:
    name = "[/x][bold]a[/bold]:smile:\x1b[31mred\u202e"
    print_rows(narrow, ("study", "loss"), [(name, "0.5000")], ())
    assert "[/x][bold]a[/bold]:smile:\\x1b[31mred\\u202e" in printed(narrow)
