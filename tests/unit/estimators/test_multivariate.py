"""Forecasters from features: windows, fit, forecasts, and the warning of a known target."""

import contextlib
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from puffin.models.arrays import Floats
from puffin.models.cells import CELLS
from puffin.models.estimators.multivariate import MultivariateGRU, MultivariateLSTM
from puffin.models.networks import rnn
from puffin.models.training.early_stopping import EarlyStopping
from tests.forecasters import (
    NETWORKS,
    SEEN,
    Recorder,
    bars,
    fit,
    fitted,
    make,
    mean_and_deviation,
    outputs,
    table,
    weights,
)

Multivariate = MultivariateLSTM | MultivariateGRU


MULTIVARIATE = [MultivariateLSTM, MultivariateGRU]


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_an_unfitted_forecaster_of_features_has_the_published_attributes(
    cls: type[Multivariate],
) -> None:
    model = cls()
    names = ["model", "lookback", "feature_cols", "target_col", "means", "stds"]
    assert [getattr(model, name) for name in names] == [None] * 6
    assert model.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert not hasattr(model, "target_mean")
    assert not hasattr(model, "target_std")


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_fitted_multivariate_forecaster_has_columns_means_and_deviations(
    cls: type[Multivariate],
) -> None:
    model = fitted(cls)
    assert type(model.model) is NETWORKS[cls]
    assert model.model.hidden_dims == [4, 3]
    assert (model.lookback, model.feature_cols, model.target_col) == (5, ["a", "b"], "t")
    assert [model.means.shape, model.stds.shape] == [(2,), (2,)]
    assert [type(model.target_mean), type(model.target_std)] == [float, float]


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_the_widths_are_the_published_ones_when_not_given(cls: type[Multivariate]) -> None:
    assert fitted(cls, hidden_dims=None, epochs=0).model.hidden_dims == [64, 32]


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_window_of_rows_ends_with_the_row_of_its_target(cls: type[Multivariate]) -> None:
    features = np.arange(8).reshape(4, 2)
    x, y = cls().prepare_sequences(features, np.array([10, 11, 12, 13]), 2)
    assert x.tolist() == [[[2, 3], [4, 5]], [[4, 5], [6, 7]]]
    assert y.tolist() == [12, 13]
    assert x.dtype == np.int64
    assert not np.shares_memory(x, features)


@pytest.mark.parametrize(
    ("features", "target", "message"),
    [
        (np.ones((9, 2)), np.ones(8), "features have shape (9, 2) and target (8,)"),
        (np.ones(9), np.ones(9), "features have shape (9,) and target (9,)"),
        (np.ones((9, 2)), np.ones((9, 1)), "target must have one dimension, but has shape (9, 1)"),
        (np.ones((4, 2)), np.ones(4), "too short: 4 values"),
    ],
)
def test_windows_of_features_that_do_not_fit_their_target_are_refused(
    features: Floats, target: Floats, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        MultivariateLSTM().prepare_sequences(features, target, 4)


@pytest.mark.parametrize(
    ("data", "settings", "error", "message"),
    [
        (table(), {"target_col": "zzz"}, KeyError, "columns ['a', 'b', 't'], but is 'zzz'"),
        (table()[["t"]], {}, ValueError, "must have a feature beside 't', but has none"),
        (table().set_axis(list("aat"), axis=1), {}, ValueError, "but repeats ['a']"),
        (table().to_numpy(), {}, ValueError, "must be a DataFrame, but is a ndarray"),
        (table().a, {}, ValueError, "must be a DataFrame, but is a Series"),
        (table(5), {}, ValueError, "too short: 5 values make 0 windows of lookback = 5"),
        (table(6), {}, ValueError, "leaves 0 to train on and 1 to validate on"),
        # What a shift leaves behind must be dropped first.
        (
            table().assign(t=table().t.shift(-1)),
            {},
            ValueError,
            "column 't' must be finite, but 1 of 40 values are not, first nan at position 39",
        ),
        (table().assign(b=math.inf), {}, ValueError, "column 'b' must be finite, but 40 of 40"),
        (table().assign(b="x"), {}, ValueError, "column 'b' must hold numbers only"),
        (table(), {"hidden_dims": []}, ValueError, "at least one layer, but got none"),
        (table(), {"hidden_dims": [4, 0]}, ValueError, "hidden_dim must be at least 1, but is 0"),
        (table(), {"epochs": -1}, ValueError, "epochs must be at least 0, but is -1"),
        (table(), {"validation_split": 1}, ValueError, "below 1, but is 1"),
        (
            table(),
            {"validation_split": 0, "early_stopping": EarlyStopping()},
            ValueError,
            "early_stopping needs validation data",
        ),
    ],
)
@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_an_invalid_fit_on_features_is_refused(
    cls: type[Multivariate],
    data: Any,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    model = make(cls)
    with pytest.raises(error, match=re.escape(message)):
        model.fit(data, **({"target_col": "t", "lookback": 5, "epochs": 1} | settings))
    assert [model.model, model.lookback, model.means] == [None] * 3


def test_index_and_column_order_do_not_change_a_forecast() -> None:
    model = fitted(MultivariateLSTM)
    dated = table().set_index(pd.date_range("2020-01-01", periods=40))
    assert torch.equal(weights(fitted(MultivariateLSTM, dated)), weights(model))
    expected = model.predict(table())
    # The target is not needed, and what else is there is not looked at.
    assert model.predict(dated[["b", "a"]]).tolist() == expected.tolist()
    assert model.predict(dated.assign(t=math.nan, z="x")).tolist() == expected.tolist()


def test_constant_columns_train() -> None:
    model = fitted(MultivariateLSTM, table().assign(a=0.1, t=2.0))
    assert (model.stds[0], model.target_mean, model.target_std) == (1.0, 2.0, 1.0)
    assert np.isfinite(model.predict(table())).all()


def test_a_lookback_of_one_bar_trains_and_forecasts() -> None:
    assert fitted(lookback=1).predict([101.0], 2).shape == (2,)
    assert fitted(MultivariateLSTM, lookback=1).historical_forecasts(table()).shape == (40,)


@pytest.mark.parametrize("method", ["predict", "historical_forecasts"])
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (table()[["a", "t"]], KeyError, "must have the columns ['a', 'b'], but lacks ['b']"),
        (table(4), ValueError, "must have at least lookback = 5 rows, but has 4"),
        (table().assign(a=math.nan), ValueError, "column 'a' must be finite"),
        (table().a, ValueError, "must be a DataFrame, but is a Series"),
        (table().set_axis(list("aab"), axis=1), ValueError, "but repeats ['a']"),
    ],
)
def test_invalid_forecasts_of_rows_are_refused(
    method: str, data: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        getattr(fitted(MultivariateLSTM), method)(data)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_historical_forecasts_of_rows_equal_predictions_made_then(
    cls: type[Multivariate],
) -> None:
    model = fitted(cls, epochs=8)
    rows = table(50)
    history = model.historical_forecasts(rows)
    assert (history.shape, history.dtype) == ((50,), np.float64)
    assert np.isnan(history).tolist() == [True] * 4 + [False] * 46
    for t in (4, 5, 23, 40, 49):
        out = model.predict(rows.iloc[: t + 1])
        assert (out.shape, out.dtype) == ((1,), np.float64)
        assert history[t] == pytest.approx(out[0], rel=1e-5)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_forecast_of_rows_is_in_the_unit_of_the_target(
    cls: type[Multivariate],
) -> None:
    data = table().assign(a=table().a * 30 + 7, t=table().t * 5 - 900)
    model = fitted(cls, data, epochs=8)
    last = data[["a", "b"]].to_numpy()[-5:]
    window = (last - model.means) / model.stds
    expected = outputs(model, window[None])[0] * model.target_std + model.target_mean
    assert model.predict(data)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_widths_and_dropout_reach_the_stack(cls: type[Multivariate]) -> None:
    # 1: the dropout was 0.2 whatever one wanted.
    model = make(cls, dropout=0.35)
    fit(model, hidden_dims=[6, 5, 2])
    assert model.model.hidden_dims == [6, 5, 2]
    assert model.model.dropout.p == 0.35
    assert model.model.fc.weight.shape == (1, 2)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_columns_are_standardised_by_the_rows_of_training_windows(
    cls: type[Multivariate],
) -> None:
    # 4: those of features and target were those of all rows.
    data = table(30)
    data.iloc[SEEN:] += 50
    model = fitted(cls, data)
    for column, mean, std in zip(["a", "b"], model.means, model.stds, strict=True):
        assert (mean, std) == pytest.approx(mean_and_deviation(data[column][:SEEN]))
    target = (model.target_mean, model.target_std)
    assert target == pytest.approx(mean_and_deviation(data.t[:SEEN]))


KNOWN = r"target_col 't' can be read off the features up to its row"


def known(bars: int = 120) -> pd.DataFrame:
    """A target that its own row knows, and no other row does."""
    noise = np.random.default_rng(0).normal(size=bars)
    return pd.DataFrame({"a": noise, "t": noise})


@pytest.mark.parametrize(("cls", "cell"), [(MultivariateLSTM, "lstm"), (MultivariateGRU, "gru")])
def test_training_pairs_a_window_with_the_target_of_its_last_row(
    cls: type[Multivariate], cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 10: the window ended one row before, so that "the next return" was the one after it. A
    # network that says the newest feature then is wrong; here its loss is 0.
    monkeypatch.setattr(rnn, CELLS[cell].network, Recorder)
    model = make(cls)
    history = fit(model, known(30), lr=0.0, epochs=1)  # too few rows for a warning
    assert history == {name: [pytest.approx(0, abs=1e-12)] for name in history}
    # What is trained on are the first 20 windows that prepare_sequences cuts.
    rows = known(30)[["a"]].to_numpy()
    expected = model.prepare_sequences(rows, rows[:, 0], 5)[0][:20, :, 0]
    seen = torch.cat(model.model.seen)[:, :, 0].cpu().numpy() * model.stds + model.means
    np.testing.assert_allclose(np.sort(seen, axis=0), np.sort(expected, axis=0), atol=1e-5)


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_target_known_only_in_the_newest_row_is_learnt(cls: type[Multivariate]) -> None:
    # 10: with that row left out nothing could be learnt of noise, and the loss stayed about 1.
    model = make(cls)
    with pytest.warns(UserWarning, match=KNOWN):
        history = fit(
            model, known(), lookback=3, epochs=30, lr=0.05, batch_size=32, hidden_dims=[8]
        )
    assert history["val_loss"][-1] < 0.1


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_only_rows_of_the_window_change_a_forecast(
    cls: type[Multivariate],
) -> None:
    model = fitted(cls)
    newest, old = table(), table()
    newest.loc[[39], "a"] += 1
    old.loc[[34], "a"] += 1
    expected = model.predict(table()).tolist()
    assert model.predict(newest).tolist() != expected
    assert model.predict(old).tolist() == expected


def train_on(data: pd.DataFrame, cls: type[Multivariate] = MultivariateLSTM) -> None:
    make(cls).fit(data, "t", lookback=5, epochs=0, hidden_dims=[2])


@pytest.mark.parametrize("cls", MULTIVARIATE)
def test_a_close_beside_open_high_and_low_raises_a_warning(cls: type[Multivariate]) -> None:
    with pytest.warns(UserWarning, match=KNOWN) as caught:
        train_on(bars().rename(columns={"close": "t"}), cls)
    (warning,) = caught
    assert "features_df['t'].shift(-1)" in str(warning.message)
    # It points to the line that trains.
    assert warning.filename == __file__


@pytest.mark.parametrize(
    "target",
    [
        lambda frame: frame.close.shift(-1),
        lambda frame: frame.close.pct_change().shift(-1),
        lambda frame: np.log(frame.close).diff().shift(-1),
        lambda frame: (frame.high / frame.low - 1).shift(-1),
        lambda frame: frame.close * 0 + 1.0,
    ],
    ids=["next close", "next return", "next log return", "next range", "constant"],
)
def test_a_target_of_the_next_row_raises_no_warning(
    target: Callable[[pd.DataFrame], pd.Series],
) -> None:
    frame = bars()
    features = frame.assign(r=frame.close.pct_change(), v=(frame.high / frame.low - 1))
    train_on(features.assign(t=target(frame)).dropna())


@pytest.mark.parametrize(
    "target",
    [
        lambda frame: frame.close,
        lambda frame: (frame.open + frame.high) / 2,
        lambda frame: -3 * frame.low + 8,
    ],
    ids=["feature itself", "mean of two", "scaled"],
)
def test_a_target_linear_in_the_features_raises_a_warning(
    target: Callable[[pd.DataFrame], pd.Series],
) -> None:
    with pytest.warns(UserWarning, match=KNOWN):
        train_on(bars().assign(t=target(bars())))


@pytest.mark.parametrize("columns", [["close"], ["open", "high", "low", "close"]])
def test_a_return_beside_its_closes_raises_a_warning(columns: list[str]) -> None:
    # The features of a row do not know its return, but those of it and of the row before do.
    data = bars()[columns].assign(t=bars().close.pct_change()).tail(500)
    with pytest.warns(UserWarning, match=KNOWN):
        train_on(data)


@pytest.mark.parametrize(("rows", "warns"), [(35, False), (36, True)])
def test_too_few_rows_for_the_fit_raise_no_warning(
    rows: int,
    warns: bool,  # noqa: FBT001  # a parameter of the table
) -> None:
    # Two features, those of the row before and the mean are 5 columns: of 35 rows they leave 34 - 5
    # to judge by, of 36 they leave 30, which are asked for.
    data = table(rows).assign(t=lambda d: d.a)
    with pytest.warns(UserWarning, match=KNOWN) if warns else contextlib.nullcontext():
        make(MultivariateLSTM).fit(
            data, "t", lookback=2, epochs=0, validation_split=0, hidden_dims=[2]
        )
