"""Trading on forecasts: which targets can be traded on, returns, and the backtest."""

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest, backtest
from puffin.models.features import TARGETS
from puffin.studies.dataset import Dataset

# Costs of a trade in the backtest, in basis points: commission and slippage.
COST_BPS, SLIPPAGE_BPS = 1.0, 1.0
_YEAR = pd.Timedelta(days=365.25)


def strategy_returns(folds: Dataset, forecasts: list[Floats]) -> Floats:
    """Return the log returns of being long if a rise is forecast, for every `horizon`-th bar.

    The target must be tradable: `untradable` returns the reason if it is not.
    """
    is_long = np.concatenate(forecasts) > np.concatenate(
        folds.validation_slices(folds.series.persistence)
    )
    return np.asarray((is_long * _log_returns(folds))[:: folds.series.horizon])


def _log_returns(folds: Dataset) -> Floats:
    """Return the log return over the horizon at each scored bar, (scored bars,)."""
    if folds.spec.data.target == "return":
        return np.concatenate(folds.validation_slices(folds.series.target))
    horizon = folds.series.horizon
    spans = [(fold.valid.start, fold.valid.stop) for fold in folds.folds]
    closes = np.concatenate([folds.closes[start:stop] for start, stop in spans])
    before = np.concatenate(
        [folds.closes[start - horizon : stop - horizon] for start, stop in spans]
    )
    return np.asarray(np.log(closes / before))


def untradable(dataset: Dataset) -> str | None:
    """Return the reason why forecasts of the target cannot be traded on; None if they can."""
    target, horizon = dataset.spec.data.target, dataset.series.horizon
    if not TARGETS[target].is_tradable:
        return f"a {target} cannot be bought"
    spans = [dataset.closes[f.valid.start - horizon : f.valid.stop] for f in dataset.folds]
    if not (np.concatenate(spans) > 0).all():
        return "a close is zero or negative, so there are no returns in per cent"
    return None


def why_no_backtest(holdout: Dataset) -> str | None:
    """Return the reason why there is no backtest; None if there is one."""
    if (why := untradable(holdout)) is not None:
        return why
    if (horizon := holdout.series.horizon) != 1:
        return f"a backtest trades one bar ahead, and this study forecasts {horizon} bars ahead"
    return None


def run_backtest(holdout: Dataset, forecast: Floats) -> Backtest | None:
    """Backtest one-bar-ahead forecasts of the holdout, (bars,): long or flat."""
    to_price = TARGETS[holdout.spec.data.target].to_price
    if to_price is None or why_no_backtest(holdout) is not None:
        return None
    (fold,) = holdout.folds
    closes = holdout.closes[fold.valid.start - 1 : fold.valid.stop]
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
