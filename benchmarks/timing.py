"""What volatility timing is worth on the sample's stocks, by simple models of the range.

Holdouts of a year (252 bars) that follow each other, each with models fitted on what came before
from 2000 on. The weights are those of a report. Of each model: its loss over that of LHAR, mean
annual Sharpe ratio minus that of the same mean weight held constant, and the fee over it, in basis
points a year at a risk aversion of 1 and 10: the mean over holdouts with its standard error, and in
how many the report tells the fee from nothing.

    python benchmarks/timing.py
"""

import argparse
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from puffin.models.evaluation.baselines import fit_each, persistence
from puffin.models.evaluation.volatility_baselines import ewma, har, lhar
from puffin.models.features import needs_of
from puffin.studies.bars import Frames, cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.prices.basket import load_basket
from puffin.studies.prices.request import PriceRequest
from puffin.studies.report.timing import Timing, time_holdout
from puffin.studies.spec import Spec, parse_spec

SAMPLE = ("AAPL", "IBM", "MSFT")
FEATURES = ("return", "range", "volume")
MODELS = {"LHAR": lhar, "HAR": har, "EWMA": ewma, "last range": persistence}
LOOKBACK = 22
YEAR = 252
# Years in front of the first holdout.
BEFORE = 4


@dataclass(frozen=True)
class Year:
    """A model on one holdout."""

    loss: float
    timing: Timing


def spec_of() -> Spec:
    """Return a study of the range; its symbol is of no matter."""
    data = {"symbol": "X", "features": list(FEATURES), "target": "range"}
    walk = {"folds": 2, "valid_bars": 120, "holdout_bars": YEAR}
    space = {"lookback": [10, LOOKBACK]}
    return parse_spec({"name": "x", "data": data, "walk_forward": walk, "space": space}, "x")


def years(frames: Frames) -> list[dict[str, Year]]:
    """Return each model on each yearly holdout of a symbol, the earliest first."""
    (frame,) = frames.values()
    stops = range(len(frame), (BEFORE + 1) * YEAR, -YEAR)
    return [judged({name: f.iloc[:stop] for name, f in frames.items()}) for stop in stops][::-1]


def judged(frames: Frames) -> dict[str, Year]:
    """Return each model on the last year of a symbol."""
    search, sealed = cut_holdout(frames, spec_of())
    opened = Dataset.for_holdout(spec_of(), search, sealed)
    made = {name: fit_each(fit, opened.parts[0], LOOKBACK) for name, fit in MODELS.items()}
    rival = made["LHAR"].forecasts
    found = {}
    for name, model in made.items():
        timing = time_holdout(opened, model.forecasts, rival, "LHAR")
        if timing is None:
            raise ValueError("the sample has positive closes, but there is no timing")
        found[name] = Year(float(opened.losses_by_date([model.forecasts]).mean()), timing)
    return found


def mean(values: list[float]) -> str:
    """Return the mean over holdouts with its standard error."""
    array = np.array(values)
    return f"{array.mean():8.2f} ± {array.std(ddof=1) / len(array) ** 0.5:<7.2f}"


def row(name: str, found: list[dict[str, Year]]) -> str:
    """Return the row of a model, over all holdouts."""
    own = [year[name] for year in found]
    losses = np.mean([year.loss for year in own]) / np.mean([year["LHAR"].loss for year in found])
    gained = [y.timing.winner["sharpe"] - y.timing.constant["sharpe"] for y in own]
    fees = [year.timing.over_constant for year in own]
    rivals = [year.timing.over_rival[-1].value for year in own]
    told = sum(fee[-1].value > 2 * fee[-1].error for fee in fees)
    against = sum(fee[-1].value < -2 * fee[-1].error for fee in fees)
    return (
        f"{name:11}{losses:6.3f}{mean(gained)}{mean([fee[0].value for fee in fees])}"
        f"{mean([fee[-1].value for fee in fees])}{told:4}{against:4}{mean(rivals)}"
        f"{np.mean([y.timing.winner['exposure'] for y in own]):7.2f}"
        f"{np.mean([y.timing.winner['turnover'] for y in own]):7.1f}"
    )


def main() -> None:
    """Print a row for each model, over all stocks and years."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    request = PriceRequest(needs=needs_of(FEATURES, "range"))
    frames = load_basket("sample", request, SAMPLE).frames
    with threadpool_limits(1):  # as in a report
        found = [year for symbol in SAMPLE for year in years({symbol: frames[symbol]})]
    print(f"{len(found)} holdouts of a year")
    print(
        f"{'':11}{'loss':>6}{'Sharpe, gained':>18}{'fee, 1':>18}{'fee, 10':>18}{'  >0  <0'}"
        f"{'over LHAR, 10':>18}{'weight':>7}{'turns':>7}"
    )
    for name in MODELS:
        print(row(name, found))


if __name__ == "__main__":
    main()
