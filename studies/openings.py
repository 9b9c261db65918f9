"""Who has looked at the bars of a holdout, over all studies of a database.

Two studies that judge their winners on the same bars have looked at them twice, whatever their
names, features and targets are. A look is never forgotten: it stays when its study is deleted, and
goes along when a study is copied.
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

from puffin.studies.prices.snapshot import sha256, to_csv
from puffin.studies.storage.tables import openings
from puffin.studies.study import StoredStudy

# Only these have an INSERT that skips rows that are there.
_INSERT: dict[str, Callable[..., Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True)
class Opening:
    """One look at a holdout: the first reading of what it shows of a winner.

    Attributes
    ----------
    opening_id : the same in every copy
    holdout_sha256 : of the bars, as `holdout_sha256` computes it
    study, creation_id : whose winner was judged, when it was submitted
    time : ISO 8601 in UTC, to the microsecond, so that later times sort later
    trial, config : the winner
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

    Bars in front that are not scored, and columns that only some features read, make no other
    holdout of it.
    """
    bars = study.load_holdout_prices()[["close"]]
    return sha256(to_csv(bars.iloc[-study.spec.walk_forward.holdout_bars :]))


def new_opening(study: StoredStudy, trial: int, config: dict[str, Any]) -> Opening:
    """Make the record of an opening that happens now."""
    return Opening(
        opening_id=uuid.uuid4().hex,
        holdout_sha256=holdout_sha256(study),
        study=study.name,
        creation_id=study.creation_id,
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
        trial=trial,
        config=config,
    )


def insert(connection: sa.Connection, new: Iterable[Opening]) -> None:
    """Write openings in the transaction that is under way; those that are there stay."""
    rows = [asdict(opening) | {"config": json.dumps(opening.config)} for opening in new]
    if rows:
        statement = _INSERT[connection.dialect.name](openings)
        connection.execute(statement.on_conflict_do_nothing(), rows)


def looks_at(study: StoredStudy) -> list[Opening]:
    """Return every look at the bars that judge a search, the first one first."""
    return read_openings(study.storage, holdout_sha256(study))


def read_openings(storage: RDBStorage, holdout: str) -> list[Opening]:
    """Return every look at the bars of a fingerprint, the first one first."""
    query = (
        sa.select(openings)
        .where(openings.c.holdout_sha256 == holdout)
        .order_by(openings.c.time, openings.c.opening_id)
    )
    with storage.engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return [Opening(**{**row, "config": json.loads(row["config"])}) for row in rows]


def before(looks: Sequence[Opening], own: str) -> list[Opening]:
    """Return the looks that came before the one of an id."""
    ids = [look.opening_id for look in looks]
    return list(looks[: ids.index(own)])
