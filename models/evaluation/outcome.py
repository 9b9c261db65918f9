"""What tests say of a forecast beside its rivals: better, undecided, no better or worse."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from puffin.models.evaluation.forecast_tests import LEVEL
from puffin.models.evaluation.long_run import LongRunTest

# A true lead over the rival to beat below this share of its loss counts as none.
MARGIN = 0.01
OUTCOMES = ("better", "undecided", "no better", "worse")


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tests of a forecast against its rivals.

    Attributes
    ----------
    reference : test against the rival to beat, which was chosen before these losses were seen
    reference_loss : mean loss of that rival
    rivals : test against every rival, by name, that one included
    """

    reference: LongRunTest
    reference_loss: float
    rivals: Mapping[str, LongRunTest]

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`; each but ``undecided`` is said wrongly in at most 5 % of cases.

        ``better``: significantly better than every rival. This is an intersection-union test: as
        each test must reject, none needs a correction for their number. The other two compare with
        the one rival that was chosen before, because the best of several on the same bars is best
        by luck. ``worse``: significantly worse than it. ``no better``: even the upper bound of the
        skill against it is below `MARGIN`.

        References
        ----------
        Berger (1982), "Multiparameter Hypothesis Testing and Acceptance Sampling", Technometrics
        24(4), the intersection-union test.
        """
        if self.p_of_all < LEVEL:
            return "better"
        if self.reference.p_worse < LEVEL:
            return "worse"
        return "no better" if self.most_skill < MARGIN else "undecided"

    @property
    def closest(self) -> str:
        """The rival against which the lead is least certain."""
        return max(self.rivals, key=lambda name: np.nan_to_num(self.rivals[name].p_better, nan=2.0))

    @property
    def p_of_all(self) -> float:
        """P-value of being better than every rival; NaN if one cannot be tested."""
        return self.rivals[self.closest].p_better

    @property
    def most_skill(self) -> float:
        """One-sided upper bound, with a confidence of 95 %, of the skill against the reference."""
        return self._as_skill(self.reference.highest)

    @property
    def detectable_skill(self) -> float:
        """True skill against the reference that the test detects in 80 % of samples."""
        return self._as_skill(self.reference.detectable)

    def _as_skill(self, lead: float) -> float:
        return lead / self.reference_loss if self.reference_loss > 0 else float("nan")
