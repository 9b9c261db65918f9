"""The tolerances of reproduced figures depend on the machine that trained them."""

import math

import pytest
import torch

from puffin.studies.export.checks import TOLERANCES, Comparison, check_same, check_untrained
from puffin.studies.versions import machine_type

SAME = machine_type(torch.device("cpu"))
OTHER_PROCESSOR = SAME | {"processor": "another one"}
GPU = {"gpu": "some GPU", "puffin-tuner": SAME["puffin-tuner"]}
# What docs/commands.md promises: 0.1 % of a loss, 10 % for a GPU's figures on a processor.
EXPECTED = {
    "loss": (0.001, 0.1),
    "accuracy": (0.01, 0.1),
    "weight": (0.02, 0.02),
    "forecast": (0.02, math.inf),
    "outcome": (0.0, math.inf),
    "text": (math.inf, math.inf),
    "epochs": (math.inf, math.inf),
}


def test_every_kind_of_figure_has_an_expected_tolerance() -> None:
    assert set(TOLERANCES) == set(EXPECTED)


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("unit", [1.0, 3.0])
def test_tolerances_grow_from_the_same_machine_to_another_generator(
    kind: str, unit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rounding, generator = EXPECTED[kind]
    for machine, bound in (
        (SAME, 0.0),
        (OTHER_PROCESSOR, rounding * unit),
        (GPU, generator * unit),
    ):
        assert Comparison(machine).check(kind, "x", 1.0, 1.0, unit).bound == bound
        assert Comparison(machine).check_difference(kind, "x", 0.0, unit).bound == bound


def test_texts_differ_by_one() -> None:
    assert Comparison(SAME).check_equal("text", "x", "a", "a").difference == 0.0
    differing = Comparison(OTHER_PROCESSOR).check_equal("outcome", "x", "a", "b")
    assert (differing.difference, differing.passes) == (1.0, False)
    assert check_same("x", [1], [2]).passes is False
    assert check_same("x", [1], [1]).passes is True


@pytest.mark.parametrize(
    ("exported", "found", "passes"),
    [
        (1.0, 1.0 + 9e-7, True),
        (1.0, 1.0 + 2e-6, False),
        (100.0, 100.0 + 9e-5, True),
        (0.0, 9e-7, True),
        (math.nan, math.nan, True),
        (1.0, math.nan, False),
    ],
)
def test_untrained_figures_may_differ_by_rounding_alone(
    *, exported: float, found: float, passes: bool
) -> None:
    assert check_untrained("x", exported, found).passes is passes
