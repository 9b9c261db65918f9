"""The verdict on a procedure: all blocks of a walk as one out-of-sample series."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from puffin.models.arrays import Floats
from puffin.models.errors import PuffinError
from puffin.models.evaluation.backtest import Backtest
from puffin.models.evaluation.direction import (
    Direction,
    DirectionTest,
    direction,
    pesaran_timmermann,
)
from puffin.models.evaluation.long_run import Fluctuation, LongRunTest, fluctuation, long_run_test
from puffin.models.evaluation.metrics import skill
from puffin.models.evaluation.outcome import Evidence
from puffin.models.evaluation.portfolio import equal_parts
from puffin.models.features import TARGETS
from puffin.models.panel import Dates
from puffin.studies.outside import OutsideFile
from puffin.studies.report.build import why_no_direction_test
from puffin.studies.report.outside import OutsideResult, judge_outside
from puffin.studies.report.timing import Sized, Timing, joined, time_volatility
from puffin.studies.report.trading import bars_per_year, trade
from puffin.studies.spec import Spec
from puffin.studies.study import StoredStudy
from puffin.studies.walk.block import Block, SymbolForecasts, read_block
from puffin.studies.walk.winners import Stability, stability

# What the rival of volatility timing is called.
_BEST = "the best simple model before each block"
# Windows of the fluctuation test in one walk.
_WINDOWS = 3
# The rival of the verdict among the others.
BEFORE = "the best before each block"


@dataclass(frozen=True, eq=False)
class Walk:
    """The verdict on a procedure.

    An attribute that is None has a reason in the attribute ``no_...`` of the same name.

    Attributes
    ----------
    study : name of the study
    spec : study file of the first origin
    blocks : list of Block, the earliest first
    outside : forecasts that were given as files, beside the winners on all blocks
    test : test against the baseline that was best before each block, on all blocks together
    fluctuation : the same in windows of a third of the dates
    direction : direction accuracy
    direction_test, no_direction_test : Pesaran-Timmermann test of the directions
    backtest, no_backtest : of trading on the forecasts of all blocks
    timing : volatility timing on the forecasts of all blocks; None if the target is no volatility
        or there are no returns
    traded : dates of the backtest
    stability : of the winners' hyperparameters
    is_warm : whether a search began with the winners before it
    """

    study: str
    spec: Spec
    blocks: list[Block]
    outside: list[OutsideResult]
    test: LongRunTest
    fluctuation: Fluctuation
    direction: Direction
    direction_test: DirectionTest | None
    no_direction_test: str | None
    backtest: Backtest | None
    no_backtest: str | None
    timing: Timing | None
    traded: pd.DatetimeIndex
    stability: list[Stability]
    is_warm: bool

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Dates of all blocks, (dates,)."""
        return pd.DatetimeIndex(np.concatenate([block.dates for block in self.blocks]))

    @property
    def losses(self) -> Floats:
        """Losses of the winners, (dates,)."""
        return np.concatenate([block.losses for block in self.blocks])

    @property
    def reference_losses(self) -> Floats:
        """Losses of the baseline that was best before each block, (dates,)."""
        return np.concatenate([block.reference_losses for block in self.blocks])

    @property
    def skill(self) -> float:
        """Skill against the baseline that was best before each block."""
        return skill(float(self.losses.mean()), float(self.reference_losses.mean()))

    @property
    def evidence(self) -> Evidence:
        """The tests against every baseline, and against the one that was best before each block."""
        rivals = {BEFORE: self.test} | {name: test for name, (_, test) in self.against().items()}
        return Evidence(self.test, float(self.reference_losses.mean()), rivals)

    @property
    def won(self) -> int:
        """Number of blocks on which the winner's loss is below the reference's."""
        return sum(block.skill > 0 for block in self.blocks)

    @property
    def not_installed(self) -> list[str]:
        """Why baselines are left out whose package is not installed."""
        return list(dict.fromkeys(why for block in self.blocks for why in block.not_installed))

    @property
    def promised(self) -> float:
        """Mean skill that the searches promised, against persistence."""
        return float(np.mean([block.promised for block in self.blocks]))

    @property
    def obtained(self) -> float:
        """Mean skill that the blocks gave, against persistence."""
        return float(np.mean([block.obtained for block in self.blocks]))

    @property
    def symbols(self) -> list[str]:
        """Symbols that were forecast in a block."""
        return list(_joined(self.blocks))

    @property
    def outcome(self) -> str:
        """One of `puffin.models.evaluation.outcome.OUTCOMES`."""
        return self.evidence.outcome

    def against(self) -> dict[str, tuple[float, LongRunTest]]:
        """Return skill and test against each baseline that could be fitted at every origin."""
        found = {}
        for name in self.blocks[0].baselines:
            if all(name in block.baselines for block in self.blocks):
                losses = np.concatenate([block.baselines[name] for block in self.blocks])
                gained = skill(float(self.losses.mean()), float(losses.mean()))
                found[name] = gained, long_run_test(losses - self.losses)
        return found


def judge(name: str, studies: Sequence[StoredStudy], outside: Sequence[OutsideFile] = ()) -> Walk:
    """Return the verdict on the procedure from its finished searches.

    Parameters
    ----------
    name : str
        Of the study that walks.
    studies : sequence of StoredStudy
        The searches, the earliest first.
    outside : sequence of OutsideFile
        Forecasts that were given as files.

    Raises
    ------
    StudyError
        If a search or a training of a winner is not done.
    PuffinError
        If blocks overlap: searches of different walks have been mixed.
    """
    blocks = [read_block(study) for study in studies]
    for earlier, later in pairwise(blocks):
        if later.dates[0] <= earlier.dates[-1]:
            msg = (
                f"the blocks of {earlier.study} and {later.study} overlap: they are of different "
                "walks; `tuner delete` both and walk again"
            )
            raise PuffinError(msg)
    spec, joined = studies[0].spec, _joined(blocks)
    lead = np.concatenate([block.reference_losses - block.losses for block in blocks])
    no_direction_test = why_no_direction_test(spec.data.target)
    no_backtest = next((block.no_backtest for block in blocks if block.no_backtest), None)
    traded = _traded(joined)
    return Walk(
        study=name,
        spec=spec,
        blocks=blocks,
        outside=judge_outside(
            outside,
            [study.holdout_dataset for study in studies],
            np.concatenate([block.losses for block in blocks]),
        ),
        test=long_run_test(lead),
        fluctuation=fluctuation(lead, max(len(lead) // _WINDOWS, 1)),
        direction=_direction(spec, joined),
        direction_test=None if no_direction_test else _direction_test(joined),
        no_direction_test=no_direction_test,
        backtest=None if no_backtest else _backtest(spec, joined, traded),
        no_backtest=no_backtest,
        timing=_timing(spec, blocks, bars_per_year(traded)),
        traded=traded,
        stability=stability([(block.winner, block.tried) for block in blocks]),
        is_warm=any(study.record.first_params for study in studies),
    )


# The forecasts of one symbol on the blocks in which it takes part, by symbol.
_Joined = dict[str, list[SymbolForecasts]]


def _joined(blocks: Sequence[Block]) -> _Joined:
    found: _Joined = {}
    for block in blocks:
        for each in block.symbols:
            found.setdefault(each.symbol, []).append(each)
    return found


def _all(joined: _Joined, values: Callable[[SymbolForecasts], Floats]) -> Floats:
    """Return values of all targets, symbol after symbol."""
    return np.concatenate([values(each) for found in joined.values() for each in found])


def _direction(spec: Spec, joined: _Joined) -> Direction:
    return direction(
        _all(joined, lambda each: each.forecasts),
        _all(joined, lambda each: each.actual),
        _all(joined, lambda each: each.persistence),
        spec.data.horizon,
        _dates(joined),
    )


def _dates(joined: _Joined) -> Dates:
    return np.concatenate([each.dates for found in joined.values() for each in found])


def _direction_test(joined: _Joined) -> DirectionTest:
    return pesaran_timmermann(
        _all(joined, lambda each: each.forecasts),
        _all(joined, lambda each: each.actual),
        _all(joined, lambda each: each.persistence),
        _dates(joined),
        np.concatenate([np.repeat(s, sum(len(b.dates) for b in f)) for s, f in joined.items()]),
    )


def _traded(joined: _Joined) -> pd.DatetimeIndex:
    """Return the dates of a backtest: those of all blocks, and the last one before them."""
    return pd.DatetimeIndex(
        np.unique(
            np.concatenate([_bars(found, lambda each: each.bars) for found in joined.values()])
        )
    )


def _bars(found: list[SymbolForecasts], values: Callable[[SymbolForecasts], Any]) -> Any:
    """Return values of the bars of a symbol, block after block, each bar once.

    The bar before a block is kept if the symbol took no part in the block before.
    """
    pairs = zip(found, _skips(found), strict=True)
    return np.concatenate([values(each)[0 if skips else 1 :] for each, skips in pairs])


def _skips(found: list[SymbolForecasts]) -> list[bool]:
    """Return for each block of a symbol whether the bar before it is in no earlier block."""
    return [True, *(one.bars[-1] != other.bars[0] for one, other in pairwise(found))]


def _backtest(spec: Spec, joined: _Joined, traded: pd.DatetimeIndex) -> Backtest | None:
    """Trade each symbol on its blocks, one behind the other, with an equal part of the capital.

    A position is kept from block to block, also over one in which the symbol takes no part.
    """
    to_price = TARGETS[spec.data.target].to_price
    if to_price is None:
        return None
    years, tested, places = bars_per_year(traded), [], []
    for found in joined.values():
        closes = _bars(found, lambda each: each.closes)
        tested.append(trade(closes, _prices_ahead(found, to_price)[1:], years, spec.backtest))
        dates = _bars(found, lambda each: each.bars)
        places.append(np.searchsorted(traded.to_numpy(), dates))
    return equal_parts(tested, places, len(traded), years)


def _timing(spec: Spec, blocks: Sequence[Block], years: float) -> Timing | None:
    """Time the volatility of each symbol on its blocks, one behind the other."""
    if not all(block.sized for block in blocks):
        return None
    found: dict[str, list[Sized]] = {}
    for block in blocks:
        for each in block.sized:
            found.setdefault(each.symbol, []).append(each)
    return time_volatility([joined(parts) for parts in found.values()], years, spec.backtest, _BEST)


def _prices_ahead(
    found: list[SymbolForecasts], to_price: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Return the forecast price of each bar of `_bars`.

    That of the bar before a block is the close before it, which keeps the position.
    """
    ahead: list[Floats] = []
    last = found[0].closes[:1]
    for each, skips in zip(found, _skips(found), strict=True):
        if skips:
            ahead.append(last)
        ahead.append(to_price(each.forecasts, each.closes[:-1]))
        last = each.closes[-1:]
    return np.concatenate(ahead)
