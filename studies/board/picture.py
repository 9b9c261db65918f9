"""The forecasts of a trial as a picture, drawn from their table when it is looked at."""

import io

import numpy as np
import pandas as pd

from puffin.studies.report.figures.style import BLUE, ORANGE, new_figure, style_axes
from puffin.studies.report.units import UNITS

_DPI = 110
_MOST_FOLDS = 6


def draw_forecasts(table: bytes, target: str) -> bytes:
    """Return the forecasts of the last folds beside actual values and persistence, as PNG.

    Parameters
    ----------
    table : bytes
        As `puffin.studies.dataset.Dataset.forecasts_csv` returns it.
    target : str
        A key of ``TARGETS``.
    """
    frame, unit = pd.read_csv(io.BytesIO(table), parse_dates=["date"]), UNITS[target]
    folds = list(frame.groupby("fold"))[-_MOST_FOLDS:]
    figure = new_figure(1.9 * len(folds) + 0.6)
    grid = figure.subplots(len(folds), 1, squeeze=False)
    with np.errstate(over="ignore"):  # a forecast that is far too large overflows
        for (number, rows), (axes,) in zip(folds, grid, strict=True):
            for name, colour, dashes, width in (
                ("actual", "#9a9a9a", "-", 1.0),
                ("persistence", ORANGE, ":", 1.1),
                ("forecast", BLUE, "-", 1.6),
            ):
                values = unit.convert(rows[name].to_numpy(np.float64))
                axes.plot(rows["date"], values, color=colour, ls=dashes, lw=width, label=name)
            style_axes(axes, f"fold {number}", "", unit.label)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
