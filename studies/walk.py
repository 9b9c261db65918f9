"""The walk: the whole search at many origins, each judged on the block of bars that follows it.

Each origin is an ordinary search, ``NAME.walk.01`` and so on, whose prices end with its block and
whose holdout the block is. It is made from the search part of the prices alone, so that a walk
never touches the holdout of its study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import TrialState

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.evaluation.forecast_tests import (
    LEVEL,
    MeanTest,
    detectable_skill,
    diebold_mariano,
)
from puffin.models.evaluation.metrics import skill
from puffin.studies.algorithms import SAMPLERS
from puffin.studies.dataset import Frames, union_of_dates
from puffin.studies.prices.basket import Basket
from puffin.studies.prices.load import Prices
from puffin.studies.records import Scores, TrialRecord
from puffin.studies.report.baselines import compare_with_baselines
from puffin.studies.report.build import read_forecasts
from puffin.studies.retraining import require_opened
from puffin.studies.spec import Spec, parse_spec
from puffin.studies.study import StoredStudy, StudyError
from puffin.studies.text import counted

WALK = ".walk."


@dataclass(frozen=True, eq=False)
class Origin:
    """One search of a walk.

    Attributes
    ----------
    spec : its study file
    basket : its prices, up to the end of its block
    """

    spec: Spec
    basket: Basket


def origins(spec: Spec, search: Frames, source: str) -> list[Origin]:
    """Return the searches of a walk, the earliest first.

    Parameters
    ----------
    spec : Spec
    search : mapping of DataFrame
        The search part of the prices.
    source : str
        Where the prices are from, in words.

    Raises
    ------
    PuffinError
        If the bars before the first block are too few to search.
    """
    dates, walk = union_of_dates(search), spec.walk
    if len(dates) <= walk.origins * walk.block_bars:
        msg = (
            f"the walk needs more than {walk.origins} blocks x {walk.block_bars} bars, but "
            f"{counted(len(dates), 'bar')} are there before the holdout: set fewer walk.origins or "
            "a smaller walk.block_bars"
        )
        raise PuffinError(msg)
    found = []
    for number in range(1, walk.origins + 1):
        stop = len(dates) - (walk.origins - number) * walk.block_bars
        known = {s: frame[frame.index <= dates[stop - 1]] for s, frame in search.items()}
        members = {s: Prices(frame, (), source) for s, frame in known.items() if len(frame)}
        found.append(Origin(_spec_of(spec, number), Basket(members, source)))
    return found


def name_of(study: str, number: int) -> str:
    """Return the name of the search at an origin, counted from 1."""
    return f"{study}{WALK}{number:02}"


def _spec_of(spec: Spec, number: int) -> Spec:
    """Return the study file of an origin, whose holdout is its block."""
    values = spec.to_json()
    del values["walk"]
    values["name"] = name_of(spec.name, number)
    values["walk_forward"]["holdout_bars"] = spec.walk.block_bars
    if not SAMPLERS[spec.search.sampler].enumerates:  # a grid runs every point
        values["search"]["trials"] = spec.walk_trials
    return parse_spec(values, f"origin {number} of the walk of {spec.name}")


@dataclass(frozen=True, eq=False)
class Block:
    """An origin's winner on the block after it.

    Attributes
    ----------
    study : name of the search
    dates : index, (dates,), of the scored targets
    winner, config : number and hyperparameters of the winner, fixed before the block was read
    promised : skill of the winner on the folds of the search, against persistence
    losses : array, (dates,), of the mean of the winner's networks over seeds
    baselines : losses of each baseline that could be fitted, by name, (dates,) each
    reference : the baseline that was best before the block
    horizon : dates over which losses are correlated, as `Dataset.date_horizon`
    """

    study: str
    dates: pd.DatetimeIndex
    winner: int
    config: dict[str, Any]
    promised: float
    losses: Floats
    baselines: dict[str, Floats]
    reference: str
    horizon: int

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
        If the search or a training of its winner is not done.
    """
    best, opened = require_opened(study)
    judged = study.holdout_dataset
    runs = [
        read_forecasts(opened, trial)[0]
        for trial in opened.trials()
        if trial.state == TrialState.COMPLETE
        and TrialRecord.read(trial).retrained_trial == best.number
    ]
    if not runs:
        reasons = {TrialRecord.read(trial).failure for trial in opened.trials()}
        msg = (
            f"no training of the winner of {study.name!r}, trial {best.number}, ended: "
            f"{', '.join(sorted(filter(None, reasons)))}; lower space.lr, or walk another study"
        )
        raise StudyError(msg)
    forecasts = np.mean(runs, axis=0)
    config = TrialRecord.read(best).config
    comparison = compare_with_baselines(study.dataset, judged, config["lookback"], forecasts)
    return Block(
        study=study.name,
        dates=judged.scored_dates[0].unique().sort_values(),
        winner=best.number,
        config=config,
        promised=Scores.read(best).skill,
        losses=judged.losses_by_date([forecasts]),
        baselines={each.name: each.holdout_losses for each in comparison.baselines},
        reference=comparison.reference.name,
        horizon=judged.date_horizon,
    )


@dataclass(frozen=True, eq=False)
class Walk:
    """The verdict on a procedure: all blocks of a walk as one out-of-sample series.

    Attributes
    ----------
    study : name of the study
    blocks : list of Block, the earliest first
    test : Diebold-Mariano test against the baseline that was best before each block
    """

    study: str
    blocks: list[Block]
    test: MeanTest

    @property
    def horizon(self) -> int:
        """The most dates over which the losses of a block are correlated."""
        return max(block.horizon for block in self.blocks)

    @property
    def losses(self) -> Floats:
        """Losses of the winners, (dates of all blocks,)."""
        return np.concatenate([block.losses for block in self.blocks])

    @property
    def reference_losses(self) -> Floats:
        """Losses of the baseline that was best before each block, (dates of all blocks,)."""
        return np.concatenate([block.reference_losses for block in self.blocks])

    @property
    def skill(self) -> float:
        """Skill against the baseline that was best before each block."""
        return skill(float(self.losses.mean()), float(self.reference_losses.mean()))

    @property
    def detectable_skill(self) -> float:
        """True skill that so many bars detect with a probability of 80 %."""
        reference = self.reference_losses
        return detectable_skill(reference - self.losses, reference, self.horizon)

    @property
    def won(self) -> int:
        """Number of blocks on which the winner's loss is below the reference's."""
        return sum(block.skill > 0 for block in self.blocks)

    @property
    def outcome(self) -> str:
        """``better``, ``undecided`` or ``worse`` than the baseline that was best before."""
        if self.test.p_better < LEVEL:
            return "better"
        return "worse" if self.test.p_worse < LEVEL else "undecided"

    def against(self) -> dict[str, tuple[float, MeanTest]]:
        """Return skill and test against each baseline that could be fitted at every origin."""
        found = {}
        for name in self.blocks[0].baselines:
            if all(name in block.baselines for block in self.blocks):
                losses = np.concatenate([block.baselines[name] for block in self.blocks])
                test = diebold_mariano(losses - self.losses, self.horizon)
                found[name] = skill(float(self.losses.mean()), float(losses.mean())), test
        return found


def judge(name: str, studies: Sequence[StoredStudy]) -> Walk:
    """Return the verdict on the procedure from its finished searches.

    Raises
    ------
    StudyError
        If a search or a training of a winner is not done.
    PuffinError
        If the blocks do not follow each other: searches of different prices have been mixed.
    """
    blocks = [read_block(study) for study in studies]
    for earlier, later in pairwise(blocks):
        if later.dates[0] <= earlier.dates[-1]:
            msg = (
                f"the blocks of {earlier.study} and {later.study} overlap: their prices differ; "
                "`tuner delete` both and walk again"
            )
            raise PuffinError(msg)
    losses, reference = (
        np.concatenate([getattr(block, of) for block in blocks])
        for of in ("losses", "reference_losses")
    )
    horizon = max(block.horizon for block in blocks)
    return Walk(name, blocks, diebold_mariano(reference - losses, horizon))
