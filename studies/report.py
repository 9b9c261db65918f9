"""Whether the best of a search is any good: judged on bars that no choice has seen.

Every figure comes from the forecasts that trials and refits left behind; nothing is trained here.
"""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import FrozenTrial, TrialState

from models.backtest import Backtest, backtest
from models.baselines import BASELINES
from models.comparison import (
    LEVEL,
    DirectionTest,
    MeanTest,
    clark_west,
    detectable_skill,
    diebold_mariano,
    pesaran_timmermann,
)
from models.metrics import Direction, skill
from models.selection import (
    DeflatedSharpe,
    Overfitting,
    Overtuning,
    deflated_sharpe,
    effective_trials,
    overfitting,
    overtuning,
    ranks_over_seeds,
)
from models.spa import SpaResult, spa
from studies.holdout import in_order_of_end
from studies.study import Handle, StudyError
from studies.validation import when
from studies.workload import Workload

Floats = NDArray[np.float64]

# What a trade costs in the backtest, in basis points: commission, and a worse price.
COST_BPS, SLIPPAGE_BPS = 1.0, 1.0


@dataclass(frozen=True, eq=False)
class Rival:
    """A baseline on the search folds and on the holdout.

    Attributes
    ----------
    name, label : its key, and what was chosen for it
    search_loss, holdout_loss : mean losses
    skill : of the winner against it on the holdout
    better : whether the winner forecasts better, by Diebold and Mariano
    nested : the same by Clark and West, for a baseline that a network could be
    """

    name: str
    label: str
    search_loss: float
    holdout_loss: float
    skill: float
    better: MeanTest
    nested: MeanTest


@dataclass(frozen=True, eq=False)
class Report:
    """What the holdout says of a study's best.

    Attributes
    ----------
    study : its name
    winner : number of the trial, fixed before the seal was opened
    config, epochs : of the winner
    openings : each opening of the seal: time, trial, configuration
    first, last : days of the holdout's targets
    loss, search_loss : of the winner on the holdout and on the search folds
    skill : of the winner against persistence on the holdout
    rivals : baselines, the one that was best on the search data first
    detectable : smallest skill against that one which this holdout could have shown
    direction, direction_test : of the winner on the holdout
    refits : table of all refits: trial, seed, loss
    spa : of all trials against the first rival, on the search folds
    overfitting : of the search, None where fewer than two trials left forecasts
    deflated_sharpe : of the winner's positions on the search folds; None for a range
    overtuning : of the incumbents
    ranks : of the winner among the best, seed by seed
    backtest : of the winner on the holdout; None for a range
    """

    study: str
    winner: int
    config: dict[str, Any]
    epochs: int
    openings: list[dict[str, Any]]
    first: str
    last: str
    bars: int
    loss: float
    search_loss: float
    skill: float
    rivals: list[Rival]
    detectable: float
    direction: Direction
    direction_test: DirectionTest
    refits: pd.DataFrame
    spa: SpaResult
    overfitting: Overfitting | None
    deflated_sharpe: DeflatedSharpe | None
    overtuning: Overtuning
    ranks: NDArray[np.int64]
    backtest: Backtest | None

    @property
    def rival(self) -> Rival:
        """The baseline that was best on the search data."""
        return self.rivals[0]

    @property
    def lowest(self) -> Rival:
        """The baseline that was best on the holdout."""
        return min(self.rivals, key=lambda rival: rival.holdout_loss)

    @property
    def beats_baseline(self) -> bool:
        """Whether the winner is below every baseline, and clearly below the first."""
        below_all = self.loss < self.lowest.holdout_loss
        return below_all and self.rival.better.p_better < LEVEL

    @property
    def outcome(self) -> str:
        """``wins``, ``undecided`` or ``loses``."""
        if self.beats_baseline:
            return "wins"
        return "undecided" if self.loss < self.lowest.holdout_loss else "loses"


def build(search: Handle, holdout: Handle) -> Report:
    """Judge the winner of a search by its holdout study.

    Raises
    ------
    StudyError
        If a refit is not done.
    """
    refits = _refits(holdout)
    folds, opened, best = search.workload, search.opened, search.best()
    own = refits[(refits.trial == best.number) & (refits.seed == search.spec.search.seed)].iloc[0]
    forecasts = _forecasts(holdout, holdout.trials()[int(own.row)])
    runs = _run_baselines(folds, opened, best.user_attrs["config"]["lookback"])
    rivals = [_rival(run, folds, opened, forecasts[0]) for run in runs]
    order = np.argsort([rival.search_loss for rival in rivals])
    first = runs[order[0]]
    trials = _trials_with_forecasts(search)
    matrix = np.column_stack([folds.point_losses(f) for _, f in trials])
    horizon = opened.series.horizon
    actual, last = (_scored(opened, v) for v in (opened.series.target, opened.series.persistence))
    (fold,) = opened.folds
    dates = opened.dates[fold.valid.start : fold.valid.stop]
    rival_points = opened.point_losses([first.holdout])
    return Report(
        study=search.name,
        winner=best.number,
        config=best.user_attrs["config"],
        epochs=best.user_attrs["best_epoch"],
        openings=holdout.attrs["openings"],
        first=when(dates[0]),
        last=when(dates[-1]),
        bars=len(dates),
        loss=float(own.loss),
        search_loss=float(best.value or np.nan),
        skill=skill(float(own.loss), opened.persistence_losses[0]),
        rivals=[rivals[i] for i in order],
        detectable=detectable_skill(
            rival_points - opened.point_losses(forecasts), rival_points, horizon
        ),
        direction=opened.direction(forecasts),
        direction_test=pesaran_timmermann(forecasts[0], actual, last, horizon),
        refits=refits,
        spa=spa(folds.point_losses(first.search), matrix, horizon),
        overfitting=overfitting(matrix) if matrix.shape[1] > 1 else None,
        deflated_sharpe=_deflated(folds, trials, best),
        overtuning=_overtuning(search, refits),
        ranks=_ranks(refits, best.number),
        backtest=_backtest(search, opened, forecasts[0]),
    )


def _scored(opened: Workload, values: Floats) -> Floats:
    """Cut values (bars,) to those of the holdout's targets."""
    (only,) = opened.scored(values)
    return only


def _refits(holdout: Handle) -> pd.DataFrame:
    """Table the refits that are done: trial, seed, loss, and where in the holdout study."""
    rows = [
        {
            "trial": t.user_attrs["refit_of"],
            "seed": t.user_attrs["seed"],
            "loss": t.value,
            "row": t.number,
        }
        for t in holdout.trials()
        if t.state == TrialState.COMPLETE
    ]
    wanted = len(holdout.attrs["refits"])
    if len(rows) < wanted:
        msg = (
            f"{len(rows)} of {wanted} refits of study {holdout.name!r} are done; `tuner worker` "
            "does the others"
        )
        raise StudyError(msg)
    return pd.DataFrame(rows)


def _forecasts(handle: Handle, trial: FrozenTrial) -> list[Floats]:
    """Read what a trial forecast, fold by fold, in the target's unit."""
    (meta,) = get_all_artifact_meta(trial, storage=handle.storage)
    with handle.store.open_reader(meta.artifact_id) as reader:
        frame = pd.read_csv(io.BytesIO(reader.read()))
    return [part["forecast"].to_numpy(np.float64) for _, part in frame.groupby("fold")]


@dataclass(frozen=True, eq=False)
class _Run:
    """Forecasts of a baseline: fold by fold on the search data, and on the holdout."""

    name: str
    label: str
    search: list[Floats]
    holdout: Floats


def _run_baselines(folds: Workload, opened: Workload, lookback: int) -> list[_Run]:
    runs: list[_Run] = []
    for name, forecast in BASELINES.items():
        try:
            search = [
                forecast(folds.series, lookback, fold.train, fold.valid).forecasts
                for fold in folds.folds
            ]
            (fold,) = opened.folds
            holdout = forecast(opened.series, lookback, fold.train, fold.valid)
        except ValueError:
            continue  # too few targets for an autoregression
        # For returns drift is the training mean: one of them is enough.
        if not any(np.allclose(holdout.forecasts, run.holdout, rtol=1e-9, atol=0) for run in runs):
            runs.append(_Run(name, holdout.label, search, holdout.forecasts))
    return runs


def _rival(run: _Run, folds: Workload, opened: Workload, forecast: Floats) -> Rival:
    """Set the winner's forecast of the holdout against a baseline."""
    horizon = opened.series.horizon
    points = opened.point_losses([run.holdout])
    own = opened.point_losses([forecast])
    actual = _scored(opened, opened.series.target)
    return Rival(
        name=run.name,
        label=run.label,
        search_loss=float(np.mean(folds.losses(run.search))),
        holdout_loss=float(points.mean()),
        skill=skill(float(own.mean()), float(points.mean())),
        better=diebold_mariano(points - own, horizon),
        nested=clark_west(forecast, run.holdout, actual, horizon),
    )


def _trials_with_forecasts(search: Handle) -> list[tuple[FrozenTrial, list[Floats]]]:
    """Give every trial that came to a best epoch, pruned or not, with its forecasts."""
    return [
        (trial, _forecasts(search, trial))
        for trial in search.trials()
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and "best_epoch" in trial.user_attrs
    ]


def _deflated(
    folds: Workload, trials: list[tuple[FrozenTrial, list[Floats]]], best: FrozenTrial
) -> DeflatedSharpe | None:
    """Judge what the best earned on the search folds by being long where it forecast a rise."""
    returns = [_earned(folds, forecasts) for _, forecasts in trials]
    if returns[0] is None:
        return None
    matrix = np.column_stack([r for r in returns if r is not None])
    own = next(i for i, (trial, _) in enumerate(trials) if trial.number == best.number)
    return deflated_sharpe(matrix[:, own], matrix, effective_trials(matrix).count)


def _earned(folds: Workload, forecasts: list[Floats]) -> Floats | None:
    """Give the log returns of being long where a rise was forecast, one in `horizon` bars.

    None for a target that nobody can hold.
    """
    target = folds.spec.data.target
    if target not in ("return", "price"):
        return None
    actual, last = (
        np.concatenate(folds.scored(v)) for v in (folds.series.target, folds.series.persistence)
    )
    moves = np.log(actual / last) if target == "price" else actual
    held = np.concatenate(forecasts) > last
    return np.asarray((held * moves)[:: folds.series.horizon])


def _overtuning(search: Handle, refits: pd.DataFrame) -> Overtuning:
    """Set the incumbents' losses on the holdout against those on the search folds."""
    complete = in_order_of_end(t for t in search.trials() if t.state == TrialState.COMPLETE)
    seed = search.spec.search.seed
    judged = refits[refits.seed == seed].set_index("trial").loss
    numbers = [t.number for t in complete]
    found = overtuning([t.value for t in complete], judged.reindex(numbers).to_numpy(np.float64))
    return replace(found, trials=np.array(numbers)[found.trials])


def _ranks(refits: pd.DataFrame, winner: int) -> NDArray[np.int64]:
    """Rank the winner among the configurations that were trained with every seed."""
    table = refits.pivot_table(index="trial", columns="seed", values="loss").dropna()
    return ranks_over_seeds(table.to_numpy(np.float64), [*table.index].index(winner))


def _backtest(search: Handle, opened: Workload, forecast: Floats) -> Backtest | None:
    """Trade on the winner's forecasts of the holdout, one bar ahead, long or flat."""
    data = search.spec.data
    if data.target not in ("return", "price") or data.horizon != 1:
        return None
    (fold,) = opened.folds
    closes = opened.closes[fold.valid.start - 1 : fold.valid.stop]
    ahead = forecast if data.target == "price" else closes[:-1] * np.exp(forecast)
    return backtest(
        closes,
        np.append(np.nan, ahead),
        threshold=0.0,
        cost_bps=COST_BPS,
        slippage_bps=SLIPPAGE_BPS,
    )
