"""The forecasts of a trial as a picture, drawn from their table when it is looked at."""

import io

import numpy as np
import pandas as pd
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from puffin.studies.forecast_table import from_columns, levels_of
from puffin.studies.report.figures.style import BLUE, ORANGE, PAPER, TRUTH, style_axes
from puffin.studies.report.units import UNITS
from puffin.studies.text import printable

# Inches, and points per inch.
_WIDTH, _DPI = 8.2, 110
_MOST_FOLDS = 6


def draw_forecasts(table: bytes, target: str) -> bytes:
    """Return the forecasts of the last folds beside actual values and persistence, as PNG.

    Between the lowest and the highest quantile, if there are some, the area is shaded.

    Parameters
    ----------
    table : bytes
        As `puffin.studies.dataset.Dataset.forecasts_csv` returns it.
    target : str
        A key of ``TARGETS``.
    """
    frame, unit = pd.read_csv(io.BytesIO(table), parse_dates=["date"]), UNITS[target]
    of = ""
    if "symbol" in frame:  # of a basket the first symbol is drawn
        of = f" of {printable(frame['symbol'].iloc[0])}"
        frame = frame[frame["symbol"] == frame["symbol"].iloc[0]]
    folds = list(frame.groupby("fold"))[-_MOST_FOLDS:]
    figure = Figure((_WIDTH, 1.9 * len(folds) + 0.6), layout="constrained", facecolor=PAPER)
    grid = figure.subplots(len(folds), 1, squeeze=False)
    with np.errstate(over="ignore"):  # a forecast that is far too large overflows
        for (number, rows), (axes,) in zip(folds, grid, strict=True):
            for name, colour, dashes, width in (
                ("actual", TRUTH, "-", 1.0),
                ("persistence", ORANGE, ":", 1.1),
                ("forecast", BLUE, "-", 1.6),
            ):
                values = unit.convert(rows[name].to_numpy(np.float64))
                axes.plot(rows["date"], values, color=colour, ls=dashes, lw=width, label=name)
            if levels := levels_of(rows):
                low, *_, high = unit.convert(from_columns(rows, levels)).T
                axes.fill_between(rows["date"], low, high, color=BLUE, alpha=0.15, lw=0)
            style_axes(axes, "", f"fold {number}: {unit.label}{of}")
            locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(
                ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
            )
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
