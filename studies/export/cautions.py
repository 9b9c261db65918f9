"""What may mislead in a forecast: symbols, bars and prices that are not those of the training."""

import pandas as pd

from puffin.studies.export.basis import Basis
from puffin.studies.export.read import Exported
from puffin.studies.text import in_words, when

# Largest relative difference between closes of the same bars, without a split or a dividend.
_SAME = 0.01
# Features and targets in units of the price, which a split changes.
_IN_PRICE_UNITS = frozenset({"price", "change"})


def cautions(exported: Exported, symbol: str, frame: pd.DataFrame, basis: Basis) -> tuple[str, ...]:
    """Return the reasons why forecasts from these bars may be misleading."""
    trained = _trained_until(exported, symbol)
    warnings = []
    if not basis.is_seen:
        known = in_words(list(exported.scalers))
        warnings.append(
            f"no score vouches for it: the model was trained on {known}, so it is scaled by its "
            "own past, and its interval is from the errors of those"
        )
    if frame.index[-1] < trained:
        warnings.append(
            f"the prices end at {when(frame.index[-1])}, before the last bar that the model was "
            f"trained on, {when(trained)}: the forecasts are of bars that it has seen"
        )
    own = exported.prices.get(symbol)
    if own is not None and (mismatch := _price_mismatch(exported, symbol, own, frame)):
        warnings.append(mismatch)
    return tuple(warnings)


def _trained_until(exported: Exported, symbol: str) -> pd.Timestamp:
    """Return the last bar of a symbol that the model was trained on; else the last of all."""
    refit = exported.record.refit
    frames = exported.prices if refit.data == "all" else exported.search
    return frames[symbol].index[-1] if symbol in frames else pd.Timestamp(refit.last)


def _price_mismatch(
    exported: Exported, symbol: str, known: pd.DataFrame, frame: pd.DataFrame
) -> str | None:
    """Return how the prices differ from those of the export; None if they agree."""
    closes = known["close"]
    origin = f"{symbol} in the export" if exported.is_basket else exported.record.data.origin
    shared = frame.index.intersection(closes.index)
    if shared.empty:
        return (
            f"the prices share no bar with {origin}, {when(closes.index[0])} to "
            f"{when(closes.index[-1])}, so it is unknown whether they are of the same series"
        )
    exported_closes, given_closes = closes.loc[shared], frame["close"].loc[shared]
    if not ((exported_closes > 0) & (given_closes > 0)).all():
        return _level_mismatch(exported_closes, given_closes, origin)
    ratio = given_closes / exported_closes
    low, high = float(ratio.min()), float(ratio.max())
    if high / low > 1 + _SAME:
        return (
            f"the closes are not those of {origin}: over {len(shared)} shared bars they are "
            f"{low:.4g} to {high:.4g} times as high; the intervals are valid for {origin}"
        )
    data = exported.spec.data
    in_units = _IN_PRICE_UNITS & {*exported.record.features, data.target}
    if in_units and max(high, 1 / low) > 1 + _SAME:
        return (
            f"the closes are {high:.4g} times those of {origin} (a split?), and the model reads "
            "the price itself: adjust the prices to the same level"
        )
    return None


def _level_mismatch(
    exported: "pd.Series[float]", given: "pd.Series[float]", origin: str
) -> str | None:
    """Return how far closes that are not all positive, and so have no ratio, are apart."""
    difference = float((given - exported).abs().max())
    if not difference > _SAME * float(exported.abs().max()):  # also if the difference is NaN
        return None
    return (
        f"the closes are not those of {origin}: over {len(exported)} shared bars they differ by up "
        f"to {difference:.4g}; the intervals are valid for {origin}"
    )
