"""Files of forecasts that were made elsewhere, joined to the targets of a study by hand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.outside import OutsideError, OutsideFile, join, targets
from puffin.studies.report.outside import (
    first_bar,
    judge_outside,
    may_have_seen,
    outside_sentence,
)
from tests.prices import bars
from tests.studies import tiny_spec

HOLDOUT = 5


def judged(symbols: tuple[str, ...] = ("AAPL",), count: int = 200, **sections: Any) -> Dataset:
    data = {"symbol": None, "symbols": list(symbols), "start": None}
    spec = tiny_spec(data=data, walk_forward={"holdout_bars": HOLDOUT}, **sections)
    frames = {symbol: bars(count + place) for place, symbol in enumerate(symbols)}
    return Dataset.for_holdout(spec, *cut_holdout(frames, spec))


ONE, TWO = judged(), judged(("AAPL", "IBM"))
DATES = [f"{date:%Y-%m-%d}" for date in bars(200).index[-HOLDOUT:]]


def table(dates: list[str], values: list[object] | None = None) -> str:
    rows = zip(dates, values or range(len(dates)), strict=True)
    return "date,forecast\n" + "".join(f"{date},{value}\n" for date, value in rows)


def test_the_targets_are_the_dates_of_the_holdout() -> None:
    found = targets([ONE])
    assert [f"{date:%Y-%m-%d}" for date in found.date] == DATES
    assert set(found.symbol) == {"AAPL"}


def test_forecasts_are_joined_by_date_in_any_order_and_others_are_not_read() -> None:
    lines = table(["1999-01-01", *reversed(DATES)], [99, 4, 3, 2, 1, 0]).splitlines()
    body = "\n".join(f"x,{line}" for line in lines).encode("utf-8-sig")
    (found,) = join(body.replace(b"x,date", b"note,date"), "mine.csv", [ONE])
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_the_rows_of_a_basket_are_joined_by_date_and_symbol() -> None:
    wanted = targets([TWO])
    values = np.arange(len(wanted)) / 10
    rows = wanted.assign(forecast=values).sample(frac=1, random_state=0)
    (found,) = join(rows.to_csv(index=False).encode(), "mine.csv", [TWO])
    assert found == pytest.approx(values)


def test_quantiles_have_a_column_each_beside_the_median() -> None:
    of_quantiles = judged(training={"loss": "quantile", "quantiles": [0.1, 0.5, 0.9]})
    rows = pd.DataFrame({"date": DATES, "forecast": 0.0, "q0.9": 0.01, "q0.1": -0.02})
    (found,) = join(rows.to_csv(index=False).encode(), "mine.csv", [of_quantiles])
    assert found.tolist() == [[-0.02, 0.0, 0.01]] * HOLDOUT
    with pytest.raises(OutsideError, match=r"needs the columns date, forecast, q0.1, q0.9, but"):
        join(table(DATES).encode(), "mine.csv", [of_quantiles])
    crossed = rows.assign(**{"q0.1": 0.002})
    message = f"of {DATES[0]}, q0.1 is 0.002, which is above forecast = 0; quantiles should ascend"
    with pytest.raises(OutsideError, match=message):
        join(crossed.to_csv(index=False).encode(), "mine.csv", [of_quantiles])
    far = rows.assign(**{"q0.9": 1e200})
    with pytest.raises(OutsideError, match=r"is -0.02, 0, 1e\+200, too far from any"):
        join(far.to_csv(index=False).encode(), "mine.csv", [of_quantiles])


def test_the_blocks_of_a_walk_are_joined_one_by_one() -> None:
    earlier = judged(count=200 - HOLDOUT)
    both = [f"{date:%Y-%m-%d}" for date in bars(200).index[-2 * HOLDOUT :]]
    first, second = join(table(both).encode(), "mine.csv", [earlier, ONE])
    assert (first.tolist(), second.tolist()) == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (table(DATES[:3]), f"lacks 2 forecasts of 5, of {DATES[3]}, {DATES[4]}; `tuner targets`"),
        (table([*DATES, DATES[1]]), f"has more than one forecast of {DATES[1]}; keep one"),
        (table(DATES, [1, 2, "x", 4, 5]), "line 4: forecast = 'x': should be a finite number"),
        (table(DATES, [1, 2, 3, "inf", 5]), "line 5: forecast = 'inf': should be a finite number"),
        (table(DATES, [1, 2, 3, 4, ""]), "line 6: forecast = '': should be a finite number"),
        (table(["soon", *DATES]), "line 2: date = 'soon': should be a time like 2012-01-31"),
        ("ds,yhat\n", "needs the columns date, forecast, but has ds, yhat"),
        ("", "mine.csv is not a CSV: No columns to parse from file"),
        ("date,forecast\n1,2,3\n1,2,3,4\n", "mine.csv is not a CSV: "),
    ],
)
def test_a_file_that_cannot_be_judged_names_what_is_wrong(body: str, message: str) -> None:
    with pytest.raises(OutsideError, match=re.escape(message)):
        join(body.encode(), "mine.csv", [ONE])


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(OutsideError, match=r"mine\.csv is not UTF-8 text"):
        join(b"\xff\xfe", "mine.csv", [ONE])


def test_a_basket_needs_a_column_of_symbols_and_names_who_is_missing() -> None:
    with pytest.raises(OutsideError, match="needs the columns date, symbol, forecast, but has"):
        join(table(DATES).encode(), "mine.csv", [TWO])
    rows = targets([TWO]).assign(forecast=1.0)
    missing = rows[(rows.symbol == "IBM") & (rows.date == rows.date.max())]
    body = rows.drop(missing.index).to_csv(index=False).encode()
    expected = f"lacks 1 forecast of {len(rows)}, of {missing.date.iloc[0]:%Y-%m-%d} of IBM"
    with pytest.raises(OutsideError, match=expected):
        join(body, "mine.csv", [TWO])


def test_a_file_is_named_by_what_stands_before_its_first_dot(tmp_path: Path) -> None:
    (tmp_path / "chronos.v2.csv").write_text("date")
    found = OutsideFile.read(tmp_path / "chronos.v2.csv", "2012-01-31")
    assert (found.name, found.body, found.trained_until) == ("chronos", b"date", "2012-01-31")
    with pytest.raises(OutsideError, match=r"cannot read .*: No such file or directory"):
        OutsideFile.read(tmp_path / "none.csv", None)
    with pytest.raises(OutsideError, match="1 to 40 printable characters"):
        OutsideFile.read(tmp_path / f"{'x' * 41}.csv", None)


@pytest.mark.parametrize(
    ("trained_until", "first", "seen"),
    [
        (None, "2012-03-02", True),
        ("2012-03-01", "2012-03-02", False),
        ("2012-03-02", "2012-03-02", True),
        ("2012-03-03", "2012-03-02", True),
        ("2012-03-01", "2012-03-02 09:30", False),
        ("2012-03-02", "2012-03-02 09:30", True),
    ],
)
def test_a_model_with_data_of_the_first_judged_day_may_have_seen_it(
    trained_until: str | None, first: str, *, seen: bool
) -> None:
    assert may_have_seen(trained_until, pd.Timestamp(first)) is seen


def test_a_target_of_several_bars_begins_before_its_date() -> None:
    assert first_bar([ONE]) == pd.Timestamp(DATES[0])
    data = {"symbol": None, "symbols": ["AAPL"], "start": None, "horizon": 3}
    spec = tiny_spec(data=data, walk_forward={"holdout_bars": HOLDOUT})
    ahead = Dataset.for_holdout(spec, *cut_holdout({"AAPL": bars(200)}, spec))
    # The first target covers three bars, of which two are before the bars that are judged.
    assert ahead.scored_dates[0][0] == pd.Timestamp(DATES[0])
    assert first_bar([ahead]) == bars(200).index[-HOLDOUT - 2]


@pytest.mark.parametrize("value", ["1e200", "-1e308"])
def test_a_forecast_without_a_loss_is_refused(value: str) -> None:
    body = table(DATES, [0, 0, value, 0, 0]).encode()
    with pytest.raises(OutsideError, match=f"forecast of {DATES[2]} is .*, too far from any ret"):
        join(body, "mine.csv", [ONE])


def test_losses_and_skill_are_those_of_the_file() -> None:
    actual, scale = ONE.actuals[0], ONE.parts[0][0].scaler.target_std
    file = OutsideFile("mine", table(DATES, [*(actual + 2 * scale)]).encode(), None)
    (found,) = judge_outside([file], [ONE], np.array([1.0, 2.0, 1.0, 2.0, 2.0]))
    assert found.loss == pytest.approx(4.0)  # squared errors of two standard deviations
    assert found.skill == pytest.approx(1 - 1.6 / 4)
    assert found.test.mean == pytest.approx(4 - 1.6)
    assert found.may_have_seen


def test_the_sentence_compares_the_best_file_with_the_winner() -> None:
    actual, scale = ONE.actuals[0], ONE.parts[0][0].scaler.target_std
    errors = np.array([1.0, -1.1, 0.9, -1.0, 1.0]) * scale
    good = OutsideFile("good", table(DATES, [*(actual + errors)]).encode(), "2000-01-01")
    bad = OutsideFile("bad", table(DATES, [*(actual + 9 * scale)]).encode(), None)
    winner = np.array([1.9, 2.1, 2.0, 2.0, 2.004])
    found = judge_outside([bad, good], [ONE], winner)
    assert outside_sentence(found, "the winner") == (
        "The outside forecast good, the best of 2, had significantly less error than the winner "
        "(49.8 % less)."
    )
    (alone,) = judge_outside([bad], [ONE], winner)
    assert outside_sentence([alone], "the winners").endswith(
        "more error than the winners (3,948 % more); its model may have seen these bars."
    )
