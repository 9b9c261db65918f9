"""A basket of symbols is judged as one series of dates, and shown symbol by symbol."""

import io
import json
import re

import numpy as np
import optuna
import pandas as pd
import pytest
from rich.console import Console

from puffin.models.evaluation.forecast_tests import clark_west
from puffin.models.evaluation.long_run import long_run_test
from puffin.studies.lifecycle import submit
from puffin.studies.prices.basket import Basket, load_basket
from puffin.studies.prices.load import Prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.report.at_a_glance import card
from puffin.studies.report.build import Report
from puffin.studies.report.files import report_files
from puffin.studies.report.verdict import sentences, to_json
from puffin.studies.storage.database import open_storage
from puffin.studies.study import StoredStudy
from puffin.tuner.commands.report import _print_symbols
from puffin.tuner.worker.scheduler import WorkerOptions, work
from puffin.tuner.worker.signals import Interrupt
from tests.judging import judge
from tests.studies import tiny_spec

SYMBOLS = ("AAPL", "IBM", "MSFT", "LATE")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> StoredStudy:
    """A finished search of a basket whose last symbol begins within the holdout's training part."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{tmp_path_factory.mktemp('basket') / 'test.db'}"
    data = {"symbol": None, "symbols": list(SYMBOLS)}
    spec = tiny_spec(
        "basket", data=data, search={"pruner": "none", "trials": 6}, training={"max_epochs": 2}
    )
    loaded = load_basket("sample", PriceRequest(start=spec.data.start), ["AAPL", "IBM", "MSFT"])
    late = Prices(loaded.frames["IBM"].iloc[-150::2] * 2, (), "made up")
    study = submit(open_storage(url, create=True), spec, Basket({**loaded.members, "LATE": late}))
    work(url, Interrupt(), WorkerOptions("basket", device="cpu"))
    return study


@pytest.fixture(scope="module")
def judged(searched: StoredStudy) -> Report:
    return judge(searched, searched.storage.url, top=1)


@pytest.fixture(scope="module")
def files(searched: StoredStudy, judged: Report) -> dict[str, bytes]:
    return report_files(searched, judged)


def differentials(searched: StoredStudy, judged: Report) -> pd.DataFrame:
    """Return the loss differential against the reference of each target, computed anew."""
    opened = searched.holdout_dataset
    (parts,) = opened.parts
    spread = {part.member.symbol: part.scaler.target_std for part in parts}
    table = pd.DataFrame(
        {
            "date": opened.scored_dates[0],
            "symbol": opened.scored_symbols[0],
            "own": judged.forecasts - judged.actual,
            "other": judged.comparison.reference.forecasts - judged.actual,
        }
    )
    unit = table["symbol"].map(spread)
    return table.assign(
        differential=(table["other"] / unit) ** 2 - (table["own"] / unit) ** 2, unit=unit
    )


def test_the_verdict_tests_the_mean_over_symbols_of_each_date(
    searched: StoredStudy, judged: Report
) -> None:
    table = differentials(searched, judged)
    by_date = table.groupby("date")["differential"].mean()
    assert len(by_date) < len(table)
    found, expected = judged.comparison.reference.test, long_run_test(by_date)
    assert (found.count, found.p_better) == (20, pytest.approx(expected.p_better))
    assert judged.comparison.loss == pytest.approx(
        ((table["own"] / table["unit"]) ** 2).groupby(table["date"]).mean().mean()
    )


def test_clark_west_averages_adjusted_differentials_in_units_of_each_symbol(
    searched: StoredStudy, judged: Report
) -> None:
    table = differentials(searched, judged)
    mean = next(b for b in judged.comparison.baselines if "training mean" in b.label)
    unit, forecast, actual = table["unit"], judged.forecasts, judged.actual
    errors = [(actual - mean.forecasts), (actual - forecast), (mean.forecasts - forecast)]
    scaled = [(error / unit) ** 2 for error in errors]
    by_date = (scaled[0] - scaled[1] + scaled[2]).groupby(table["date"]).mean()
    zero = np.zeros(len(by_date))
    # Of a differential d the test of (actual - 0)² - (actual - f)² + f² with f = d / 2, actual = 1.
    expected = clark_west(by_date / 2, zero, zero + 1)
    assert mean.clark_west is not None
    assert mean.clark_west.p_better == pytest.approx(expected.p_better)


def test_each_symbol_has_its_own_loss_and_test(searched: StoredStudy, judged: Report) -> None:
    table = differentials(searched, judged)
    assert [result.symbol for result in judged.by_symbol] == list(SYMBOLS)
    for result in judged.by_symbol:
        own = table[table["symbol"] == result.symbol]
        assert result.bars == len(own)
        assert result.loss == pytest.approx(((own["own"] / own["unit"]) ** 2).mean())
        assert result.p_better == pytest.approx(long_run_test(own["differential"]).p_better)
        assert result.p_better <= result.p_holm <= min(4 * result.p_better, 1) + 1e-12


def test_the_sentences_name_the_symbols_and_count_dates(judged: Report) -> None:
    outcome, money, _ = sentences(judged)
    assert "the return of AAPL, IBM, MSFT and LATE over the next bar" in outcome
    assert "on the 20 dates kept out of the search" in outcome
    assert "buy-and-hold" in money


def test_directions_of_dependent_symbols_are_tested_by_date(judged: Report) -> None:
    assert judged.direction_test is not None
    assert judged.direction_test.moves == judged.direction.moves > 60
    assert judged.direction_test.degrees == 2  # 0.4 x 20^(2/3) = 2.9
    # The interval is as wide as that of 20 dates.
    assert judged.direction.high - judged.direction.low > 0.35


def test_the_portfolio_of_the_backtest_is_the_mean_of_its_parts(judged: Report) -> None:
    assert judged.backtest is not None
    assert len(judged.backtest["equity"]) == 21
    assert judged.backtest["equity"][0] == 10_000
    bars = [trade[1] for trade in judged.backtest["trades"]]
    assert bars == sorted(bars)
    parts = judged.symbol_backtests
    assert list(parts) == list(SYMBOLS)
    returns = [part["total_return"] for part in parts.values()]
    assert judged.backtest["total_return"] == pytest.approx(np.mean(returns))


def test_the_pages_show_each_symbol(files: dict[str, bytes], judged: Report) -> None:
    text = files["report.md"].decode()
    assert "120 bars" not in text
    for symbol in SYMBOLS:
        assert len(re.findall(rf"^\| {symbol} \|", text, re.MULTILINE)) == 2
    assert {"pictures/symbols.svg", "pictures/lead.svg"} <= set(files)
    values = json.loads(files["report.json"])
    assert values == json.loads(json.dumps(to_json(judged)))
    assert [each["symbol"] for each in values["symbols"]] == list(SYMBOLS)


def test_the_terminal_has_a_row_for_each_symbol(judged: Report) -> None:
    out = Console(file=io.StringIO(), width=100)
    _print_symbols(out, judged)
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert lines[1].split() == ["symbol", "bars", "winner", "baseline", "skill", "p", "Holm"]
    assert {line.split()[0] for line in lines[3:7]} == set(SYMBOLS)
    better = sum(result.skill > 0 for result in judged.by_symbol)
    assert f"better on {better} of 4 symbols" in " ".join(lines)


def test_the_card_counts_the_symbols_on_which_the_winner_is_better(judged: Report) -> None:
    assert re.match(r"Better on \d of 4 symbols, on ", card(judged).facts.facts["Symbols"])
