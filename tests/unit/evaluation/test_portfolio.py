"""A portfolio of equal parts has the mean of what its parts have."""

from typing import Any

import numpy as np
import pytest

from puffin.models.evaluation.backtest import Backtest, backtest
from puffin.models.evaluation.portfolio import equal_parts

CLOSES = np.array([100.0, 110.0, 99.0, 120.0])
COSTS = {"threshold": 0.0, "cost_bps": 10.0, "slippage_bps": 5.0}


def trade(closes: np.ndarray, rises: list[bool]) -> Backtest:
    ahead = closes[:-1] * np.where(rises, 1.01, 0.99)
    return backtest(closes, np.append(np.nan, ahead), **COSTS)


def join(*parts: tuple[Backtest, list[int]], bars: int = 4) -> Backtest:
    places = [np.array(at) for _, at in parts]
    return equal_parts([part for part, _ in parts], places, bars, 252.0)


def test_a_portfolio_of_one_asset_is_the_backtest_of_that_asset() -> None:
    alone = trade(CLOSES, [True, False, True])
    joined: Any = join((alone, [0, 1, 2, 3]))
    for key, value in alone.items():
        if key not in {"equity", "buy_and_hold"}:
            np.testing.assert_equal(joined[key], value)
    assert joined["equity"].tolist() == alone["equity"].tolist()
    hold, own = joined["buy_and_hold"], alone["buy_and_hold"]
    assert hold["equity"].tolist() == own["equity"].tolist()
    assert hold["total_return"] == own["total_return"]


def test_returns_are_the_mean_over_assets() -> None:
    one, other = trade(CLOSES, [True, True, True]), trade(CLOSES[::-1].copy(), [False, False, True])
    joined = join((one, [0, 1, 2, 3]), (other, [0, 1, 2, 3]))
    assert joined["total_return"] == pytest.approx(
        (one["total_return"] + other["total_return"]) / 2
    )
    assert joined["exposure"] == pytest.approx((1 + 1 / 3) / 2)
    assert [(side, bar) for side, bar, _, _ in joined["trades"]] == [("BUY", 0), ("BUY", 2)]
    # Each part has half of the capital.
    assert joined["trades"][0][3] == pytest.approx(one["trades"][0][3] / 2)


def test_a_part_keeps_its_value_where_its_asset_has_no_price() -> None:
    short = trade(np.array([100.0, 200.0]), [True])
    flat = trade(CLOSES, [False, False, False])
    joined = join((flat, [0, 1, 2, 3]), (short, [1, 3]))
    rise = short["equity"][1] / 10_000
    assert joined["equity"] / 10_000 == pytest.approx([1, 1, 1, (1 + rise) / 2])
    assert joined["trades"][0][:2] == ("BUY", 1)


def test_at_its_break_even_cost_a_portfolio_earns_nothing() -> None:
    rises = ([True, True, True], [False, False, True])

    def joined(cost_bps: float) -> Backtest:
        parts = (
            backtest(
                CLOSES,
                np.append(np.nan, CLOSES[:-1] * np.where(rise, 1.01, 0.99)),
                threshold=0.0,
                cost_bps=cost_bps,
            )
            for rise in rises
        )
        return join(*((part, [0, 1, 2, 3]) for part in parts))

    free = joined(0.0)
    # 1.2 in one trade and 120 / 99 in another: (1.2 + 1.2121) / 2 (1 - c) = 1.
    assert free["break_even_bps"] == pytest.approx(10_000 * (1 - 2 / (1.2 + 120 / 99)))
    assert joined(free["break_even_bps"])["total_return"] == pytest.approx(0.0, abs=1e-9)
