"""How far the figures of an export may be off where they are derived again."""

import pytest
import torch

from puffin.studies.export.reproduce import (
    ACCURACY_BOUND,
    LOSS_BOUND,
    SEED_ACCURACY_BOUND,
    SEED_LOSS_BOUND,
    WEIGHT_BOUND,
    _Tolerances,
)
from puffin.studies.versions import machine_type

OWN = machine_type(torch.device("cpu"))
ANOTHER = OWN | {"processor": "another one"}
EXACT = (0.0, 0.0, 0.0)
ROUNDED = (LOSS_BOUND, ACCURACY_BOUND, WEIGHT_BOUND)
REDRAWN = (SEED_LOSS_BOUND, SEED_ACCURACY_BOUND, WEIGHT_BOUND)


@pytest.mark.parametrize(
    ("machine", "bounds"),
    [
        (OWN, EXACT),
        (ANOTHER, ROUNDED),
        ({"gpu": "some GPU", "puffin-tuner": OWN["puffin-tuner"]}, REDRAWN),
    ],
)
def test_figures_are_held_to_what_their_machine_rounds_and_draws(
    machine: dict[str, str],
    bounds: tuple[float, float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trained = _Tolerances(machine)
    loss = trained.loss("loss", 1.0, 1.0)
    accuracy = trained.accuracy("accuracy", 1.0, 1.0)
    weight = trained.weight("weights", 0.0, 1.0)
    assert (loss.bound, accuracy.bound, weight.bound) == bounds
