"""Trading on forecasts: which targets can be traded on, returns, and the backtest."""

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.evaluation.backtest import Backtest, backtest
from puffin.models.evaluation.portfolio import equal_parts
from puffin.models.features import TARGETS
from puffin.models.panel import Dates, by_part, mean_by_date
from puffin.studies.dataset import Dataset
from puffin.studies.sections import BacktestSection

_YEAR = pd.Timedelta(days=365.25)


def strategy_returns(folds: Dataset, forecasts: list[Floats]) -> Floats:
    """Return the log returns of being long if a rise is forecast, mean over symbols by date.

    Of overlapping returns one is kept. The target must be tradable: `untradable` returns the reason
    if it is not.
    """
    is_long = [forecast > last for forecast, last in zip(forecasts, folds.persistence, strict=True)]
    gained = [
        mean_by_date(dates.to_numpy(), long * returns)
        for dates, long, returns in zip(
            folds.scored_dates, is_long, _log_returns(folds), strict=True
        )
    ]
    return np.concatenate(gained)[:: folds.date_horizon]


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
    target = dataset.spec.data.target
    if not TARGETS[target].is_tradable:
        return f"a {target} cannot be bought"
    return no_returns(dataset)


def no_returns(dataset: Dataset) -> str | None:
    """Return the reason why the scored bars have no returns in per cent; None if they have."""
    spans = [
        part.member.closes[part.fold.valid.start - dataset.horizon : part.fold.valid.stop]
        for found in dataset.parts
        for part in found
    ]
    if not (np.concatenate(spans) > 0).all():
        return "a close is zero or negative, so there are no returns in per cent"
    return None


def why_no_backtest(holdout: Dataset) -> str | None:
    """Return the reason why there is no backtest; None if there is one."""
    if (why := untradable(holdout)) is not None:
        no_timing = no_returns(holdout) if TARGETS[holdout.spec.data.target].is_volatility else None
        return f"{why}, and {no_timing}" if no_timing else why
    if (horizon := holdout.horizon) != 1:
        return f"a backtest trades one bar ahead, and this study forecasts {horizon} bars ahead"
    return None


def run_backtest(holdout: Dataset, forecast: Floats) -> Backtest | None:
    """Backtest one-bar-ahead forecasts of the holdout: an equal part in each symbol.

    Parameters
    ----------
    holdout : Dataset
    forecast : array, (targets,), symbol after symbol
    """
    tested = run_backtests(holdout, forecast)
    if not tested:
        return None
    dates = traded_dates(holdout)
    places = [np.searchsorted(dates, of_part) for of_part in _traded(holdout)]
    return equal_parts(list(tested.values()), places, len(dates), bars_per_year(holdout.dates))


def run_backtests(holdout: Dataset, forecast: Floats) -> dict[str, Backtest]:
    """Backtest one-bar-ahead forecasts of the holdout, each symbol alone; none if none can be."""
    to_price = TARGETS[holdout.spec.data.target].to_price
    if to_price is None or why_no_backtest(holdout) is not None:
        return {}
    (parts,) = holdout.parts
    years = bars_per_year(holdout.dates)
    found = {}
    for part, ahead in zip(parts, by_part(parts, forecast), strict=True):
        valid = part.fold.valid
        closes = part.member.closes[valid.start - 1 : valid.stop]
        prices = to_price(ahead, closes[:-1])
        found[part.member.symbol] = trade(closes, prices, years, holdout.spec.backtest)
    return found


def trade(closes: Floats, ahead: Floats, years: float, rules: BacktestSection) -> Backtest:
    """Backtest one-bar-ahead forecasts of prices.

    Parameters
    ----------
    closes : array, (n + 1,), from the bar before the first forecast on
    ahead : array, (n,), in the unit of the closes
    years : float
        Bars per year.
    rules : BacktestSection
        Of the study file.
    """
    return backtest(
        closes,
        np.append(np.nan, ahead),
        threshold=rules.threshold_bps / 10_000,
        cost_bps=rules.commission_bps,
        slippage_bps=rules.slippage_bps,
        bars_per_year=years,
        short=rules.short,
    )


def traded_dates(holdout: Dataset) -> pd.DatetimeIndex:
    """Return the dates of a backtest: those of the holdout, and the last one before them."""
    return pd.DatetimeIndex(np.unique(np.concatenate(_traded(holdout))))


def _traded(holdout: Dataset) -> list[Dates]:
    """Return the dates on which each symbol is traded or valued."""
    (parts,) = holdout.parts
    return [p.member.dates[p.fold.valid.start - 1 : p.fold.valid.stop] for p in parts]


def bars_per_year(dates: pd.DatetimeIndex) -> float:
    """Return the number of bars per year: about 252 for days, many more for hours."""
    return float((len(dates) - 1) / ((dates[-1] - dates[0]) / _YEAR))
