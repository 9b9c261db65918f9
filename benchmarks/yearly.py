"""How often a network wins over 24 years that it has not seen, and by how much on average.

For each stock of the sample and each year from 2005 to 2012 a small search (two random LSTMs or
GRUs, two folds) on the bars before the year, whose winner is trained again with three seeds; the
mean of the three networks forecasts the year, and is judged beside the baselines as a report does.
A verdict is of one year. What says whether networks like these are worth it is the mean skill over
all years, with its standard error over years: if winners won by luck, it is about 0.

    python -m benchmarks.yearly
    python -m benchmarks.yearly --target return
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
import optuna
import torch

from benchmarks.calibrate import forecast_holdout, rate, search
from puffin.models.evaluation.outcome import OUTCOMES
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.load import load_prices
from puffin.studies.prices.request import PriceRequest
from puffin.studies.report.baselines import HoldoutComparison, compare_with_baselines
from puffin.studies.spec import Spec, parse_spec

SYMBOLS, YEARS, SEEDS = ("AAPL", "IBM", "MSFT"), range(2005, 2013), 3


@dataclass(frozen=True, eq=False)
class Year:
    """The verdict on one stock in one year."""

    symbol: str
    year: int
    judgement: HoldoutComparison
    seconds: float

    @property
    def skill(self) -> float:
        """Skill against the rival to beat."""
        return self.judgement.reference.skill

    def __str__(self) -> str:
        """Return a row."""
        found = self.judgement
        return (
            f"{self.symbol:6}{self.year}  {found.outcome:10}{self.skill:+7.1%}"
            f"{found.reference.test.p_better:7.3f}  {found.reference.name:7}"
            f"{found.evidence.p_of_all:7.3f}  {found.closest.name:12}"
            f"{len(found.may_be_best):2} of {1 + len(found.baselines)}{self.seconds:6.0f}"
        )


def study_file(symbol: str, target: str, bars: int) -> Spec:
    """Return a study of a stock whose holdout has a number of bars."""
    values = {
        "name": "yearly",
        "data": {
            "source": "sample",
            "symbol": symbol,
            "target": target,
            "features": ["return", "range", "volume"],
        },
        "walk_forward": {"folds": 2, "valid_bars": 120, "holdout_bars": bars},
        "training": {"max_epochs": 15, "patience": 4},
        "space": {
            "cell": ["lstm", "gru"],
            "hidden_dim": {"low": 16, "high": 48},
            "lookback": {"low": 20, "high": 40},
            "lr": {"low": 0.002, "high": 0.01, "log": True},
        },
        "search": {"trials": 2, "sampler": "random", "pruner": "none", "seed": 0},
    }
    return parse_spec(values, "yearly")


def judge(symbol: str, year: int, target: str) -> Year:
    """Search before a year, and judge the mean of the winner's networks on it."""
    started = time.perf_counter()
    frame = load_prices("sample", PriceRequest(symbol, None, None)).frame.loc[: f"{year}-12-31"]
    spec = study_file(symbol, target, bars=len(frame.loc[str(year)]))
    part, sealed = cut_holdout({symbol: frame}, spec)
    folds, opened = Dataset.build(spec, part), Dataset.for_holdout(spec, part, sealed)
    winner = search(folds)[0]
    runs = [forecast_holdout(opened, winner, seed) for seed in range(SEEDS)]
    forecasts = np.mean(runs, axis=0)
    judged = compare_with_baselines(folds, opened, winner.config.lookback, forecasts)
    return Year(symbol, year, judged, time.perf_counter() - started)


def main() -> None:
    """Print a row for each year of each stock, and what they say together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="range")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # fits that do not converge
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(given.threads)
    print("stock year  outcome     skill      p  rival     p of all  closest     best      s")
    years: list[Year] = []
    for symbol in SYMBOLS:
        for year in YEARS:
            years.append(judge(symbol, year, given.target))
            print(years[-1], flush=True)
    for outcome in OUTCOMES:
        count = sum(each.judgement.outcome == outcome for each in years)
        print(f"  {outcome:12}{rate(count, len(years))}")
    skills = np.array([each.skill for each in years])
    error = skills.std(ddof=1) / len(skills) ** 0.5
    print(f"  mean skill {skills.mean():+.1%}, standard error over years {error:.1%}")
    alone = sum(each.judgement.may_be_best == ["the winner"] for each in years)
    possible = sum("the winner" in each.judgement.may_be_best for each in years)
    print(f"  alone in the confidence set {alone}, in it {possible} of {len(years)}")


if __name__ == "__main__":
    main()
