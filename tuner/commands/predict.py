"""`tuner predict`: the forecasts of an exported model, and what they are based on."""

import json
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from puffin.studies.export import forecast
from puffin.studies.export.checksums import added_note
from puffin.studies.export.forecast import Bounds, Prediction
from puffin.studies.export.read import Exported, load_exported
from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.sources import SOURCES
from puffin.studies.prices.validation import DataError
from puffin.studies.text import counted, percent, printable, when
from puffin.tuner.columns import new_table
from puffin.tuner.messages import stdout


def predict(
    folder: Path,
    csv: Path | None,
    symbol: str | None,
    steps: int | None,
    level: float,
    *,
    as_json: bool,
) -> None:
    """Print the forecasts of an exported model.

    Raises
    ------
    PuffinError
        If the folder is not an export, or its model cannot forecast that many steps from the
        prices.
    """
    exported = load_exported(folder)
    prices = _prices(exported, csv, symbol)
    today = datetime.now().astimezone().date()
    count = exported.spec.data.horizon if steps is None else steps
    prediction = forecast.predict(exported, prices.frame, count, level, today)
    warnings = [*prices.warnings, *prediction.warnings]
    for line in (
        *filter(None, [added_note(folder, exported.files)]),
        *(f"prices: {line}" for line in prices.fetch_notes),
        *(f"warning: {line}" for line in warnings),
        *_basis(prediction, prices.origin, is_exported=csv is None and symbol is None),
    ):
        click.echo(printable(line), err=True)
    if as_json:
        values = prediction.to_json() | {"origin": prices.origin, "warnings": warnings}
        click.echo(json.dumps(values, indent=2, allow_nan=False))
    else:
        stdout().print(_prediction_table(prediction))


def _prices(exported: Exported, csv: Path | None, symbol: str | None) -> Prices:
    """Return the prices of a file, of a symbol of the study's source, or of the export."""
    data = exported.spec.data
    reads_files = SOURCES[data.source].needs_path
    if csv is not None:
        request = PriceRequest(path=csv, extra=data.extra, columns=data.columns, needs=data.needs)
        return load_prices("csv", request)
    if symbol is not None:
        if reads_files and (names := [*data.extra, *data.file_columns]):
            msg = (
                f"the model reads the columns {', '.join(names)} of a file; give --csv FILE with "
                "these columns"
            )
            raise DataError(msg)
        source = "sample" if reads_files else data.source
        request = PriceRequest(symbol, interval=data.interval, extra=data.extra, needs=data.needs)
        return load_prices(source, request)
    origin = f"the export's copy of {exported.record.data.origin}"
    return Prices(exported.prices, (), origin)


def _basis(prediction: Prediction, origin: str, *, is_exported: bool) -> list[str]:
    """Return the age of the last bar, and the origin and coverage of the intervals."""
    days = abs(prediction.age_days)
    side = "after" if prediction.age_days < 0 else "before"
    age = "today" if not days else f"{counted(days, 'day')} {side} today"
    newer = "; use --csv FILE or --symbol S for newer bars" if is_exported else ""
    lines = [f"the last bar of {origin} is {when(prediction.last)}, {age}{newer}"]
    lines.append(_intervals(prediction))
    if prediction.coverage is not None:
        share, bars = percent(prediction.coverage.share), prediction.coverage.bars
        lines.append(
            f"intervals from the errors of the search alone contain {share} of the {bars} bars of "
            "the holdout"
        )
    return lines


def _intervals(prediction: Prediction) -> str:
    level, residuals = percent(prediction.level), prediction.residuals
    text = f"{level} intervals from {residuals} out-of-sample errors"
    if len(prediction.steps) <= prediction.horizon:
        return text
    return (
        f"{text}; beyond {counted(prediction.horizon, 'bar')} ahead each forecast is made from the "
        "forecasts before it, with errors drawn from these"
    )


def _prediction_table(prediction: Prediction) -> Table:
    """Return a table of the forecast bars with their intervals."""
    columns = ["bars ahead", prediction.unit, "low", "high"]
    rows = _formatted([step.value for step in prediction.steps])
    if prediction.trader_unit is not None:
        columns += [prediction.trader_unit, "low", "high"]
        bounds = [step.in_trader_unit for step in prediction.steps if step.in_trader_unit]
        rows = [left + right for left, right in zip(rows, _formatted(bounds), strict=True)]
    table = new_table(*columns)
    for step, row in zip(prediction.steps, rows, strict=True):
        table.add_row(str(step.ahead), *row)
    return table


def _formatted(steps: Sequence[Bounds]) -> list[list[str]]:
    """Return all numbers with the same decimals, so that the largest has five digits."""
    numbers = np.array([[b.forecast, b.low, b.high] for b in steps])
    largest = float(np.abs(numbers).max())
    decimals = max(4 - math.floor(math.log10(largest)), 0) if 0 < largest < math.inf else 4
    return [[f"{number:.{decimals}f}" for number in row] for row in numbers]
