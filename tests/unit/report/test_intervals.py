"""The intervals of a report: each from the past alone, judged bar by bar, and put into words."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from puffin.models.evaluation.conformal import adapt, scores_of
from puffin.models.evaluation.coverage import Share
from puffin.models.features import Series
from puffin.models.folds import Fold, Span
from puffin.models.panel import Member, Part
from puffin.models.scaling import Scaler
from puffin.studies.report.intervals import (
    HeldIntervals,
    SymbolErrors,
    held_intervals,
    in_words,
    to_json,
)

BARS, SEARCHED, SEALED = 200, 100, 60


def errors_of(horizon: int = 1, seed: int = 0, unit: float = 1.0) -> SymbolErrors:
    """Return errors of a target whose volatility rises threefold within the holdout."""
    rng = np.random.default_rng(seed)
    wild = np.where(np.arange(BARS) < BARS - SEALED // 2, 1.0, 3.0)
    target = unit * wild * rng.normal(size=BARS)
    target[:horizon] = np.nan
    none = np.zeros(BARS)
    series = Series(none[:, None], target, none, 0, horizon)
    closes = 100 * np.exp(0.01 * np.cumsum(np.nan_to_num(target) / unit))
    days = np.datetime64("2020-01-01") + np.arange(BARS)
    fold = Fold(Span(10, 40), Span(BARS - SEALED, BARS))
    scaler = Scaler(np.zeros(1), np.ones(1), 0.0, unit)
    part = Part(Member("A", days, series, closes), fold, scaler)
    searched = np.arange(40, 40 + SEARCHED)
    sealed = np.arange(BARS - SEALED, BARS)
    return SymbolErrors(part, target[searched], target[sealed], np.append(searched, sealed))


@pytest.mark.parametrize("horizon", [1, 3])
def test_an_interval_is_that_of_the_scores_known_before_times_the_deviation(horizon: int) -> None:
    one = errors_of(horizon)
    ends = one.interval(0.8)
    assert ends is not None
    target = one.part.member.series.target
    errors = np.append(one.searched, one.sealed)
    scores = scores_of(errors, target, one.bars, horizon)
    scale = (errors / scores)[SEARCHED:]
    found = adapt(scores, 0.8, horizon)
    for end, expected in zip(ends, (found.low, found.high), strict=True):
        assert end == pytest.approx(expected[SEARCHED : SEARCHED + SEALED] * scale)


def test_a_later_target_changes_no_interval_before() -> None:
    one = errors_of()
    ends = one.interval(0.8)
    one.part.member.series.target[-20] = 50.0
    one.sealed[-20] = 50.0
    later = one.interval(0.8)
    assert ends is not None
    assert later is not None
    assert (later[1][: SEALED - 19] == ends[1][: SEALED - 19]).all()
    assert (later[1][SEALED - 19 :] > ends[1][SEALED - 19 :]).all()


def judged(symbols: list[SymbolErrors], level: float = 0.8) -> HeldIntervals:
    found = held_intervals(symbols, level)
    assert found is not None
    return found


def test_what_is_inside_is_counted_bar_by_bar() -> None:
    one = errors_of(unit=2.0)
    found, ends = judged([one]), one.interval(0.8)
    assert ends is not None
    low, high = ends
    inside = [a <= e <= b for a, e, b in zip(low, one.sealed, high, strict=True)]
    assert found.inside.share == sum(inside) / SEALED
    assert found.by_date.tolist() == inside
    assert found.width == pytest.approx((high - low).mean() / 2)
    beyond = np.maximum(low - one.sealed, 0) + np.maximum(one.sealed - high, 0)
    assert found.score == pytest.approx((high - low + 10 * beyond).mean() / 2)
    assert len(set((high - low).tolist())) > SEALED / 2


def test_thirds_are_by_the_volatility_before() -> None:
    one = errors_of()
    found = judged([one])
    shares = [share.share for share in found.by_volatility]
    assert np.mean(shares) == pytest.approx(found.inside.share)
    # The first bars of the wild half still have a calm past; the last third lies in that half.
    calm = one.sealed.copy()
    calm[: SEALED // 2] = 99.0
    missed = judged([replace(one, sealed=calm)])
    assert missed.by_volatility[0].share <= 0.2
    assert missed.by_volatility[2].share >= 0.6


def test_an_interval_of_one_width_is_of_the_search_alone() -> None:
    found = judged([errors_of()])
    low, high = errors_of().unconditional(0.8)
    assert found.unconditional_width == pytest.approx((high - low)[0])
    # The volatility rises: one width is too narrow, and scores worse.
    assert found.unconditional.share < found.inside.share
    assert found.unconditional_score > found.score


def test_symbols_of_one_date_count_once() -> None:
    alone, twice = judged([errors_of()]), judged([errors_of(), errors_of()])
    assert twice.inside == alone.inside
    assert twice.by_date.tolist() == alone.by_date.tolist()
    assert twice.by_volatility == alone.by_volatility
    assert twice.score == pytest.approx(alone.score)


def test_too_few_errors_before_the_holdout_have_no_interval() -> None:
    one = errors_of()
    few = replace(one, searched=one.searched[-30:], bars=one.bars[SEARCHED - 30 :])
    assert few.interval(0.95) is None
    assert few.interval(0.9) is not None
    assert held_intervals([few], 0.95) is None
    assert judged([few, one], 0.95).inside == judged([one], 0.95).inside
    assert replace(few, sealed=few.sealed[:2], bars=few.bars[:32]).interval(0.95) is None


def held(level: float, inside: float, plain: float = 0.5) -> HeldIntervals:
    dates: NDArray[np.float64] = np.array([1.0])
    share = Share(inside, inside - 0.04, inside + 0.03)
    return HeldIntervals(
        level=level,
        inside=share,
        by_volatility=[share] * 3,
        width=1.0,
        score=math.inf,
        unconditional=Share(plain, plain, plain),
        unconditional_width=2.0,
        unconditional_score=3.0,
        dates=pd.DatetimeIndex(["2020-01-01"]),
        by_date=dates,
    )


def test_words_say_whether_intervals_held() -> None:
    assert in_words([held(0.5, 0.49), held(0.95, 0.96)]) == (
        "The intervals held: 50 % and 95 % of the bars were to be inside, and 49.0 % and 96.0 % "
        "were. Intervals of one width would have had 50.0 % and 50.0 % inside. The search made too "
        "few errors for intervals of 80 %."
    )
    assert in_words([held(0.5, 0.6), held(0.8, 0.82), held(0.95, 0.9, 0.7)]) == (
        "The 50 % intervals did not hold: 60.0 % of the bars were inside (56.0 % to 63.0 %), more "
        "than chance explains. The 95 % intervals did not hold: 90.0 % of the bars were inside "
        "(86.0 % to 93.0 %), fewer than chance explains. The intervals held: 80 % of the bars were "
        "to be inside, and 82.0 % were. Intervals of one width would have had 50.0 %, 50.0 % and "
        "70.0 % inside."
    )
    assert in_words([]) == (
        "No interval was judged, because the search made too few errors to build one from."
    )


def test_json_has_the_figures_of_each_level() -> None:
    values = to_json([held(0.8, 0.7)])
    assert values["sentence"].startswith("The 80 % intervals did not hold")
    (level,) = values["levels"]
    assert (level["level"], level["held"], level["mean_width"]) == (0.8, False, 1.0)
    assert list(level["by_volatility"]) == ["low", "middle", "high"]
    assert level["inside"]["share"] == 0.7
    assert level["unconditional"]["interval_score"] == 3.0
