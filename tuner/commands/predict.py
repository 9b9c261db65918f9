"""`tuner predict`: what an exported model says of the bars to come, and what that rests on."""

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
from puffin.studies.prices.validation import DataError
from puffin.studies.text import percent, printable, when
from puffin.tuner.commands import tables
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
    """Forecast with the model of an export.

    Raises
    ------
    PuffinError
        If the folder is no export, or its model cannot forecast so far from these prices.
    """
    exported = load_exported(folder)
    prices = _prices(exported, csv, symbol)
    today = datetime.now().astimezone().date()
    wanted = exported.spec.data.horizon if steps is None else steps
    found = forecast.predict(exported, prices.frame, wanted, level, today)
    warnings = [*prices.warnings, *found.warnings]
    for line in (
        *filter(None, [added_note(folder, exported.files)]),
        *(f"prices: {line}" for line in prices.fetch_notes),
        *(f"warning: {line}" for line in warnings),
        *_basis(found, prices.origin, own=csv is None and symbol is None),
    ):
        click.echo(printable(line), err=True)
    if as_json:
        values = found.to_json() | {"origin": prices.origin, "warnings": warnings}
        click.echo(json.dumps(values, indent=2, allow_nan=False))
    else:
        stdout().print(_prediction_table(found))


def _prices(exported: Exported, csv: Path | None, symbol: str | None) -> Prices:
    """Load the prices to forecast from: a file, a symbol of the study's source, or its own."""
    data = exported.spec.data
    if csv is not None:
        return load_prices(
            "csv", path=csv, extra=data.extra, columns=data.columns, needs=data.needs
        )
    if symbol is not None:
        if data.source == "csv" and (names := [*data.extra, *data.file_columns]):
            msg = (
                f"the model reads {', '.join(names)} of its file beside the prices; give "
                "--csv FILE with these columns"
            )
            raise DataError(msg)
        source = "sample" if data.source == "csv" else data.source
        return load_prices(
            source, symbol, interval=data.interval, extra=data.extra, needs=data.needs
        )
    origin = f"the export's own copy of {exported.record.data.origin}"
    return Prices(exported.prices, (), origin)


def _basis(found: Prediction, origin: str, *, own: bool) -> list[str]:
    """Say what a forecast rests on: bars of what age, intervals of what worth."""
    days = abs(found.age_days)
    side = "after" if found.age_days < 0 else "before"
    age = "today" if not days else f"{days} day{'s' * (days > 1)} {side} today"
    newer = "; --csv FILE or --symbol S takes newer ones" if own else ""
    lines = [f"the last bar of {origin} is {when(found.last)}, {age}{newer}", _intervals(found)]
    if found.coverage is not None:
        share, bars = percent(found.coverage.share), found.coverage.bars
        lines.append(f"made without the holdout's own, they held {share} of its {bars} bars")
    return lines


def _intervals(found: Prediction) -> str:
    made = f"{percent(found.level)} intervals from {found.residuals} out-of-sample errors"
    if len(found.steps) <= found.horizon:
        return made
    return f"{made}; beyond {found.horizon} ahead the forecasts are fed back, with drawn errors"


def _prediction_table(found: Prediction) -> Table:
    """List the bars that are forecast, each with its interval."""
    columns = ["bars ahead", found.unit, "low", "high"]
    rows = _alike([step.value for step in found.steps])
    if found.trader_unit is not None:
        columns += [found.trader_unit, "low", "high"]
        plain = _alike([step.in_trader_unit for step in found.steps if step.in_trader_unit])
        rows = [own + other for own, other in zip(rows, plain, strict=True)]
    table = tables.new_table(*columns)
    for step, row in zip(found.steps, rows, strict=True):
        table.add_row(str(step.ahead), *row)
    return table


def _alike(steps: Sequence[Bounds]) -> list[list[str]]:
    """Write numbers with as many decimals each as show five digits of the largest."""
    numbers = np.array([[b.forecast, b.low, b.high] for b in steps])
    largest = float(np.abs(numbers).max())
    decimals = max(4 - math.floor(math.log10(largest)), 0) if 0 < largest < math.inf else 4
    return [[f"{number:.{decimals}f}" for number in row] for row in numbers]
