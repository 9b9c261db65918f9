"""An exported forecaster for scripts and notebooks."""

from dataclasses import replace
from datetime import datetime
from os import PathLike
from pathlib import Path

import pandas as pd

from puffin.studies.export.forecast import Bounds, Prediction, predict
from puffin.studies.export.read import Exported, load_exported
from puffin.studies.prices.frame import prices_of_frame
from puffin.studies.text import signed
from puffin.tuner.api.html import table


class Forecaster:
    """An exported network with its scaler. Use `puffin.load_forecaster` to get one."""

    def __init__(self, exported: Exported) -> None:
        self._exported = exported

    def predict(
        self, prices: pd.DataFrame | None = None, *, steps: int | None = None, level: float = 0.9
    ) -> pd.DataFrame:
        """Forecast the bars after the last one.

        Parameters
        ----------
        prices : DataFrame, (bar, column), optional
            As for `puffin.search`; the export's own copy by default.
        steps : int, optional
            Bars to forecast; the horizon of the study by default.
        level : float
            Share of the bars that the intervals are to contain.

        Returns
        -------
        DataFrame, (step, column), the index "ahead" counts bars after the last known one
            Columns forecast, low and high in the target's unit, and the same with the unit of
            traders in brackets if the target has one. ``attrs`` has the units, the time of the
            last bar and the warnings.

        Raises
        ------
        PuffinError
            If the prices cannot be used, or not that many bars can be forecast from them.
        """
        exported = self._exported
        data = exported.spec.data
        bars, warnings = exported.prices, tuple[str, ...]()
        if prices is not None:
            request = replace(data.request(), start=None, end=None, period=None)
            loaded = prices_of_frame(prices, replace(request, interval="1d"))
            bars, warnings = loaded.frame, loaded.warnings
        today = datetime.now().astimezone().date()
        count = data.horizon if steps is None else steps
        prediction = predict(exported, bars, count, level, today)
        return _frame(prediction, warnings)

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
            "features": ", ".join(data.features),
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
        "last": prediction.last,
        "warnings": [*warnings, *prediction.warnings],
    }
    return frame


def _columns(bounds: Bounds, suffix: str = "") -> dict[str, float]:
    return {
        f"forecast{suffix}": bounds.forecast,
        f"low{suffix}": bounds.low,
        f"high{suffix}": bounds.high,
    }
