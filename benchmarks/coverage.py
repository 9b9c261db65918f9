"""Ways to build prediction intervals: whether they hold, on six holdouts of the sample.

A GRU of 16 units forecasts five folds of 120 bars and a holdout of 250: of AAPL, IBM and MSFT, up
to the end of 2008 and up to 2013. Each way sees the errors before a bar and the target up to the
bar at which its forecast is made. "fixed" is one interval, of the errors on the folds, and "ours"
that of `puffin.models.evaluation.conformal`. First come the shares inside on each holdout, in
brackets by third of the volatility of the price before; then means over the holdouts by each way:
the share inside, how far it is from the level, and that of the thirds (root mean square, in
points), and the interval score over that of the fixed interval.

* scales: none, deviation of the last 20 targets, root of the weighted mean of squares
  (RiskMetrics), weighted mean of the absolute errors, HAR regression of the absolute change, ours
* adaptation: none (all scores so far), a window of 250 scores, ACI (ours; Gibbs and Candès 2021),
  DtACI (Gibbs and Candès 2024), and quantile tracking, the P of conformal PID (Angelopoulos,
  Candès and Tibshirani 2023)

    python benchmarks/coverage.py
    python benchmarks/coverage.py --targets range return --horizon 5
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.evaluation import conformal
from puffin.models.evaluation.coverage import interval_score, recent_volatility, thirds
from puffin.models.evaluation.volatility_inputs import averages
from puffin.models.features import needs_of
from puffin.models.losses import LOSSES
from puffin.models.training.fold_training import forecast_windows
from puffin.models.training.refit import Refit
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import parse_spec

SAMPLE, ENDS = ("AAPL", "IBM", "MSFT"), {"2008": "2008-12-31", "2012": "2013-03-01"}
FEATURES, LEVELS = ("return", "range", "volume"), (0.5, 0.8, 0.9, 0.95)
CONFIG = Config(cell="gru", hidden_dims=(16,), dropout=0.0, lookback=20, lr=3e-3)
EPOCHS, FIRST, WINDOW = 10, 100, 250
Ends = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Case:
    """One series: its target, and forecasts of the bars of the folds and of the holdout."""

    name: str
    target: Floats
    change: Floats
    closes: Floats
    bars: NDArray[np.int64]
    forecasts: Floats
    holdout: int
    horizon: int

    @cached_property
    def errors(self) -> Floats:
        """The errors of all forecasts."""
        return np.subtract(self.target[self.bars], self.forecasts)

    @property
    def sealed(self) -> slice:
        """The places of the holdout among the forecasts."""
        return slice(len(self.bars) - self.holdout, None)

    def known(self, values: Floats) -> Floats:
        """Return values at each bar as they were known when its forecast was made."""
        return np.asarray(values[self.bars - self.horizon])


def case_of(target: str, symbol: str, period: str, horizon: int) -> Case:
    """Train and forecast."""
    data = {"symbol": symbol, "features": list(FEATURES), "target": target, "horizon": horizon}
    walk = {"folds": 5, "valid_bars": 120, "holdout_bars": 250}
    space = {"lookback": [10, CONFIG.lookback]}
    spec = parse_spec({"name": "x", "data": data, "walk_forward": walk, "space": space}, "x")
    frames = load_basket("sample", PriceRequest(needs=needs_of(FEATURES, target)), [symbol]).frames
    search, sealed = cut_holdout({symbol: frames[symbol].loc[: ENDS[period]]}, spec)
    sets = (Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed))
    spans = [part.fold.valid for data in sets for (part,) in data.parts]
    (member,) = sets[1].members
    series = member.series
    return Case(
        f"{symbol} {period}",
        series.target,
        np.abs(series.target - series.persistence),
        member.closes,
        np.concatenate([np.arange(span.start, span.stop) for span in spans]),
        np.concatenate([forecast for data in sets for forecast in forecasts_of(data)]),
        len(spans[-1]),
        horizon,
    )


def forecasts_of(data: Dataset) -> list[Floats]:
    """Train a network for each fold, and forecast its validation part."""
    found = []
    for fold in data.tensors(CONFIG.lookback, torch.device("cpu")):
        (network,) = Refit(fold.train, CONFIG, LOSSES["mse"], EPOCHS, seeds=[0]).train()
        found.append(forecast_windows(network, fold.valid.inputs)[:, 0])
    return data.in_target_units(found)


# Scales, known when a forecast is made.


def weighted(values: Floats, decay: float) -> Floats:
    """Return the exponentially weighted mean of the values so far that are not NaN."""
    out, sums, weights = np.empty(len(values)), 0.0, 0.0
    for bar, value in enumerate(values.tolist()):
        if not math.isnan(value):
            sums, weights = decay * sums + value, decay * weights + 1
        out[bar] = sums / weights if weights else np.nan
    return out


def last_20(case: Case) -> Floats:
    """Return the standard deviation of the last 20 targets."""
    windows = np.lib.stride_tricks.sliding_window_view(case.target, 20)
    return case.known(np.append(np.full(19, np.nan), windows.std(axis=1)))


def squares(case: Case) -> Floats:
    """Return the root of the weighted mean of squares around the mean of the training part."""
    mean = np.nanmean(case.target[: case.bars[0] - case.horizon])
    return np.sqrt(case.known(weighted((case.target - mean) ** 2, 0.94)))


def own_errors(case: Case) -> Floats:
    """Return the weighted mean of the absolute errors; before there is one, of the first 20."""
    at_bars = np.full(len(case.target), np.nan)
    at_bars[case.bars] = np.abs(case.errors)
    at_bars[case.bars[0] - case.horizon] = np.abs(case.errors[:20]).mean()
    return case.known(weighted(at_bars, 0.97))


def har(case: Case) -> Floats:
    """Return a HAR regression of the absolute change from the last target, of the training part."""
    inputs = np.column_stack([np.ones(len(case.change)), averages(case.change)])
    ahead, first = case.change[case.horizon :], case.bars[0] - case.horizon
    rows = np.isfinite(np.column_stack([inputs[:first], ahead[:first]])).all(axis=1)
    weights = np.linalg.lstsq(inputs[:first][rows], ahead[:first][rows], rcond=None)[0]
    return case.known(np.maximum(inputs @ weights, ahead[:first][rows].mean() / 10))


def ours(case: Case) -> Floats:
    """Return the deviation of the last targets from their average."""
    return case.known(conformal.recent_deviation(case.target, case.horizon))


SCALES: dict[str, Callable[[Case], Floats]] = {
    "no scale": lambda case: np.ones(len(case.bars)),
    "last 20": last_20,
    "squares": squares,
    "own errors": own_errors,
    "HAR": har,
    "ours": ours,
}


# Adaptation: the ends of the interval of each score, from the scores before it.


def fixed(scores: Floats, level: float, case: Case) -> Ends:
    """Return one interval, of the scores of the search."""
    low, high = conformal.residual_interval(scores[: case.sealed.start], level)
    return np.full(len(scores), low), np.full(len(scores), high)


def rolling(scores: Floats, level: float, case: Case, window: int | None = None) -> Ends:
    """Return the intervals of all scores so far, or of the last ones."""
    found = np.full((2, len(scores)), np.nan)
    for place in range(FIRST, len(scores)):
        past = scores[: place - case.horizon + 1]
        found[:, place] = conformal.residual_interval(past[-(window or len(past)) :], level)
    return found[0], found[1]


def aci(scores: Floats, level: float, case: Case) -> Ends:
    """Return the intervals of adaptive conformal inference, as we have them."""
    adapted = conformal.adapt(scores, level, case.horizon)
    return adapted.low[: len(scores)], adapted.high[: len(scores)]


def tracking(scores: Floats, level: float, case: Case) -> Ends:
    """Return intervals whose ends move by a step after each score, outwards after a miss."""
    found = np.full((2, len(scores)), np.nan)
    ends, tail = np.quantile(scores[:FIRST], [(1 - level) / 2, (1 + level) / 2]), (1 - level) / 2
    for place in range(FIRST, len(scores)):
        found[:, place] = ends
        if (last := place + 1 - case.horizon) > FIRST:
            low, high = found[:, last - 1]
            score, step = scores[last - 1], 0.02 * np.ptp(scores[max(last - WINDOW, 0) : last])
            ends = ends + step * np.array([tail - (score < low), (score > high) - tail])
    return found[0], found[1]


def dtaci(scores: Floats, level: float, case: Case) -> Ends:
    """Return the intervals of dynamically tuned ACI, of eight steps weighted by their losses."""
    found, misses = np.full((2, len(scores)), np.nan), 1 - level
    steps, span = 0.001 * 2.0 ** np.arange(8), 500
    count, outside = len(steps), np.full(len(steps), misses)
    weights, share = np.full(count, 1 / count), 1 / (2 * span)
    moment = level**2 * misses**3 + misses**2 * level**3
    eta = math.sqrt(3 / span) * math.sqrt((math.log(count * span) + 2) / moment)
    made: list[Floats] = []
    for place in range(FIRST, len(scores)):
        past = np.sort(scores[: place - case.horizon + 1])
        made.append(outside)
        found[:, place] = conformal.without_tails(past.tolist(), float(weights @ outside))
        if (last := place + 1 - case.horizon) > FIRST:
            rank = (np.sum(past < scores[last - 1]) + 0.5) / (len(past) + 1)
            beta, then = 2 * min(rank, 1 - rank), made[last - 1 - FIRST]
            loss = misses * (beta - then) - np.minimum(0.0, beta - then)
            weights = weights * np.exp(-eta * loss)
            weights = (1 - share) * weights / weights.sum() + share / count
            outside = outside + steps * (misses - (then > beta))
    return found[0], found[1]


Way = tuple[str, Callable[[Floats, float, Case], Ends]]
FIXED: Way = ("no scale", fixed)
OURS: Way = ("ours", aci)
WAYS: dict[str, Way] = {
    "fixed": FIXED,
    **{f"{name}, all scores": (name, rolling) for name in SCALES},
    "no scale, ACI": ("no scale", aci),
    "ours, window": ("ours", partial(rolling, window=WINDOW)),
    "ours, ACI": OURS,
    "ours, DtACI": ("ours", dtaci),
    "ours, tracking": ("ours", tracking),
}


@dataclass(frozen=True)
class Held:
    """What the intervals of one way and level have on a holdout."""

    share: float
    thirds: list[float]
    score: float
    width: float


def held(case: Case, way: Way, level: float) -> Held:
    """Return how the intervals of a way held on the holdout."""
    scale = SCALES[way[0]](case)
    low, high = (end * scale for end in way[1](case.errors / scale, level, case))
    low, high, errors = (values[case.sealed] for values in (low, high, case.errors))
    inside = (low <= errors) & (errors <= high)
    third = thirds(case.known(recent_volatility(case.closes))[case.sealed])
    return Held(
        float(inside.mean()),
        [float(inside[third == part].mean()) for part in range(3)],
        float(interval_score(low, high, errors, level).mean()),
        float((high - low).mean()),
    )


def print_holdouts(cases: list[Case]) -> None:
    """Print what each holdout had inside, today and by ours, also by third of volatility."""
    print(" " * 19 + "".join(f"{f'{level:.0%}':24}" for level in LEVELS))
    for case in cases:
        for name, way in (("fixed", FIXED), ("ours", OURS)):
            row = [held(case, way, level) for level in LEVELS]
            shares = [
                f"{one.share:.0%} ({' '.join(f'{x:.0%}' for x in one.thirds)})" for one in row
            ]
            print(f"{case.name:12}{name:7}" + "".join(f"{share:24}" for share in shares))


def print_ways(cases: list[Case]) -> None:
    """Print for each way and level the mean share, its distance from the level, score and width."""
    fixed_ones = {level: [held(case, FIXED, level) for case in cases] for level in LEVELS}
    print(f"{'':24}" + "".join(f"{f'{level:.0%}: inside':>13} rms third score" for level in LEVELS))
    for name, way in WAYS.items():
        line = f"{name:24}"
        for level in LEVELS:
            found = [held(case, way, level) for case in cases]
            shares = np.array([one.share for one in found])
            parts = np.array([one.thirds for one in found])
            score = np.mean(
                [a.score / b.score for a, b in zip(found, fixed_ones[level], strict=True)]
            )
            line += (
                f"{shares.mean():13.1%}{_rms(shares - level):4.1f}{_rms(parts - level):6.1f}"
                f"{score:6.3f}"
            )
        print(line, flush=True)


def _rms(shares: Floats) -> float:
    """Return the root mean square of differences of shares in per cent."""
    return 100 * float(np.sqrt(np.mean(shares**2)))


def main() -> None:
    """Print both tables for each target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["range", "return", "volatility"])
    parser.add_argument("--horizon", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for target in given.targets:
        cases = [case_of(target, s, p, given.horizon) for s in SAMPLE for p in ENDS]
        print(f"{target}, {given.horizon} ahead")
        print_holdouts(cases)
        print_ways(cases)


if __name__ == "__main__":
    main()
