"""Studies in the database: created completely, equal for all processes, deleted completely."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy as sa
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage

from puffin.models.errors import PuffinError
from puffin.studies import lifecycle
from puffin.studies.lifecycle import delete, submit
from puffin.studies.prices.basket import Basket
from puffin.studies.space import initial_points
from puffin.studies.spec import Spec, SpecError, parse_spec
from puffin.studies.storage import registry
from puffin.studies.storage.artifacts import attach
from puffin.studies.storage.checkpoints import Checkpoint, SavedCheckpoint
from puffin.studies.storage.database import open_storage, transaction
from puffin.studies.storage.tables import metadata
from puffin.studies.study import (
    HOLDOUT_FILE,
    SEARCH_FILE,
    NoStudyError,
    StoredStudy,
    StudyError,
    load,
    study_names,
)
from tests.integration.helpers import basket_of
from tests.queues import take

Crowd = Callable[..., list[Any]]


def rows(storage: RDBStorage) -> dict[str, int]:
    """Number of rows of every table of the database that has any."""
    with storage.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        counts = {
            name: connection.execute(
                sa.select(sa.func.count()).select_from(sa.table(name))
            ).scalar_one()
            for name in names
            if name not in ("alembic_version", "version_info")
        }
    return {name: count for name, count in counts.items() if count}


def other(spec: Spec, **sections: Any) -> Spec:
    """The same study with some values changed."""
    values = copy.deepcopy(spec.to_json())
    for section, changes in sections.items():
        values[section] = values[section] | changes if isinstance(changes, dict) else changes
    return parse_spec(values, "other")


def start(study: StoredStudy) -> optuna.Trial:
    """Start the next trial as a worker does."""
    return take(study.optuna_study, study.queue)


# Made once


def test_a_submitted_study_holds_all_that_a_worker_needs(
    storage: RDBStorage, url: str, tiny: Spec, prices: Basket
) -> None:
    submit(storage, tiny, prices)
    study = load(open_storage(url), "tiny")
    assert study.spec == tiny
    assert study.name == "tiny"
    assert study.trials() == []
    assert study.record.data.origin == "sample AAPL"
    assert study.record.data.bars == len(prices.frames["AAPL"])
    assert len(study.record.persistence_losses) == len(study.record.mean_losses) == 2
    assert study.optuna_study.direction == optuna.study.StudyDirection.MINIMIZE
    assert registry.total(storage, study.name) == 8
    assert isinstance(study.optuna_study.pruner, optuna.pruners.SuccessiveHalvingPruner)


def test_submitting_twice_gives_the_same_study(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    first = submit(storage, tiny, prices)
    first.queue.start_next()
    before = rows(storage)
    second = submit(storage, tiny, prices)
    assert second.optuna_study._study_id == first.optuna_study._study_id
    assert rows(storage) == before
    assert len(second.trials()) == 1
    assert study_names(storage) == ["tiny"]


def test_submit_refuses_other_settings_and_lists_the_differences(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    submit(storage, tiny, prices)
    before = rows(storage)
    changed = other(
        tiny,
        data={"horizon": 2},
        search={"trials": 9},
        space={**tiny.space, "lookback": {"low": 3, "high": 6}, "noise": 0.1},
    )
    with pytest.raises(StudyError) as caught:
        submit(storage, changed, prices)
    assert str(caught.value).splitlines() == [
        "a study 'tiny' with other settings is in the database:",
        "  - data.horizon: 1 there, 2 here",
        "  - search.trials: 8 there, 9 here",
        "  - space.lookback.high: 5 there, 6 here",
        "  - space.noise: None there, 0.1 here",
        "use another name (--set name=...), or `tuner delete tiny` first",
    ]
    assert rows(storage) == before
    assert load(storage, "tiny").spec == tiny


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_that_learns_starts_from_the_initial_points(
    storage: RDBStorage, tiny: Spec, prices: Basket, sampler: str
) -> None:
    changed = other(tiny, search={"sampler": sampler, "pruner": "none"})
    study = submit(storage, changed, prices)
    points = initial_points(changed.parsed_space)
    assert study.sampling.initial_params == points
    assert points != [{}]


def test_a_random_search_is_random_from_its_first_trial(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    study = submit(storage, other(tiny, search={"sampler": "random"}), prices)
    assert study.sampling.initial_params == []


def test_the_error_for_a_missing_study_lists_the_others(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    with pytest.raises(StudyError, match=r"no study 'b' in the database; studies there: none$"):
        load(storage, "b")
    for name in ("c", "a"):
        submit(storage, other(tiny, name=name), prices)
    assert study_names(storage) == ["c", "a"]
    with pytest.raises(StudyError, match=r"no study 'b' in the database; studies there: c, a$"):
        load(storage, "b")
    with pytest.raises(StudyError, match=r"no study 'b' in the database; studies there: c, a$"):
        delete(storage, "b")


def test_a_study_without_a_complete_trial_has_no_best(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    with pytest.raises(StudyError, match="study 'tiny' has no complete trial yet"):
        submit(storage, tiny, prices).best()


def test_an_invalid_stored_spec_is_refused_with_the_rule(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    study = submit(storage, tiny, prices)
    study.optuna_study.set_user_attr("spec", tiny.to_json() | {"later": 1})
    with pytest.raises(SpecError, match="the stored spec of 'tiny':\n  - later: unknown key"):
        load(storage, "tiny")


# Whole or not there


BREAKS = ["cut", "first file", "second file", "attributes", "metric names", "budget"]


@pytest.mark.parametrize("error", [RuntimeError("no space left"), KeyboardInterrupt()], ids=type)
@pytest.mark.parametrize("place", BREAKS)
def test_a_submit_that_fails_leaves_nothing_behind(
    storage: RDBStorage,
    tiny: Spec,
    prices: Basket,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: BaseException,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    def attach_or_fail(*args: Any) -> str:
        if args[3] == (SEARCH_FILE if place == "first file" else HOLDOUT_FILE):
            fail()
        return attach(*args)

    with monkeypatch.context() as patch:
        if place == "cut":
            patch.setattr(lifecycle, "snapshot", fail)
        elif place in ("first file", "second file"):
            patch.setattr(lifecycle, "attach", attach_or_fail)
        elif place == "attributes":
            patch.setattr(optuna.Study, "set_user_attr", fail)
        elif place == "metric names":
            patch.setattr(optuna.Study, "set_metric_names", fail)
        else:
            patch.setattr(registry, "publish", fail)
        with pytest.raises(type(error)):
            submit(storage, tiny, prices)
    assert rows(storage) == {}
    submit(storage, tiny, prices)
    assert study_names(storage) == ["tiny"]


def test_prices_that_are_too_short_leave_nothing_behind(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    short = basket_of(prices.frames["AAPL"].iloc[:100])
    with pytest.raises(PuffinError, match=r"too few bars: .* but 80 are there before the holdout"):
        submit(storage, tiny, short)
    assert rows(storage) == {}


def test_submit_without_a_needed_column_writes_nothing(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    wants_volume = other(tiny, data={"features": ["return", "volume"]})
    close_alone = basket_of(prices.frames["AAPL"][["close"]])
    with pytest.raises(PuffinError, match="volume"):
        submit(storage, wants_volume, close_alone)
    assert rows(storage) == {}


def test_concurrent_submits_of_one_study_return_the_same_study(
    crowd: Crowd, storage: RDBStorage, tiny_file: Path
) -> None:
    ids = crowd(
        f"""
        from puffin.studies.prices.basket import load_basket
        from puffin.studies.prices.request import PriceRequest
        from puffin.studies.spec import load_spec
        from puffin.studies.storage.database import open_storage
        from puffin.studies.lifecycle import submit

        spec = load_spec({str(tiny_file)!r})
        prices = load_basket("sample", PriceRequest(start=spec.data.start), ["AAPL"])

        def act(index, url):
            return submit(open_storage(url, create=True), spec, prices).creation_id
        """,
        count=6,
    )
    assert len(set(ids)) == 1
    assert rows(storage)["studies"] == 1
    assert rows(storage)["puffin_artifacts"] == 2


def test_a_study_of_another_program_is_changed_only_by_delete(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    foreign = optuna.create_study(study_name="tiny", storage=storage)
    foreign.set_user_attr("mine", 1)
    with pytest.raises(StudyError, match=r"not made by Puffin Tuner.*use another name.*`tuner del"):
        submit(storage, tiny, prices)
    assert optuna.load_study(study_name="tiny", storage=storage).user_attrs == {"mine": 1}
    assert submit(storage, other(tiny, name="another"), prices).name == "another"
    delete(storage, "tiny")
    assert submit(storage, tiny, prices).name == "tiny"


def test_an_empty_study_of_another_program_is_replaced(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    optuna.create_study(study_name="tiny", storage=storage)
    assert submit(storage, tiny, prices).optuna_study.user_attrs["spec"] == tiny.to_json()
    assert rows(storage)["studies"] == 1


# The snapshot


def test_the_snapshot_holds_search_and_holdout_prices_bit_for_bit(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    study = submit(storage, tiny, prices)
    (search,) = study.load_search_prices().values()
    (holdout,) = study._load_prices(HOLDOUT_FILE).values()
    assert len(holdout) == 20
    assert search.index[-1] < holdout.index[0]
    whole = pd.concat([search, holdout])
    pd.testing.assert_frame_equal(whole, prices.frames["AAPL"], check_exact=True, check_freq=False)
    assert (
        whole.to_numpy().tobytes()
        == np.ascontiguousarray(prices.frames["AAPL"].to_numpy()).tobytes()
    )
    assert str(search.index[-1].date()) == study.record.data.search_last[:10]


@pytest.mark.parametrize(("horizon", "purge", "sealed"), [(1, None, 20), (5, None, 24), (5, 9, 29)])
def test_the_purge_is_cut_off_with_the_holdout(
    storage: RDBStorage, tiny: Spec, prices: Basket, horizon: int, purge: int | None, sealed: int
) -> None:
    spec = other(tiny, data={"horizon": horizon}, walk_forward={"purge": purge})
    study = submit(storage, spec, prices)
    assert [len(frame) for frame in study._load_prices(HOLDOUT_FILE).values()] == [sealed]
    (search,) = study.load_search_prices().values()
    assert len(search) == len(prices.frames["AAPL"]) - sealed


@pytest.mark.parametrize("filename", [SEARCH_FILE, HOLDOUT_FILE])
def test_a_snapshot_with_one_other_byte_is_refused(
    storage: RDBStorage, tiny: Spec, prices: Basket, filename: str
) -> None:
    study = submit(storage, tiny, prices)
    (meta,) = [m for m in get_all_artifact_meta(study.optuna_study) if m.filename == filename]
    table = metadata.tables["puffin_artifacts"]
    this = table.c.artifact_id == meta.artifact_id
    with storage.engine.begin() as connection:
        body = connection.execute(sa.select(table.c.body).where(this)).scalar_one()
        at = body.rindex(b"1")
        body = body[:at] + b"2" + body[at + 1 :]
        connection.execute(sa.update(table).where(this).values(body=body))
    with pytest.raises(StudyError) as caught:
        load(storage, "tiny")._load_prices(filename)
    assert f"{filename} of study 'tiny' has sha256 " in str(caught.value)
    assert study.record.data.sha256[filename] in str(caught.value)
    assert "submit a new study" in str(caught.value)


def test_a_study_knows_whether_prices_are_those_of_its_snapshot(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    study = submit(storage, tiny, prices)
    assert study.has_same_prices({"AAPL": prices.frames["AAPL"]})
    changed = prices.frames["AAPL"].copy()
    changed.iloc[-1, 0] = np.nextafter(changed.iloc[-1, 0], np.inf)
    assert not study.has_same_prices({"AAPL": changed})
    assert not study.has_same_prices({"AAPL": prices.frames["AAPL"].iloc[1:]})


# Deleting


def test_delete_removes_exactly_the_rows_of_the_study(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    submit(storage, other(tiny, name="stays"), prices)
    before = rows(storage)
    study = submit(storage, tiny, prices)
    for number in range(3):
        trial = start(study)
        trial.suggest_float("x", 0.0, 1.0)
        trial.report(1.0, 1)
        trial.set_user_attr("config", {})
        trial.set_constraint("finite_loss", 1.0)
        with transaction(storage) as connection:
            attach(connection, study.creation_id, trial, "forecasts.csv", b"date,forecast\n")
        Checkpoint(storage, study.creation_id, number, trial._trial_id, 0).save(
            SavedCheckpoint({}, {}, b"")
        )
        study.store.write(f"added-{number}", io.BytesIO(b"by the dashboard"))
        meta = {"artifact_id": f"added-{number}", "filename": "a", "mimetype": "", "encoding": None}
        storage.set_trial_system_attr(
            trial._trial_id, f"artifacts:added-{number}", json.dumps(meta)
        )
        if number:
            study.optuna_study.tell(trial, 1.0)
    assert rows(storage)["puffin_artifacts"] == 2 + 2 + 3 + 3
    delete(storage, "tiny")
    assert rows(storage) == before
    assert study_names(storage) == ["stays"]
    with pytest.raises(StudyError, match="no study 'tiny'"):
        load(storage, "tiny")
    (kept,) = load(storage, "stays").load_search_prices().values()
    assert len(kept) == len(prices.frames["AAPL"]) - 20


def test_a_deleted_name_is_free_for_other_settings(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    submit(storage, tiny, prices)
    delete(storage, "tiny")
    study = submit(storage, other(tiny, search={"trials": 3}), prices)
    assert registry.total(storage, study.name) == 3
    assert start(study).user_attrs["ticket"] == 0


def test_the_next_command_completes_a_killed_deletion(
    storage: RDBStorage,
    tiny: Spec,
    prices: Basket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for finish in (lambda: delete(storage, "tiny"), lambda: None):
        study = submit(storage, tiny, prices)
        start(study)
        with monkeypatch.context() as patch:
            patch.setattr(lifecycle, "_delete_all", lambda *_: None)  # kill -9 here
            delete(storage, "tiny")
        with pytest.raises(NoStudyError, match="is being deleted; `tuner delete tiny` completes"):
            load(storage, "tiny")
        assert study_names(storage) == []
        assert not study.still_exists()
        finish()
        assert submit(storage, tiny, prices).trials() == []
        delete(storage, "tiny")
    assert rows(storage) == {}


def test_a_process_of_a_deleted_study_cannot_write_into_a_later_one(
    storage: RDBStorage, tiny: Spec, prices: Basket
) -> None:
    old = submit(storage, tiny, prices)
    trial = start(old)
    checkpoint = Checkpoint(storage, old.creation_id, 0, trial._trial_id, 0)
    checkpoint.save(SavedCheckpoint({"config": {}}, {}, b"old"))
    delete(storage, "tiny")
    new = submit(storage, other(tiny, data={"symbols": ["IBM"]}), prices)
    before = rows(storage)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        checkpoint.save(SavedCheckpoint({"config": {}}, {}, b"late"))
    assert Checkpoint(storage, new.creation_id, 0, 0, 0).load() is None
    lifecycle._delete_all(storage, {"tiny": old.creation_id})  # of a `delete` that was suspended
    assert rows(storage) == before
    assert not old.still_exists()
    assert new.still_exists()


@pytest.mark.parametrize("swallowed", [1, 3])
def test_a_deletion_that_optuna_skipped_is_retried(
    storage: RDBStorage,
    tiny: Spec,
    prices: Basket,
    monkeypatch: pytest.MonkeyPatch,
    swallowed: int,
) -> None:
    submit(storage, tiny, prices)
    delete_study, calls = type(storage).delete_study, []

    def delete_at_last(self: RDBStorage, key: int) -> None:
        calls.append(key)
        if len(calls) > swallowed:
            delete_study(self, key)

    monkeypatch.setattr(type(storage), "delete_study", delete_at_last)
    delete(storage, "tiny")
    assert len(calls) == swallowed + 1
    assert rows(storage) == {}


def test_a_failed_deletion_names_the_cause_and_can_be_repeated(
    storage: RDBStorage, tiny: Spec, prices: Basket, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(storage, tiny, prices)
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "_DELETION_SECONDS", 0.3)
        patch.setattr(type(storage), "delete_study", lambda *_: None)
        with pytest.raises(
            StudyError, match="'tiny' could not be deleted, because another program"
        ):
            delete(storage, "tiny")
    delete(storage, "tiny")
    assert rows(storage) == {}
