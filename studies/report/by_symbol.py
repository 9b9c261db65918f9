"""The winner on each symbol of a basket, beside the simple models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from puffin.models.arrays import Floats
from puffin.models.evaluation.forecast_tests import LEVEL, holm
from puffin.models.evaluation.long_run import long_run_test
from puffin.models.evaluation.metrics import skill
from puffin.models.panel import by_part
from puffin.studies.dataset import Dataset
from puffin.studies.text import counted


@dataclass(frozen=True)
class JudgedSymbol:
    """The winner on the holdout's bars of one symbol.

    Attributes
    ----------
    symbol : str
    bars : number of its targets
    loss, reference_loss, persistence_loss : of the winner, of the first baseline, of no change
    p_better, p_holm : p-value that the winner is better than the first baseline, and adjusted for
        the number of symbols; NaN if there is nothing to test
    """

    symbol: str
    bars: int
    loss: float
    reference_loss: float
    persistence_loss: float
    p_better: float
    p_holm: float

    @property
    def skill(self) -> float:
        """Skill of the winner against the first baseline."""
        return skill(self.loss, self.reference_loss)

    @property
    def skill_over_persistence(self) -> float:
        """Skill of the winner against persistence."""
        return skill(self.loss, self.persistence_loss)


def by_symbol(holdout: Dataset, forecast: Floats, reference: Floats) -> list[JudgedSymbol]:
    """Compare forecasts (targets,) with those of a baseline, symbol by symbol, in their order."""
    (parts,), (last,) = holdout.parts, holdout.judged_persistence
    own, other, still = (
        by_part(parts, holdout.bar_losses([values])[0]) for values in (forecast, reference, last)
    )
    p_values = [long_run_test(b - a).p_better for a, b in zip(own, other, strict=True)]
    rows = zip(parts, own, other, still, p_values, holm(p_values).tolist(), strict=True)
    return [
        JudgedSymbol(
            part.member.symbol,
            len(a),
            float(a.mean()),
            float(b.mean()),
            float(c.mean()),
            p,
            adjusted,
        )
        for part, a, b, c, p, adjusted in rows
    ]


def counts_in_words(results: Sequence[JudgedSymbol]) -> str:
    """Return on how many symbols the winner is better, and on how many of them beyond chance."""
    better = [result for result in results if result.skill > 0]
    proven = sum(result.p_holm < LEVEL for result in better)
    return (
        f"better on {len(better)} of {counted(len(results), 'symbol')}, on {proven or 'none'} of "
        "them beyond chance after the adjustment of Holm"
    )


def shown_symbols(results: Sequence[JudgedSymbol]) -> list[str]:
    """Return the symbols whose forecasts are drawn: the first, the best and the worst."""
    ordered = sorted(results, key=lambda result: -np.nan_to_num(result.skill_over_persistence))
    chosen = (results[0], ordered[0], ordered[-1])
    return list(dict.fromkeys(result.symbol for result in chosen))
