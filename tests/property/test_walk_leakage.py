"""No bar after an origin touches its search, and none after its block anything of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puffin.models.features import needs_of
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import Spec
from puffin.studies.study import HOLDOUT_FILE, SEARCH_FILE, snapshot
from puffin.studies.walk.origins import Origin, origins
from tests.studies import tiny_spec

ORIGINS, BLOCK = 3, 15
DATA = {
    "symbol": None,
    "symbols": ["AAPL", "IBM"],
    "features": ["return", "range", "market_return"],
    "target": "return",
}
WALK = {"origins": ORIGINS, "block_bars": BLOCK}
SPECS = [tiny_spec(data=DATA | {"horizon": horizon}, walk=WALK) for horizon in (1, 3)]
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def search() -> Frames:
    """The last 300 bars before the holdout; IBM begins late and misses some days."""
    request = PriceRequest(needs=needs_of(SPECS[0].data.features, "return"))
    frames = load_basket("sample", request, ["AAPL", "IBM"]).frames
    known = {symbol: frame.iloc[-320:-20] for symbol, frame in frames.items()}
    return known | {"IBM": known["IBM"].iloc[40:].drop(known["IBM"].index[[100, 101, 250]])}


def prepared(origin: Origin) -> list[tuple[object, ...]]:
    """Return features, targets, scalers and folds of the search at an origin, and of its refit."""
    searched, block = cut_holdout(origin.basket.frames, origin.spec)
    dataset = Dataset.build(origin.spec, searched)
    judged = Dataset.for_holdout(origin.spec, searched, block)
    refitted = [
        (
            part.member.symbol,
            part.fold.train,
            part.scaler.feature_mean.tobytes(),
            part.scaler.target_std,
        )
        for part in judged.parts[0]
    ]
    return refitted + [
        (
            part.member.symbol,
            part.member.series.features.tobytes(),
            part.member.series.target.tobytes(),
            part.member.dates.tobytes(),
            part.fold,
            part.scaler.feature_mean.tobytes(),
            part.scaler.feature_std.tobytes(),
            part.scaler.target_mean,
            part.scaler.target_std,
        )
        for found in dataset.parts
        for part in found
    ]


def altered(frames: Frames, first: pd.Timestamp, seed: int) -> Frames:
    """Return prices that are others from a date on."""
    rng = np.random.default_rng(seed)
    found = {}
    for symbol, frame in frames.items():
        later, changed = frame.index >= first, frame.copy()
        changed.loc[later] *= np.exp(rng.normal(0, 0.1, (int(later.sum()), 1)))
        found[symbol] = changed
    return found


@settings(max_examples=25, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    bar=st.integers(min_value=200, max_value=299),
    seed=st.integers(0, 2**16),
)
def test_a_bar_touches_no_search_of_an_origin_before_it(
    search: Frames, spec: Spec, bar: int, seed: int
) -> None:
    dates = search["AAPL"].index
    first = dates[bar]
    before = origins(spec, search, "x")
    after = origins(spec, altered(search, first, seed), "x")
    for number, (one, other) in enumerate(zip(before, after, strict=True), start=1):
        stop = len(dates) - (ORIGINS - number) * BLOCK
        assert one.spec == other.spec
        files, others = (snapshot(o.spec, o.basket.frames) for o in (one, other))
        is_searched = dates[stop - BLOCK - spec.purge - 1] >= first
        is_judged = dates[stop - 1] >= first
        assert (files[SEARCH_FILE] != others[SEARCH_FILE]) == is_searched
        assert (files[HOLDOUT_FILE] != others[HOLDOUT_FILE]) == is_judged
        assert (prepared(one) != prepared(other)) == is_searched
