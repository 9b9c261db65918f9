"""Losses of every simple model on the sample's stocks, on search folds and on the holdout.

`--leverage` compares inputs of LHAR instead, on the search folds: averages of falls over 1, 5 and
22 bars (Corsi and Renò 2012) against the last fall and the size of the last return. With the loss
quantile, ridge_lately is the ridge regression whose quantiles are scaled by the recent deviation of
the target instead of another ridge regression.

    python benchmarks/rivals.py --targets range volatility return
    python benchmarks/rivals.py --targets range return --horizons 1 --loss quantile
    python benchmarks/rivals.py --start 2006-01-01 --leverage
"""

import argparse
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

from puffin.models.arrays import Floats
from puffin.models.evaluation import volatility_baselines, volatility_inputs
from puffin.models.evaluation.baseline import Fit, LeftOutError
from puffin.models.evaluation.baselines import fit_each, ridge
from puffin.models.evaluation.pooled_baselines import PooledFit
from puffin.models.evaluation.shifted import with_quantiles
from puffin.models.evaluation.volatility_baselines import har, lhar
from puffin.models.features import needs_of
from puffin.studies.bars import Frames, cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.report.baselines import models_of
from puffin.studies.spec import Spec, parse_spec

SAMPLE = ("AAPL", "IBM", "MSFT")
FEATURES = ("return", "range", "volume")
LOOKBACK = 30


def spec_of(target: str, horizon: int, loss: str) -> Spec:
    """Return a study file; its symbols are of no matter."""
    data = {"symbol": "X", "features": list(FEATURES), "target": target, "horizon": horizon}
    walk = {"folds": 5, "valid_bars": 120, "holdout_bars": 250}
    space = {"lookback": [10, LOOKBACK]}
    sections = {"data": data, "walk_forward": walk, "space": space, "training": {"loss": loss}}
    return parse_spec({"name": "x", **sections}, "x")


def rivals(folds: Dataset) -> dict[str, PooledFit]:
    """Return the simple models that a report has, and the one that it could have instead."""
    if not (levels := folds.spec.training.quantiles):
        return models_of(folds)
    lately = partial(with_quantiles, partial(fit_each, ridge), None, levels)
    return models_of(folds) | {"ridge_lately": lately}


def search_loss(folds: Dataset, fit: PooledFit) -> float:
    """Return the mean loss on the search folds."""
    forecasts = [fit(found, LOOKBACK).forecasts for found in folds.parts]
    return float(folds.losses_by_date(forecasts).mean())


def print_rivals(spec: Spec, frames: Frames) -> None:
    """Print search loss, holdout loss and seconds of each model, the best on the search first."""
    search, sealed = cut_holdout(frames, spec)
    folds, opened = Dataset.build(spec, search), Dataset.for_holdout(spec, search, sealed)
    rows = []
    for name, fit in rivals(folds).items():
        started = time.perf_counter()
        try:
            loss, held = search_loss(folds, fit), fit(opened.parts[0], LOOKBACK)
        except LeftOutError:
            continue
        seconds = time.perf_counter() - started
        judged = opened.losses_by_date([held.forecasts]).mean()
        rows.append((loss, f"{loss:8.4f}{judged:8.4f}{seconds:7.2f}  {name:14}{held.label}"))
    for _, row in sorted(rows):
        print(row)


def averaged_falls(returns: Floats) -> Floats:
    """Return the averages of falls that Corsi and Renò regress on, (bars, 3)."""
    return volatility_inputs.averages(np.minimum(returns, 0.0))


def print_leverage(spec: Spec, frames: Frames) -> None:
    """Print the search loss of LHAR, with either leverage, over that of HAR."""
    search, _ = cut_holdout(frames, spec)
    folds = Dataset.build(spec, search)

    def loss(fit: Fit, leverage: Callable[[Floats], Floats]) -> float:
        with patch.object(volatility_baselines, "leverage", leverage):
            return search_loss(folds, partial(fit_each, fit))

    last = volatility_inputs.leverage
    plain, averaged, own = (
        loss(fit, inputs) for fit, inputs in ((har, last), (lhar, averaged_falls), (lhar, last))
    )
    print(f"averages of falls {averaged / plain:.4f}, last return {own / plain:.4f}")


def main() -> None:
    """Print a table for each target, horizon, symbol and the basket of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", default=["range", "volatility"])
    parser.add_argument("--horizons", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--start", type=date.fromisoformat)
    parser.add_argument("--loss", default="mse")
    parser.add_argument("--leverage", action="store_true")
    given = parser.parse_args()
    for target in given.targets:
        request = PriceRequest(start=given.start, needs=needs_of(FEATURES, target))
        frames = load_basket("sample", request, SAMPLE).frames
        cases = [{symbol: frames[symbol]} for symbol in SAMPLE]
        for horizon in given.horizons:
            for case in [*cases, *([] if given.leverage else [frames])]:
                print(f"{target}, {horizon} ahead, {', '.join(case)}")
                show = print_leverage if given.leverage else print_rivals
                with threadpool_limits(1):  # as in a report
                    show(spec_of(target, horizon, given.loss), case)


if __name__ == "__main__":
    main()
