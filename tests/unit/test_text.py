"""Text from outside cannot steer a terminal; numbers are written with what they mean."""

import pytest

from puffin.studies.text import (
    configuration,
    duration,
    loss,
    p_value,
    printable,
    printable_lines,
    roughly,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AAPL daily, 100 %", "AAPL daily, 100 %"),
        ("Société Générale 株価 €", "Société Générale 株価 €"),
        ("[red]x[/red] [/x]", "[red]x[/red] [/x]"),
        ("back\\slash", "back\\slash"),
        ("", ""),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\r\nb\tc\x00", r"a\r\nb\tc\x00"),
        ("\x7f\x9b31m\x85", r"\x7f\x9b31m\x85"),
        ("\u202egpj.exe\u2066\u200f", r"\u202egpj.exe\u2066\u200f"),
        ("a\u200bb\ufeffc", r"a\u200bb\ufeffc"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("file\udcff.csv", r"file\udcff.csv"),
    ],
)
def test_only_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0 s"),
        (9.4, "9 s"),
        (59.6, "1 min"),
        (73, "1 min 13 s"),
        (3599, "59 min 59 s"),
        (3723, "1 h 2 min"),
        (7200, "2 h"),
        (93_600, "1 d 2 h"),
    ],
)
def test_seconds_are_written_with_their_units(seconds: float, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.3, "about 10 s"),
        (44, "about 40 s"),
        (75, "about 1 min"),
        (200, "about 3 min"),
        (1234, "about 20 min"),
        (9000, "about 2 h 30 min"),
        (50_000, "about 14 h"),
    ],
)
def test_estimate_is_rounded_to_its_precision(seconds: float, written: str) -> None:
    assert roughly(seconds) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.000"),
        (1e-7, "1.000e-07"),
        (0.000891234, "0.0008912"),
        (0.5, "0.5000"),
        (3.52179, "3.522"),
        (1234.5, "1234"),
        (1e9, "1.000e+09"),
        (float("inf"), "diverged"),
        (float("nan"), "diverged"),
    ],
)
def test_a_loss_has_four_digits_whatever_its_size(value: float, written: str) -> None:
    assert loss(value) == written


def test_no_p_is_written_as_zero() -> None:
    written = [p_value(p) for p in (0.04, 0.001, 0.00049, 0.0, float("nan"))]
    assert written == ["0.040", "0.001", "below 0.001", "below 0.001", "undefined"]


def test_lines_stay_lines() -> None:
    assert printable_lines("a\nb\x1b\n") == "a\nb\\x1b\n"


@pytest.mark.parametrize(
    ("widths", "words"),
    [([12], "gru 12, lr 0.0123"), ([16, 8], "gru 16/8, dropout 0.1, lr 0.0123")],
)
def test_a_configuration_of_one_layer_has_no_dropout(widths: list[int], words: str) -> None:
    config = {"cell": "gru", "hidden_dims": widths, "dropout": 0.1, "lr": 0.01234}
    assert configuration(config) == words
