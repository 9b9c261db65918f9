"""A bar changes no feature, target, window, scaler or forecast that was known before it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import puffin.models.windows as windows_module
from puffin.models.arrays import Floats
from puffin.models.config import Config, TrainingConfig
from puffin.models.features import FEATURES, TARGETS, Bars, Feature, Series, build_series
from puffin.models.folds import Fold, Span, WalkForward, first_target, split
from puffin.models.scaling import Scaler
from puffin.models.training.fold_training import FoldTraining
from puffin.models.windows import FoldTensors, fold_tensors
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.report.baselines import compare_with_baselines
from puffin.studies.spec import Spec
from tests.folds import part_of
from tests.leaks import LEAKS, tomorrow

# A hundred miss one of the planted leaks below.
EXAMPLES = 300
CPU = torch.device("cpu")
NAMES = ("close", "high", "low", "volume", "weekday", "extra", "market:return", "market:volatility")


@dataclass(frozen=True)
class Case:
    """Features, target, horizon and folds of one study."""

    features: tuple[str, ...]
    target: str
    horizon: int
    lookback: int
    max_lookback: int
    layout: WalkForward
    bars: int

    @property
    def folds(self) -> list[Fold]:
        warmup = max(FEATURES[name].warmup for name in self.features)
        return split(self.bars, first_target(self.max_lookback, warmup, self.horizon), self.layout)

    def series(self, columns: Bars) -> Series:
        return build_series(columns, self.features, self.target, self.horizon)

    def prepare(self, series: Series) -> list[tuple[Scaler, FoldTensors]]:
        scalers = [Scaler.fit(series, fold.train, self.max_lookback) for fold in self.folds]
        return [
            (scaler, fold_tensors([part_of(series, fold, scaler)], self.lookback, CPU))
            for fold, scaler in zip(self.folds, scalers, strict=True)
        ]

    def forecasts(self, columns: Bars, cell: str) -> list[list[list[float]]]:
        """Train two epochs; return the forecasts by epoch, fold and target."""
        config = Config(cell, (4, 3), dropout=0.2, lr=0.01, batch_size=16, noise=0.05)
        folds = [tensors for _, tensors in self.prepare(self.series(columns))]
        epochs = FoldTraining(folds, config, TrainingConfig(max_epochs=2), seed=0)
        return [[each.tolist() for each in epoch.forecasts] for epoch in epochs]


def prices(bars: int, seed: int) -> dict[str, Floats]:
    """A random walk with highs, lows and volumes; some bars have no range or no volume."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, bars)))
    moved = np.where(rng.random(bars) > 0.05, 1.0, 0.0)
    return {
        "close": close,
        "high": close * np.exp(moved * rng.exponential(0.01, bars)),
        "low": close * np.exp(-moved * rng.exponential(0.01, bars)),
        "volume": np.floor(rng.exponential(1e6, bars)) * (rng.random(bars) > 0.05),
        "weekday": np.arange(bars) % 7.0,
        "market:return": rng.normal(0, 0.01, bars),
        "market:volatility": rng.normal(-4, 0.5, bars),
        "extra": 20 * np.exp(np.cumsum(rng.normal(0, 0.05, (bars, 1)), axis=0)),
    }


def changed(
    columns: Bars, bars: slice, seed: int, names: tuple[str, ...] = NAMES
) -> dict[str, Floats]:
    """Change the named columns at some bars, each value by a different factor."""
    rng = np.random.default_rng(seed)
    out = {name: values.copy() for name, values in columns.items()}
    for name in names:
        values = out[name][bars]
        out[name][bars] = (values + 1) * np.exp(rng.normal(0.1, 0.3, values.shape))
    return out


def leaks(case: Case, before: Bars, after: Bars, t: int) -> set[str]:
    """Return the names of values known at bar `t` that differ between columns equal up to `t`."""
    a, b = case.series(before), case.series(after)
    found = set()

    def compare(name: str, one: object, other: object) -> None:
        if not np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True):
            found.add(name)

    compare("features", a.features[: t + 1], b.features[: t + 1])
    compare("target", a.target[: t + 1], b.target[: t + 1])
    # The persistence forecast for a target stands a horizon before it.
    ahead = t + 1 + case.horizon
    compare("persistence", a.persistence[:ahead], b.persistence[:ahead])
    sides = zip(case.folds, case.prepare(a), case.prepare(b), strict=True)
    for fold, (scaler, tensors), (other_scaler, other) in sides:
        if fold.train.stop > t + 1:
            continue  # bars after t are this fold's own past
        for field in ("feature_mean", "feature_std", "target_mean", "target_std"):
            compare("scaler", getattr(scaler, field), getattr(other_scaler, field))
        compare("train windows", tensors.train.inputs, other.train.inputs)
        compare("train targets", tensors.train.outputs, other.train.outputs)
        known, seen = (max(0, stop - fold.valid.start) for stop in (t + 1, ahead))
        compare("valid targets", tensors.valid.outputs[:known], other.valid.outputs[:known])
        compare("valid windows", tensors.valid.inputs[:seen], other.valid.inputs[:seen])
    return found


def forecast_leaks(case: Case, before: Bars, after: Bars, t: int, cell: str) -> int:
    """Count the forecasts made at or before bar `t` that differ, in every epoch."""
    count = 0
    sides = zip(case.forecasts(before, cell), case.forecasts(after, cell), strict=True)
    for one, other in sides:
        for fold, row, other_row in zip(case.folds, one, other, strict=True):
            if fold.train.stop <= t + 1:
                made = max(0, t + 1 + case.horizon - fold.valid.start)
                pairs = zip(row[:made], other_row[:made], strict=True)
                count += sum(a != b for a, b in pairs)
    return count


@st.composite
def cases(draw: st.DrawFn) -> Case:
    some = st.lists(st.sampled_from(sorted(FEATURES)), min_size=1, unique=True)
    features = draw(st.just(sorted(FEATURES)) | some)
    horizon = draw(st.integers(1, 4))
    max_lookback = draw(st.integers(1, 8))
    layout = WalkForward(
        folds=draw(st.integers(2, 3)),
        valid_bars=draw(st.integers(5, 15)),
        purge=horizon - 1 + draw(st.integers(0, 2)),
        train_bars=draw(st.none() | st.integers(15, 40)),
    )
    judged = layout.purge + layout.folds * layout.valid_bars
    warmup = max(FEATURES[name].warmup for name in features)
    least = warmup + max_lookback + horizon + (layout.train_bars or 50) + judged
    return Case(
        features=tuple(features),
        target=draw(st.sampled_from(sorted(TARGETS))),
        horizon=horizon,
        lookback=draw(st.integers(1, max_lookback)),
        max_lookback=max_lookback,
        layout=layout,
        bars=least + draw(st.integers(0, 20)),
    )


columns_changed = st.just(NAMES) | st.sampled_from([(name,) for name in NAMES])
seeds = st.integers(0, 2**32 - 1)


def bars_after(t: int, bars: int) -> st.SearchStrategy[slice]:
    """Draw every bar after `t`, or one of them, often the next one."""
    one = st.integers(t + 1, bars - 1).map(lambda bar: slice(bar, bar + 1))
    return st.one_of(st.just(slice(t + 1, None)), st.just(slice(t + 1, t + 2)), one)


def known_bars_stay_known(
    case: Case, names: tuple[str, ...], seed: int, data: st.DataObject
) -> None:
    t = data.draw(st.integers(0, case.bars - 2))
    before = prices(case.bars, seed)
    after = changed(before, data.draw(bars_after(t, case.bars)), seed, names)
    assert leaks(case, before, after, t) == set()


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases(), columns_changed, seeds, st.data())
def test_a_bar_changes_no_feature_or_target_before_it(
    case: Case, names: tuple[str, ...], seed: int, data: st.DataObject
) -> None:
    known_bars_stay_known(case, names, seed, data)


@settings(max_examples=150, deadline=None)
@given(cases(), columns_changed, seeds, st.data())
def test_a_bar_after_a_training_part_changes_no_training_data(
    case: Case, names: tuple[str, ...], seed: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, case.layout.folds - 1))
    fold = case.folds[number]
    before = prices(case.bars, seed)
    after = changed(before, slice(fold.train.stop, None), seed, names)
    scaler, tensors = case.prepare(case.series(before))[number]
    other_scaler, other = case.prepare(case.series(after))[number]
    assert np.array_equal(scaler.feature_mean, other_scaler.feature_mean)
    assert np.array_equal(scaler.feature_std, other_scaler.feature_std)
    assert scaler.target_mean == other_scaler.target_mean
    assert scaler.target_std == other_scaler.target_std
    assert torch.equal(tensors.train.inputs, other.train.inputs)
    assert torch.equal(tensors.train.outputs, other.train.outputs)


@settings(max_examples=150, deadline=None)
@given(cases(), columns_changed, seeds)
def test_a_bar_after_a_validation_part_changes_no_validation_data(
    case: Case, names: tuple[str, ...], seed: int
) -> None:
    before = prices(case.bars, seed)
    prepared = case.prepare(case.series(before))
    for number, fold in enumerate(case.folds[:-1]):  # the last ends with the series
        after = changed(before, slice(fold.valid.stop, None), seed, names)
        tensors, other = prepared[number][1], case.prepare(case.series(after))[number][1]
        assert torch.equal(tensors.valid.inputs, other.valid.inputs)
        assert torch.equal(tensors.valid.outputs, other.valid.outputs)


@settings(max_examples=25, deadline=None)
@given(cases(), st.sampled_from(["lstm", "gru"]), seeds, st.data())
def test_a_bar_changes_no_earlier_forecast(
    case: Case, cell: str, seed: int, data: st.DataObject
) -> None:
    fold = case.folds[data.draw(st.integers(0, case.layout.folds - 1))]
    t = data.draw(st.integers(fold.valid.start - 1, fold.valid.stop - 2))
    before = prices(case.bars, seed)
    after = changed(before, data.draw(bars_after(t, case.bars)), seed)
    assert forecast_leaks(case, before, after, t, cell) == 0


# The checkers themselves

PLAIN = Case(("return", "range"), "price", 2, 3, 5, WalkForward(2, 10, purge=1), bars=110)


def check(case: Case = PLAIN) -> set[str]:
    """Change every bar after the first training part of `case`."""
    t = case.folds[0].train.stop - 1
    before = prices(case.bars, seed=0)
    return leaks(case, before, changed(before, slice(t + 1, None), seed=0), t)


def test_a_causal_case_has_no_leak() -> None:
    assert check() == set()


@pytest.mark.parametrize("name", ["tomorrow", "standardised"])
def test_a_leaking_feature_is_detected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 0, LEAKS[name]))
    found = check(replace(PLAIN, features=("leaky",)))
    assert {"features", "train windows", "scaler", "valid windows"} >= found >= {"features"}


@pytest.mark.parametrize("compute", LEAKS.values(), ids=LEAKS)
def test_the_property_fails_if_one_of_the_features_leaks(
    compute: Callable[[Bars], Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 1, compute))
    # Neither made small nor kept: that it fails is all that is asked.
    once = settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], database=None)
    property_ = once(given(cases(), columns_changed, seeds, st.data())(known_bars_stay_known))
    with pytest.raises(AssertionError, match="features"):
        property_()


def test_forecasts_from_a_leaking_feature_are_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 0, tomorrow))
    t = PLAIN.folds[0].valid.start + 4
    before = prices(PLAIN.bars, seed=0)
    after = changed(before, slice(t + 1, None), seed=0)
    leaky = replace(PLAIN, features=("leaky",))
    # In both epochs, of the first fold, the forecast whose window ends at bar t.
    assert forecast_leaks(leaky, before, after, t, "lstm") == 2
    assert forecast_leaks(PLAIN, before, after, t, "lstm") == 0


def test_a_leaking_target_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    late = replace(TARGETS["price"], compute=lambda c, h: np.roll(c["close"], -1))
    monkeypatch.setitem(TARGETS, "price", late)
    assert {"target", "train targets"} <= check()


def test_a_persistence_equal_to_its_target_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(TARGETS["price"], persistence=lambda c, h: c["close"])
    monkeypatch.setitem(TARGETS, "price", own)
    assert check() == {"persistence"}


def test_a_scaler_fitted_on_the_whole_series_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Scaler.fit

    def whole(series: Series, train: Span, max_lookback: int) -> Scaler:
        return honest(series, Span(train.start, len(series.target)), max_lookback)

    monkeypatch.setattr(Scaler, "fit", whole)
    assert {"scaler", "train windows", "train targets"} <= check()


def test_a_window_that_ends_a_bar_late_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = windows_module.make_windows

    def late(rows: torch.Tensor, lookback: int) -> torch.Tensor:
        return honest(torch.roll(rows, -1, 0), lookback)

    monkeypatch.setattr(windows_module, "make_windows", late)
    assert check() == {"valid windows"}


@pytest.mark.parametrize("name", FEATURES)
def test_a_changed_bar_changes_its_feature_and_the_window_that_ends_there(
    name: str,
) -> None:
    case = replace(PLAIN, features=(name,))
    fold = case.folds[0]
    t = fold.valid.start
    before = prices(case.bars, seed=0)
    after = changed(before, slice(t, t + 1), seed=0)
    one, other = case.series(before), case.series(after)
    assert one.features[t, 0] != other.features[t, 0]
    windows = [case.prepare(series)[0][1].valid.inputs for series in (one, other)]
    differ = [not torch.equal(a, b) for a, b in zip(*windows, strict=True)]
    assert differ.index(True) == case.horizon


# The sealed holdout


def study(horizon: int, holdout_bars: int, purge: int | None, **data: object) -> Spec:
    return Spec.model_validate(
        {
            "name": "t",
            "data": {
                "symbol": "X",
                "horizon": horizon,
                "features": sorted(FEATURES),
                "extra": ["OTHER"],
            }
            | data,
            "walk_forward": {
                "folds": 2,
                "valid_bars": 10,
                "holdout_bars": holdout_bars,
                "purge": purge,
            },
            "space": {"lookback": {"low": 2, "high": 6}, "hidden_dim": 4},
        }
    )


def frame_of(columns: Bars) -> pd.DataFrame:
    own = {name: values for name, values in columns.items() if name not in {"weekday", "extra"}}
    if "extra" in columns:
        own["extra:OTHER"] = columns["extra"][:, 0]
    return pd.DataFrame(own, index=pd.bdate_range("2020-01-01", periods=len(own["close"])))


def losses(dataset: Dataset) -> list[tuple[float, ...]]:
    config = Config(hidden_dims=(4,), lookback=5, batch_size=32, lr=0.01)
    folds = dataset.tensors(5, CPU)
    epochs = FoldTraining(folds, config, TrainingConfig(max_epochs=1), seed=0)
    return [(epoch.train_loss, *epoch.fold_losses) for epoch in epochs]


def dataset(spec: Spec, columns: Bars) -> Dataset:
    search, _ = cut_holdout({"A": frame_of(columns)}, spec)
    return Dataset.build(spec, search)


def columns_of(made: Dataset) -> list[bytes]:
    """Return the bytes of features, targets and persistence."""
    series = made.members[0].series
    return [a.tobytes() for a in (series.features, series.target, series.persistence)]


def facts(spec: Spec, columns: Bars) -> list[object]:
    """Return everything that the search could take from prices, as comparable values."""
    made = dataset(spec, columns)
    scalers = [part.scaler for (part,) in made.parts]
    return [
        list(made.dates),
        columns_of(made),
        made.folds,
        [(s.feature_mean.tobytes(), s.feature_std.tobytes()) for s in scalers],
        [(s.target_mean, s.target_std) for s in scalers],
        made.scored_sha256(made.tensors(5, CPU)),
        made.persistence_losses,
        made.mean_losses,
        losses(made),
        made.refit_span(),
    ]


@settings(max_examples=25, deadline=None)
@given(
    horizon=st.integers(1, 4),
    holdout_bars=st.integers(1, 30),
    spare=st.none() | st.integers(0, 3),
    target=st.sampled_from(sorted(TARGETS)),
    seed=seeds,
)
def test_the_search_does_not_depend_on_the_sealed_holdout(
    horizon: int, holdout_bars: int, spare: int | None, target: str, seed: int
) -> None:
    purge = None if spare is None else horizon - 1 + spare
    spec = study(horizon, holdout_bars, purge, target=target)
    before = prices(130 + holdout_bars, seed)
    searched = len(before["close"]) - holdout_bars - spec.purge
    known = facts(spec, before)
    assert facts(spec, changed(before, slice(searched, None), seed)) == known
    # The last bar before the purged ones is searched, and does count.
    other = changed(before, slice(searched - 1, searched), seed)
    assert columns_of(dataset(spec, other)) != columns_of(dataset(spec, before))


def opened_by(spec: Spec, columns: Bars) -> tuple[Dataset, Dataset]:
    search, sealed = cut_holdout({"A": frame_of(columns)}, spec)
    return Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed)


def holdout_leaks(spec: Spec, before: Bars, after: Bars, bar: int) -> set[str]:
    """Return the names of holdout values known before `bar` that change with it or later bars.

    Of the holdout's forecasts those are known whose target stands less than a horizon behind `bar`.
    """
    (folds, one), (_, other) = (opened_by(spec, columns) for columns in (before, after))
    (fold,) = one.folds
    seen = max(0, bar + spec.data.horizon - fold.valid.start)
    pairs: dict[str, tuple[object, object]] = {}
    for field in ("feature_mean", "feature_std", "target_mean", "target_std"):
        pairs[f"scaler {field}"] = tuple(getattr(w.parts[0][0].scaler, field) for w in (one, other))
    (a,), (b,) = one.tensors(5, CPU), other.tensors(5, CPU)
    pairs["train windows"] = a.train.inputs, b.train.inputs
    pairs["train targets"] = a.train.outputs, b.train.outputs
    pairs["valid windows"] = a.valid.inputs[:seen], b.valid.inputs[:seen]
    still = np.zeros(len(fold.valid))
    baselines = [
        {r.name: r for r in compare_with_baselines(folds, w, 5, still).baselines}
        for w in (one, other)
    ]
    for name in set(baselines[0]) & set(baselines[1]):
        mine, theirs = baselines[0][name], baselines[1][name]
        pairs[f"search loss of {name}"] = mine.search_losses, theirs.search_losses
        pairs[f"forecasts of {name}"] = mine.forecasts[:seen], theirs.forecasts[:seen]
    return {
        name
        for name, (mine, theirs) in pairs.items()
        if not np.array_equal(np.asarray(mine), np.asarray(theirs))
    }


@settings(max_examples=8, deadline=None)
@given(
    horizon=st.integers(1, 4),
    spare=st.none() | st.integers(0, 3),
    target=st.sampled_from(sorted(TARGETS)),
    ahead=st.integers(0, 24),
    seed=seeds,
)
def test_no_holdout_bar_changes_the_refit_the_baseline_or_an_earlier_forecast(
    horizon: int, spare: int | None, target: str, ahead: int, seed: int
) -> None:
    purge = None if spare is None else horizon - 1 + spare
    spec = study(horizon, 25, purge, target=target)
    before = prices(140, seed)
    bar = 140 - spec.purge - 25 + ahead
    after = changed(before, slice(bar, None), seed)
    assert holdout_leaks(spec, before, after, bar) == set()


def test_a_refit_scaled_by_the_holdout_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, before = study(2, 25, None), prices(140, seed=0)
    after = changed(before, slice(114, None), seed=0)
    assert holdout_leaks(spec, before, after, 114) == set()
    honest = Scaler.fit
    monkeypatch.setattr(Scaler, "fit", lambda s, t, m: honest(s, Span(t.start, len(s.target)), m))
    assert {"scaler feature_mean", "train windows"} <= holdout_leaks(spec, before, after, 114)


@settings(max_examples=100, deadline=None)
@given(
    horizon=st.integers(1, 10),
    holdout_bars=st.integers(1, 100),
    spare=st.none() | st.integers(0, 5),
    searched=st.integers(1, 100),
)
def test_labels_of_search_and_scored_holdout_share_no_bar(
    horizon: int, holdout_bars: int, spare: int | None, searched: int
) -> None:
    purge = horizon - 1 if spare is None else horizon - 1 + spare
    spec = study(horizon, holdout_bars, None if spare is None else purge)
    frame = frame_of({"close": np.arange(1.0, searched + purge + holdout_bars + 1)})
    (search,), (sealed,) = (part.values() for part in cut_holdout({"A": frame}, spec))
    assert len(search) == searched
    assert pd.concat([search, sealed]).equals(frame)
    numbers = list(frame.index)
    last_label_bar = numbers.index(search.index[-1])
    first_scored = numbers.index(sealed.index[-holdout_bars])
    assert last_label_bar < first_scored - (horizon - 1)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_the_label_of_a_return_spans_horizon_bars(
    horizon: int,
) -> None:
    before = prices(30, seed=0)
    for bar in range(horizon, 30):
        # The move of one bar lifts the close of it and of every later one.
        after = before | {"close": before["close"] * np.where(np.arange(30) < bar, 1.0, 2.0)}
        targets = [build_series(c, ["return"], "return", horizon).target for c in (before, after)]
        differ = [t for t in range(horizon, 30) if abs(targets[0][t] - targets[1][t]) > 1e-6]
        assert differ == [t for t in range(horizon, 30) if t - horizon < bar <= t]


@pytest.mark.parametrize("bars", [10, 20, 24])
def test_a_series_no_longer_than_its_holdout_leaves_nothing_to_search(bars: int) -> None:
    spec = study(horizon=3, holdout_bars=22, purge=None)
    frames = {"A": frame_of({"close": np.arange(1.0, bars + 1)})}
    search, sealed = cut_holdout(frames, spec)
    assert (search, len(sealed["A"])) == ({}, bars)
