"""Forecasts that another program made, joined to the scored targets of a study.

They are a CSV with the columns date, forecast and, if the study has several symbols, symbol; for a
study of quantiles forecast is the median, and each other quantile has a column, such as q0.05. They
are kept with the study, so that every later report has them.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.studies.dataset import Dataset
from puffin.studies.forecast_table import column_of, from_columns, quantile_columns
from puffin.studies.openings import Opening, insert
from puffin.studies.prices.snapshot import sha256
from puffin.studies.records import OutsideRecord, write_outside
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import store_page
from puffin.studies.storage.database import transaction
from puffin.studies.study import StoredStudy
from puffin.studies.text import counted, printable, when

# A file of forecasts of 1,000 symbols over ten years has half of this.
_MOST_BYTES = 200 * 2**20
# Longest name, and most dates that a message names.
_MOST_NAME, _MOST_NAMED = 40, 5
# Characters of a wrong value in a message.
_MOST_SHOWN = 200
# Squares of losses below this limit are finite.
_MOST_LOSS = 1e150


class OutsideError(PuffinError):
    """A file of forecasts cannot be judged; the message names it."""


@dataclass(frozen=True)
class OutsideFile:
    """A file of forecasts that is to be judged.

    Attributes
    ----------
    name : what a report calls it
    body : its content
    trained_until : last day of which its model had seen data; None if it is not said
    """

    name: str
    body: bytes
    trained_until: str | None

    @classmethod
    def read(cls, path: Path, trained_until: str | None) -> "OutsideFile":
        """Read a file, whose name without its suffix is the name of the forecasts.

        Raises
        ------
        OutsideError
            If it cannot be read, is too large, or has an unusable name.
        """
        name = path.name.split(".")[0]
        if not 0 < len(name) <= _MOST_NAME or name != printable(name):
            msg = (
                f"a report calls forecasts by the name of their file, which should have 1 to "
                f"{_MOST_NAME} printable characters before the first dot, but is {path.name!r}; "
                "rename it"
            )
            raise OutsideError(msg)
        try:
            with path.open("rb") as file:
                body = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise OutsideError(f"cannot read {path}: {error.strerror}; check its path") from None
        if len(body) > _MOST_BYTES:
            raise OutsideError(f"{path} has more than {_MOST_BYTES} bytes; give fewer columns")
        return cls(name, body, trained_until)


def targets(judged: Sequence[Dataset]) -> pd.DataFrame:
    """Return date and symbol of every scored target of datasets, in their order."""
    found = [
        pd.DataFrame({"date": dates, "symbol": symbols})
        for dataset in judged
        for dates, symbols in zip(dataset.scored_dates, dataset.scored_symbols, strict=True)
    ]
    return pd.concat(found, ignore_index=True)


def join(body: bytes, label: str, judged: Sequence[Dataset]) -> list[Floats]:
    """Return the forecasts of a file, one array (targets,) or (targets, level) for each dataset.

    Rows of other dates and symbols are not read, and neither are other columns.

    Parameters
    ----------
    body : bytes
        The file.
    label : str
        Its name in messages.
    judged : sequence of Dataset
        With one fold each.

    Raises
    ------
    OutsideError
        If a column is missing, a cell cannot be read, or a target has no forecast or two.
    """
    is_basket = any(dataset.is_basket for dataset in judged)
    wanted, levels = targets(judged), judged[0].spec.training.quantiles
    keys = ["date", "symbol"] if is_basket else ["date"]
    numbers = ["forecast", *quantile_columns(levels)]
    rows = _rows(body, label, keys, numbers).merge(wanted[keys], on=keys)
    twice = rows[rows.duplicated(keys, keep="first")].drop_duplicates(keys)
    if len(twice):
        raise OutsideError(f"{label} has more than one forecast of {_named(twice)}; keep one")
    joined = wanted.merge(rows, on=keys, how="left")
    missing = joined[joined.forecast.isna()]
    if len(missing):
        msg = (
            f"{label} lacks {counted(len(missing), 'forecast')} of {len(wanted)}, of "
            f"{_named(missing if is_basket else missing[['date']])}; `tuner targets` lists all"
        )
        raise OutsideError(msg)
    ends = np.cumsum([sum(map(len, dataset.scored_dates)) for dataset in judged])[:-1]
    found = np.split(from_columns(joined, levels), ends)
    if levels:
        _require_ascending(joined, levels, label)
    for dataset, values in zip(judged, found, strict=True):
        _require_finite(dataset, values, label)
    return found


def _require_ascending(joined: pd.DataFrame, levels: Sequence[float], label: str) -> None:
    """Require that no quantile is below one of a lower level."""
    falls = np.diff(from_columns(joined, levels), axis=1) < 0
    if falls.any():
        row, place = (int(found) for found in np.argwhere(falls)[0])
        low, high = (column_of(level) for level in levels[place : place + 2])
        date, (lower, upper) = when(joined.date[row]), (joined[name][row] for name in (low, high))
        raise OutsideError(
            f"{label}: of {date}, {low} is {lower:g}, which is above {high} = {upper:g}; quantiles "
            "should ascend with their level"
        )


def _require_finite(dataset: Dataset, values: Floats, label: str) -> None:
    """Require losses that are numbers: one that is not would be no forecast of the target."""
    with np.errstate(all="ignore"):
        (losses,) = dataset.bar_losses([values])
    if not (losses < _MOST_LOSS).all():
        at = int((losses < _MOST_LOSS).argmin())
        date, value = when(dataset.scored_dates[0][at]), _shown(values[at])
        msg = (
            f"{label}: the forecast of {date} is {value}, "
            f"too far from any {dataset.spec.data.target} to have a loss; check its unit"
        )
        raise OutsideError(msg)


def _shown(values: Floats) -> str:
    """Return a forecast, or its quantiles, as text."""
    return ", ".join(f"{value:g}" for value in np.atleast_1d(values))


def _rows(body: bytes, label: str, keys: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a file: date, symbol if it is asked for, and the columns of numbers."""
    try:
        text = body.decode("utf-8-sig")
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, index_col=False)
    except UnicodeDecodeError:
        raise OutsideError(f"{label} is not UTF-8 text; save it as UTF-8") from None
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise OutsideError(f"{label} is not a CSV: {str(error).strip()}") from None
    needed = [*keys, *numbers]
    if any(name not in frame for name in needed):
        has = ", ".join(map(str, frame))
        raise OutsideError(
            f"{label} needs the columns {', '.join(needed)}, but has {printable(has)[:_MOST_SHOWN]}"
        )
    times = pd.to_datetime(frame.date, format="ISO8601", errors="coerce", utc=True)
    _require(times.notna(), frame.date, label, "a time like 2012-01-31 or 2012-01-31 09:30:00")
    found = frame[needed].assign(date=times.dt.tz_localize(None))
    for name in numbers:
        found[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        finite = pd.Series(np.isfinite(found[name].to_numpy()), frame.index)
        _require(finite, frame[name], label, "a finite number")
    return found


def _require(valid: "pd.Series[bool]", cells: "pd.Series[str]", label: str, rule: str) -> None:
    """Require that all cells of a column are valid; the message names the first line."""
    if not valid.all():
        at = int(valid.to_numpy().argmin())
        value = printable(cells.iloc[at])[:_MOST_SHOWN]
        raise OutsideError(f"{label}, line {at + 2}: {cells.name} = {value!r}: should be {rule}")


def _named(rows: pd.DataFrame) -> str:
    """Return the targets of rows, such as ``2012-01-03 of AAPL and 7 more``."""
    first = rows.head(_MOST_NAMED)
    names = [
        when(row["date"]) + (f" of {printable(row['symbol'])}" if "symbol" in row else "")
        for row in first.to_dict("records")
    ]
    more = f" and {len(rows) - len(first)} more" if len(rows) > len(first) else ""
    return ", ".join(names) + more


def stored(study: StoredStudy, of: str) -> dict[str, OutsideFile]:
    """Return the files that are judged in every report on a study, by name.

    Parameters
    ----------
    study : StoredStudy
    of : str
        ``holdout`` or ``walk``.
    """
    return {
        each.name: OutsideFile(each.name, study.store.read(each.artifact), each.trained_until)
        for each in OutsideRecord.read(study.optuna_study)
        if each.of == of
    }


def store(
    study: StoredStudy, of: str, files: Iterable[OutsideFile], openings: Iterable[Opening]
) -> None:
    """Keep files with a study, in place of earlier ones of their names, and record openings.

    Parameters
    ----------
    study : StoredStudy
    of : str
        ``holdout`` or ``walk``.
    files : iterable of OutsideFile
    openings : iterable of Opening
        Of the holdout; none for a walk, whose bars are not sealed.

    Raises
    ------
    StudyGoneError
        If the study was deleted meanwhile.
    """
    if not (files := list(files)):
        return
    with transaction(study.storage) as connection:
        registry.require(connection, study.creation_id, exclusive=True)
        records = {(each.of, each.name): each for each in OutsideRecord.read(study.optuna_study)}
        for file in files:
            earlier = records.get((of, file.name))
            key = store_page(
                connection,
                study.creation_id,
                study.optuna_study,
                f"{of}-{file.name}.csv",
                file.body,
                None if earlier is None else earlier.artifact,
            )
            digest = sha256(file.body)
            records[of, file.name] = OutsideRecord(of, file.name, file.trained_until, digest, key)
        write_outside(study.optuna_study, records.values())
        insert(connection, openings)


def is_new(study: StoredStudy, of: str, file: OutsideFile) -> bool:
    """Return whether a file has not been judged with this content and this claim yet."""
    known = {
        (each.of, each.name, each.trained_until, each.sha256)
        for each in OutsideRecord.read(study.optuna_study)
    }
    return (of, file.name, file.trained_until, sha256(file.body)) not in known
