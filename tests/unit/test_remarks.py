"""What a result says about its study file, on results made by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from studies.remarks import remarks, why_none_is_complete
from studies.storage import FAILURE
from studies.tickets import TICKET


def result(
    losses: list[float], persistence: list[float], epoch: int = 3, target: str = "return"
) -> Any:
    """Make a finished search of which only the best trial is known."""
    attrs = {"fold_losses": losses, "best_epoch": epoch}
    best = create_trial(state=TrialState.COMPLETE, value=sum(losses), user_attrs=attrs)
    spec = SimpleNamespace(
        training=SimpleNamespace(max_epochs=8), data=SimpleNamespace(target=target)
    )
    return SimpleNamespace(best=lambda: best, attrs={"persistence_losses": persistence}, spec=spec)


@pytest.mark.parametrize(
    ("losses", "persistence", "others", "parts"),
    [
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0], {}, []),
        (
            [0.9, 1.2, 0.8],
            [1.0, 1.0, 1.0],
            {},
            [("no better than persistence on 1 of 3 folds.",)],
        ),
        (
            [1.1, 1.2, 1.0, 1.3, 0.9],
            [1.0] * 5,
            {"target": "price"},
            [("on 4 of 5 folds, and on average", 'target = "return" may do better')],
        ),
        (
            [1.1, 1.2],
            [1.0, 1.0],
            {},
            [("on 2 of 2 folds, and on average.",)],
        ),
        (
            [0.5, 0.5],
            [1.0, 1.0],
            {"epoch": 8},
            [("best epoch, 8, is the last that training.max_epochs = 8 allows",)],
        ),
        (
            [0.23, 3.52, 0.79, 0.32, 0.29],
            [0.3, 3.6, 0.8, 0.4, 0.3],
            {},
            [("Fold 2 outweighs the others with 68 % of the sum of the losses",)],
        ),
        ([0.3, 3.5], [0.4, 4.0], {}, [("Fold 2 outweighs the others with 92 %",)]),
        ([0.5, 1.4], [0.6, 1.5], {}, []),
    ],
)
def test_a_result_is_put_into_words(
    losses: list[float],
    persistence: list[float],
    others: dict[str, Any],
    parts: list[tuple[str, ...]],
) -> None:
    sentences = remarks(result(losses, persistence, **others))
    assert len(sentences) == len(parts)
    for sentence, expected in zip(sentences, parts, strict=True):
        assert all(part in sentence for part in expected), sentence
        assert sentence.endswith(".")


def ended(state: str, number: int) -> FrozenTrial:
    attrs: dict[str, Any] = {TICKET: number}
    if state == "failed":
        attrs[FAILURE] = "out of memory"
    if state == "diverged":
        attrs["reason"] = "diverged: the loss is nan at epoch 1"
    trial = create_trial(
        state=TrialState.FAIL if state == "failed" else TrialState.PRUNED, user_attrs=attrs
    )
    if state == "diverged":
        trial.set_constraint("finite_loss", 1.0)
    return trial


@pytest.mark.parametrize(
    ("states", "parts"),
    [
        (["diverged"] * 3 + ["failed"], ("3 diverged, 1 failed", "space.lr")),
        (["failed"] * 2, ("2 failed", "the most common reason: out of memory")),
        (["pruned"] * 4 + ["diverged"], ("1 diverged, 4 pruned", 'search.pruner = "none"')),
    ],
)
def test_a_search_without_a_result_says_why(states: list[str], parts: tuple[str, ...]) -> None:
    trials = [ended(state, number) for number, state in enumerate(states)]
    search: Any = SimpleNamespace(name="x", trials=lambda: trials)
    said = why_none_is_complete(search)
    assert said.startswith("no trial of study 'x' is complete (")
    assert all(part in said for part in parts), said
    assert "\n" not in said
