"""`tuner predict`: the forecasts of an exported model, and what they are based on."""

import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from puffin.studies.export.checksums import added_note
from puffin.studies.export.forecast import Bounds, Prediction, Predictions, predict_each
from puffin.studies.export.read import Exported, load_exported
from puffin.studies.prices.basket import Basket, load_basket
from puffin.studies.prices.load import Prices, load_prices
from puffin.studies.prices.names import DataError
from puffin.studies.prices.request import PriceRequest
from puffin.studies.prices.sources import SOURCES
from puffin.studies.text import counted, in_words, level_in_percent, percent, printable, when
from puffin.tuner.columns import new_table, print_rows
from puffin.tuner.messages import stdout


def predict(
    folder: Path,
    csv: Path | None,
    symbols: Sequence[str],
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
    basket = _prices(exported, csv, symbols)
    today = datetime.now().astimezone().date()
    count = exported.spec.data.horizon if steps is None else steps
    found = predict_each(exported, basket.frames, count, level, today)
    warnings = [*basket.warnings, *_warnings(exported, found)]
    for line in (
        *filter(None, [added_note(folder, exported.files)]),
        *(f"prices: {line}" for line in basket.fetch_notes),
        *(f"warning: {line}" for line in warnings),
        *_basis(exported, found, basket.origin, is_exported=csv is None and not symbols),
    ):
        click.echo(printable(line), err=True)
    if as_json:
        values = found.to_json() if exported.is_basket else found.made[0].to_json()
        values |= {"origin": basket.origin, "warnings": warnings}
        click.echo(json.dumps(values, indent=2, allow_nan=False))
    elif exported.is_basket:
        _print_symbols(found)
        _print_quantiles(found)
    else:
        stdout().print(_prediction_table(found.made[0]))
        _print_quantiles(found)


def _prices(exported: Exported, csv: Path | None, symbols: Sequence[str]) -> Basket:
    """Return the prices of a file, of symbols of the study's source, or of the export."""
    if csv is None and not symbols:
        copy = "the export's copy"
        origin = f"{copy} of {exported.record.data.origin}"
        frames = exported.prices
        return Basket({s: Prices(frame, (), origin) for s, frame in frames.items()}, copy)
    source, request = _request(exported, csv, symbols)
    if exported.is_basket:
        return load_basket(source, request, [_as_trained(exported, symbol) for symbol in symbols])
    if len(symbols) > 1:
        msg = f"the model is of one symbol, but --symbol names {in_words(symbols)}; name one"
        raise DataError(msg)
    # Whatever its name, it is forecast as the symbol of the study.
    return Basket({exported.spec.data.only_symbol: load_prices(source, request)})


def _request(
    exported: Exported, csv: Path | None, symbols: Sequence[str]
) -> tuple[str, PriceRequest]:
    """Return the source to load from, and what is requested of it."""
    data = exported.spec.data
    if csv is not None:
        return "csv", PriceRequest(
            path=csv, extra=data.extra, columns=data.columns, needs=data.needs
        )
    reads_files = SOURCES[data.source].needs_path
    if reads_files and (names := [*data.extra, *data.file_columns]):
        msg = (
            f"the model reads the columns {', '.join(names)} of a file; give --csv FILE with "
            "these columns"
        )
        raise DataError(msg)
    source = "sample" if reads_files else data.source
    return source, PriceRequest(
        symbols[0], interval=data.interval, extra=data.extra, needs=data.needs
    )


def _as_trained(exported: Exported, symbol: str) -> str:
    """Return a symbol as the study spells it; services ignore the case."""
    key = SOURCES[exported.spec.data.source].key
    return {key(known): known for known in exported.prices}.get(key(symbol), symbol)


def _warnings(exported: Exported, found: Predictions) -> Iterator[str]:
    """Yield what may be misleading; of several symbols, each line begins with its symbol."""
    yield from found.warnings
    for one in found.made:
        of = f"{one.symbol}: " * exported.is_basket
        yield from (f"{of}{line}" for line in one.warnings)
    for symbol, cause in found.causes.items():
        yield f"{symbol} is not forecast: {cause}"


def _basis(exported: Exported, found: Predictions, origin: str, *, is_exported: bool) -> list[str]:
    """Return the age of the last bar, and the origin and coverage of the intervals."""
    newest = max(found.made, key=lambda one: one.last)
    days = abs(newest.age_days)
    side = "after" if newest.age_days < 0 else "before"
    age = "today" if not days else f"{counted(days, 'day')} {side} today"
    newer = "; use --csv FILE or --symbol S for newer bars" if is_exported else ""
    lines = [f"the last bar of {origin} is {when(newest.last)}, {age}{newer}"]
    lines.append(_intervals(found.made, is_basket=exported.is_basket))
    if coverages := [one.coverage for one in found.made if one.coverage is not None]:
        bars = sum(coverage.bars for coverage in coverages)
        share = sum(coverage.share * coverage.bars for coverage in coverages) / bars
        lines.append(
            f"made like this before each of the {bars} bars of the holdout, intervals contain "
            f"{percent(share)} of them"
        )
    return lines


def _intervals(made: Sequence[Prediction], *, is_basket: bool) -> str:
    one = made[0]
    errors = " and ".join(_errors(made)) if is_basket else f"{one.residuals} out-of-sample errors"
    text = f"{percent(one.level)} intervals from {errors}, scaled by recent volatility"
    if len(one.steps) <= one.horizon:
        return text
    return (
        f"{text}; beyond {counted(one.horizon, 'bar')} ahead each forecast is made from the "
        "forecasts before it, with errors drawn from these, as if volatility stayed as it is"
    )


def _errors(made: Sequence[Prediction]) -> Iterator[str]:
    """Yield whose errors the intervals of several symbols are built from."""
    if counts := sorted({one.residuals for one in made if one.has_own_residuals}):
        numbers = " to ".join(map(str, counts[:: max(len(counts) - 1, 1)]))
        yield f"{numbers} out-of-sample errors of each symbol"
    if pooled := [one for one in made if not one.has_own_residuals]:
        names = in_words([one.symbol for one in pooled])
        yield f"the {pooled[0].residuals} of all symbols for {names}"


def _print_symbols(found: Predictions) -> None:
    """Print a table of the forecast bars of several symbols, in the unit of traders if any."""
    first = found.made[0]
    columns = ["symbol", "last bar", "ahead", _trader_unit(first) or first.unit, "low", "high"]
    rows = [row for one in found.made for row in _rows(one)]
    if all(one.is_seen for one in found.made):
        rows = [row[:-1] for row in rows]
    else:
        columns.append("scored")
    print_rows(stdout(), columns, rows, ["last bar"])


def _print_quantiles(found: Predictions) -> None:
    """Print a table of the quantiles that the networks forecast, if they do."""
    steps = [(one.symbol, step) for one in found.made for step in one.steps]
    rows = [
        (symbol, step.ahead, (step.in_trader_unit or step.value).quantiles)
        for symbol, step in steps
        if step.value.quantiles
    ]
    if not rows:
        return
    numbers = _decimals([[*quantiles.values()] for _, _, quantiles in rows])
    keys, header = [[symbol, str(ahead)] for symbol, ahead, _ in rows], ["symbol", "ahead"]
    if len(found.made) == 1:
        keys, header = [[ahead] for _, ahead in keys], ["bars ahead"]
    levels = [level_in_percent(float(level)) for level in rows[0][2]]
    cells = [[*key, *row] for key, row in zip(keys, numbers, strict=True)]
    first = found.made[0]
    ahead = f", up to {counted(first.horizon, 'bar')} ahead" * (len(first.steps) > first.horizon)
    stdout().print(f"quantiles of the networks, {_unit(first)}{ahead}:")
    print_rows(stdout(), [*header, *levels], cells, [])


def _unit(one: Prediction) -> str:
    return one.trader_unit or one.unit


def _trader_unit(one: Prediction) -> str:
    """Return the unit of traders, after what a forecast in it is."""
    return " ".join(filter(None, [one.trader_statistic, one.trader_unit]))


def _rows(one: Prediction) -> Iterator[list[str]]:
    """Yield the row of each step; the last cell says whether scores vouch for the symbol."""
    numbers = _formatted([step.in_trader_unit or step.value for step in one.steps])
    for step, row in zip(one.steps, numbers, strict=True):
        yield [one.symbol, when(one.last), str(step.ahead), *row, "yes" if one.is_seen else "no"]


def _prediction_table(prediction: Prediction) -> Table:
    """Return a table of the forecast bars with their intervals."""
    columns = ["bars ahead", prediction.unit, "low", "high"]
    rows = _formatted([step.value for step in prediction.steps])
    if prediction.trader_unit is not None:
        columns += [_trader_unit(prediction), "low", "high"]
        bounds = [step.in_trader_unit for step in prediction.steps if step.in_trader_unit]
        rows = [left + right for left, right in zip(rows, _formatted(bounds), strict=True)]
    table = new_table(*columns)
    for step, row in zip(prediction.steps, rows, strict=True):
        table.add_row(str(step.ahead), *row)
    return table


def _formatted(steps: Sequence[Bounds]) -> list[list[str]]:
    return _decimals([[b.forecast, b.low, b.high] for b in steps])


def _decimals(rows: Sequence[Sequence[float]]) -> list[list[str]]:
    """Return all numbers with the same decimals, so that the largest has five digits."""
    numbers = np.array(rows)
    largest = float(np.abs(numbers).max())
    decimals = max(4 - math.floor(math.log10(largest)), 0) if 0 < largest < math.inf else 4
    return [[f"{number:.{decimals}f}" for number in row] for row in numbers]
