"""What looks into the future is refused before anything is trained on it; honest input passes."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import puffin.models.lookahead as module
from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.features import FEATURES, TARGETS, Bars, Feature
from puffin.models.lookahead import require_causal
from tests.leaks import LEAKS, tomorrow

BARS = 700


def prices(bars: int = BARS) -> dict[str, Floats]:
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, bars)))
    reach = np.exp(rng.exponential(0.01, (2, bars)))
    return {
        "close": close,
        "high": close * reach[0],
        "low": close / reach[1],
        "volume": np.floor(rng.exponential(1e6, bars)),
        "weekday": np.arange(bars) % 7.0,
        "market:return": rng.normal(0, 0.01, bars),
        "market:volatility": rng.normal(-4, 0.1, bars),
        "extra": np.exp(rng.normal(0, 0.1, (bars, 2))),
        "column:mood": rng.normal(0, 1.0, bars),
    }


def check(columns: Bars, feature: str = "return", target: str = "return", ahead: int = 1) -> None:
    require_causal(columns, [feature], target, ahead)


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("target", TARGETS)
def test_every_feature_and_target_is_causal(target: str, horizon: int) -> None:
    require_causal(prices(), [*FEATURES, "column:mood", "diff:mood"], target, horizon)


@pytest.mark.parametrize("compute", LEAKS.values(), ids=LEAKS)
def test_a_leaking_feature_is_refused_by_its_name(
    compute: Callable[[Bars], Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 1, compute))
    with pytest.raises(PuffinError, match=r"^data\.features 'leaky' looks into the future: at bar"):
        require_causal(prices(), ["return", "leaky"], "return", 1)


def test_the_error_of_a_leak_has_bar_values_rule_and_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 0, tomorrow))
    closes = np.array([1.0, 2.0, 2.0, 8.0])
    said = (
        "data.features 'leaky' looks into the future: at bar 0 it may use the bars up to 0, but is "
        "0.693147 with all 4 bars and 0 with those up to 0; fix its formula in "
        "puffin.models.features.FEATURES, or choose another"
    )
    with pytest.raises(PuffinError, match=f"^{re.escape(said)}$"):
        check({"close": closes}, "leaky")


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_target_that_is_known_a_bar_too_late_is_refused(
    horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = replace(TARGETS["price"], compute=lambda c, _: np.roll(c["close"], -1))
    monkeypatch.setitem(TARGETS, "price", late)
    with pytest.raises(PuffinError, match=r"^data\.target 'price' looks into the future"):
        check(prices(), target="price", ahead=horizon)


@pytest.mark.parametrize("horizon", [1, 3])
def test_persistence_less_than_a_horizon_before_its_target_is_refused(
    horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = TARGETS["price"].persistence
    near = replace(TARGETS["price"], persistence=lambda c, h: honest(c, h - 1))
    monkeypatch.setitem(TARGETS, "price", near)
    said = r"^the persistence of data\.target 'price' .* at bar (\d+) it may use the bars up to"
    with pytest.raises(PuffinError, match=said) as caught:
        check(prices(), target="price", ahead=horizon)
    first, last = (
        int(n) for n in re.findall(r"at bar (\d+).* up to (\d+), but", str(caught.value))[0]
    )
    assert first - last == horizon


def test_a_leak_at_the_last_bar_but_one_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(columns: Bars) -> Floats:
        out = columns["close"].copy()
        if len(out) == BARS:
            out[-2] = out[-1]
        return out

    monkeypatch.setitem(FEATURES, "leaky", Feature(("close",), 0, late))
    with pytest.raises(PuffinError, match=f"at bar {BARS - 2} "):
        check(prices(), "leaky")


def test_a_short_series_is_cut_after_every_bar_a_long_one_irregularly() -> None:
    assert module._cutoffs(3, 20, 100).tolist() == list(range(3, 21))
    cuts = module._cutoffs(1, 5000, module.TRUNCATIONS)
    assert (len(cuts), cuts[-1]) == (module.TRUNCATIONS, 5000)
    assert (np.diff(cuts) > 0).all()
    assert cuts.tolist() == module._cutoffs(1, 5000, module.TRUNCATIONS).tolist()
    assert all(5 < np.sum(cuts % 5 == day) < 40 for day in range(5))


def running_mean(columns: Bars) -> Floats:
    """Return means of 20 closes as differences of two cumulative sums, which round."""
    sums = np.cumsum(columns["close"])
    return np.append(np.full(20, np.nan), (sums[20:] - sums[:-20]) / 20)


def smoothed(columns: Bars) -> Floats:
    """Return exponential means by Fourier transforms, whose rounding depends on the length."""
    weights = 0.9 ** np.arange(BARS)
    size = 2 * BARS + len(columns["close"]) % 7
    spectrum = np.fft.rfft(columns["close"], size) * np.fft.rfft(weights, size)
    return np.fft.irfft(spectrum, size)[: len(columns["close"])]


@pytest.mark.parametrize(("warmup", "compute"), [(20, running_mean), (0, smoothed)])
def test_a_causal_formula_that_rounds_differently_on_fewer_bars_passes(
    warmup: int, compute: Callable[[Bars], Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, "summed", Feature(("close",), warmup, compute))
    check(prices(), "summed")


def test_without_a_tolerance_rounding_would_count_as_a_leak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    monkeypatch.setitem(FEATURES, "summed", Feature(("close",), 0, smoothed))
    with pytest.raises(PuffinError, match="'summed' looks into the future"):
        check(prices(), "summed")


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_constant_feature_passes(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    still = Feature(("close",), 0, lambda c: np.full(len(c["close"]), value))
    monkeypatch.setitem(FEATURES, "still", still)
    check(prices(), "still")


@pytest.mark.parametrize("bars", [0, 1, 2])
def test_a_series_too_short_to_be_cut_passes(bars: int) -> None:
    check(prices(bars), target="price", ahead=2)
