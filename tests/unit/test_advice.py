"""What a result says about its study file, on results made by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from puffin.studies.advice import advice
from tests.trials import scores


def result(
    losses: list[float], persistence: list[float], epoch: int = 3, target: str = "return"
) -> Any:
    """Make a finished search of which only the best trial is known."""
    attrs = scores(fold_losses=tuple(losses), best_epoch=epoch).to_attrs()
    best = create_trial(state=TrialState.COMPLETE, value=sum(losses), user_attrs=attrs)
    spec = SimpleNamespace(
        training=SimpleNamespace(max_epochs=8), data=SimpleNamespace(target=target)
    )
    record = SimpleNamespace(persistence_losses=persistence)
    return SimpleNamespace(best=lambda: best, record=record, spec=spec)


@pytest.mark.parametrize(
    ("losses", "persistence", "others", "parts"),
    [
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0], {}, [("on all 3 folds, and on average by 40.0 %.",)]),
        (
            [0.9, 1.2, 0.8],
            [1.0, 1.0, 1.0],
            {},
            [("better than persistence on 2 of 3 folds, and on average by 3.3 %.",)],
        ),
        (
            [1.1, 1.2, 1.0, 1.3, 0.9],
            [1.0] * 5,
            {"target": "price"},
            [("on 1 of 5 folds, and on average 10.0 % worse;", 'try target = "return"')],
        ),
        (
            [1.1, 1.2],
            [1.0, 1.0],
            {},
            [("on none of 2 folds, and on average 15.0 % worse.",)],
        ),
        (
            [0.5, 0.5],
            [1.0, 1.0],
            {"epoch": 8},
            [
                ("on all 2 folds",),
                ("best trial, 8, is the last that training.max_epochs = 8 allows",),
            ],
        ),
    ],
)
def test_a_result_is_put_into_words(
    losses: list[float],
    persistence: list[float],
    others: dict[str, Any],
    parts: list[tuple[str, ...]],
) -> None:
    sentences = advice(result(losses, persistence, **others))
    assert len(sentences) == len(parts)
    for sentence, expected in zip(sentences, parts, strict=True):
        assert all(part in sentence for part in expected), sentence
        assert sentence.endswith(".")
