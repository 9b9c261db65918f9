"""Do intervals of paths hold? Forecasts of many steps from their own forecasts, on six holdouts.

A GRU of 16 units whose only feature is its target forecasts 20 bars from every fifth bar of a
holdout of 250: of AAPL, IBM and MSFT, up to the end of 2008 and up to 2013. "fixed" draws errors of
the folds as they are, and "ours" draws scores, times the deviation at the last bar. The interval is
90 % of 1,000 paths: of a range at each step, and of returns of their sum. Printed is the share of
actual values inside, at each step.

    python -m benchmarks.paths
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.coverage import CONFIG, ENDS, EPOCHS, SAMPLE, forecasts_of
from puffin.models.arrays import Floats
from puffin.models.evaluation.conformal import adapt, recent_deviation
from puffin.models.evaluation.intervals import draw_residuals, forecast_recursively, path_interval
from puffin.models.features import needs_of
from puffin.models.losses import LOSSES
from puffin.models.training.refit import Refit
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.spec import parse_spec

LEVEL, AHEAD, EVERY, SHOWN = 0.9, 20, 5, (1, 2, 5, 10, 20)


def datasets(target: str, symbol: str, period: str) -> tuple[Dataset, Dataset]:
    """Return the search folds and the holdout."""
    data = {"symbol": symbol, "features": [target], "target": target}
    walk = {"folds": 5, "valid_bars": 120, "holdout_bars": 250}
    space = {"lookback": [10, CONFIG.lookback]}
    spec = parse_spec({"name": "x", "data": data, "walk_forward": walk, "space": space}, "x")
    request = PriceRequest(needs=needs_of((target,), target))
    frame = load_basket("sample", request, [symbol]).frames[symbol].loc[: ENDS[period]]
    search, sealed = cut_holdout({symbol: frame}, spec)
    return Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed)


def inside(target: str, symbol: str, period: str) -> Iterator[tuple[Floats, Floats]]:
    """Yield of each origin which steps are inside: of fixed errors, and of ours."""
    folds, holdout = datasets(target, symbol, period)
    (fold,) = holdout.tensors(CONFIG.lookback, torch.device("cpu"))
    (network,) = Refit(fold.train, CONFIG, LOSSES["mse"], EPOCHS, seeds=[0]).train()
    (part,) = holdout.parts[0]
    values, sealed = part.member.series.target, part.fold.valid
    errors = np.concatenate(
        [actual - ahead for actual, ahead in zip(folds.actuals, forecasts_of(folds), strict=True)]
    )
    spans = [found.fold.valid for (found,) in folds.parts]
    bars = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    scale = recent_deviation(values)
    later = values[sealed.start : sealed.stop] - forecasts_of(holdout)[0]
    every = np.append(bars, np.arange(sealed.start, sealed.stop))
    scores = np.append(errors, later) / scale[every - 1]
    for origin in range(sealed.start - 1, sealed.stop - AHEAD, EVERY):
        known = values[origin - CONFIG.lookback + 1 : origin + 1]
        seen = scores[every <= origin]
        ways = (
            (draw_residuals(errors, LEVEL, AHEAD), len(errors), 1 - LEVEL),
            (
                draw_residuals(seen, LEVEL, AHEAD) * scale[origin],
                len(seen),
                float(adapt(seen, LEVEL).outside[-1]),
            ),
        )
        actual = values[origin + 1 : origin + 1 + AHEAD]
        found = []
        for noise, count, outside in ways:
            paths = forecast_recursively(network, part.scaler, known, 1, noise)
            if target == "return":
                paths, truth = paths.cumsum(axis=1), actual.cumsum()
            else:
                truth = actual
            low, high = path_interval(paths, count, outside)
            found.append(((low <= truth) & (truth <= high)).astype(float))
        yield found[0], found[1]


def main() -> None:
    """Print the shares of each holdout, and of all."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    for target in ("range", "return"):
        print(f"{target:18}" + "".join(f"{step:>6}" for step in SHOWN) + "   steps ahead")
        everywhere = []
        for symbol in SAMPLE:
            for period in ENDS:
                shares = np.mean(list(inside(target, symbol, period)), axis=0)
                everywhere.append(shares)
                print_rows(f"{symbol} {period}", shares)
        print_rows("all", np.mean(everywhere, axis=0))


def print_rows(name: str, shares: Floats) -> None:
    """Print the shares of the steps shown, by each way."""
    for way, row in zip(("fixed", "ours"), shares, strict=True):
        cells = "".join(f"{row[step - 1]:6.0%}" for step in SHOWN)
        print(f"{name:12}{way:6}{cells}", flush=True)


if __name__ == "__main__":
    main()
