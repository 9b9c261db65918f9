"""Folds of any layout: positions, lengths and gaps."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from puffin.models.errors import PuffinError
from puffin.models.folds import Fold, Span, WalkForward, first_target, split

many = settings(max_examples=200, deadline=None)
LEAST = 50


@dataclass(frozen=True)
class Cut:
    """Draw a layout, and a series long enough for it."""

    layout: WalkForward
    first: int
    bars: int
    spare: int

    @property
    def folds(self) -> list[Fold]:
        return split(self.bars, self.first, self.layout)


@st.composite
def cuts(draw: st.DrawFn, train_bars: st.SearchStrategy[int | None]) -> Cut:
    layout = WalkForward(
        folds=draw(st.integers(2, 8)),
        valid_bars=draw(st.integers(1, 40)),
        purge=draw(st.integers(0, 12)),
        train_bars=draw(train_bars),
    )
    first, spare = draw(st.integers(1, 80)), draw(st.integers(0, 120))
    least = LEAST if layout.train_bars is None else layout.train_bars
    judged = layout.folds * layout.valid_bars
    return Cut(layout, first, first + least + layout.purge + judged + spare, spare)


expanding = cuts(st.none())
rolling = cuts(st.integers(1, 150))
either = cuts(st.none() | st.integers(1, 150))


@many
@given(either)
def test_training_ends_exactly_the_purge_before_validation(cut: Cut) -> None:
    for fold in cut.folds:
        assert fold.train.start < fold.train.stop <= fold.valid.start
        assert fold.valid.start - fold.train.stop == cut.layout.purge


@many
@given(either)
def test_validation_parts_have_the_given_number_and_length_and_reach_the_end(
    cut: Cut,
) -> None:
    layout = cut.layout
    judged = [t for fold in cut.folds for t in range(fold.valid.start, fold.valid.stop)]
    assert len(cut.folds) == layout.folds
    assert {len(fold.valid) for fold in cut.folds} == {layout.valid_bars}
    # One after the other without gap or overlap, up to the last bar.
    assert judged == list(range(cut.bars - layout.folds * layout.valid_bars, cut.bars))


@many
@given(either)
def test_folds_equal_those_of_scikit_learn(cut: Cut) -> None:
    layout = cut.layout
    splitter = TimeSeriesSplit(
        n_splits=layout.folds,
        test_size=layout.valid_bars,
        gap=layout.purge,
        max_train_size=layout.train_bars,
    )
    expected = [
        [list(cut.first + positions) for positions in parts]
        for parts in splitter.split([0] * (cut.bars - cut.first))
    ]
    assert expected == [
        [list(range(span.start, span.stop)) for span in (fold.train, fold.valid)]
        for fold in cut.folds
    ]


@many
@given(expanding)
def test_an_expanding_training_part_starts_at_the_first_target(cut: Cut) -> None:
    assert {fold.train.start for fold in cut.folds} == {cut.first}
    lengths = [len(fold.train) for fold in cut.folds]
    step = cut.layout.valid_bars
    assert lengths == [LEAST + cut.spare + i * step for i in range(cut.layout.folds)]


@many
@given(rolling)
def test_a_rolling_training_part_keeps_its_length(
    cut: Cut,
) -> None:
    assert {len(fold.train) for fold in cut.folds} == {cut.layout.train_bars}
    assert [fold.train.start - cut.first for fold in cut.folds] == [
        cut.spare + i * cut.layout.valid_bars for i in range(cut.layout.folds)
    ]


@many
@given(either)
def test_one_bar_fewer_than_needed_is_refused(cut: Cut) -> None:
    with pytest.raises(PuffinError, match="too few bars"):
        split(cut.bars - cut.spare - 1, cut.first, cut.layout)


def label_bars(span: Span, horizon: int) -> set[int]:
    """Return the bars that the targets of a span depend on: bar t and `horizon` bars back."""
    return {bar for t in range(span.start, span.stop) for bar in range(t - horizon + 1, t + 1)}


@many
@given(either, st.integers(1, 13), st.integers(1, 60), st.integers(0, 1))
def test_a_purge_of_horizon_minus_one_separates_training_and_validation_labels(
    cut: Cut, horizon: int, lookback: int, warmup: int
) -> None:
    first = first_target(lookback, warmup, horizon)
    for fold in split(first + cut.bars - cut.first, first, cut.layout):
        shared = label_bars(fold.train, horizon) & label_bars(fold.valid, horizon)
        assert (not shared) == (cut.layout.purge >= horizon - 1)
        # The longest window of the earliest target lies in the series, behind the warm-up.
        assert fold.train.start - horizon - lookback + 1 >= warmup
