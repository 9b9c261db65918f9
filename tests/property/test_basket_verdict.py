"""The verdict on a basket does not depend on the order of its symbols."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.models.arrays import Floats
from puffin.models.panel import by_part
from puffin.studies.bars import Frames, cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.report.baselines import HoldoutComparison, compare_with_baselines
from puffin.studies.report.by_symbol import by_symbol
from puffin.studies.report.trading import run_backtest
from puffin.studies.spec import parse_spec

SPEC = parse_spec(
    {
        "name": "basket",
        "data": {"symbol": "NONE", "features": ["return"], "target": "return"},
        "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 30},
        "space": {"hidden_dim": 4, "lookback": [2, 3]},
    },
    "basket",
)
DAYS = pd.bdate_range("2020-01-01", periods=150)


def frames(seed: int) -> dict[str, pd.DataFrame]:
    """Return a symbol on all days, one that begins late, and one that misses every fourth day."""
    rng = np.random.default_rng(seed)
    steps = 0.01 * rng.standard_normal(150) + 0.01 * rng.standard_normal((3, 150))
    closes = 100 * np.exp(np.cumsum(steps, axis=1))
    days = {"WHOLE": DAYS, "LATE": DAYS[30:], "THIN": DAYS[np.arange(150) % 4 > 0]}
    return {
        symbol: pd.DataFrame({"close": close}, DAYS).loc[index]
        for (symbol, index), close in zip(days.items(), closes, strict=True)
    }


def judged(basket: Frames, seed: int) -> tuple[Dataset, Floats, HoldoutComparison]:
    """Return the holdout with random forecasts, the same for each symbol, and their verdict."""
    search, sealed = cut_holdout(basket, SPEC)
    folds, opened = Dataset.build(SPEC, search), Dataset.for_holdout(SPEC, search, sealed)
    noise = {
        symbol: np.random.default_rng([seed, number]).standard_normal(30)
        for number, symbol in enumerate(("WHOLE", "LATE", "THIN"))
    }
    (parts,), (actual,) = opened.parts, opened.actuals
    forecasts = np.concatenate(
        [
            0.1 * true + 0.003 * noise[part.member.symbol][: len(true)]
            for part, true in zip(parts, by_part(parts, actual), strict=True)
        ]
    )
    return opened, forecasts, compare_with_baselines(folds, opened, 3, forecasts)


def figures(comparison: HoldoutComparison) -> list[Any]:
    tests = [
        (b.skill, b.test.p_better, b.clark_west.p_better if b.clark_west else 0.0)
        for b in comparison.baselines
    ]
    return [
        comparison.loss,
        comparison.evidence.detectable_skill,
        comparison.mcs_p,
        *np.ravel(tests),
    ]


@pytest.mark.parametrize("order", [("THIN", "LATE", "WHOLE"), ("LATE", "WHOLE", "THIN")])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_symbols_in_exchanged_order_get_the_same_verdict(order: tuple[str, ...], seed: int) -> None:
    basket = frames(seed)
    opened, forecasts, found = judged(basket, seed)
    again_opened, again_forecasts, again = judged({name: basket[name] for name in order}, seed)
    assert again.outcome == found.outcome
    assert [b.label for b in again.baselines] == [b.label for b in found.baselines]
    assert figures(again) == pytest.approx(figures(found), rel=1e-6)
    reference = found.reference.forecasts
    alone = {s.symbol: s for s in by_symbol(opened, forecasts, reference)}
    for other in by_symbol(again_opened, again_forecasts, again.reference.forecasts):
        own = alone[other.symbol]
        assert (other.bars, other.loss) == (own.bars, own.loss)
        assert other.p_holm == pytest.approx(own.p_holm, rel=1e-6)
    traded, also = run_backtest(opened, forecasts), run_backtest(again_opened, again_forecasts)
    assert traded is not None
    assert also is not None
    assert also["equity"] == pytest.approx(traded["equity"], rel=1e-12)
