"""How often the verdict of `tuner report` is "better", without and with a signal to find.

Each run is a whole study in memory: prices, folds, random configurations trained with early
stopping, the best of them trained again and judged on the holdout beside the baselines. Only the
prices are simulated.

walks       random walks, so that "better" is a false positive
planted     a fifth of the variance of the next return is a function of the absolute last volume
            change; it is not linear, so no baseline can find it, but a network should
returns     first-order autoregressions with GARCH errors: the truth is a baseline
ranges      HAR with errors whose spread varies slowly: the truth is a baseline, and a network that
            claims a win is lucky
baskets     eight random walks whose returns have a common part, and a volatility that rises and
            falls for all of them at once

Networks forecast the mean, or with `--loss quantile` quantiles. Then the spread has to be forecast
as well: it is constant in `walks` and `planted`, follows from past returns in `returns`, and can
only be estimated in the other two. So no baseline has the true quantiles, and a network may be
better than all of them; it has to be so by more than chance.

The exit status is 1 if there are more false positives than a 5 % test may have, or fewer true
positives than four out of five.

    python -m benchmarks.calibrate
    python -m benchmarks.calibrate --arms ranges --count 100
    python -m benchmarks.calibrate --loss quantile

Clark-West, Pesaran-Timmermann and SPA do not exceed their level beyond chance. Two figures on the
search folds need care. The deflated Sharpe ratio exceeds 0.95 in one of ten random walks instead of
one of twenty, because correlated trials count as one; if all six were counted, it would be about
one of twenty. The mean probability of overfitting is 0.6 instead of 0.5, because each trial is
taken at its best epoch on the same bars; at the fourth epoch of every trial it would be 0.37.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import torch
from scipy.stats import binom, binomtest

from benchmarks.markets import Market, correlated_walks, garch_returns, long_memory_ranges, market
from puffin.models.arrays import Floats
from puffin.models.config import Config
from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.evaluation.metrics import skill
from puffin.models.evaluation.outcome import OUTCOMES
from puffin.models.evaluation.selection import overfitting
from puffin.models.evaluation.sharpe import deflated_sharpe
from puffin.models.evaluation.spa import spa
from puffin.models.training.fold_training import (
    Epoch,
    FoldTraining,
    validate,
)
from puffin.models.training.refit import Refit
from puffin.models.training.trainer import loss_function
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.bars import cut_holdout
from puffin.studies.dataset import Dataset
from puffin.studies.report.baselines import (
    BaselineResult,
    HoldoutComparison,
    compare_with_baselines,
)
from puffin.studies.report.build import why_no_direction_test
from puffin.studies.report.trading import strategy_returns, untradable
from puffin.studies.space import suggest
from puffin.studies.spec import Spec, parse_spec

TRIALS = 6
# Trials on the longer markets.
FEW_TRIALS = 4
# Share of the variance of the next return that the planted signal explains.
PLANTED = 0.2
# Smallest share of runs with a planted signal whose verdict must be "better".
LEAST_POWER = 0.8
CPU = torch.device("cpu")
# For returns drift is the training mean, and `compare_with_baselines` merges the two.
MEANS_OF = ("mean", "drift")


def study_file(
    seed: int,
    trials: int = TRIALS,
    features: Sequence[str] = ("return", "volume"),
    loss: str = "mse",
) -> Spec:
    """Return a study of returns with few and tiny networks."""
    data = {"symbol": "NONE", "target": "return", "features": features}
    return _study_file(seed, trials, data, {"low": 1, "high": 4}, loss)


def range_study_file(seed: int, trials: int, loss: str = "mse") -> Spec:
    """Return a study of ranges with few and tiny networks."""
    data = {"symbol": "NONE", "target": "range", "features": ("range", "return", "volume")}
    return _study_file(seed, trials, data, {"low": 5, "high": 20}, loss)


def _study_file(
    seed: int, trials: int, data: Mapping[str, object], lookback: dict[str, int], loss: str
) -> Spec:
    values = {
        "name": "calibrate",
        "data": data,
        "walk_forward": {"folds": 2, "valid_bars": 120, "holdout_bars": 250},
        "training": {"max_epochs": 15, "patience": 3, "loss": loss},
        "space": {
            "cell": ["lstm", "gru"],
            "layers": 1,
            "hidden_dim": {"low": 4, "high": 12},
            "lookback": lookback,
            "lr": {"low": 0.01, "high": 0.05, "log": True},
        },
        "search": {"trials": trials, "sampler": "random", "pruner": "none", "seed": seed},
    }
    return parse_spec(values, "calibrate")


@dataclass(frozen=True, eq=False)
class Tried:
    """A configuration at its best epoch, with its forecasts of each fold in the target's unit."""

    config: Config
    best: Epoch
    forecasts: list[Floats]


def search(folds: Dataset) -> list[Tried]:
    """Train random configurations and return them sorted by loss."""
    spec = folds.spec
    study = optuna.create_study(sampler=SAMPLERS[spec.search.sampler].make(spec.search.seed))
    tried = [_train(folds, suggest(study.ask(), spec.parsed_space)) for _ in range(spec.tickets)]
    return sorted(tried, key=lambda t: t.best.valid_loss)


def _train(folds: Dataset, config: Config) -> Tried:
    spec, tensors = folds.spec, folds.tensors(config.lookback, CPU)
    training = FoldTraining(tensors, config, spec.training_config, spec.search.seed)
    for _ in training:
        pass
    if training.best is None:
        raise RuntimeError(f"{config} diverged in its first epoch: choose a lower learning rate")
    return Tried(config, training.best, folds.in_target_units(training.best.forecasts))


def forecast_holdout(holdout: Dataset, winner: Tried, seed: int | None = None) -> Floats:
    """Train the winner on all search data and return its forecasts, (holdout bars,).

    The seed is that of the study, unless another one is given.
    """
    spec, config = holdout.spec, winner.config
    (fold,) = holdout.tensors(config.lookback, CPU)
    seeds = [spec.search.seed if seed is None else seed]
    epochs = winner.best.number
    (network,) = Refit(fold.train, config, spec.criterion, epochs, seeds).train()
    _, scaled = validate(network, fold.valid, loss_function(spec.criterion))
    (forecasts,) = holdout.in_target_units([scaled])
    return forecasts


@dataclass(frozen=True, eq=False)
class Run:
    """The results of one study.

    Attributes
    ----------
    judgement : the winner and the baselines on the holdout
    truth : skill of the signal itself, or of the true quantiles, against the training mean, on the
        holdout
    limit : the same against the baseline to beat; a forecast can have more by luck alone
    pesaran_timmermann : p-value of the winner's directions on the holdout; NaN if all have the same
        sign, or the target is not a move
    spa : p-value of the best trial against the reference baseline, on the search folds
    deflated_sharpe : probability that the winner's Sharpe ratio is better than chance, on the
        search folds; NaN if the target cannot be traded on
    pbo : probability of overfitting
    """

    judgement: HoldoutComparison
    truth: float
    limit: float
    pesaran_timmermann: float
    spa: float
    deflated_sharpe: float
    pbo: float

    def baseline(self, *names: str) -> BaselineResult:
        """Return the first baseline that has one of the names."""
        return next(b for b in self.judgement.baselines if b.name in names)

    @property
    def mean(self) -> BaselineResult:
        """The training mean."""
        return self.baseline(*MEANS_OF)

    @property
    def passes_clark_west(self) -> bool:
        """Whether Clark-West calls the winner better than the training mean."""
        return self.mean.clark_west is not None and self.mean.clark_west.p_better < LEVEL

    @property
    def is_alone(self) -> bool:
        """Whether the winner is alone in the model confidence set."""
        return self.judgement.may_be_best == ["the winner"]

    def skill_of(self, name: str) -> float:
        """Skill of a baseline against the training mean on the holdout."""
        return skill(self.baseline(name).holdout_loss, self.mean.holdout_loss)


def run(spec: Spec, *made: Market) -> Run:
    """Search, choose the winner and judge it on the holdout of a market, or of several at once."""
    symbols = {f"made {number}": market for number, market in enumerate(made)}
    part, sealed = cut_holdout({name: market.frame for name, market in symbols.items()}, spec)
    folds, opened = Dataset.build(spec, part), Dataset.for_holdout(spec, part, sealed)
    tried = search(folds)
    forecasts = forecast_holdout(opened, tried[0])
    comparison = compare_with_baselines(folds, opened, tried[0].config.lookback, forecasts)
    (truth,) = opened.scored(lambda member: _truth(symbols[member.symbol], spec))
    truth_loss = float(opened.losses_by_date([truth]).mean())
    mean = next(b for b in comparison.baselines if b.name in MEANS_OF)
    losses = np.column_stack([folds.losses_by_date(t.forecasts) for t in tried])
    return Run(
        judgement=comparison,
        truth=skill(truth_loss, mean.holdout_loss),
        limit=skill(truth_loss, comparison.reference.holdout_loss),
        pesaran_timmermann=_directions(opened, forecasts),
        spa=spa(comparison.reference.search_losses, losses).consistent,
        deflated_sharpe=_deflated(folds, tried),
        pbo=overfitting(losses).probability,
    )


def _truth(made: Market, spec: Spec) -> Floats:
    levels = spec.training.quantiles
    return made.quantiles(levels) if levels else made.signal


def _directions(holdout: Dataset, forecasts: Floats) -> float:
    if why_no_direction_test(holdout.spec.data.target):
        return math.nan
    return holdout.direction_test([forecasts]).p_better


def _deflated(folds: Dataset, tried: list[Tried]) -> float:
    if untradable(folds):
        return math.nan
    points = [[folds.point(forecasts) for forecasts in t.forecasts] for t in tried]
    returns = np.column_stack([strategy_returns(folds, forecasts) for forecasts in points])
    return deflated_sharpe(returns[:, 0], returns, len(tried)).probability


@dataclass(frozen=True)
class Arm:
    """Studies of one kind of market.

    Attributes
    ----------
    run : the study of a seed with a loss
    count : studies, unless another number is asked for
    has_signal : whether there is something that no baseline can find
    """

    run: Callable[[int, str], Run]
    count: int
    has_signal: bool = False


def _returns(make: Callable[[int], Sequence[Market]], trials: int) -> Callable[[int, str], Run]:
    return lambda seed, loss: run(study_file(seed, trials, loss=loss), *make(seed))


ARMS: dict[str, Arm] = {
    "walks": Arm(_returns(lambda seed: [market(0.0, seed)], TRIALS), 200),
    "planted": Arm(_returns(lambda seed: [market(PLANTED, seed)], TRIALS), 100, has_signal=True),
    "returns": Arm(_returns(lambda seed: [garch_returns(seed)], FEW_TRIALS), 40),
    "ranges": Arm(
        lambda seed, loss: run(range_study_file(seed, FEW_TRIALS, loss), long_memory_ranges(seed)),
        100,
    ),
    "baskets": Arm(_returns(correlated_walks, FEW_TRIALS), 40),
}


def count_better(runs: list[Run]) -> int:
    """Return the number of runs whose verdict is "better"."""
    return sum(run.judgement.outcome == "better" for run in runs)


def most_by_chance(runs: int, quantile: float = 0.975) -> int:
    """Return the most false positives that a test at 5 % may have in `runs` runs."""
    return int(binom.ppf(quantile, runs, LEVEL))


MEANS: dict[str, Callable[[Run], float]] = {
    "winner, against the best baseline": lambda run: run.judgement.reference.skill,
    "winner, against the mean": lambda run: run.mean.skill,
    "the truth, against the best baseline": lambda run: run.limit,
    "the truth, against the mean": lambda run: run.truth,
    "autoregression": lambda run: run.skill_of("ar"),
    "ridge regression": lambda run: run.skill_of("ridge"),
}
POSITIVES: dict[str, Callable[[Run], bool]] = {
    "better than the reference": lambda run: run.judgement.reference.test.p_better < LEVEL,
    "alone in the confidence set": lambda run: run.is_alone,
    "Clark-West, mean": lambda run: run.passes_clark_west,
    "Pesaran-Timmermann": lambda run: run.pesaran_timmermann < LEVEL,
    "SPA, search folds": lambda run: run.spa < LEVEL,
    "deflated Sharpe > 0.95": lambda run: run.deflated_sharpe > 1 - LEVEL,
}


def rate(count: int, of: int) -> str:
    """Write a share with its exact binomial interval of 95 %."""
    low, high = binomtest(count, of).proportion_ci(0.95)
    return f"{count:4}  {count / of:6.1%} ({low:5.1%} to {high:5.1%})"


def table(runs: list[Run]) -> None:
    """Print the results of one arm."""
    for outcome in OUTCOMES:
        count = sum(run.judgement.outcome == outcome for run in runs)
        print(f"  {outcome:28}{rate(count, len(runs))}")
    print("  mean skill on the holdout and its standard error")
    for label, of in MEANS.items():
        values = np.array([of(run) for run in runs])
        error = values.std(ddof=1) / len(values) ** 0.5
        print(f"    {label:36}{values.mean():+10.4f}  {error:.4f}")
    print("  significant at 5 %")
    for label, positive in POSITIVES.items():
        print(f"    {label:36}{rate(sum(map(positive, runs)), len(runs))}")
    for label, missing in (
        ("Pesaran-Timmermann test", [math.isnan(run.pesaran_timmermann) for run in runs]),
        ("deflated Sharpe ratio", [math.isnan(run.deflated_sharpe) for run in runs]),
    ):
        print(f"    {sum(missing)} without a {label}")
    print(f"  mean probability of overfitting {np.mean([run.pbo for run in runs]):.3f}")


def holds(name: str, runs: list[Run]) -> bool:
    """Print the table of an arm, and return whether its bound holds."""
    print(f"{name}: {len(runs)} studies")
    table(runs)
    better, has_signal = count_better(runs), ARMS[name].has_signal
    bound = math.ceil(LEAST_POWER * len(runs)) if has_signal else most_by_chance(len(runs))
    kept = better >= bound if has_signal else better <= bound
    word = "true positives, at least" if has_signal else "false positives, at most"
    print(f"{'holds ' if kept else 'BROKEN'}  {better} {word} {bound}", flush=True)
    return kept


def main() -> None:
    """Print the tables of all arms, and whether the bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--count", type=int, help="studies of each arm")
    parser.add_argument("--loss", choices=("mse", "quantile"), default="mse")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    kept = [
        holds(name, [arm.run(seed, given.loss) for seed in range(given.count or arm.count)])
        for name, arm in ((name, ARMS[name]) for name in given.arms)
    ]
    sys.exit(not all(kept))


if __name__ == "__main__":
    main()
