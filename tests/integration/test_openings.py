"""Openings of a holdout are counted over all studies of a database and never deleted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage

from puffin.studies.copy import copy
from puffin.studies.lifecycle import delete, submit
from puffin.studies.openings import Opening, before, holdout_sha256, insert, looks_at, new_opening
from puffin.studies.prices.basket import Basket
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.storage.database import open_storage, transaction
from puffin.studies.study import StoredStudy, load
from tests.integration.helpers import basket_of


def look(study: StoredStudy, trial: int = 0) -> Opening:
    """Record that the bars of a study were looked at."""
    opening = new_opening(study, trial, {"cell": "gru"})
    with transaction(study.storage) as connection:
        insert(connection, [opening])
    return opening


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"data": {"features": ["range", "volume"], "target": "range"}}, True),
        ({"data": {"horizon": 3, "start": "2011-07-01"}}, True),
        ({"walk_forward": {"holdout_bars": 21}}, False),
    ],
)
def test_bars_are_the_same_whatever_is_forecast_from_them(
    *, tmp_path: Path, tiny: Spec, prices: Basket, changes: dict[str, Any], same: bool
) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'own.db'}", create=True)
    values = tiny.to_json() | {"name": "other"}
    for section, change in changes.items():
        values[section] = values[section] | change
    spec = parse_spec(values, "other")
    shorter = basket_of(prices.frames["AAPL"].loc[str(spec.data.start) :])
    one, other = submit(storage, tiny, prices), submit(storage, spec, shorter)
    assert (holdout_sha256(one) == holdout_sha256(other)) is same
    opening = look(one)
    assert looks_at(other) == ([opening] if same else [])


def test_other_prices_of_the_same_days_are_other_bars(
    make_study: Callable[..., StoredStudy], prices: Basket
) -> None:
    one = make_study("one")
    prices.frames["AAPL"].loc[prices.frames["AAPL"].index[-1], "close"] += 0.01
    assert holdout_sha256(make_study("two")) != holdout_sha256(one)


def test_openings_are_ordered_and_outlive_their_study(
    storage: RDBStorage, make_study: Callable[..., StoredStudy]
) -> None:
    one, two = make_study("one"), make_study("two")
    expected = [look(one, 3), look(two, 1), look(one, 5)]
    assert looks_at(one) == looks_at(two) == expected
    assert [(o.study, o.trial, o.config) for o in expected] == [
        ("one", 3, {"cell": "gru"}),
        ("two", 1, {"cell": "gru"}),
        ("one", 5, {"cell": "gru"}),
    ]
    assert before(expected, expected[2].opening_id) == expected[:2]
    delete(storage, "one")
    again = make_study("one")
    assert again.creation_id != one.creation_id
    assert looks_at(again) == expected


def test_copying_openings_back_and_forth_duplicates_none(
    storage: RDBStorage, make_study: Callable[..., StoredStudy], tmp_path: Path
) -> None:
    one, two = make_study("one"), make_study("two")
    expected = [look(one), look(two)]
    elsewhere = open_storage(f"sqlite:///{tmp_path / 'elsewhere.db'}", create=True)
    copy(one, elsewhere)
    there = load(elsewhere, "one")
    assert looks_at(there) == expected
    expected.append(look(there, 7))
    delete(storage, "one")
    copy(there, storage)
    assert looks_at(load(storage, "one")) == looks_at(two) == expected
