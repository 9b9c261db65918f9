"""Bars of the symbols of a study: divided by date, joined, and as the inputs of features."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.studies.prices.load import EXTRA
from puffin.studies.spec import Spec

Frames = Mapping[str, pd.DataFrame]


def cut_holdout(frames: Frames, spec: Spec) -> tuple[dict[str, pd.DataFrame], Frames]:
    """Split the bars of each symbol by date into the search part and the holdout.

    The dates are those of all symbols together. The first `purge` dates of the holdout are not
    scored, so that no target of the search part overlaps a scored bar. A symbol without bars in a
    part is left out of it.
    """
    dates = union_of_dates(frames)
    stop = len(dates) - spec.walk_forward.holdout_bars - spec.purge
    cut = dates[stop] if stop > 0 else dates[0]
    search = {symbol: frame[frame.index < cut] for symbol, frame in frames.items()}
    holdout = {symbol: frame[frame.index >= cut] for symbol, frame in frames.items()}
    return _filled(search), _filled(holdout)


def _filled(frames: Frames) -> dict[str, pd.DataFrame]:
    return {symbol: frame for symbol, frame in frames.items() if len(frame)}


def union_of_dates(frames: Frames) -> pd.DatetimeIndex:
    """Return every date on which a symbol has a bar, ascending."""
    return pd.DatetimeIndex(
        np.unique(np.concatenate([f.index.to_numpy() for f in frames.values()]))
    )


def join(*parts: Frames) -> dict[str, pd.DataFrame]:
    """Return the bars of each symbol of parts that follow each other."""
    symbols = dict.fromkeys(symbol for part in parts for symbol in part)
    return {
        symbol: pd.concat([part[symbol] for part in parts if symbol in part]) for symbol in symbols
    }


def columns_of(frame: pd.DataFrame) -> dict[str, Floats]:
    """Return the inputs of features and targets: columns of the bars, weekday, extra series."""
    names = [str(name) for name in frame if not str(name).startswith(EXTRA)]
    columns: dict[str, Floats] = {name: frame[name].to_numpy(np.float64) for name in names}
    columns["weekday"] = pd.DatetimeIndex(frame.index).day_of_week.to_numpy(np.float64)
    if len(names) < len(frame.columns):
        columns["extra"] = frame.drop(columns=names).to_numpy(np.float64)
    return columns
