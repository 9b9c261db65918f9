"""The walk: searches at many origins, each judged on the block of bars that follows it."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from optuna.trial import FrozenTrial

from puffin.models.errors import PuffinError
from puffin.models.evaluation.long_run import long_run_test
from puffin.studies.bars import cut_holdout
from puffin.studies.board.note import study_note
from puffin.studies.duplicates import identity
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.records import TrialRecord, WalkRecord
from puffin.studies.report.build import read_forecasts
from puffin.studies.spec import Spec
from puffin.studies.storage import registry
from puffin.studies.storage.database import open_storage, transaction
from puffin.studies.storage.tables import workers
from puffin.studies.study import (
    StoredStudy,
    StudyError,
    load,
    load_search,
    lowest_complete,
    study_names,
)
from puffin.studies.summary import fold_walks, status
from puffin.studies.walk.block import Block
from puffin.studies.walk.figures import FIGURES
from puffin.studies.walk.files import walk_files
from puffin.studies.walk.origins import origins
from puffin.studies.walk.procedure import Procedure
from puffin.studies.walk.verdict import BEFORE, Walk, _backtest, _joined, judge
from puffin.studies.walk.words import sentences, to_json
from puffin.tuner.cli import main
from puffin.tuner.commands.walk import _subject
from puffin.tuner.dashboard.home import study_lines
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.integration.helpers import TUNER, Start
from tests.studies import tiny_spec, write_tiny

BLOCK, ORIGINS = 15, 2
Frames = dict[str, pd.DataFrame]


def changes(origin_count: int = ORIGINS) -> dict[str, Any]:
    walk = {"origins": origin_count, "block_bars": BLOCK, "trials": 2}
    # No trial depends on when another one ends, so that a walk that is resumed is the same one.
    search = {"trials": 3, "sampler": "random", "pruner": "none"}
    return {"walk": walk, "search": search, "space": {"lookback": 5}}


def walked_spec(origin_count: int = ORIGINS) -> Spec:
    return tiny_spec(**changes(origin_count))


def searched_part(spec: Spec) -> dict[str, pd.DataFrame]:
    request = PriceRequest(start=spec.data.start)
    frames = load_basket("sample", request, spec.data.symbols).frames
    return cut_holdout(frames, spec)[0]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Walk]:
    """A walk of two origins, made by the steps of the command without processes of its own."""
    folder = tmp_path_factory.mktemp("walk")
    url, spec = f"sqlite:///{folder / 'walk.db'}", walked_spec()
    return url, judge("tiny", walk_through(url, spec).studies)


def walk_through(
    url: str, spec: Spec, *, warm: bool = False, frames: Frames | None = None
) -> Procedure:
    """Take a walk in this process."""
    storage, searched = open_storage(url, create=True), frames or searched_part(spec)
    procedure = Procedure(storage, spec.name, origins(spec, searched, "x"), warm)
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
    assert set(verdict.evidence.rivals) == {BEFORE, *verdict.against()}
    assert verdict.evidence.reference == verdict.test
    assert verdict.evidence.p_of_all >= verdict.test.p_better
    values = to_json(verdict)
    assert json.loads(json.dumps(values)) == values


def test_the_forecast_of_a_block_is_the_mean_over_seeds(walked: tuple[str, Walk]) -> None:
    url, verdict = walked
    study = load_search(open_storage(url), verdict.blocks[0].study)
    opened = load(open_storage(url), study.name + ".holdout")
    rows = [read_forecasts(opened, trial)[0] for trial in opened.trials()]
    assert len(rows) == 3
    expected = study.holdout_dataset.losses_by_date([np.mean(rows, axis=0)])
    assert verdict.blocks[0].losses == pytest.approx(expected)


def test_each_search_may_begin_with_the_winners_before_it(
    new_url: Callable[[str], str],
) -> None:
    url, spec = new_url("sqlite"), tiny_spec(**changes(3), data={"target": "range"})
    other = submit(
        open_storage(url, create=True), spec, origins(spec, searched_part(spec), "x")[0].basket
    )
    first, second, third = walk_through(url, spec, warm=True).studies
    assert other.trials() == [], "a worker of the walk served another study"
    assert first.record.first_params == ()
    assert second.record.first_params == (first.best().params,)
    assert second.trials()[0].params == first.best().params
    known = third.record.first_params
    assert known[0] == second.best().params
    is_other = identity(TrialRecord.read(first.best()).config) != identity(
        TrialRecord.read(second.best()).config
    )
    assert known[1:] == ((first.best().params,) if is_other else ())
    again = load(third.storage, third.name)
    assert again.sampling.initial_params[: len(known)] == list(known)
    volatility_is_timed(judge("tiny", [first, second, third]))
    with transaction(first.storage) as connection:  # a deletion was killed after its first step
        registry.close(connection, third.name)
    done = CliRunner().invoke(main, ["delete", "tiny.walk", "--yes", "--storage", url])
    assert done.exit_code == 0, done.output
    assert study_names(open_storage(url)) == ["tiny"]
    assert registry.closed_names(open_storage(url)) == []


def volatility_is_timed(verdict: Walk) -> None:
    """Check that a walk over a range times the volatility of all blocks, and says so."""
    assert verdict.timing is not None
    assert verdict.backtest is None
    assert len(verdict.timing.winner["equity"]) == 3 * BLOCK + 1
    moves = searched_part(walked_spec(3))["AAPL"]["close"].pct_change().to_numpy()[-3 * BLOCK :]
    weight, constant = verdict.timing.winner["exposure"], verdict.timing.constant
    # To first order, and costs are small: the weight is restored at every close.
    assert constant["total_return"] == pytest.approx(np.prod(1 + weight * moves) - 1, abs=1e-3)
    assert sentences(verdict)[-1].startswith("Volatility timing, a weight that is smaller the more")
    assert "## Volatility timing" in walk_files(verdict)["walk.md"].decode()
    assert to_json(verdict)["volatility_timing"]["rival_label"].endswith("before each block")


def test_hyperparameters_that_stay_have_a_step_of_0(walked: tuple[str, Walk]) -> None:
    _, verdict = walked
    first, second = (block.winner.params for block in verdict.blocks)
    for found in verdict.stability:
        pair = [first.get(found.name), second.get(found.name)]
        assert list(found.values) == pair  # of no frame
        if None not in pair:
            assert (found.step == 0) == (pair[0] == pair[1])
    tried = [[t.params["lr"] for t in block.tried] for block in verdict.blocks]
    assert [len(found) for found in tried] == [2, 2]
    steps = [abs(np.log(one / other)) / np.log(10) for one in tried[0] for other in tried[1]]
    (rate,) = (found for found in verdict.stability if found.name == "lr")
    assert rate.by_chance == pytest.approx(np.mean(steps))  # searched from 0.001 to 0.01


def test_the_backtest_is_one_strategy_over_all_blocks(walked: tuple[str, Walk]) -> None:
    _, verdict = walked
    closes = searched_part(walked_spec())["AAPL"]["close"].iloc[-ORIGINS * BLOCK - 1 :]
    assert verdict.backtest is not None
    assert list(verdict.traded) == list(closes.index)
    held = closes.iloc[-1] / closes.iloc[0] * (1 - 1e-4) / (1 + 1e-4)
    assert verdict.backtest["buy_and_hold"]["total_return"] == pytest.approx(held - 1)
    forecasts = [each.forecasts for block in verdict.blocks for each in block.symbols]
    is_long = np.concatenate(forecasts) > 0
    growth = (closes.to_numpy()[1:] / closes.to_numpy()[:-1])[is_long].prod()
    trades = len(verdict.backtest["trades"])
    free = (verdict.backtest["total_return"] + 1) * (1 + 2e-4) ** trades
    assert free == pytest.approx(growth, rel=1e-6)


def test_a_killed_walk_has_the_same_verdict_to_the_last_bit(
    walked: tuple[str, Walk], start: Start, tmp_path: Path
) -> None:
    """The command and its worker are killed with SIGKILL, and the command is given again."""
    path, url = write_tiny(tmp_path / "tiny.toml", **changes()), f"sqlite:///{tmp_path / 'k.db'}"
    command = (TUNER, "walk", path, "--workers", "1", "--json")
    killed = start(url, *command, cwd=tmp_path)

    def in_training() -> bool:
        try:
            return bool(load(open_storage(url), "tiny.walk.01").trials())
        except PuffinError:
            return False

    killed.until(in_training, "it trains")
    killed.kill()
    let_a_minute_pass(url)
    again = start(url, *command, cwd=tmp_path)
    assert again.end(120) == 0, again.said
    assert verdict_of(json.loads(again.printed)) == verdict_of(to_json(walked[1]))
    assert "of 10 trials" in again.said
    lost = load(open_storage(url), "tiny.walk.01").trials()[0]
    assert lost.state.is_finished()


def verdict_of(printed: dict[str, Any]) -> dict[str, Any]:
    """Leave out the winners' numbers: a trial that was killed runs again under another one."""
    blocks = [{k: v for k, v in block.items() if k != "winner"} for block in printed["blocks"]]
    return printed | {"blocks": blocks}


def let_a_minute_pass(url: str) -> None:
    """Date the heartbeats of killed workers back, so that nobody waits for them."""
    long_ago = "2000-01-01 00:00:00.000000"
    with open_storage(url).engine.begin() as connection:
        for column, table in (("heartbeat", "trial_heartbeats"), ("seen", workers.name)):
            change = sa.text(f"UPDATE {table} SET {column} = :then")  # noqa: S608  # our own names
            connection.execute(change, {"then": long_ago})


def test_the_pages_say_what_the_command_says(walked: tuple[str, Walk]) -> None:
    _, verdict = walked
    files = walk_files(verdict)
    assert json.loads(files["walk.json"]) == to_json(verdict)
    page = files["walk.md"].decode().replace("\\", "")
    for sentence in sentences(verdict)[1:4]:
        assert sentence.removesuffix(".") in page
    shown = {name for name in FIGURES if f"pictures/{name}" in page}
    assert shown == set(FIGURES) == {Path(n).name for n in files if n.startswith("pictures/")}


def test_a_finished_walk_is_printed_again_without_training(
    walked: tuple[str, Walk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, verdict = walked
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    write_tiny(path, **changes())
    monkeypatch.setattr("puffin.tuner.commands.walk.run_workers", refused)
    for arguments, check in (([], outcome_is_said), (["--json"], json.loads)):
        done = CliRunner().invoke(main, ["walk", str(path), "--storage", url, *arguments])
        assert done.exit_code == 0, done.output
        check(done.stdout)
    storage = open_storage(url)
    assert "tiny.walk.01" in study_names(storage)
    owner = load(storage, "tiny.walk.02")  # no study "tiny" is in the database
    record = WalkRecord.read(owner.optuna_study)
    assert record is not None
    assert record.sentences == tuple(sentences(verdict))
    assert "## Verdict of the walk" in study_note(owner)
    (line,) = study_lines(storage, [])
    assert (line.name, line.walk, line.walk_outcome) == (
        owner.name,
        "/walks/tiny.walk.02",
        verdict.outcome,
    )
    assert owner.store.read(record.page) == (tmp_path / "walks/tiny/walk.html").read_bytes()
    (folded,) = fold_walks(status(load(storage, name)) for name in study_names(storage))
    assert (folded.name, folded.tickets, folded.done) == ("tiny.walk", 2 * (2 + 3), True)


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


def test_a_basket_walks_and_a_symbol_may_skip_a_block(new_url: Callable[[str], str]) -> None:
    data = {"symbol": None, "symbols": ["AAPL", "IBM"]}
    spec = tiny_spec(**changes(3), data=data)
    frames = searched_part(spec)
    middle = frames["AAPL"].index[-2 * BLOCK : -BLOCK]
    frames["IBM"] = frames["IBM"].drop(middle)
    # What happens while it is not forecast cannot be earned by a forecast that comes after it.
    frames["IBM"].loc[frames["IBM"].index > middle[-1]] *= 2.0
    procedure = walk_through(new_url("sqlite"), spec, frames=frames)
    verdict = judge("tiny", procedure.studies)
    taking_part = [[each.symbol for each in block.symbols] for block in verdict.blocks]
    assert taking_part == [["AAPL", "IBM"], ["AAPL"], ["AAPL", "IBM"]]
    assert len(verdict.losses) == 3 * BLOCK
    assert verdict.direction_test is not None
    assert verdict.direction_test.moves == verdict.direction.moves > 2 * BLOCK
    assert verdict.backtest is not None
    assert len(verdict.backtest["equity"]) == len(verdict.traded) == 3 * BLOCK + 1
    held = [
        frame["close"].iloc[-1] / frame["close"].loc[verdict.traded[0]] for frame in frames.values()
    ]
    grown = float(np.mean(held)) * (1 - 1e-4) / (1 + 1e-4)
    assert verdict.backtest["buy_and_hold"]["total_return"] == pytest.approx(grown - 1)
    falls = [replace_forecasts(block, -0.01) for block in verdict.blocks]
    traded = _backtest(spec, _joined(falls), verdict.traded)
    assert traded is not None
    assert traded["total_return"] == 0.0


def replace_forecasts(block: Block, value: float) -> Block:
    symbols = [replace(e, forecasts=np.full(len(e.dates), value)) for e in block.symbols]
    return replace(block, symbols=symbols)


@pytest.mark.parametrize(
    ("changed", "warm", "of"),
    [
        ({"origins": 3}, False, "prices and walk.origins"),
        ({}, True, "walk.warm"),
    ],
)
def test_a_search_of_another_walk_is_not_taken_for_one_of_this(
    walked: tuple[str, Walk], changed: dict[str, int], *, warm: bool, of: str
) -> None:
    spec = tiny_spec(**(changes() | {"walk": changes()["walk"] | changed}))
    found = origins(spec, searched_part(spec), "x")
    procedure = Procedure(open_storage(walked[0]), "tiny", found, warm)
    with pytest.raises(StudyError, match=rf"was begun with other {of}, so .*tiny\.walk` and walk"):
        procedure.advance()


def test_forecasts_in_a_file_are_judged_beside_the_winners(
    walked: tuple[str, Walk], tmp_path: Path
) -> None:
    url, verdict = f"sqlite:///{tmp_path / 'walk.db'}", walked[1]
    with (
        contextlib.closing(sqlite3.connect(walked[0].removeprefix("sqlite:///"))) as shared,
        contextlib.closing(sqlite3.connect(tmp_path / "walk.db")) as own,
    ):
        shared.backup(own)
    runner = CliRunner()
    listed = runner.invoke(main, ["targets", "tiny.walk", "--storage", url])
    header, *dates = listed.stdout.splitlines()
    assert (header, dates) == ("date", [f"{date:%Y-%m-%d}" for date in verdict.dates])
    (tmp_path / "zero.csv").write_text("\n".join(["date,forecast", *(f"{d},0" for d in dates)]))
    path = str(tmp_path / "zero.csv")
    given = ["--storage", url, "--forecasts", path, "--trained-until", "1999-12-31", "--json"]
    with contextlib.chdir(tmp_path):
        done = runner.invoke(main, ["judge", "tiny.walk", *given])
        unknown = runner.invoke(main, ["judge", "other.walk", *given])
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    (zero,) = values["outside"]
    # Persistence forecasts a return of 0.
    assert zero["skill"] == pytest.approx(verdict.against()["persistence"][0])
    assert values["outcome"] == verdict.outcome
    assert not zero["may_have_seen"]
    assert "## Outside forecasts" in (tmp_path / "walks/tiny/walk.md").read_text()
    assert unknown.exit_code == 1
    assert "walk 'other.walk' is not there; `tuner walk other` takes it" in unknown.output


def test_a_walk_with_a_search_without_a_winner_ends_and_says_how_to_go_on(
    new_url: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, spec = new_url("sqlite"), walked_spec()
    storage = open_storage(url, create=True)
    procedure = Procedure(storage, "tiny", origins(spec, searched_part(spec), "x"), warm=False)
    first = "tiny.walk.01"

    def none_of_the_first(trials: list[FrozenTrial]) -> FrozenTrial | None:
        is_first = trials[0] in load(storage, first).trials()
        return None if is_first else lowest_complete(trials)

    monkeypatch.setattr("puffin.studies.walk.procedure.lowest_complete", none_of_the_first)
    while not (state := procedure.advance()).done:
        work(url, Interrupt(), WorkerOptions("tiny.walk", device="cpu"))
    assert state.tickets == 2 + 2 + 3  # the winner of the second was trained again
    with pytest.raises(StudyError, match=rf"no trial of {first} is .*`tuner extend {first} --tri"):
        procedure.require_winners()


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"walk": {"origins": 2, "block_bars": 2}}, "walk.block_bars must be at least horizon"),
        ({"walk": {"origins": 27, "block_bars": 15}}, "the first search of the walk: .*fewer walk"),
    ],
)
def test_a_walk_that_cannot_be_judged_is_refused_before_it_trains(
    sections: dict[str, Any], match: str
) -> None:
    spec = tiny_spec(**sections)
    with pytest.raises(PuffinError, match=match):
        origins(spec, searched_part(spec), "x")


def test_a_name_that_is_too_long_to_walk_is_refused() -> None:
    spec = tiny_spec("a" * 57)
    with pytest.raises(PuffinError, match="at most 56 characters"):
        origins(spec, searched_part(spec), "x")


@pytest.mark.parametrize("name", ["foo.walk", "foo.walk.01"])
def test_the_names_of_walks_are_reserved(name: str, new_url: Callable[[str], str]) -> None:
    spec = tiny_spec(name)
    basket = origins(walked_spec(), searched_part(walked_spec()), "x")[0].basket
    with pytest.raises(StudyError, match="are reserved for the searches of `tuner walk`"):
        submit(open_storage(new_url("sqlite"), create=True), spec, basket)


def test_commands_on_studies_take_a_walk(walked: tuple[str, Walk]) -> None:
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(main, [*arguments, "--storage", walked[0]])
        assert done.exit_code == 0, done.output
        return done.output

    assert said("pause", "tiny.walk").count("is paused") == 2
    assert said("resume", "tiny.walk").count("is open") == 2
    assert said("priority", "tiny.walk", "2").count("has priority 2") == 2
    rows = said("status", "tiny.walk")
    assert "tiny.walk.01" in rows
    assert "tiny.walk.02" in rows


def test_settings_of_a_stored_study_that_walks_change_by_walk_alone(
    tmp_path: Path,
) -> None:
    """The study walks with its own copy of the prices, and keeps the verdict."""
    url = f"sqlite:///{tmp_path / 'own.db'}"
    storage = open_storage(url, create=True)
    basket = load_basket("sample", PriceRequest(start=walked_spec().data.start), ["AAPL"])
    submit(storage, tiny_spec(search=changes()["search"], space={"lookback": 5}), basket)
    assert _subject("tiny", ["walk.origins=2"], url)[0].walk.origins == 2
    with pytest.raises(StudyError, match=r"--set changes only walk\.\*, not 'search.seed=1'"):
        _subject("tiny", ["search.seed=1"], url)
    path = write_tiny(tmp_path / "tiny.toml", **changes())
    spec, study = _subject(str(path), [], url)
    assert study is not None
    assert study.name == "tiny"
    assert spec.walk.origins == 2


def test_an_origin_that_is_not_done_has_no_verdict(new_url: Callable[[str], str]) -> None:
    spec = walked_spec()
    first = origins(spec, searched_part(spec), "x")[0]
    study = submit(
        open_storage(new_url("sqlite"), create=True), first.spec, first.basket, origins=2
    )
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
