"""How often tests of directions pass by chance, how often they find a signal, and their intervals.

Forecasts are autoregressions of 0.9 that know nothing of the moves, which are independent, a GARCH,
sums of 5 or 10 bars that overlap, or autoregressions of 0.5; or the forecast is the last move
itself. Where there is a signal, the forecast is a part of the move. Three tests at 5 %, one-sided:
`pesaran_timmermann` of the package, the statistic of Pesaran and Timmermann (1992) with one in
`horizon` moves counted, and the dynamically augmented test of Pesaran and Timmermann (2009): the
correlation of both indicators after a regression on as many bars of the past of both as the
horizon has. The last column is how often the interval of `direction` covers the true accuracy.

    python benchmarks/directions.py
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm, t

from puffin.models.arrays import Floats
from puffin.models.evaluation.direction import direction, pesaran_timmermann

LEVEL = 0.05
BURN = 200
# Moves from which the true accuracy of a case is computed.
MANY = 400_000
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Case:
    """How forecasts and moves are drawn, and over how many bars the moves are."""

    draw: Draw
    horizon: int = 1


def autoregression(rng: np.random.Generator, count: int, memory: float) -> Floats:
    """Return a first-order autoregression, (count,), past its start."""
    return np.asarray(lfilter([1.0], [1.0, -memory], rng.standard_normal(count + BURN))[BURN:])


def sums(values: Floats, horizon: int) -> Floats:
    """Return overlapping sums of values (n,), (n - horizon + 1,)."""
    return np.convolve(values, np.ones(horizon), "valid")


def garch(rng: np.random.Generator, count: int) -> Floats:
    """Return returns of a GARCH(0.08, 0.9), (count,)."""
    noise, returns, variance = rng.standard_normal(count + BURN), np.empty(count + BURN), 1.0
    for bar, shock in enumerate(noise):
        returns[bar] = variance**0.5 * shock
        variance = 0.02 + 0.08 * returns[bar] ** 2 + 0.9 * variance
    return returns[BURN:]


def unrelated(moves: Callable[[np.random.Generator, int], Floats]) -> Draw:
    """Return a draw of moves beside forecasts that know nothing of them."""
    return lambda rng, count: (autoregression(rng, count, 0.9), moves(rng, count))


def last_move(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Return independent moves, each forecast by the move before it."""
    noise = rng.standard_normal(count + 1)
    return noise[:-1], noise[1:]


def signal(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Return moves that have 0.15 of the forecast's noise."""
    moves = rng.standard_normal(count)
    return 0.15 * moves + rng.standard_normal(count), moves


def slow_signal(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Return moves over five bars that a slow forecast explains in part."""
    slow = autoregression(rng, count + 5, 0.9)
    moves = sums(2.5 * rng.standard_normal(count + 5) + 0.35 * slow, 5)
    return slow[:count], moves[1 : count + 1]


CASES = {
    "independent": Case(unrelated(lambda rng, n: rng.standard_normal(n))),
    "GARCH": Case(unrelated(garch)),
    "horizon 5": Case(unrelated(lambda rng, n: sums(rng.standard_normal(n + 4), 5)), 5),
    "horizon 10": Case(unrelated(lambda rng, n: sums(rng.standard_normal(n + 9), 10)), 10),
    "memory 0.5": Case(unrelated(lambda rng, n: autoregression(rng, n, 0.5))),
    "last move": Case(last_move),
    "signal": Case(signal),
    "signal, horizon 5": Case(slow_signal, 5),
}


def counted(forecast: Floats, moves: Floats, horizon: int) -> float:
    """Return p of the test of 1992 with one in `horizon` moves counted."""
    trials, up, forecast_up = len(moves) // horizon, moves > 0, forecast > 0
    x, y = up.mean(), forecast_up.mean()
    variance = 4 * x * (1 - x) * y * (1 - y) * (trials - 1)
    surplus = (up == forecast_up).mean() - (x * y + (1 - x) * (1 - y))
    return float(norm.sf(surplus * trials / variance**0.5)) if variance > 0 else float("nan")


def augmented(forecast: Floats, moves: Floats, lags: int) -> float:
    """Return p of the test of 2009 with the past of both indicators; NaN if nothing is left."""
    pair = np.column_stack([forecast > 0, moves > 0]).astype(float)
    rows = len(pair) - lags
    past = [pair[lags - lag : len(pair) - lag] for lag in range(1, lags + 1)]
    known = np.column_stack([np.ones(rows), *past])
    left = pair[lags:] - known @ np.linalg.lstsq(known, pair[lags:], rcond=None)[0]
    spread = float(np.prod((left**2).sum(axis=0))) ** 0.5
    if spread < 1e-9:
        return float("nan")
    r, degrees = left[:, 0] @ left[:, 1] / spread, rows - known.shape[1] - 1
    return float(t.sf(r * (degrees / (1 - r * r)) ** 0.5, degrees))


def row(case: Case, bars: int, runs: int, true: float) -> list[float]:
    """Return the shares of runs in which each test passes, and in which the interval covers."""
    rng, zero, horizon = np.random.default_rng(bars), np.zeros(bars), case.horizon
    found = np.zeros(4)
    for _ in range(runs):
        forecast, moves = case.draw(rng, bars)
        interval = direction(forecast, moves, zero, horizon)
        found += [
            pesaran_timmermann(forecast, moves, zero).p_better < LEVEL,
            counted(forecast, moves, horizon) < LEVEL,
            augmented(forecast, moves, horizon) < LEVEL,
            interval.low <= true <= interval.high,
        ]
    return list(found / runs)


def main() -> None:
    """Print a row for each case and number of bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--bars", type=int, nargs="+", default=[60, 120, 250, 756])
    given = parser.parse_args()
    print("moves               bars  package  1992, counted  2009, augmented  coverage")
    for name, case in CASES.items():
        forecast, moves = case.draw(np.random.default_rng(0), MANY)
        true = float(((forecast > 0) == (moves > 0)).mean())
        for bars in given.bars:
            package, old, new, covered = row(case, bars, given.runs, true)
            print(
                f"{name:18}{bars:6}{package:9.3f}{old:15.3f}{new:17.3f}{covered:10.3f}", flush=True
            )


if __name__ == "__main__":
    main()
