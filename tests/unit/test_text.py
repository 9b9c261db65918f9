"""Text from outside cannot steer a terminal."""

import pytest

from studies.text import printable


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
def test_control_characters_are_written_as_escapes_and_other_text_as_it_is(
    text: str, shown: str
) -> None:
    assert printable(text) == shown
