"""What each symbol of a basket contributes to folds that are laid over dates."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.models.config import Config, TrainingConfig
from puffin.models.errors import PuffinError
from puffin.models.panel import mean_by_date
from puffin.models.training.fold_training import FoldTraining
from puffin.studies.bars import Frames, cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.forecast_table import from_columns, read_table
from puffin.studies.spec import Spec
from tests.prices import bars
from tests.studies import tiny_spec

CPU = torch.device("cpu")
DAYS = pd.bdate_range("2020-01-01", periods=140)


def spec_of(**data: Any) -> Spec:
    return Spec.model_validate(
        {
            "name": "t",
            "data": {"symbol": "X", "features": ["return"]} | data,
            "walk_forward": {"folds": 2, "valid_bars": 20, "holdout_bars": 10},
            "space": {"lookback": {"low": 2, "high": 10}},
        }
    )


def walk(index: pd.DatetimeIndex, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(index))))
    return pd.DataFrame({"close": close}, index=index)


def basket() -> dict[str, pd.DataFrame]:
    """Four symbols: a whole one, a late one, one that ends early, and one that trades daily."""
    return {
        "WHOLE": walk(DAYS, 1),
        "LATE": walk(DAYS[55:], 2),
        "GONE": walk(DAYS[:115], 3),
        "DAILY": walk(pd.date_range(DAYS[0], DAYS[-1]), 4),
    }


def in_dates(made: Dataset) -> list[dict[str, tuple[Any, ...]]]:
    """Return first and last training and validation date of each symbol of each fold."""
    return [
        {
            part.member.symbol: tuple(
                pd.Timestamp(part.member.dates[bar])
                for span in (part.fold.train, part.fold.valid)
                for bar in (span.start, span.stop - 1)
            )
            for part in found
        }
        for found in made.parts
    ]


@pytest.mark.parametrize("horizon", [1, 3])
def test_symbols_share_the_dates_of_a_fold(horizon: int) -> None:
    made = Dataset.build(spec_of(horizon=horizon), basket())
    assert len(made.dates) == len(basket()["DAILY"])
    for fold, found in zip(made.folds, in_dates(made), strict=True):
        first, last = made.dates[fold.valid.start], made.dates[fold.valid.stop - 1]
        known = made.dates[fold.train.stop - 1]
        for symbol, (_, train_last, valid_first, valid_last) in found.items():
            dates = basket()[symbol].index
            assert train_last == dates[dates <= known][-1]
            assert valid_last == dates[dates <= last][-1]
            scored = [
                day
                for number, day in enumerate(dates)
                if first <= day <= last and dates[number - horizon] >= known
            ]
            assert valid_first == scored[0]


def test_a_symbol_takes_part_where_it_has_targets_to_train_on_and_to_score() -> None:
    made = Dataset.build(spec_of(), basket())
    # 195 days in all: the folds validate the days from 155 to 174 and from 175 to 194. The late
    # symbol has 85 bars, 11 of them before its first target; the other has none after day 160.
    assert [list(found) for found in in_dates(made)] == [
        ["WHOLE", "GONE", "DAILY"],
        ["WHOLE", "LATE", "DAILY"],
    ]


def test_no_window_or_label_crosses_the_border_of_a_symbol() -> None:
    frames = basket()
    made = Dataset.build(spec_of(horizon=2), frames)
    for found, tensors in zip(made.parts, made.tensors(4, CPU), strict=True):
        for windows, spans in (
            (tensors.train, [part.fold.train for part in found]),
            (tensors.valid, [part.fold.valid for part in found]),
        ):
            inputs = torch.split(windows.inputs, [len(span) for span in spans])
            outputs = torch.split(windows.outputs, [len(span) for span in spans])
            for part, span, x, y in zip(found, spans, inputs, outputs, strict=True):
                close = np.log(frames[part.member.symbol]["close"].to_numpy())
                bars = np.arange(span.start, span.stop)
                moved = close[bars] - close[bars - 2]
                scaled = (moved - part.scaler.target_mean) / part.scaler.target_std
                np.testing.assert_allclose(y[:, 0], scaled, rtol=1e-4, atol=1e-5)
                seen = bars[:, None] - 2 + np.arange(-3, 1)
                steps = close[seen] - close[seen - 1]
                scaled = (steps - part.scaler.feature_mean[0]) / part.scaler.feature_std[0]
                np.testing.assert_allclose(x[:, :, 0], scaled, rtol=1e-4, atol=1e-5)


def curves(frames: Frames) -> tuple[list[float], dict[str, list[float]]]:
    """Train three epochs; return the curve, and the last losses of each symbol by fold."""
    made = Dataset.build(spec_of(), frames)
    config = Config(hidden_dims=(4,), dropout=0.0, lookback=5, batch_size=4096, lr=0.01)
    training = FoldTraining(made.tensors(5, CPU), config, TrainingConfig(3, 9), seed=0)
    *_, last = training
    by_symbol: dict[str, list[float]] = {}
    for found, losses in zip(made.parts, last.symbol_losses, strict=True):
        for part, loss in zip(found, losses, strict=True):
            by_symbol.setdefault(part.member.symbol, []).append(loss)
    for number, losses in enumerate(last.symbol_losses):
        assert last.fold_losses[number] == pytest.approx(np.mean(losses))
    scored = made.losses(made.in_target_units(last.forecasts))
    assert list(last.fold_losses) == pytest.approx(scored, rel=1e-5)
    return training.curve, by_symbol


def test_symbols_in_another_order_have_the_same_losses() -> None:
    """With one batch per epoch the order of the targets is a matter of rounding alone."""
    frames = basket()
    turned = dict(reversed(frames.items()))
    (curve, losses), (other_curve, other_losses) = curves(frames), curves(turned)
    assert curve == pytest.approx(other_curve, rel=1e-5)
    for symbol, values in losses.items():
        assert values == pytest.approx(other_losses[symbol], rel=1e-4)


def test_a_bar_of_a_symbol_changes_no_forecast_made_before_it() -> None:
    frames = basket()
    made = Dataset.build(spec_of(), frames)
    at = made.dates[made.folds[0].valid.start + 7]
    altered = frames["DAILY"].copy()
    altered.loc[altered.index > at, "close"] *= 1.5

    def first_fold(given: Frames) -> dict[tuple[Any, str], float]:
        dataset = Dataset.build(spec_of(), given)
        config = Config(hidden_dims=(4,), dropout=0.2, lookback=5, batch_size=16, noise=0.1)
        *_, last = FoldTraining(dataset.tensors(5, CPU), config, TrainingConfig(2, 9), seed=0)
        forecasts = dataset.in_target_units(last.forecasts)[0]
        keys = zip(dataset.scored_dates[0], dataset.scored_symbols[0], strict=True)
        return dict(zip(keys, forecasts, strict=True))

    before, after = first_fold(frames), first_fold(frames | {"DAILY": altered})
    assert before.keys() == after.keys()
    # A forecast one bar ahead that was made at `at` is of the next bar of its symbol.
    next_bars = {
        symbol: frame.index[frame.index > at][0]
        for symbol, frame in frames.items()
        if frame.index[-1] > at
    }
    same = {key for key in before if key[0] <= next_bars.get(key[1], at)}
    assert {key for key in same if before[key] != after[key]} == set()
    assert {symbol for day, symbol in before if before[day, symbol] != after[day, symbol]} == {
        "DAILY"
    }


def test_the_holdout_begins_on_one_date_for_all_symbols() -> None:
    frames, spec = basket(), spec_of(horizon=3)
    search, holdout = cut_holdout(frames, spec)
    assert list(holdout) == ["WHOLE", "LATE", "DAILY"]
    first = frames["DAILY"].index[-12]  # ten days and two that are purged
    assert all(frame.index[-1] < first for frame in search.values())
    assert all(frame.index[0] >= first for frame in holdout.values())
    opened = Dataset.for_holdout(spec, search, holdout)
    assert [part.member.symbol for part in opened.parts[0]] == ["WHOLE", "LATE", "DAILY"]
    assert opened.folds[0].train.stop == len(Dataset.build(spec, search).dates)


def test_a_basket_whose_symbols_are_all_too_short_is_refused() -> None:
    frames = {"A": walk(DAYS[:70], 1), "B": walk(DAYS[70:], 2)}
    with pytest.raises(PuffinError, match="no symbol has 50 targets to train on before the valid"):
        Dataset.build(spec_of(), frames)


def test_losses_of_a_date_are_averaged_over_symbols() -> None:
    dates = np.array(["2020-01-02", "2020-01-03", "2020-01-01", "2020-01-02"], dtype="M8[D]")
    assert mean_by_date(dates, np.array([1.0, 2.0, 4.0, 5.0])).tolist() == [4.0, 3.0, 2.0]


def test_a_label_of_a_basket_extends_over_more_dates_than_bars() -> None:
    daily = {"DAILY": walk(pd.date_range(DAYS[0], DAYS[-1]), 4)}
    shares = {"WHOLE": walk(DAYS, 1)}
    spec = spec_of(horizon=5)
    assert Dataset.build(spec, shares).date_horizon == 5
    assert Dataset.build(spec, daily).date_horizon == 5
    # Five bars from Monday to Friday or across a weekend, which has two dates more.
    assert Dataset.build(spec, shares | daily).date_horizon == 7
    assert Dataset.build(spec_of(), shares | daily).date_horizon == 1


def test_symbols_that_move_alike_have_the_interval_of_one() -> None:
    frame = basket()["DAILY"]
    alone, alike = (
        Dataset.build(spec_of(), dict.fromkeys(names, frame)) for names in (["A"], ["A", "B", "C"])
    )
    one, three = (
        made.direction([last + 1 for last in made.persistence]) for made in (alone, alike)
    )
    assert three.moves == 3 * one.moves
    assert (three.accuracy, three.low, three.high) == pytest.approx(
        (one.accuracy, one.low, one.high)
    )
    assert alike.direction(alike.persistence).accuracy == 0


def test_a_network_that_reads_a_set_of_features_has_the_same_targets() -> None:
    spec = Spec.model_validate(
        spec_of(features=["return", "price", "change"]).to_json()
        | {"space": {"lookback": [2, 10], "features": [["change"], ["price", "return"]]}}
    )
    whole = Dataset.build(spec, basket())
    few = whole.read_by(Config(features="price + return"))
    assert whole.read_by(Config()) is whole
    assert (few.inputs, few.targets_sha256) == (2, whole.targets_sha256)
    for all_read, some in zip(whole.tensors(5, CPU), few.tensors(5, CPU), strict=True):
        # In the order of data.features, whatever the order of the set.
        assert torch.equal(some.train.inputs, all_read.train.inputs[:, :, :2])
        assert torch.equal(some.train.outputs, all_read.train.outputs)
        assert torch.equal(some.valid.outputs, all_read.valid.outputs)


def test_the_skill_of_quantiles_of_a_basket_is_measured_by_those_of_persistence() -> None:
    levels = (0.1, 0.5, 0.9)
    spec = tiny_spec(
        data={"symbol": None, "symbols": ["A", "B"], "start": None},
        training={"loss": "quantile", "quantiles": list(levels), "objective": "skill"},
    )
    frames = {"A": bars(300), "B": bars(280)}
    found = Dataset.build(spec, cut_holdout(frames, spec)[0])
    assert found.persistence_losses == pytest.approx([1.0] * len(found.folds))
    assert [values.shape for values in found.judged_persistence] == [
        (len(actual), 3) for actual in found.actuals
    ]
    still = [found.point(values) for values in found.judged_persistence]
    np.testing.assert_array_equal(np.concatenate(still), np.concatenate(found.persistence))
    symbols = found.symbol_losses(found.judged_persistence)
    assert np.mean(list(symbols.values())) == pytest.approx(1.0)
    (csv,) = {found.forecasts_csv(found.judged_persistence)}
    table = read_table(csv)
    assert list(table)[-2:] == ["q0.1", "q0.9"]
    again = [from_columns(rows, levels) for _, rows in table.groupby("fold")]
    for before, after in zip(found.judged_persistence, again, strict=True):
        np.testing.assert_array_equal(before, after)
