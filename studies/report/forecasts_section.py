"""The section of a report on the forecasts of the holdout, in the unit of a trader."""

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.features import TARGETS
from puffin.studies.report.build import Report
from puffin.studies.report.document import Section, Table, Text
from puffin.studies.report.figures.registry import Drawn, show
from puffin.studies.report.panels import LEVEL, Panel, holdout_panel
from puffin.studies.report.units import UNITS
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, percent, when

# Bars in the table.
_ROWS = 5


def forecasts_section(study: StoredStudy, report: Report, drawn: Drawn) -> Section:
    """Return the section with the forecasts of the holdout."""
    panel = holdout_panel(study, report)
    return Section(
        "Forecasts",
        [
            *show("recent.svg", drawn),
            *show("forecasts.svg", drawn),
            Text(_explained(study, panel)),
            _last_bars(study, panel.last(_ROWS)),
        ],
    )


def _explained(study: StoredStudy, panel: Panel) -> str:
    """Return what a forecast is, what persistence is, and what the band held."""
    data = study.spec.data
    bars = counted(data.horizon, "bar")
    said = f"Each forecast is made {bars} ahead. Persistence expects no change from the last value."
    if TARGETS[data.target].is_move:
        said = f"Each forecast is made {bars} ahead. Persistence expects a {data.target} of zero."
    if data.target == "range":
        said += (
            " A forecast of the range is a median: the network forecasts the middle of its "
            "logarithm, so the range is as often above it as below, and on average larger."
        )
    if panel.band is not None:
        said += (
            f" The band is as wide as the errors on the search folds were; it held "
            f"{percent(panel.inside)} of the bars of the holdout, and was meant to hold "
            f"{percent(LEVEL, 0)}."
        )
    return said


def _last_bars(study: StoredStudy, panel: Panel) -> Table:
    data = study.spec.data
    unit, to_price = UNITS[data.target], TARGETS[data.target].to_price
    band = panel.band or (np.full(len(panel.dates), np.nan),) * 2
    columns: dict[str, list[str]] = {
        "bar": [when(date) for date in panel.dates],
        f"forecast, {unit.name}": unit.write(panel.forecast),
        f"{percent(LEVEL, 0)} from": unit.write(band[0]),
        "to": unit.write(band[1]),
        "persistence": unit.write(panel.persistence),
        "actual": unit.write(panel.actual),
    }
    if to_price is not None and TARGETS[data.target].is_move:
        last, price = _closes_before(study, len(panel.dates)), UNITS["price"]
        columns["forecast price"] = price.write(to_price(panel.forecast, last))
        columns["actual price"] = price.write(to_price(panel.actual, last))
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def _closes_before(study: StoredStudy, bars: int) -> Floats:
    """Return the closes from which the last forecasts of the holdout start."""
    holdout = study.holdout_dataset
    ((part,),) = holdout.parts
    stop = part.fold.valid.stop - holdout.horizon
    return part.member.closes[stop - bars : stop]
