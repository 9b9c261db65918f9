"""The walk: searches at many origins, each judged on the block of bars that follows it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from puffin.models.errors import PuffinError
from puffin.models.evaluation.long_run import long_run_test
from puffin.studies.dataset import cut_holdout
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.report.build import read_forecasts
from puffin.studies.spec import Spec
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy, StudyError, load, load_search, study_names
from puffin.studies.walk.origins import origins
from puffin.studies.walk.procedure import Procedure
from puffin.studies.walk.verdict import Walk, judge
from puffin.studies.walk.words import to_json
from puffin.tuner.cli import main
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.studies import tiny_spec, write_tiny

BLOCK, ORIGINS = 15, 2


def changes(origin_count: int = ORIGINS) -> dict[str, Any]:
    walk = {"origins": origin_count, "block_bars": BLOCK, "trials": 2}
    return {"walk": walk, "search": {"trials": 3}, "space": {"lookback": 5}}


def walked_spec(origin_count: int = ORIGINS) -> Spec:
    return tiny_spec(**changes(origin_count))


def searched_part(spec: Spec) -> dict[str, pd.DataFrame]:
    frames = load_basket("sample", PriceRequest(start=spec.data.start), ["AAPL"]).frames
    return cut_holdout(frames, spec)[0]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Walk]:
    """A walk of two origins, made by the steps of the command without processes of its own."""
    folder = tmp_path_factory.mktemp("walk")
    url, spec = f"sqlite:///{folder / 'walk.db'}", walked_spec()
    return url, judge("tiny", walk_through(url, spec, warm=False).studies)


def walk_through(url: str, spec: Spec, *, warm: bool) -> Procedure:
    """Take a walk in this process."""
    storage = open_storage(url, create=True)
    procedure = Procedure(storage, spec.name, origins(spec, searched_part(spec), "x"), warm, 2)
    while not procedure.advance().done:
        work(url, Interrupt(), WorkerOptions(f"{spec.name}.walk", device="cpu"))
    return procedure


def test_no_bar_after_its_block_is_in_the_prices_of_an_origin() -> None:
    spec = walked_spec(3)
    search = searched_part(spec)
    dates = search["AAPL"].index
    found = origins(spec, search, "x")
    for number, origin in enumerate(found, start=1):
        frame = origin.basket.frames["AAPL"]
        stop = len(dates) - (3 - number) * BLOCK
        assert frame.equals(search["AAPL"].iloc[:stop])
        before, block = cut_holdout(origin.basket.frames, origin.spec)
        assert before["AAPL"].index[-1] == dates[stop - BLOCK - 1]
        assert list(block["AAPL"].index) == list(dates[stop - BLOCK : stop])
        assert origin.spec.name == f"tiny.walk.0{number}"
        assert origin.spec.search.trials == 2
    altered = {"AAPL": search["AAPL"].copy()}
    altered["AAPL"].iloc[-1] *= 2.0  # the last bar of the last block
    same = origins(spec, altered, "x")
    pairs = [
        (a.basket.frames["AAPL"], b.basket.frames["AAPL"]) for a, b in zip(found, same, strict=True)
    ]
    assert [one.equals(other) for one, other in pairs] == [True, True, False]


def test_a_walk_on_too_few_bars_is_refused_with_the_arithmetic() -> None:
    spec = walked_spec(40)
    with pytest.raises(PuffinError, match=r"more than 40 blocks x 15 bars, but 420 bars are there"):
        origins(spec, searched_part(spec), "x")


def test_the_blocks_are_one_series_that_no_search_has_seen(walked: tuple[str, Walk]) -> None:
    url, verdict = walked
    dates = searched_part(walked_spec())["AAPL"].index
    scored = [day for block in verdict.blocks for day in block.dates]
    assert scored == list(dates[-ORIGINS * BLOCK :])
    storage = open_storage(url)
    for block in verdict.blocks:
        study: StoredStudy = load(storage, block.study)
        (searched,) = study.load_search_prices().values()
        assert searched.index[-1] < block.dates[0]
        assert block.winner.number == study.best().number


def test_the_verdict_is_of_all_blocks_together(walked: tuple[str, Walk]) -> None:
    _, verdict = walked
    losses = np.concatenate([block.losses for block in verdict.blocks])
    reference = np.concatenate([block.baselines[block.reference] for block in verdict.blocks])
    assert len(losses) == ORIGINS * BLOCK
    assert verdict.skill == pytest.approx(1 - losses.mean() / reference.mean())
    assert verdict.test == long_run_test(reference - losses)
    assert verdict.fluctuation.window == ORIGINS * BLOCK // 3
    assert verdict.won == sum(
        block.losses.mean() < block.baselines[block.reference].mean() for block in verdict.blocks
    )
    assert {"persistence", "ridge", "ar"} <= set(verdict.against())
    values = to_json(verdict)
    assert json.loads(json.dumps(values)) == values


def test_the_forecast_of_a_block_is_the_mean_over_seeds(walked: tuple[str, Walk]) -> None:
    url, verdict = walked
    study = load_search(open_storage(url), verdict.blocks[0].study)
    opened = load(open_storage(url), study.name + ".holdout")
    rows = [read_forecasts(opened, trial)[0] for trial in opened.trials()]
    assert len(rows) == 2
    expected = study.holdout_dataset.losses_by_date([np.mean(rows, axis=0)])
    assert verdict.blocks[0].losses == pytest.approx(expected)


def test_a_finished_walk_is_printed_again_without_training(
    walked: tuple[str, Walk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, verdict = walked
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    write_tiny(path, **changes())
    monkeypatch.setattr("puffin.tuner.commands.walk.run_workers", refused)
    monkeypatch.setattr("puffin.tuner.commands.walk.SEEDS", 2)
    for arguments, check in (([], outcome_is_said), (["--json"], json.loads)):
        done = CliRunner().invoke(main, ["walk", str(path), "--storage", url, *arguments])
        assert done.exit_code == 0, done.output
        check(done.stdout)
    assert "tiny.walk.01" in study_names(open_storage(url))
    assert verdict.study == "tiny"


def refused(*_: Any, **__: Any) -> bool:
    raise AssertionError("something is trained again")


def outcome_is_said(text: str) -> None:
    assert "searched anew before each of 2 blocks (30 dates" in " ".join(text.split())


def test_searches_of_different_prices_are_not_one_walk(walked: tuple[str, Walk]) -> None:
    url, _ = walked
    study = load_search(open_storage(url), "tiny.walk.01")
    with pytest.raises(
        PuffinError, match=r"the blocks of tiny\.walk\.01 and tiny\.walk\.01 overlap"
    ):
        judge("tiny", [study, study])


def test_an_origin_that_is_not_done_has_no_verdict(new_url: Callable[[str], str]) -> None:
    spec = walked_spec()
    first = origins(spec, searched_part(spec), "x")[0]
    study = submit(open_storage(new_url("sqlite"), create=True), first.spec, first.basket)
    with pytest.raises(StudyError, match="has no complete trial yet"):
        judge("tiny", [study])


def test_each_origin_of_a_grid_runs_every_point() -> None:
    search = {"sampler": "grid", "trials": None}
    space = {
        "cell": "gru",
        "layers": 1,
        "hidden_dim": [4, 6],
        "dropout": None,
        "lookback": 5,
        "lr": None,
    }
    walk = {"origins": 2, "block_bars": BLOCK}
    spec = tiny_spec(search=search, space=space, walk=walk)
    assert [each.spec.tickets for each in origins(spec, searched_part(spec), "x")] == [2, 2]


def test_an_origin_is_not_walked_itself(walked: tuple[str, Walk]) -> None:
    done = CliRunner().invoke(main, ["walk", "tiny.walk.01", "--storage", walked[0]])
    assert done.exit_code == 1
    assert "'tiny.walk.01' is an origin of a walk; name the study that walks" in done.stderr
