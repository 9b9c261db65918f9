"""Which test and which rule the verdict rests on: their level and power in simulations.

A *loss differential* is the loss of a rival minus that of the winner. `--tests` compares two tests
of its mean, one-sided at 5 %: that of Diebold and Mariano with the correction of Harvey, Leybourne
and Newbold (1997), which reports of earlier versions used, and `long_run_test`. Differentials are
independent, GARCH(1,1) with Student's t, first-order autoregressions of 0.5, or fractional noise of
memory 0.3; over a horizon h they are sums over h bars, as overlapping labels make them. Power is
against a lead of 2.5 true standard errors.

`--rules` compares two rules for "better": every pairwise test against seven rivals rejects, which
is the rule of the verdict, or the model confidence set of 95 or 90 % is the winner alone, by T_R or
(from `arch`) by T_max. Losses of the models are independent of each other. A claim is false where
the best rival is as good as the winner: alone, with six far worse ones, or all seven. Power is
against rivals that are worse by 2.5 or 4 true standard errors, again one or all.

`--outcomes` measures how often each outcome is said where it is wrong: "better" and "worse" of a
winner that is as good as the rival to beat, "no better" of one whose true lead is just the margin.

`--real` measures what loss differentials are like: of the simple models on the last 1,500 bars of
the sample, against the best of them.

    python benchmarks/outcomes.py --tests
    python benchmarks/outcomes.py --rules --series 500
    python benchmarks/outcomes.py --outcomes
    python benchmarks/outcomes.py --real
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from arch.bootstrap import MCS
from scipy.signal import lfilter
from scipy.special import gammaln
from scipy.stats import t

from puffin.models.arrays import Floats
from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.evaluation.long_run import long_run_test
from puffin.models.evaluation.mcs import mcs
from puffin.models.evaluation.outcome import MARGIN, Evidence
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.sources import PriceRequest
from puffin.studies.report.baselines import compare_with_baselines
from puffin.studies.spec import parse_spec

SYMBOLS = ("AAPL", "IBM", "MSFT")
BARS, HORIZONS = (60, 250, 750), (1, 5, 10)
# Lead in the simulations of power, in true standard errors.
LEAD = 2.5
_WARMUP = 500

# A generator and the shape (series, bars), to loss differentials.
Make = Callable[[np.random.Generator, tuple[int, int]], Floats]


def independent(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return normal loss differentials."""
    return rng.standard_normal(shape)


def garch(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return GARCH(0.08, 0.90) with errors of Student's t with 6 degrees of freedom."""
    series, bars = shape
    shocks = rng.standard_t(6, (bars + _WARMUP, series)) / 1.5**0.5
    variance, made = np.ones(series), np.empty_like(shocks)
    for bar, shock in enumerate(shocks):
        made[bar] = variance**0.5 * shock
        variance = 0.02 + 0.08 * made[bar] ** 2 + 0.90 * variance
    return np.asarray(made[_WARMUP:].T)


def autoregressive(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return first-order autoregressions of 0.5."""
    noise = rng.standard_normal((shape[0], shape[1] + _WARMUP))
    return np.asarray(lfilter([1.0], [1.0, -0.5], noise, axis=1)[:, _WARMUP:])


def long_memory(rng: np.random.Generator, shape: tuple[int, int], d: float = 0.3) -> Floats:
    """Return fractional noise: white noise integrated `d` times."""
    series, bars = shape
    count = bars + 2 * _WARMUP
    lags = np.arange(count)
    weights = np.exp(gammaln(lags + d) - gammaln(d) - gammaln(lags + 1))
    noise = rng.standard_normal((series, count))
    spectrum = np.fft.rfft(noise, 2 * count) * np.fft.rfft(weights, 2 * count)
    return np.asarray(np.fft.irfft(spectrum, 2 * count)[:, 2 * _WARMUP : count])


MADE: dict[str, Make] = {
    "independent": independent,
    "GARCH": garch,
    "AR 0.5": autoregressive,
    "long memory 0.3": long_memory,
}


def overlapping(made: Make, seed: int, shape: tuple[int, int], horizon: int) -> Floats:
    """Return sums over `horizon` bars, one for each bar."""
    series, bars = shape
    values = made(np.random.default_rng(seed), (series, bars + horizon - 1))
    windows = np.lib.stride_tricks.sliding_window_view(values, horizon, axis=1)
    return np.asarray(windows.sum(axis=2))


def corrected_p(values: Floats, horizon: int) -> float:
    """Return the p-value of the test of Diebold and Mariano with `horizon - 1` lags.

    If the variance is not positive, it is that of no lags.
    """
    count, centred = len(values), values - values.mean()
    own = float(centred @ centred) / count
    lagged = sum(float(centred[k:] @ centred[:-k]) for k in range(1, horizon)) / count
    h, variance = (horizon, own + 2 * lagged) if own + 2 * lagged > 0 else (1, own)
    error = (variance / count) ** 0.5 * count / ((count - h) * (count - h + 1)) ** 0.5
    return float(t.sf(values.mean() / error, count - 1))


TESTS: dict[str, Callable[[Floats, int], float]] = {
    "Diebold-Mariano": corrected_p,
    "long_run_test": lambda values, _: long_run_test(values).p_better,
}


def tests(series: int) -> None:
    """Print level and power of each test."""
    print(f"{series} series a row; rejected at 5 %, in per cent")
    print(f"{'differentials':17}{'bars':>5}{'h':>4}", *(f"{name:>17}" for name in TESTS))
    for name, made in MADE.items():
        for bars in BARS:
            for horizon in HORIZONS:
                values = overlapping(made, bars + horizon, (series, bars), horizon)
                lead = LEAD * values.mean(axis=1).std()
                cells = [
                    " /".join(f"{rejected(test, x, horizon):6.1f}" for x in (values, values + lead))
                    for test in TESTS.values()
                ]
                print(
                    f"{name:17}{bars:5}{horizon:4}", *(f"{cell:>17}" for cell in cells), flush=True
                )


def rejected(test: Callable[[Floats, int], float], values: Floats, horizon: int) -> float:
    """Return how often a test calls the winner better, in per cent."""
    return 100 * float(np.mean([test(each, horizon) < LEVEL for each in values]))


def rules(series: int) -> None:
    """Print how often each rule calls the winner better."""
    print(f"{series} series a row; called better, in per cent")
    header = ("pairwise", "set of 95 %", "set of 90 %", "T_max, 95 %")
    print(f"{'bars':>4}  {'rivals':24}", *(f"{name:>12}" for name in header))
    for bars in BARS[:2]:
        made = independent(np.random.default_rng(bars), (series * _MODELS, bars))
        losses = made.reshape(series, _MODELS, bars).transpose(0, 2, 1)  # (series, bar, model)
        error = float((losses[:, :, 1] - losses[:, :, 0]).mean(axis=1).std())
        for label, behind in _BEHIND.items():
            worse = np.array([0.0, *behind]) * error
            cells = np.mean([_called_better(each + worse) for each in losses], axis=0)
            shown = (f"{100 * cell:12.1f}" for cell in cells)
            print(f"{bars:4}  {label:24}", *shown, flush=True)


# The winner and seven rivals, and how far these are behind, in standard errors of a differential.
_MODELS, _FAR = 8, 12.0
_BEHIND = {
    "one as good": [0.0, *[_FAR] * 6],
    "all as good": [0.0] * 7,
    "one 2.5 behind": [2.5, *[_FAR] * 6],
    "all 2.5 behind": [2.5] * 7,
    "one 4 behind": [4.0, *[_FAR] * 6],
    "all 4 behind": [4.0] * 7,
}


def _called_better(losses: Floats) -> list[bool]:
    """Return for each rule whether the first of models (bar, model) is better than all others."""
    largest = max(long_run_test(other - losses[:, 0]).p_better for other in losses.T[1:])
    second = max(mcs(losses, reps=500).p_values[1:])
    is_first = losses.mean(axis=0).argmin() == 0
    theirs = MCS(losses, LEVEL, reps=500, block_size=4, method="max", seed=0)
    theirs.compute()
    sets = (second < LEVEL, second < 2 * LEVEL, theirs.included == [0])
    return [largest < LEVEL, *(bool(is_first and only) for only in sets)]


def outcomes(series: int) -> None:
    """Print how often each outcome is said of a winner that does not deserve it."""
    print(f"{series} series a row; said where it is wrong, in per cent")
    print(f"{'differentials':17}{'bars':>5}", *(f"{name:>12}" for name in _WRONG))
    for name, made in MADE.items():
        for bars in BARS:
            values = made(np.random.default_rng(bars), (series, bars))
            reference = np.random.default_rng(0).chisquare(1, (series, bars))
            cells = []
            # The margin is a standard error, if bars are independent.
            spread = MARGIN * bars**0.5
            for outcome, skill in _WRONG.items():
                said = [
                    _outcome(skill + spread * each, rival) == outcome
                    for each, rival in zip(values, reference, strict=True)
                ]
                cells.append(f"{100 * float(np.mean(said)):12.1f}")
            print(f"{name:17}{bars:5}", *cells, flush=True)


# True skill against the one rival for which an outcome is just wrong.
_WRONG = {"better": 0.0, "worse": 0.0, "no better": MARGIN}


def _outcome(differentials: Floats, reference: Floats) -> str:
    test = long_run_test(differentials)
    return Evidence(test, float(reference.mean()), {"reference": test}).outcome


def real() -> None:
    """Print the dependence of the loss differentials of simple models on the sample."""
    warnings.simplefilter("ignore")  # fits that do not converge
    good: list[float] = []
    print("target     symbol  h  best   rival: lag-1 autocorrelation, memory, error / naive error")
    for target in ("range", "volatility", "return"):
        for symbol in SYMBOLS:
            for horizon in (1, 5):
                losses = simple_losses(target, symbol, horizon)
                best = min(losses, key=lambda name: losses[name].mean())
                cells = [
                    f"{name} {dependence(of - losses[best])}"
                    for name, of in losses.items()
                    if name != best
                ]
                good += [memory(losses[n] - losses[best]) for n in _GOOD & set(losses) - {best}]
                print(f"{target:11}{symbol:8}{horizon}  {best:6} {'; '.join(cells)}", flush=True)

    print(
        f"memory of {', '.join(sorted(_GOOD))}: mean {np.mean(good):+.2f}, standard deviation "
        f"{np.std(good):.2f}, {len(good)} series"
    )


# Simple models that forecast about as well as each other.
_GOOD = {"har", "lhar", "ewma", "ridge", "ar"}


def simple_losses(target: str, symbol: str, horizon: int) -> dict[str, Floats]:
    """Return the losses of each simple model on the last 1,500 bars, by name."""
    values: dict[str, Any] = {
        "name": "outcomes",
        "data": {"symbol": symbol, "source": "sample", "target": target, "horizon": horizon},
        "walk_forward": {"folds": 2, "valid_bars": 120, "holdout_bars": 1500},
        "space": {"hidden_dim": 4, "lookback": [21, 22]},
    }
    values["data"]["features"] = ["return", "range", "volume"]
    spec = parse_spec(values, "outcomes")
    frame = load_prices("sample", PriceRequest(symbol, None, None)).frame
    part, sealed = cut_holdout({symbol: frame}, spec)
    folds, opened = Dataset.build(spec, part), Dataset.for_holdout(spec, part, sealed)
    found = compare_with_baselines(folds, opened, 22, opened.persistence[0])
    return {each.name: each.holdout_losses for each in found.baselines}


def dependence(values: Floats) -> str:
    """Return the first autocorrelation, the memory, and the error over that of independent bars."""
    near = np.corrcoef(values[1:], values[:-1])[0, 1]
    ratio = long_run_test(values).error / (values.std() / len(values) ** 0.5)
    return f"{near:+.2f} {memory(values):+.2f} {ratio:.1f}"


def memory(values: Floats, cosines: int = 104) -> float:
    """Return the local Whittle estimate of the memory from the slowest cosines.

    Robinson (1995), "Gaussian Semiparametric Estimation of Long Range Dependence", Annals of
    Statistics 23(5), on cosines in place of the periodogram: the standard error is 0.07.
    """
    order = np.arange(1, cosines + 1)
    waves = np.cos(np.pi * np.outer(np.arange(len(values)) + 0.5, order) / len(values))
    power = (values @ waves) ** 2
    grid = np.linspace(-0.4, 0.49, 90)
    misfit = [
        np.log((power * order ** (2 * d)).mean()) - 2 * d * np.log(order).mean() for d in grid
    ]
    return float(grid[int(np.argmin(misfit))])


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=4000)
    parser.add_argument("--tests", action="store_true", help="level and power of the tests")
    parser.add_argument("--rules", action="store_true", help="rules of better")
    parser.add_argument("--outcomes", action="store_true", help="wrong outcomes")
    parser.add_argument("--real", action="store_true", help="dependence of real differentials")
    given = parser.parse_args()
    if given.tests:
        tests(given.series)
    if given.rules:
        rules(given.series)
    if given.outcomes:
        outcomes(given.series)
    if given.real:
        real()


if __name__ == "__main__":
    main()
