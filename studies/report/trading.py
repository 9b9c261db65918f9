"""Trading on forecasts: which targets can be traded on, returns, and the backtest."""

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest, backtest
from puffin.models.features import TARGETS
from puffin.studies.dataset import Dataset, mean_by_date

# Costs of a trade in the backtest, in basis points: commission and slippage.
COST_BPS, SLIPPAGE_BPS = 1.0, 1.0
_YEAR = pd.Timedelta(days=365.25)


def strategy_returns(folds: Dataset, forecasts: list[Floats]) -> Floats:
    """Return the log returns of being long if a rise is forecast, for every `horizon`-th bar.

    The target must be tradable: `untradable` returns the reason if it is not.
    """
    is_long = [forecast > last for forecast, last in zip(forecasts, folds.persistence, strict=True)]
    gained = [
        mean_by_date(dates.to_numpy(), long * returns)
        for dates, long, returns in zip(
            folds.scored_dates, is_long, _log_returns(folds), strict=True
        )
    ]
    return np.concatenate(gained)[:: folds.horizon]


def _log_returns(folds: Dataset) -> list[Floats]:
    """Return the log return over the horizon of each scored target, one array per fold."""
    if folds.spec.data.target == "return":
        return folds.actuals
    horizon = folds.horizon
    closes = folds.scored(lambda member: member.closes)
    before = folds.scored(lambda member: np.roll(member.closes, horizon))
    return [np.asarray(np.log(now / then)) for now, then in zip(closes, before, strict=True)]


def untradable(dataset: Dataset) -> str | None:
    """Return the reason why forecasts of the target cannot be traded on; None if they can."""
    target, horizon = dataset.spec.data.target, dataset.horizon
    if not TARGETS[target].is_tradable:
        return f"a {target} cannot be bought"
    spans = [
        part.member.closes[part.fold.valid.start - horizon : part.fold.valid.stop]
        for found in dataset.parts
        for part in found
    ]
    if not (np.concatenate(spans) > 0).all():
        return "a close is zero or negative, so there are no returns in per cent"
    return None


def why_no_backtest(holdout: Dataset) -> str | None:
    """Return the reason why there is no backtest; None if there is one."""
    if (why := untradable(holdout)) is not None:
        return why
    if (horizon := holdout.horizon) != 1:
        return f"a backtest trades one bar ahead, and this study forecasts {horizon} bars ahead"
    return None


def run_backtest(holdout: Dataset, forecast: Floats) -> Backtest | None:
    """Backtest one-bar-ahead forecasts of the holdout, (bars,): long or flat."""
    to_price = TARGETS[holdout.spec.data.target].to_price
    if to_price is None or why_no_backtest(holdout) is not None:
        return None
    ((part,),) = holdout.parts
    valid = part.fold.valid
    closes = part.member.closes[valid.start - 1 : valid.stop]
    return backtest(
        closes,
        np.append(np.nan, to_price(forecast, closes[:-1])),
        threshold=0.0,
        cost_bps=COST_BPS,
        slippage_bps=SLIPPAGE_BPS,
        bars_per_year=_bars_per_year(holdout.dates),
    )


def _bars_per_year(dates: pd.DatetimeIndex) -> float:
    """Return the number of bars per year: about 252 for days, many more for hours."""
    return float((len(dates) - 1) / ((dates[-1] - dates[0]) / _YEAR))
