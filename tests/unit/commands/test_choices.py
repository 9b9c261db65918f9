"""The choices that the command line offers are the entries of the registries."""

from typing import Any

import click
import pytest

from puffin.studies import seeds
from puffin.studies.export.formats import FORMATS
from puffin.studies.rules import RULES
from puffin.tuner.cli import main

RECORD = {"study": "own", "epochs": 3, "config": {"cell": "gru", "hidden_dims": [4]}}


def choices(command: str, option: str) -> list[str]:
    """Return the choices of an option of a command."""
    (found,) = (p for p in main.commands[command].params if option in p.opts)
    assert isinstance(found.type, click.Choice)
    return list(found.type.choices)


@pytest.mark.parametrize(("option", "registry"), [("--format", FORMATS), ("--rule", RULES)])
def test_the_choices_of_an_option_are_the_keys_of_its_registry(
    option: str, registry: dict[str, Any]
) -> None:
    assert choices("best", option) == list(registry)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_writes_the_configuration_and_the_epochs(name: str) -> None:
    text = FORMATS[name](RECORD)
    assert "hidden_dims" in text
    assert "3" in text
    assert text == text.rstrip()


def test_each_rule_chooses_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    class Study:
        def best(self) -> str:
            return "the lowest"

    monkeypatch.setattr(seeds, "one_se_choice", lambda _study: "the smallest")
    chosen = {name: choose(Study()) for name, choose in RULES.items()}
    assert chosen == {"loss": "the lowest", "1se": "the smallest"}
