"""Openings of holdouts, over all studies of a database.

Two studies that judge their winners on the same bars have opened that holdout twice, whatever their
names, features and targets are. An opening is kept when its study is deleted, and copied with any
study that has the same holdout.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.dialects import postgresql, sqlite

from puffin.studies.bars import union_of_dates
from puffin.studies.prices.snapshot import frames_to_csv, sha256
from puffin.studies.storage.tables import openings
from puffin.studies.study import StoredStudy

# Dialects with an INSERT that skips existing rows.
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# Key of the name of outside forecasts.
_OUTSIDE = "outside"


@dataclass(frozen=True)
class Opening:
    """The first evaluation of one winner on a holdout.

    Attributes
    ----------
    opening_id : str
        The same in every copy.
    holdout_sha256 : str
        Fingerprint of the bars, from the function `holdout_sha256`.
    study, creation_id : str
        The study whose winner was evaluated.
    time : str
        ISO 8601 in UTC, to the microsecond, so that times sort as text.
    trial, config : int and dict
        The winner, or beside it the name and the sha256 of outside forecasts.
    """

    opening_id: str
    holdout_sha256: str
    study: str
    creation_id: str
    time: str
    trial: int
    config: dict[str, Any]


def holdout_sha256(study: StoredStudy) -> str:
    """Return the fingerprint of the bars that judge a search: their times and closes.

    Bars before the scored ones, and columns that only some features read, do not count.
    """
    frames = study.load_holdout_prices()
    first = union_of_dates(frames)[-study.spec.walk_forward.holdout_bars :][0]
    closes = {
        symbol: frame.loc[frame.index >= first, ["close"]] for symbol, frame in frames.items()
    }
    return sha256(frames_to_csv(closes, is_basket=len(frames) > 1))


def new_opening(study: StoredStudy, trial: int, config: dict[str, Any]) -> Opening:
    """Return the record of an opening that happens now."""
    return Opening(
        opening_id=uuid.uuid4().hex,
        holdout_sha256=holdout_sha256(study),
        study=study.name,
        creation_id=study.creation_id,
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
        trial=trial,
        config=config,
    )


def outside_opening(study: StoredStudy, trial: int, name: str, body: bytes) -> Opening:
    """Return the record of judging a file of forecasts beside a winner, which happens now."""
    return new_opening(study, trial, {_OUTSIDE: name, "sha256": sha256(body)})


def outside_name(opening: Opening) -> str | None:
    """Return the name of the outside forecasts that were judged; None for a winner alone."""
    return opening.config.get(_OUTSIDE)


def insert(connection: sa.Connection, new: Iterable[Opening]) -> None:
    """Write openings in the current transaction; existing ones are kept."""
    rows = [asdict(opening) | {"config": json.dumps(opening.config)} for opening in new]
    if rows:
        statement = _INSERT[connection.dialect.name](openings)
        connection.execute(statement.on_conflict_do_nothing(), rows)


def looks_at(study: StoredStudy) -> list[Opening]:
    """Return every opening of the bars that a search is judged on, the first one first."""
    return read_openings(study.storage, holdout_sha256(study))


def read_openings(storage: RDBStorage, holdout: str) -> list[Opening]:
    """Return every opening of the bars with a fingerprint, the first one first."""
    query = (
        sa.select(openings)
        .where(openings.c.holdout_sha256 == holdout)
        .order_by(openings.c.time, openings.c.opening_id)
    )
    with storage.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return [Opening(**{**row, "config": json.loads(row["config"])}) for row in rows]


def before(looks: Sequence[Opening], own: str) -> list[Opening]:
    """Return the openings before the one with a given id."""
    ids = [look.opening_id for look in looks]
    return list(looks[: ids.index(own)])
