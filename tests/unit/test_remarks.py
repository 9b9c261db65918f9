"""Bars that never move, folds that outweigh the others and searches without a result, in words."""

import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from puffin.models.errors import PuffinError
from puffin.models.evaluation.baselines import BASELINES
from puffin.studies import records
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.records import DUPLICATE_OF
from puffin.studies.remarks import (
    fold_remarks,
    repeats_remark,
    require_moving_target,
    why_nothing_is_complete,
)
from puffin.studies.report.baselines import HoldoutComparison, compare_with_baselines
from puffin.studies.report.verdict import outcome_sentence
from puffin.studies.spec import Spec, parse_spec

# 160 bars: folds validate bars 90 to 109 and 110 to 129, and the last 30 are the holdout.
BARS, HOLDOUT = 160, slice(129, 160)
TRAIN, FIRST, SECOND = slice(0, 90), slice(89, 110), slice(109, 130)
DAYS = pd.bdate_range("2020-01-01", periods=BARS)


def spec_of(target: str = "return", **data: Any) -> Spec:
    values = {
        "name": "made-up",
        "data": {"symbol": "NONE", "features": ["return"], "target": target} | data,
        "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 30},
        "space": {"hidden_dim": 4, "lookback": [3, 4]},
    }
    return parse_spec(values, "made-up")


def market(*flat: slice, wild: slice = slice(0), **data: Any) -> tuple[Spec, pd.DataFrame]:
    """Make prices whose bars of some stretches never move, or move 20 times as far."""
    spec = spec_of(**data)
    moves = 0.01 * np.random.default_rng(7).standard_normal(BARS)
    moves[wild] *= 20
    for stretch in flat:
        moves[stretch] = 0.0
    close = 100 * np.exp(np.cumsum(moves))
    spread = 1 + np.abs(moves)
    columns = {"close": close, "high": close * spread, "low": close / spread, "volume": 1e6}
    return spec, pd.DataFrame(columns, index=DAYS)


def workload(*flat: slice, **changes: Any) -> Dataset:
    spec, frame = market(*flat, **changes)
    return Dataset.build(spec, cut_holdout({"A": frame}, spec)[0])


def days(start: int, stop: int) -> str:
    return f"{DAYS[start]:%Y-%m-%d} to {DAYS[stop - 1]:%Y-%m-%d}"


@pytest.mark.parametrize("target", ["return", "range", "price"])
@pytest.mark.parametrize(
    ("flat", "said"),
    [
        ([TRAIN], f"in the training part of fold 1, {days(5, 90)}: there is nothing to learn"),
        ([slice(0, 130)], "in the training part of fold 1"),
        ([FIRST, SECOND], f"in the validation parts of the folds, {days(90, 130)}: no forecast"),
    ],
    ids=["training part", "search part", "validation parts"],
)
def test_a_target_that_never_moves_is_refused(target: str, flat: list[slice], said: str) -> None:
    with pytest.raises(PuffinError, match=re.escape(f"the target ({target}) never moves {said}")):
        require_moving_target(workload(*flat, target=target))


@pytest.mark.parametrize("target", ["return", "range", "price"])
def test_flat_fold_is_remarked_on_but_not_refused(target: str) -> None:
    for flat, fold in (
        (FIRST, f"fold 1 ({days(90, 110)})"),
        (SECOND, f"fold 2 ({days(110, 130)})"),
    ):
        found = workload(flat, target=target)
        require_moving_target(found)
        assert fold_remarks(found) == [
            (
                f"{fold}: the target never moves there, so persistence is never wrong and the "
                "skill of that fold is undefined"
            )
        ]


def test_ordinary_folds_and_a_flat_sealed_holdout_give_no_remark() -> None:
    for found in (workload(), workload(HOLDOUT)):
        require_moving_target(found)
        assert fold_remarks(found) == fold_remarks(found, [0.9, 0.4]) == []


def test_a_fold_that_outweighs_the_others_is_named() -> None:
    assert fold_remarks(workload(), [3.5, 0.3]) == [
        (
            f"fold 1 ({days(90, 110)}) outweighs the others: the winner's loss is 3.5 there and at "
            "most 0.3 elsewhere, so the mean over folds, which chooses the winner, is nearly that "
            'of this fold; look at its prices, or set training.objective = "skill", which '
            "weighs each fold by its own persistence"
        )
    ]
    (before,) = fold_remarks(workload(wild=SECOND))
    assert before.startswith(f"fold 2 ({days(110, 130)}) outweighs the others: the loss of persis")
    (large,) = fold_remarks(workload(), [0.3, 123_456.7])
    assert "the winner's loss is 123,457 there" in large


def test_an_input_that_never_moves_is_named() -> None:
    found = workload(features=["return", "volume"])
    assert fold_remarks(found) == [
        (
            "feature volume never moves in the training part of fold 1, 2: no network can "
            "learn from it there"
        )
    ]


def test_forecasts_are_filed_under_the_number_that_a_fold_has_in_every_table() -> None:
    found = workload()
    body = found.forecasts_csv(found.persistence)
    table = pd.read_csv(io.BytesIO(body), index_col="date")
    assert table.fold.value_counts(sort=False).to_dict() == {1: 20, 2: 20}
    assert table.fold[f"{DAYS[110]:%Y-%m-%d}"] == 2


# The verdict


@pytest.fixture
def simple_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the baselines that take long to fit."""
    kept = {name: BASELINES[name] for name in ("persistence", "mean")}
    monkeypatch.setattr("puffin.studies.report.baselines.BASELINES", kept)


def judged(*flat: slice, error: float = 0.001, **data: Any) -> tuple[HoldoutComparison, str]:
    spec, frame = market(*flat, **data)
    search, holdout = cut_holdout({"A": frame}, spec)
    opened = Dataset.for_holdout(spec, search, holdout)
    (actual,) = opened.actuals
    signs = np.resize([1.0, -1.0, 1.0], len(actual))
    found = compare_with_baselines(Dataset.build(spec, search), opened, 3, actual + error * signs)
    return found, outcome_sentence(found, opened.scored_dates[0], spec.data)


@pytest.mark.usefixtures("simple_baselines")
@pytest.mark.parametrize("target", ["return", "range", "price"])
@pytest.mark.parametrize("error", [0.001, 0.0], ids=["wrong", "never wrong"])
def test_a_holdout_that_never_moves_judges_nobody(target: str, error: float) -> None:
    found, sentence = judged(HOLDOUT, target=target, error=error)
    assert found.outcome == "undecided"
    words = {
        "return": "the return of NONE over the next bar",
        "range": "the high-low range of NONE one bar ahead",
        "price": "the price of NONE one bar ahead",
    }[target]
    assert sentence == (
        f"Undecided: nothing can be judged on the 30 bars kept out of the search ({days(130, 160)})"
        f", because {words} never changes there and a forecast of no change is always right."
    )


@pytest.mark.usefixtures("simple_baselines")
def test_large_loss_ratio_is_written_as_a_multiple() -> None:
    found, sentence = judged(error=1.0)
    times = found.loss / found.reference.holdout_loss
    assert times > 1000
    assert f" had {times:,.0f} times the error of " in sentence
    found, sentence = judged(error=0.02)
    assert found.outcome == "worse"
    assert re.search(r" had \d+\.\d % more error than ", sentence)


# Searches


def trial(state: TrialState = TrialState.PRUNED, **attrs: Any) -> FrozenTrial:
    diverged = attrs.pop("diverged", False)
    return create_trial(
        state=state,
        value=1.0 if state == TrialState.COMPLETE else None,
        user_attrs=attrs,
        constraints={"finite_loss": 1.0} if diverged else None,
    )


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (
            [trial(diverged=True)] * 4,
            "none of its 4 trials is complete (4 diverged): lower space.lr, ",
        ),
        (
            [trial(TrialState.FAIL, **{records.FAILURE: "x"})] * 2 + [trial(diverged=True)],
            "none of its 3 trials is complete (2 failed, 1 diverged): `tuner dashboard` shows why ",
        ),
        # A trial that gave its ticket back is no end of it.
        (
            [trial(TrialState.FAIL), trial(), trial()],
            'none of its 2 trials is complete (2 pruned): set search.pruner = "none", and start a ',
        ),
    ],
)
def test_a_search_without_a_result_says_why(trials: list[FrozenTrial], said: str) -> None:
    assert why_nothing_is_complete(trials).startswith(said)


def test_trials_that_repeated_a_result_are_counted() -> None:
    complete = TrialState.COMPLETE
    trials = [trial(complete, ticket=i) for i in range(4)]
    assert repeats_remark(trials) == []
    trials += [trial(complete, ticket=i, **{DUPLICATE_OF: 0}) for i in range(4, 10)]
    assert repeats_remark(trials) == [
        (
            "6 of 10 trials repeated the result of a network that was trained before: [space] "
            "has no other"
        )
    ]
