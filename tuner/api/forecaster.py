"""An exported forecaster for scripts and notebooks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from os import PathLike
from pathlib import Path

import pandas as pd

from puffin.studies.export.forecast import Bounds, Prediction, predict_each
from puffin.studies.export.read import Exported, load_exported
from puffin.studies.prices.frame import Frames, basket_of_frames, prices_of_frame
from puffin.studies.text import signed
from puffin.tuner.api.html import table


class Forecaster:
    """An exported network with its scalers. Use `puffin.load_forecaster` to get one."""

    def __init__(self, exported: Exported) -> None:
        self._exported = exported

    def predict(
        self, prices: Frames | None = None, *, steps: int | None = None, level: float = 0.9
    ) -> pd.DataFrame:
        """Forecast the bars after the last one.

        Parameters
        ----------
        prices : DataFrame, (bar, column), or mapping from each symbol to one, optional
            As for `puffin.search`; the export's own copy by default. A symbol that a forecaster
            of several was not trained on is scaled by its own past, and a warning says so.
        steps : int, optional
            Bars to forecast; the horizon of the study by default.
        level : float
            Share of the bars that the intervals are to contain.

        Returns
        -------
        DataFrame, (step, column), the index "ahead" counts bars after the last known one
            Columns forecast, low and high in the target's unit, of a study of quantiles also q0.05
            and so on, and the same with the unit of traders in brackets if the target has one.
            ``attrs`` has the units, what a forecast in that of traders is (``trader_statistic``,
            such as median), the time of the last bar and the warnings. A forecaster of several
            symbols returns the steps of each, with the index "symbol", "ahead", and the time of
            the last bar of each.

        Raises
        ------
        PuffinError
            If the prices cannot be used, or not that many bars can be forecast from them.
        """
        exported = self._exported
        bars, warnings = (exported.prices, ()) if prices is None else self._read(prices)
        today = datetime.now().astimezone().date()
        count = exported.spec.data.horizon if steps is None else steps
        found = predict_each(exported, bars, count, level, today)
        if not exported.is_basket:
            return _frame(found.made[0], warnings)
        causes = [f"{symbol} is not forecast: {cause}" for symbol, cause in found.causes.items()]
        return _long(found.made, (*warnings, *found.warnings, *causes))

    def _read(self, prices: Frames) -> tuple[Mapping[str, pd.DataFrame], tuple[str, ...]]:
        """Return the checked bars of each symbol, with warnings."""
        data = self._exported.spec.data
        request = replace(data.request(), start=None, end=None, period=None, interval="1d")
        if self._exported.is_basket:
            basket = basket_of_frames(prices, request)
            return basket.frames, basket.warnings
        loaded = prices_of_frame(prices, request)
        return {data.only_symbol: loaded.frame}, loaded.warnings

    def __repr__(self) -> str:
        return f"<Forecaster of {self._exported.spec.name}: {self._exported.config}>"

    def _repr_html_(self) -> str:
        """Show the forecaster in a notebook: what it forecasts, from what, and how well."""
        exported = self._exported
        data = exported.spec.data
        scores = exported.record.scores
        rows = {
            "prices": exported.record.data.origin,
            "target": f"{data.target}, {data.horizon} ahead",
            "features": ", ".join(exported.record.features),
            "network": f"{exported.config.cell} {exported.config.hidden_dims}",
            "skill on the search folds": signed(scores.skill),
        }
        return table(f"Forecaster of {exported.spec.name}", rows)


def load_forecaster(folder: str | PathLike[str]) -> Forecaster:
    """Load an export that ``tuner export``, ``tuner run`` or `Study.export` has written.

    Raises
    ------
    PuffinError
        If the folder is not an intact export.
    """
    return Forecaster(load_exported(Path(folder)))


def _frame(prediction: Prediction, warnings: tuple[str, ...]) -> pd.DataFrame:
    unit = prediction.trader_unit
    rows = {
        step.ahead: _columns(step.value)
        | (_columns(step.in_trader_unit, f" ({unit})") if step.in_trader_unit else {})
        for step in prediction.steps
    }
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("ahead")
    frame.attrs = {
        "unit": prediction.unit,
        "trader_unit": unit,
        "trader_statistic": prediction.trader_statistic,
        "last": prediction.last,
        "warnings": [*warnings, *prediction.warnings],
    }
    return frame


def _long(made: Sequence[Prediction], warnings: tuple[str, ...]) -> pd.DataFrame:
    """Return the steps of several symbols below each other."""
    frames = {one.symbol: _frame(one, ()) for one in made}
    frame = pd.concat(frames, names=["symbol"])
    frame.attrs = frames[made[0].symbol].attrs | {
        "last": {one.symbol: one.last for one in made},
        "warnings": [*warnings, *(f"{one.symbol}: {w}" for one in made for w in one.warnings)],
    }
    return frame


def _columns(bounds: Bounds, suffix: str = "") -> dict[str, float]:
    return {
        f"forecast{suffix}": bounds.forecast,
        f"low{suffix}": bounds.low,
        f"high{suffix}": bounds.high,
        **{f"q{level}{suffix}": value for level, value in bounds.quantiles.items()},
    }
