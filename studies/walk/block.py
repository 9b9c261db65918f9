"""What the winner of an origin forecast on the block after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from puffin.models.arrays import Floats
from puffin.models.evaluation.metrics import skill
from puffin.models.panel import Dates, by_part
from puffin.studies.dataset import Dataset
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.report.baselines import compare_with_baselines
from puffin.studies.report.build import winner_forecasts
from puffin.studies.report.timing import Sized, sized
from puffin.studies.report.trading import why_no_backtest
from puffin.studies.retraining import require_opened
from puffin.studies.study import StoredStudy


@dataclass(frozen=True, eq=False)
class SymbolForecasts:
    """The forecasts of one symbol, in order of time and in the target's unit.

    Attributes
    ----------
    symbol : str
    bars, closes : array, (targets + 1,), dates and closes from the bar before the first target on
    forecasts, actual, persistence : array, (targets,)
    """

    symbol: str
    bars: Dates
    closes: Floats
    forecasts: Floats
    actual: Floats
    persistence: Floats

    @property
    def dates(self) -> Dates:
        """Dates of the targets."""
        return self.bars[1:]


@dataclass(frozen=True, eq=False)
class Block:
    """An origin's winner on the block after it.

    Attributes
    ----------
    study : name of the search
    dates : index, (dates,), of the scored targets
    winner : trial that won, fixed before the block was read
    promised : skill of the winner on the folds of the search, against persistence
    tried : trials of the search that were not failed
    networks : number of the winner's networks, of which the mean is judged
    losses : array, (dates,), of the mean of the winner's networks over seeds
    baselines : losses of each baseline that could be fitted, by name, (dates,) each
    not_installed : why baselines are left out whose package is not installed
    reference : the baseline that was best before the block
    symbols : forecasts of each symbol
    sized : weights of volatility timing of each symbol; none if the target is no volatility
    no_backtest : why the forecasts cannot be traded on; None if they can
    """

    study: str
    dates: pd.DatetimeIndex
    winner: FrozenTrial
    promised: float
    tried: list[FrozenTrial]
    networks: int
    losses: Floats
    baselines: dict[str, Floats]
    not_installed: tuple[str, ...]
    reference: str
    symbols: list[SymbolForecasts]
    sized: list[Sized]
    no_backtest: str | None

    @property
    def config(self) -> dict[str, Any]:
        """Hyperparameters of the winner."""
        return TrialRecord.read(self.winner).config

    @property
    def reference_losses(self) -> Floats:
        """Losses of the baseline that was best before the block."""
        return self.baselines[self.reference]

    @property
    def skill(self) -> float:
        """Skill against the baseline that was best before the block."""
        return skill(float(self.losses.mean()), float(self.reference_losses.mean()))

    @property
    def obtained(self) -> float:
        """Skill against persistence, as `promised`."""
        return skill(float(self.losses.mean()), float(self.baselines["persistence"].mean()))


def read_block(study: StoredStudy) -> Block:
    """Return the winner of an origin on its block.

    Raises
    ------
    StudyError
        If the search or a training of its winner is not done, or every training diverged.
    """
    best = study.best()
    opened, judged = require_opened(study, best), study.holdout_dataset
    runs = winner_forecasts(opened, best.number)
    forecasts = runs.mean(axis=0)
    points = judged.point(forecasts)
    lookback = TrialRecord.read(best).config["lookback"]
    comparison = compare_with_baselines(study.dataset, judged, lookback, forecasts)
    return Block(
        study=study.name,
        dates=judged.scored_dates[0].unique().sort_values(),
        winner=best,
        promised=Scores.read(best).skill,
        tried=[t for t in study.trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)],
        networks=len(runs),
        losses=judged.losses_by_date([forecasts]),
        baselines={
            name: each.holdout_losses
            for each in comparison.baselines
            for name in (each.name, *each.also)
        },
        not_installed=comparison.not_installed,
        reference=comparison.reference.name,
        symbols=list(_by_symbol(judged, points)),
        sized=sized(judged, points, judged.point(comparison.reference.forecasts)),
        no_backtest=why_no_backtest(judged),
    )


def _by_symbol(judged: Dataset, forecasts: Floats) -> Iterator[SymbolForecasts]:
    ((parts,), (actual,), (last,)) = judged.parts, judged.actuals, judged.persistence
    split = partial(by_part, parts)
    for part, ahead, true, known in zip(
        parts, split(forecasts), split(actual), split(last), strict=True
    ):
        bars = slice(part.fold.valid.start - 1, part.fold.valid.stop)
        yield SymbolForecasts(
            symbol=part.member.symbol,
            bars=part.member.dates[bars],
            closes=part.member.closes[bars],
            forecasts=ahead,
            actual=true,
            persistence=known,
        )
