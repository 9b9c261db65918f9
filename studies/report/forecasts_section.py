"""The section of a report on the forecasts of the holdout, in the unit of a trader."""

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.features import TARGETS
from puffin.studies.report.build import Report
from puffin.studies.report.document import Block, Heading, Section, Table, Text
from puffin.studies.report.figures.registry import Drawn, show
from puffin.studies.report.panels import LEVEL, Panel, holdout_panels
from puffin.studies.report.units import UNITS
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, percent, printable, when

# Bars in the table.
_ROWS = 5


def forecasts_section(study: StoredStudy, report: Report, drawn: Drawn) -> Section:
    """Return the section with the forecasts of the holdout."""
    panels = holdout_panels(study, report)
    return Section(
        "Forecasts",
        [
            *show("recent.svg", drawn),
            *show("forecasts.svg", drawn),
            Text(_explained(study, panels)),
            *(block for panel in panels for block in _last_of(study, report, panel)),
        ],
    )


def _last_of(study: StoredStudy, report: Report, panel: Panel) -> list[Block]:
    """Return the last bars of a symbol as a table, of a basket under the name of the symbol."""
    heading = [Heading(printable(panel.symbol))] if report.is_basket else []
    return [*heading, _last_bars(study, panel.last(_ROWS))]


def _explained(study: StoredStudy, panels: list[Panel]) -> str:
    """Return what a forecast is, what persistence is, and what the band held."""
    data = study.spec.data
    bars = counted(data.horizon, "bar")
    said = f"Each forecast is made {bars} ahead. Persistence expects no change from the last value."
    if TARGETS[data.target].is_move:
        said = f"Each forecast is made {bars} ahead. Persistence expects a {data.target} of zero."
    if (statistic := study.spec.trader_statistic) == "median":
        said += (
            f" A forecast of the {data.target} is a median: the network forecasts the middle of "
            f"its logarithm, so the {data.target} is as often above it as below, and on average "
            "larger."
        )
    elif statistic is not None:
        said += (
            f" A forecast of the {data.target} is a {statistic}, because the loss "
            f"{study.spec.training.loss} is of its square, so the {data.target} is on average "
            "smaller."
        )
    if any(panel.outer is not None for panel in panels):
        said += " The dashed lines are the lowest and the highest quantile of the networks."
    banded = [panel for panel in panels if panel.band is not None]
    if banded:
        of = np.array([len(panel.dates) for panel in banded])
        inside = float(np.average([panel.inside for panel in banded], weights=of))
        said += (
            f" The band is as wide as the errors before each bar were, in units of the volatility "
            f"then; it held {percent(inside)} of the bars of the holdout, and was meant to hold "
            f"{percent(LEVEL, 0)}."
        )
    return said


def _last_bars(study: StoredStudy, panel: Panel) -> Table:
    data = study.spec.data
    unit, to_price = UNITS[data.target], TARGETS[data.target].to_price
    band = panel.band or (np.full(len(panel.dates), np.nan),) * 2
    columns: dict[str, list[str]] = {
        "bar": [when(date) for date in panel.dates],
        " ".join(filter(None, [study.spec.trader_statistic, f"forecast, {unit.name}"])): unit.write(
            panel.forecast
        ),
        f"{percent(LEVEL, 0)} from": unit.write(band[0]),
        "to": unit.write(band[1]),
        "persistence": unit.write(panel.persistence),
        "actual": unit.write(panel.actual),
    }
    if to_price is not None and TARGETS[data.target].is_move:
        last, price = _closes_before(study, panel.symbol, len(panel.dates)), UNITS["price"]
        columns["forecast price"] = price.write(to_price(panel.forecast, last))
        columns["actual price"] = price.write(to_price(panel.actual, last))
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def _closes_before(study: StoredStudy, symbol: str, bars: int) -> Floats:
    """Return the closes from which the last forecasts of a symbol's holdout start."""
    holdout = study.holdout_dataset
    part = next(part for part in holdout.parts[0] if part.member.symbol == symbol)
    stop = part.fold.valid.stop - holdout.horizon
    return part.member.closes[stop - bars : stop]
